"""Sums of float32 over the processes of one machine: hone against MPI_Allreduce, gloo and what memory allows, in
one run.

    tests/bench/all_reduce.py BUILD_FOLDER [--python PYTHON_WITH_TORCH] [--bytes N] [--rounds N]

Rounds alternate between a job of hone and MPI and one of gloo; within a job the ways take turns. So
whatever else happens on the machine meets all of them. Both kinds of jobs are started by mpirun with the same
binding. Without --python gloo is left out.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
REFERENCE = "hone, memory that it allocates"
ENVIRONMENT = {
    **{"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"},
    **os.environ,
}


def times_of(command: list[str], options: argparse.Namespace) -> list[tuple[str, float]]:
    launcher = ["mpirun", "-q", "-np", str(options.ranks), "--bind-to", options.bind_to]
    done = subprocess.run(
        [*launcher, *command], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True, timeout=600
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [(line["way"], line["seconds"]) for line in lines]


def jobs(options: argparse.Namespace, folder: str, number: int) -> list[list[str]]:
    size = [str(options.bytes), str(options.repeats)]
    both = [[str(options.build.resolve() / "all_reduce_bench"), *size]]
    if options.python:
        gloo = str(HERE / "all_reduce" / "measure_gloo.py")
        both.append([options.python, gloo, *size, f"{folder}/round-{number}"])
    return both


def table(times: dict[str, list[float]], num_bytes: int) -> str:
    lines = [f"{'':32} {'GB/s':>7} {'min':>7} {'max':>7} {'n':>4}  hone is faster by"]
    reference = statistics.median(times[REFERENCE])
    for way, seconds in times.items():
        middle = statistics.median(seconds)
        speeds = [num_bytes * 1e-9 / value for value in (middle, max(seconds), min(seconds))]
        lines.append(
            f"{way:32} {speeds[0]:7.2f} {speeds[1]:7.2f} {speeds[2]:7.2f} {len(seconds):4}  {middle / reference:8.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--python", help="a Python with torch, for gloo")
    parser.add_argument("--bytes", type=int, default=500_000_000)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3, help="of each way in each round")
    parser.add_argument("--bind-to", default="core", choices=["core", "none"])
    options = parser.parse_args()
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for command in jobs(options, folder, number):
                for way, seconds in times_of(command, options):
                    times.setdefault(way, []).append(seconds)
    print(f"{options.bytes} bytes of float32, {options.ranks} processes, bound to {options.bind_to}; bytes by the")
    print(f"time of the slowest process, medians of {options.rounds} rounds of {options.repeats}")
    print(table(times, options.bytes))


main()
