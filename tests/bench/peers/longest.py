"""The longest sequence whose update fits into a given memory: hone against a Python loop, both
computing blocks again for the backward pass.
"""

import argparse
import pathlib
from collections.abc import Callable

import models
import worker
from worker import flags

MODEL = "SmolLM2-135M"
LIMIT = 4e9  # bytes of a process
STEP = 512  # tokens, to which the answer is true


class Side:
    """One program, asked for the memory of an update of one sequence."""

    def __init__(self, options: argparse.Namespace, model: pathlib.Path, bf16: bool) -> None:
        self.options, self.model, self.bf16 = options, model, bf16
        self.note = ""

    def arguments(self, length: int) -> list[str]:
        return flags(lengths=length, bf16=self.bf16, gradient_checkpointing=True)

    def hone(self, length: int) -> float:
        arguments = [str(self.model), *self.arguments(length)]
        return worker.hone_step(self.options.hone, arguments, self.options.threads)["peak_memory"]

    def loop(self, length: int) -> float:
        log = self.model / f"longest-{length}.log"
        arguments = [str(self.model), *self.arguments(length)]
        # Without worker.KEEP_MEMORY, which is for speed and costs memory.
        peer = worker.Worker("loop_step.py", arguments, self.options.threads, log)
        peer.close()
        self.note = peer.ready["note"]
        return peer.ready["peak_memory"]


def longest(memory_of: Callable[[int], float], most: int) -> int:
    """Memory grows with length: doubled until it is too much, then halved. 0 where not even the
    first fits; not more than `most`."""
    fits, too_long = 0, STEP
    while too_long <= most and memory_of(too_long) <= LIMIT:
        fits, too_long = too_long, 2 * too_long
    if too_long > most:
        return fits
    while too_long - fits > STEP:
        middle = (fits + too_long) // 2 // STEP * STEP
        if memory_of(middle) <= LIMIT:
            fits = middle
        else:
            too_long = middle
    return fits


def said(length: int, most: int) -> str:
    if length == 0:
        return f"below {STEP}"
    return f"{length} (none longer was tried)" if length + STEP > most else str(length)


def run(options: argparse.Namespace, folder: pathlib.Path) -> list[dict]:
    records = []
    model = models.write(folder, MODEL, options.num_layers)
    for bf16 in options.bf16_values:
        side = Side(options, model, bf16)
        found = {
            "hone": longest(side.hone, options.most),
            "loop": longest(side.loop, options.most),
        }
        dtype = "bfloat16" if bf16 else "float32"
        hone, loop = (said(length, options.most) for length in found.values())
        print(
            f"Longest sequence of an update in {LIMIT * 1e-9:.0f} GB, {MODEL}, {dtype}, "
            f"blocks computed again: hone {hone} tokens, Python loop {loop}; of the latter: "
            f"{side.note or 'nothing was tried'}\n",
            flush=True,
        )
        records.append({"what": f"longest sequence, {dtype}", **found, "note": side.note})
    return records
