"""Updates of GPT-2 124M in float32 on one and on two ranks of one thread: hone against torch's DDP on gloo, on
the same sequences, in one run.

    tests/bench/data_parallel.py BUILD_FOLDER [--python PYTHON_WITH_TRANSFORMERS] [--rounds N]

In each round every way runs once; a rank has a core. Efficiency is the time of one rank over twice that of
two. Without --python DDP is left out.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent / "data_parallel"
ENVIRONMENT = {
    **{"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"},
    **os.environ,
}


def lines_of(ranks: int, command: list[str]) -> list[dict]:
    launcher = ["mpirun", "-q", "-np", str(ranks), "--bind-to", "core"]
    done = subprocess.run(
        [*launcher, *command], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True, timeout=1200
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def one_round(options: argparse.Namespace, folder: str, number: int) -> list[dict]:
    lines = []
    for ranks in (1, 2):
        lines += lines_of(ranks, [str(options.build.resolve() / "data_parallel_bench"), str(options.repeats)])
        if options.python:
            ddp = [options.python, str(HERE / "measure_ddp.py"), str(options.repeats), f"{folder}/{number}-{ranks}"]
            lines += lines_of(ranks, ddp)
    return lines


def show(lines: list[dict]) -> None:
    seconds: dict[str, list[float]] = {}
    for line in lines:
        seconds.setdefault(line["way"], []).append(line["seconds"])
    middle = {way: statistics.median(values) for way, values in seconds.items()}
    for way, values in sorted(seconds.items()):
        print(f"{way:24} {middle[way]:7.3f} s  [{min(values):.3f}, {max(values):.3f}]  n {len(values)}")
    shares = [100 * line["reduce"] / line["seconds"] for line in lines if line["way"] == "hone, 2 ranks"]
    print(f"hone: {statistics.median(shares):.1f} % [{min(shares):.1f}, {max(shares):.1f}] of an update on 2 ranks is "
          "communication and waiting for it")
    for name in ("hone", "DDP on gloo"):
        if f"{name}, 2 ranks" in middle:
            print(f"{name}: efficiency {middle[f'{name}, 1 ranks'] / middle[f'{name}, 2 ranks'] / 2:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--python", help="a Python with transformers, for DDP")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=2, help="updates of each way in each round")
    options = parser.parse_args()
    lines: list[dict] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            lines += one_round(options, folder, number)
    show(lines)


main()
