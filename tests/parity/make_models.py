#!/usr/bin/env python3
"""Writes tiny models and what transformers computes with them, for the parity tests.

    python3 tests/parity/make_models.py OUT

README.md beside this file says what OUT holds. The fixtures are checked against recorded figures while
they are made, so a transformers release that computes something else is found here and not in hone.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, Trainer
from transformers.utils import logging

from model_zoo import GOLDEN, Case, fixture_cases, random_cases, require_close

EOS = 2
# A greedy choice nearer to a tie than this may fall either way with another order of summation.
MIN_MARGIN = 1e-3


def logits_of(model: PreTrainedModel, sequence: list[int]) -> torch.Tensor:
    """Shape: [length, vocabulary]. The sequence is alone: no padding, no mask."""
    return model(input_ids=torch.tensor([sequence])).logits[0]


def pooled_loss(model: PreTrainedModel, case: Case) -> torch.Tensor:
    """Summed cross entropy of all target tokens divided by their number."""
    total, targets = torch.zeros(()), 0
    for sequence, labels in zip(case.sequences, case.labels):
        target = torch.tensor(labels[1:])
        total = total + cross_entropy(logits_of(model, sequence)[:-1], target, reduction="sum")
        targets += int((target != -100).sum())
    return total / targets


def num_targets(case: Case) -> int:
    return sum(label != -100 for labels in case.labels for label in labels[1:])


def decay_names(model: PreTrainedModel) -> set[str]:
    return set(Trainer.get_decay_parameter_names(None, model))


def train(model: PreTrainedModel, case: Case) -> tuple[list[float], list[float]]:
    """Loss and unclipped gradient norm of each update; the model ends trained."""
    decayed = decay_names(model)
    groups = [
        {"params": [p for n, p in model.named_parameters() if n in decayed],
         "weight_decay": case.training.weight_decay},
        {"params": [p for n, p in model.named_parameters() if n not in decayed], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)
    losses, norms = [], []
    for learning_rate in case.training.learning_rates:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.zero_grad()
        loss = pooled_loss(model, case)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), case.training.max_grad_norm)
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm.item())
    return losses, norms


@torch.no_grad()
def greedy(model: PreTrainedModel, prompt: list[int], num_new_tokens: int) -> tuple[list[int], float]:
    """New tokens, eos included where it came, and the smallest lead of a choice over the runner-up."""
    output = model.generate(torch.tensor([prompt]), max_new_tokens=num_new_tokens, do_sample=False,
                            output_logits=True, return_dict_in_generate=True)
    best = torch.stack(output.logits).squeeze(1).topk(2).values
    return output.sequences[0, len(prompt):].tolist(), (best[:, 0] - best[:, 1]).min().item()


def generate_all(model: PreTrainedModel, case: Case) -> list[dict]:
    generations = []
    for prompt in case.prompts:
        new_tokens, margin = greedy(model, prompt, case.num_new_tokens)
        if margin < MIN_MARGIN and case.name not in GOLDEN:
            raise SystemExit(f"{case.name}: a greedy choice leads by {margin} only: give it another seed")
        generations.append({"prompt": prompt, "new_tokens": new_tokens, "min_margin": margin})
    return generations


def save_model(case: Case, folder: Path) -> None:
    model = case.model
    stored_as_bf16 = model.config.dtype == torch.bfloat16
    if stored_as_bf16:
        model = model.to(torch.bfloat16)
    model.save_pretrained(folder, **case.save_options)
    if stored_as_bf16:
        # Read back: casting the module to bfloat16 has rounded its rotary frequencies as well.
        case.model = type(model).from_pretrained(folder, dtype=torch.float32,
                                                 attn_implementation="eager")
    if case.strip_prefix:
        weights = load_file(folder / "model.safetensors")
        save_file({name.removeprefix(case.strip_prefix): w for name, w in weights.items()},
                  folder / "model.safetensors", metadata={"format": "pt"})


def write_reference(case: Case, folder: Path) -> None:
    save_model(case, folder / "model")
    model = case.model.eval()
    tensors = {
        "input_ids": torch.tensor(sum(case.sequences, [])),
        "labels": torch.tensor(sum(case.labels, [])),
        "lengths": torch.tensor([len(sequence) for sequence in case.sequences]),
    }
    with torch.no_grad():
        tensors["logits"] = torch.cat([logits_of(model, sequence) for sequence in case.sequences])
    generations = generate_all(model, case)

    loss = pooled_loss(model, case)
    loss.backward()
    for name, parameter in model.named_parameters():
        tensors[f"grad.{name}"] = parameter.grad.clone()
    model.zero_grad()

    losses, norms = train(model, case)
    decayed = decay_names(model)
    names = [name for name, _ in model.named_parameters()]
    expect = {
        "name": case.name,
        "about": case.about,
        "vocab_size": model.config.vocab_size,
        "sequences": case.sequences,
        "labels": case.labels,
        "num_targets": num_targets(case),
        "loss": loss.item(),
        "grad_norm": norms[0],
        "training": {
            "learning_rates": case.training.learning_rates,
            "weight_decay": case.training.weight_decay,
            "max_grad_norm": case.training.max_grad_norm,
            "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8,
            "losses": losses,
            "grad_norms": norms,
            "final_sum_of_squares": sum(p.double().square().sum().item() for p in model.parameters()),
        },
        "decayed_parameters": [name for name in names if name in decayed],
        "undecayed_parameters": [name for name in names if name not in decayed],
        "max_new_tokens": case.num_new_tokens,
        "generations": generations,
    }
    require_golden(expect, tensors["logits"])
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()},
              folder / "expect.safetensors")
    (folder / "expect.json").write_text(json.dumps(expect, indent=1) + "\n")


def require_golden(expect: dict, logits: torch.Tensor) -> None:
    golden = GOLDEN.get(expect["name"])
    if golden is None:
        return
    what, training = expect["name"], expect["training"]
    groups = len(expect["decayed_parameters"]), len(expect["undecayed_parameters"])
    if groups != golden["groups"]:
        raise SystemExit(f"{what}: decayed/undecayed parameters: expected {golden['groups']}, got {groups}")
    for got, expected in zip(logits[0, :3].tolist(), golden["logits"]):
        require_close(f"{what}: first logits", got, expected, 1e-5)
    first_row = logits[:len(expect["sequences"][0])]
    require_close(f"{what}: sum of squared logits", first_row.square().sum().item(),
                  golden["sum_of_squares"], 1e-5)
    for update, (got, expected) in enumerate(zip(training["losses"], golden["losses"])):
        require_close(f"{what}: loss {update + 1}", got, expected, 1e-3 if update else 1e-5)
    for update, (got, expected) in enumerate(zip(training["grad_norms"], golden["norms"])):
        require_close(f"{what}: norm {update + 1}", got, expected, 1e-2 if update else 1e-5)
    if "final_sum_of_squares" in golden:
        require_close(f"{what}: squared parameters", training["final_sum_of_squares"],
                      golden["final_sum_of_squares"], 1e-3)
    for generation, expected in zip(expect["generations"], golden["greedy"]):
        if generation["new_tokens"] != expected:
            raise SystemExit(f"{what}: greedy tokens: expected {expected}, got {generation['new_tokens']}")


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(1)  # one order of summation, whatever the machine
    out = Path(sys.argv[1])
    cases = random_cases() + fixture_cases()
    for case in cases:
        write_reference(case, out / case.name)
    (out / "cases.json").write_text(json.dumps([case.name for case in cases], indent=1) + "\n")
    print(f"{len(cases)} references in {out}")


if __name__ == "__main__":
    main()
