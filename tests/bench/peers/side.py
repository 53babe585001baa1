"""What the peers' programs share: how they are told what to do and what they answer.

Such a program stays up, so that rounds pay neither start nor compilation. It makes steps that do
not count, and says that it is ready, and when the first of them was done. Then, for each line on
standard input (a JSON object, the step's arguments), it makes one step and prints a line of JSON:
seconds and peak memory so far.
"""

import argparse
import json
import os
import resource
import sys
import time

# Libraries may print; what is said here must not mix with that.
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def parser(description: str) -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=description)
    options.add_argument("model", help="a folder with config.json")
    options.add_argument("--threads", type=int, required=True)
    options.add_argument("--bf16", action="store_true")
    options.add_argument(
        "--onednn", action="store_true", help="float32 products by oneDNN, as hone has them"
    )
    return options


def step_parser(description: str) -> argparse.ArgumentParser:
    options = parser(description)
    options.add_argument(
        "--lengths", required=True, type=lambda text: [int(word) for word in text.split(",")]
    )
    return options


def step_options(description: str) -> argparse.Namespace:
    return step_parser(description).parse_args()


def prepare(options: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    if (
        options.onednn
    ):  # the switch of hone, which has checked that float32 stays exact on this processor
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"


def use_float32_where_faster(options: argparse.Namespace) -> str:
    """PyTorch multiplies bfloat16 on one thread where the processor has no AVX-512, and training would
    take minutes for a step (docs/performance.md). Changes options.bf16 there, and returns what the
    table has to say of it; else nothing."""
    import torch

    if not options.bf16 or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return ""
    options.bf16 = False
    return "in float32, for PyTorch multiplies bfloat16 on one thread on this processor"


def random_sequences(lengths: list[int], vocab_size: int) -> list:
    import torch

    return [torch.randint(10, vocab_size, (length,)) for length in lengths]


def seconds_since_start() -> float:
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def say(**facts) -> None:
    facts["peak_memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(facts), file=_answers, flush=True)


def serve(step, warm_up: tuple[dict, ...] = ({},), **facts) -> None:
    """`warm_up`: the arguments of the steps that do not count."""
    step(**warm_up[0])
    first_step = seconds_since_start()
    for arguments in warm_up[1:]:
        step(**arguments)
    say(first_step=first_step, **facts)
    for line in sys.stdin:
        arguments = json.loads(line)
        start = time.perf_counter()
        step(**arguments)
        say(seconds=time.perf_counter() - start)
