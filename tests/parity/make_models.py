#!/usr/bin/env python3
"""Writes tiny models and what transformers computes with them, for the parity tests.

    python3 tests/parity/make_models.py OUT

README.md beside this file says what OUT holds. The fixtures are checked against recorded figures while
they are made, so a transformers release that computes something else is found here and not in hone.
"""

import copy
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, Trainer
from transformers.utils import logging

from model_zoo import GOLDEN, Case, fixture_cases, random_cases, require_close, shape_cases

# A greedy choice nearer to a tie than this may fall either way with another order of summation.
MIN_MARGIN = 1e-3
# Adam makes whole steps of gradients that are nothing but rounding. Where these show more than this in
# losses and norms, float32 has no right answer to compare with; parity_test allows three times as much.
MAX_ROUNDING = {"loss": 3e-5, "norm": 3e-4}


def decoder_input(model: PreTrainedModel, labels: list[int]) -> list[int]:
    """The start token and all labels but the last, with padding in the place of hidden ones."""
    config = model.config
    known = [config.pad_token_id if label == -100 else label for label in labels[:-1]]
    return [config.decoder_start_token_id, *known]


def logits_of(model: PreTrainedModel, ids: list[int], labels: list[int]) -> torch.Tensor:
    """Shape: [labels, vocabulary]. The sample is alone: no padding, no mask."""
    inputs = {"input_ids": torch.tensor([ids])}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.tensor([decoder_input(model, labels)])
    return model(**inputs).logits[0]


@torch.no_grad()
def all_logits(model: PreTrainedModel, inputs: list[list[int]], labels: list[list[int]]) -> torch.Tensor:
    return torch.cat([logits_of(model, *sample) for sample in zip(inputs, labels)])


def first_target(model: PreTrainedModel) -> int:
    """A causal model's first label has no logits that predict it."""
    return 0 if model.config.is_encoder_decoder else 1


def pooled_loss(model: PreTrainedModel, case: Case) -> torch.Tensor:
    """Summed cross entropy of all target tokens divided by their number."""
    total, first = torch.zeros(()), first_target(model)
    for ids, labels in zip(case.inputs, case.labels):
        logits, target = logits_of(model, ids, labels), torch.tensor(labels[first:])
        total = total + cross_entropy(logits[:len(target)], target, reduction="sum")
    return total / num_targets(case)


def num_targets(case: Case) -> int:
    return sum(label != -100 for labels in case.labels for label in labels[first_target(case.model):])


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


def train_checked(model: PreTrainedModel, case: Case) -> tuple[list[float], list[float]]:
    """As train(), which float64 must confirm."""
    exact_losses, exact_norms = train(copy.deepcopy(model).double(), case)
    losses, norms = train(model, case)
    for what, got, exact in (("loss", losses, exact_losses), ("norm", norms, exact_norms)):
        rounding = max(abs(a / b - 1) for a, b in zip(got, exact))
        if rounding > MAX_ROUNDING[what]:
            raise SystemExit(f"{case.name}: rounding moves a {what} by {rounding}: give it another seed")
    return losses, norms


@torch.no_grad()
def greedy(model: PreTrainedModel, prompt: list[int], num_new_tokens: int) -> tuple[list[int], float]:
    """New tokens, eos included where it came, and the smallest lead of a choice over the runner-up."""
    # transformers 5.23 counts the encoder's layers for a decoder's cache: a deeper decoder breaks it.
    output = model.generate(torch.tensor([prompt]), max_new_tokens=num_new_tokens, do_sample=False,
                            use_cache=not model.config.is_encoder_decoder, output_logits=True,
                            return_dict_in_generate=True)
    best = torch.stack(output.logits).squeeze(1).topk(2).values
    start = 1 if model.config.is_encoder_decoder else len(prompt)
    return output.sequences[0, start:].tolist(), (best[:, 0] - best[:, 1]).min().item()


def generate_all(model: PreTrainedModel, case: Case) -> list[dict]:
    generations = []
    for prompt in case.prompts:
        new_tokens, margin = greedy(model, prompt, case.num_new_tokens)
        if margin < MIN_MARGIN and case.name not in GOLDEN:
            raise SystemExit(f"{case.name}: a greedy choice leads by {margin} only: give it another seed")
        generations.append({"prompt": prompt, "new_tokens": new_tokens, "min_margin": margin})
    return generations


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


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
    if case.rewrite:
        weights, config = load_file(folder / "model.safetensors"), read_json(folder / "config.json")
        case.rewrite(weights, config)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        write_json(folder / "config.json", config)


def packed(name: str, lists: list[list[int]]) -> dict[str, torch.Tensor]:
    """All lists one behind another, and the length of each."""
    return {f"{name}_ids": torch.tensor(sum(lists, [])),
            f"{name}_lengths": torch.tensor([len(ids) for ids in lists])}


def input_tensors(case: Case) -> dict[str, torch.Tensor]:
    if case.model.config.is_encoder_decoder:
        targets = [decoder_input(case.model, labels) for labels in case.labels]
        return {**packed("source", case.inputs), **packed("decoder", targets)}
    return packed("input", case.inputs)


def write_reference(case: Case, folder: Path) -> None:
    save_model(case, folder / "model")
    model = case.model.eval()
    tensors = input_tensors(case)
    tensors["logits"] = all_logits(model, case.inputs, case.labels)
    generations = generate_all(model, case)

    loss = pooled_loss(model, case)
    loss.backward()
    for name, parameter in model.named_parameters():
        tensors[f"grad.{name}"] = parameter.grad.clone()
    model.zero_grad()

    losses, norms = train_checked(model, case)
    decayed = decay_names(model)
    names = [name for name, _ in model.named_parameters()]
    expect = {
        "name": case.name,
        "about": case.about,
        "vocab_size": model.config.vocab_size,
        "sources" if model.config.is_encoder_decoder else "sequences": case.inputs,
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
    write_json(folder / "expect.json", expect)


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
    first_row = logits[:len(expect["labels"][0])]
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
    cases = random_cases() + shape_cases() + fixture_cases()
    for case in cases:
        write_reference(case, out / case.name)
    write_json(out / "cases.json", [case.name for case in cases])
    print(f"{len(cases)} references in {out}")


if __name__ == "__main__":
    main()
