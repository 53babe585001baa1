"""From the start of a process to the end of its first step: hone and TRL's trainer, on one process
and on several, each of which gets its share of the batch.
"""

import argparse
import concurrent.futures
import pathlib
import socket
import statistics
import subprocess
import sys

import models
import training
import worker
from worker import flags

ROUNDS = 2
# Bytes that each of two processes touches: together as much as any side in its first step.
TOUCHED = 5 << 30
TOUCH = f"""
import mmap
memory = mmap.mmap(-1, {TOUCHED}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_HUGEPAGE)
block = bytes(1 << 24)
for _ in range({TOUCHED} >> 24):
    memory.write(block)
"""


def touch_memory() -> None:
    """A virtual machine gives memory that it has not used for a while back to its host, and whoever
    comes next waits for it: of those that are compared, none shall."""
    touching = [subprocess.Popen([sys.executable, "-c", TOUCH]) for _ in range(2)]
    if any([process.wait() for process in touching]):
        raise worker.Failed(f"There is no free memory of {2 * TOUCHED >> 30} GiB")


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def dealt(lengths: list[int], shares: int) -> list[list[int]]:
    """The longest first, each to the share that has the fewest tokens."""
    parts: list[list[int]] = [[] for _ in range(shares)]
    for length in sorted(lengths, reverse=True):
        min(parts, key=sum).append(length)
    return parts


class Start:
    """One model in one precision."""

    def __init__(
        self, options: argparse.Namespace, folder: pathlib.Path, model: str, bf16: bool
    ) -> None:
        self.options, self.name, self.bf16 = options, model, bf16
        self.model = models.write(folder, model, options.num_layers)
        self.lengths = options.lengths or training.LENGTHS
        self.note = ""

    def shape(self, lengths: list[int]) -> list[str]:
        return flags(lengths=",".join(map(str, lengths)), bf16=self.bf16)

    def hone(self, ranks: int) -> float:
        arguments = [str(self.model), *self.shape(self.lengths)]
        threads = self.options.threads // ranks
        answer = worker.hone_step(self.options.hone, arguments, threads, ranks)
        return answer["first_step_from_start"]

    def trl(self, ranks: int) -> float:
        """Its slowest process. Several are a job as torchrun starts it: gloo, and DDP around the model."""
        port = free_port()

        def first_step(rank: int, lengths: list[int]) -> float:
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
            job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **place} if ranks > 1 else {}
            log = self.model / f"start-{rank}.log"
            variables = {name: str(value) for name, value in job.items()}
            arguments = [str(self.model), *self.shape(lengths)]
            threads = self.options.threads // ranks
            peer = worker.Worker("trl_step.py", arguments, threads, log, variables)
            peer.close()
            self.note = peer.ready["note"]
            return peer.ready["first_step"]

        with concurrent.futures.ThreadPoolExecutor(ranks) as pool:
            return max(pool.map(first_step, range(ranks), dealt(self.lengths, ranks)))

    def run(self) -> dict:
        counts = [1] if self.options.threads == 1 else [1, self.options.threads]
        seconds = {(side, ranks): [] for ranks in counts for side in ("hone", "trl")}
        for _ in range(ROUNDS):
            for side, ranks in seconds:
                touch_memory()
                seconds[side, ranks].append(getattr(self, side)(ranks))
        dtype = "bfloat16" if self.bf16 else "float32"
        for ranks in counts:
            hone, trl = (statistics.median(seconds[side, ranks]) for side in ("hone", "trl"))
            alone = statistics.median(seconds["trl", 1])
            beside = f", {100 * hone / alone:.0f} % of its one process'" if ranks > 1 else ""
            print(
                f"First step from start, {self.name}, {dtype}, processes: {ranks}: hone {hone:.1f} s, "
                f"TRL {trl:.1f} s: {100 * hone / trl:.0f} %{beside}",
                flush=True,
            )
        if self.note:
            print(f"TRL above: {self.note}", flush=True)
        what = f"first step from start, {self.name}, {dtype}"
        found = {f"{side} x {ranks}": s for (side, ranks), s in seconds.items()}
        return {"what": what, **found, "note": self.note}


def run(options: argparse.Namespace, folder: pathlib.Path) -> list[dict]:
    records = [Start(options, folder, *case).run() for case in training.cases(options)]
    print()
    return records
