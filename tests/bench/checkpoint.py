"""Saving and loading a training state on one disk: hone against dd and Python's ways, in one run.

    tests/bench/checkpoint.py BUILD_FOLDER [--python PYTHON_WITH_TORCH] [--folder ON_THE_DISK] [--bytes N] [--rounds N]

Each round saves and loads once by each way, in an order that turns. Whatever is saved is on the disk when the time
ends (fsync), and whatever is loaded comes from there: its pages are dropped before. Without --python only dd is
measured beside hone.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent


class Program:
    """A program that answers a line for a line."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[0]} ended with {self.process.wait()}")
        return json.loads(line)

    def ask(self, order: str) -> dict:
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def dd(folder: pathlib.Path, num_bytes: int) -> float:
    """Of zeros: what the disk takes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.sync()
    start = time.perf_counter()
    size = ["bs=1000000", f"count={num_bytes // 1_000_000}", "conv=fsync", "status=none"]
    subprocess.run(["dd", "if=/dev/zero", f"of={folder / 'zeros'}", *size], check=True)
    return time.perf_counter() - start


def measure(options: argparse.Namespace, folder: pathlib.Path) -> dict[str, dict[str, list[float]]]:
    size = [str(options.bytes)]
    hone = Program([str(options.build.resolve() / "checkpoint_bench"), str(folder / "hone"), *size])
    peers = None
    if options.python:
        peers = Program([options.python, str(HERE / "checkpoint/measure_peers.py"), str(folder / "peers"), *size])
    times: dict[str, dict[str, list[float]]] = {"save": {}, "load": {}, "stall": {}}

    def note(order: str, way: str, seconds: float) -> None:
        times[order].setdefault(way, []).append(seconds)

    def turn_of_hone(round_number: int) -> None:
        saved = hone.ask("save")
        note("save", "hone", saved["seconds"])
        note("stall", "memcpy of the state", saved["beside"])
        # What is read a second time may come from a cache of the host: each is the first in every other round.
        ways = [("hone", "load"), ("plain read", "read")]
        for way, order in ways if round_number % 2 else reversed(ways):
            note("load", way, hone.ask(order)["seconds"])

    def turn_behind(_: int) -> None:
        behind = hone.ask("stall")
        note("stall", "hone", behind["stall"])
        note("save", "hone, behind the caller", behind["seconds"])

    def turn_of_peer(way: str) -> None:
        for order in ("save", "load"):
            note(order, way, peers.ask(f"{way} {order}")["seconds"])

    turns = [turn_of_hone, turn_behind, lambda _: note("save", "dd conv=fsync", dd(folder / "dd", options.bytes))]
    turns += [lambda _, way=way: turn_of_peer(way) for way in (peers.ready if peers else [])]
    for number in range(options.rounds + 1):  # the first does not count
        for i in range(len(turns)):
            turns[(i + number) % len(turns)](number)
        if number == 0:
            times = {"save": {}, "load": {}, "stall": {}}
    for program in (hone, peers):
        if program:
            program.close()
    return times


def table(title: str, times: dict[str, list[float]], num_bytes: int) -> str:
    lines = [f"{title:30} {'GB/s':>6} {'min':>6} {'max':>6}  hone is faster by"]
    for way, seconds in times.items():
        speeds = [num_bytes * 1e-9 / value for value in (statistics.median(seconds), max(seconds), min(seconds))]
        text = f"{way:30} {speeds[0]:6.2f} {speeds[1]:6.2f} {speeds[2]:6.2f}"
        if "hone" in times and way != "hone":
            text += f"  {statistics.median(b / a for a, b in zip(times['hone'], seconds)):6.2f}"
        lines.append(text)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--python", help="a Python with torch and safetensors, with h5py if it is to be measured")
    parser.add_argument("--folder", type=pathlib.Path, help="on the disk that is measured")
    parser.add_argument("--bytes", type=int, default=1_500_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        times = measure(options, pathlib.Path(folder))
    print(f"{options.bytes} bytes of float32 in 100 tensors, medians of {options.rounds} rounds; ratios of the same round")
    for title, order in (("saved, on the disk", "save"), ("loaded, from the disk", "load"), ("the caller waits", "stall")):
        print(table(title, times[order], options.bytes))


main()
