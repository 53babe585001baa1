#!/usr/bin/env python3
"""Loads with transformers what hone saved, and compares logits with the reference.

    python3 tests/parity/check_saved_models.py REFERENCES

REFERENCES is the folder that make_models.py wrote and parity_test saved models into.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.utils import logging

from make_models import all_logits, read_json


def difference(folder: Path) -> float:
    expect = read_json(folder / "expect.json")
    wanted = load_file(folder / "expect.safetensors")["logits"]
    auto_model = AutoModelForSeq2SeqLM if "sources" in expect else AutoModelForCausalLM
    model, info = auto_model.from_pretrained(
        folder / "saved", dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            raise SystemExit(f"{folder.name}: {kind} {info[kind]}")
    model.eval()
    logits = all_logits(model, expect.get("sources") or expect["sequences"], expect["labels"])
    return ((logits - wanted).norm() / wanted.norm()).item()


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    references = Path(sys.argv[1])
    names = read_json(references / "cases.json")
    worst = max(difference(references / name) for name in names)
    print(f"{len(names)} saved models read by transformers, largest difference of logits {worst:.2g}")
    if worst > 1e-6:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
