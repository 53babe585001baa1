"""hone against its peers, interleaved in one run; started by scripts/bench.sh."""

import argparse
import json
import pathlib
import sys
import tempfile

import generation
import longest
import start
import training
import worker


def whole_numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hone", type=pathlib.Path, required=True, help="the program")
    parser.add_argument("--only", choices=["training", "start", "generation", "memory"])
    parser.add_argument(
        "--short", action="store_true", help="GPT-2 in float32 alone, training, 2 rounds"
    )
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="one alone, not both")
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, help="a file for all numbers")
    trial = parser.add_argument_group("To see it run; figures mean nothing then")
    trial.add_argument("--num-layers", type=int)
    trial.add_argument("--lengths", type=whole_numbers)
    trial.add_argument("--new-tokens", type=int, default=128)
    trial.add_argument("--most", type=int, default=8192, help="no longer sequence is tried")
    options = parser.parse_args()
    options.hone = options.hone.resolve()
    if options.short:
        options.only = options.only or "training"
        options.dtype = options.dtype or "float32"
    dtypes = [options.dtype] if options.dtype else ["float32", "bfloat16"]
    options.bf16_values = [dtype == "bfloat16" for dtype in dtypes]
    options.rounds = options.rounds or (2 if options.short else 5)
    return options


def main() -> int:
    options = parse()
    records = []

    def write() -> None:
        if options.json:
            options.json.write_text(json.dumps(records, indent=1) + "\n")

    write()  # a place that cannot be written is said before an hour has gone
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as folder:
        try:
            parts = {"training": training, "start": start, "generation": generation, "memory": longest}
            for name, part in parts.items():
                if options.only in (None, name):
                    records += part.run(options, pathlib.Path(folder))
                    write()
        except worker.Failed as failure:
            print(failure, file=sys.stderr)
            return 1
    return 0


sys.exit(main())
