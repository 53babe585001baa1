#!/usr/bin/env python3
"""Makes the task's data: sums of two-digit numbers, to be finished in a few tokens.

    python3 examples/sums/make_task.py [FOLDER] [--seed N] [--num_train N] [--num_eval N]

Writes train.jsonl and eval.jsonl, lines of {"prompt", "answer"}, into FOLDER (default: beside this
script). No pair of numbers is in both files, in either order. The same seed gives the same files.
"""

import argparse
import json
import os
import random
from pathlib import Path


def make_row(pair: tuple[int, int], rng: random.Random) -> dict:
    a, b = rng.sample(pair, 2)
    return {"prompt": f"Q: What is {a} + {b}?\nA: {a} + {b} =", "answer": a + b}


def make_rows(seed: int, num_train: int, num_eval: int) -> tuple[list[dict], list[dict]]:
    rng = random.Random(seed)
    pairs = [(a, b) for a in range(10, 100) for b in range(a, 100)]
    rows = [make_row(pair, rng) for pair in rng.sample(pairs, num_train + num_eval)]
    return rows[num_eval:], rows[:num_eval]


def write_rows(path: Path, rows: list[dict]) -> None:
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    aside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    aside.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--num_train", type=int, default=2000)
    parser.add_argument("--num_eval", type=int, default=200)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    train, evaluation = make_rows(options.seed, options.num_train, options.num_eval)
    write_rows(options.folder / "train.jsonl", train)
    write_rows(options.folder / "eval.jsonl", evaluation)
    print(f"{len(train)} training prompts and {len(evaluation)} to evaluate on in {options.folder}")


if __name__ == "__main__":
    main()
