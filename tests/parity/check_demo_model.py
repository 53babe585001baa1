#!/usr/bin/env python3
"""Compares the program's greedy answers of the demo model with those of transformers, token by token.

    HONE_DEMO_MODEL=FOLDER python3 tests/parity/check_demo_model.py HONE_PROGRAM WORK_FOLDER

Without HONE_DEMO_MODEL it says so and exits with 77, which ctest counts as skipped.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

SKIPPED = 77


def reference(model: str, work: Path) -> list[dict]:
    """What transformers answers; made once per model file, for it takes a minute."""
    weights = Path(model, "model.safetensors").stat()
    out = work / f"demo-reference-{weights.st_size}-{weights.st_mtime_ns}.json"
    if not out.exists():
        script = Path(__file__).with_name("make_demo_reference.py")
        partial = out.with_suffix(".partial")
        subprocess.run([sys.executable, str(script), model, str(partial)], check=True)
        partial.rename(out)
    return json.loads(out.read_text(encoding="utf-8"))


def answers(hone: str, model: str, wanted: list[dict], work: Path) -> list[dict]:
    prompts, out = work / "prompts.jsonl", work / "answers.jsonl"
    rows = [{"prompt": [{"role": "user", "content": entry["prompt"]}]} for entry in wanted]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    subprocess.run([hone, "generate", "--model_name_or_path", model, "--prompts_file", str(prompts),
                    "--do_sample", "false", "--max_new_tokens", "64", "--output_file", str(out)],
                   check=True)
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def main() -> int:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    model = os.environ.get("HONE_DEMO_MODEL")
    if not model:
        print("HONE_DEMO_MODEL names no folder: not compared")
        return SKIPPED
    hone, work = sys.argv[1], Path(sys.argv[2])
    work.mkdir(parents=True, exist_ok=True)
    wanted = reference(model, work)
    got = answers(hone, model, wanted, work)
    different = [entry["prompt"] for entry, answer in zip(wanted, got, strict=True)
                 if answer["prompt"] != entry["text"] or answer["completion_ids"] != entry["new_tokens"]]
    tokens = sum(len(entry["new_tokens"]) for entry in wanted)
    print(f"{len(wanted) - len(different)} of {len(wanted)} prompts equal, {tokens} tokens in all")
    for prompt in different:
        print(f"differs: {prompt}")
    return 1 if different or len(wanted) < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
