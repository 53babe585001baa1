#!/usr/bin/env python3
"""Loads with transformers what hone saved, and compares logits with the reference.

    python3 tests/parity/check_saved_models.py REFERENCES

REFERENCES is the folder that make_models.py wrote and parity_test saved models into.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging


@torch.no_grad()
def difference(folder: Path) -> float:
    expect = json.loads((folder / "expect.json").read_text(encoding="utf-8"))
    wanted = load_file(folder / "expect.safetensors")["logits"]
    model, info = AutoModelForCausalLM.from_pretrained(
        folder / "saved", dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            raise SystemExit(f"{folder.name}: {kind} {info[kind]}")
    model.eval()
    logits = torch.cat([model(torch.tensor([ids])).logits[0] for ids in expect["sequences"]])
    return ((logits - wanted).norm() / wanted.norm()).item()


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    logging.disable_progress_bar()
    references = Path(sys.argv[1])
    names = json.loads((references / "cases.json").read_text(encoding="utf-8"))
    worst = max(difference(references / name) for name in names)
    print(f"{len(names)} saved models read by transformers, largest difference of logits {worst:.2g}")
    if worst > 1e-6:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
