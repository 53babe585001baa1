#!/usr/bin/env python3
"""Writes what transformers answers greedily to 20 chat prompts, for the parity test of the demo model.

    python3 tests/parity/make_demo_reference.py MODEL_FOLDER OUT.json

README.md beside this file says what OUT.json holds.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

MAX_NEW_TOKENS = 64
PROMPTS = [
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "List three fruits.",
    "Explain in two sentences why the sky is blue.",
    "Translate 'good morning' into Spanish.",
    "Name a planet with rings.",
    "What is 12 + 7?",
    "Who wrote Romeo and Juliet?",
    "Give me a short recipe for pancakes.",
    "What does a compiler do?",
    "Write a haiku about winter.",
    "How many days are in a leap year?",
    "Give a synonym for 'happy'.",
    "What is photosynthesis?",
    "Write a Python function that adds two numbers.",
    "Tell me a fun fact about cats.",
    "What is the boiling point of water in Celsius?",
    "Continue the story: The old lighthouse keeper opened the door and",
    "Correct the sentence: she go to school yesterday.",
    "Was ist die Hauptstadt von Österreich? 🙂",
]


@torch.no_grad()
def answer(model, tokenizer, prompt: str) -> dict:
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    input_ids = tokenizer(text, add_special_tokens=False).input_ids
    output = model.generate(torch.tensor([input_ids]), max_new_tokens=MAX_NEW_TOKENS, do_sample=False,
                            output_logits=True, return_dict_in_generate=True)
    new_tokens = output.sequences[0, len(input_ids):].tolist()
    best = torch.stack(output.logits).squeeze(1).topk(2).values
    return {"prompt": prompt, "text": text, "input_ids": input_ids, "new_tokens": new_tokens,
            "output": tokenizer.decode(new_tokens, skip_special_tokens=True),
            "min_margin": (best[:, 0] - best[:, 1]).min().item()}


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    logging.disable_progress_bar()
    folder, out = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    answers = [answer(model, tokenizer, prompt) for prompt in PROMPTS]
    Path(out).write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(answers)} answers in {out}, smallest lead {min(a['min_margin'] for a in answers):.2g}")


if __name__ == "__main__":
    main()
