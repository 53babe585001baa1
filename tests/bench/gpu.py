"""hone and transformers on one GPU, in one run: updates and completions.

python3 tests/bench/gpu.py build/hone --model FOLDER [--rounds N]

Needs a GPU, and PyTorch and transformers in the python that runs it. The sides take turns; times
are medians of what the rounds gave, memory and the share of the bandwidth those of the last round. The peers are a loop around transformers' model as
its Trainer makes it (a padded batch, scaled dot-product attention, bfloat16 by autocast, fused
AdamW), and transformers' generate(). Weights are drawn: a folder with config.json is enough.
"""

import argparse
import gc
import json
import statistics
import subprocess
import time

RAGGED = [111, 306, 347, 172, 183, 102, 77, 78]


def hone(options: argparse.Namespace, bf16: bool, what: str, **flags: object) -> dict:
    arguments = [options.hone, "bench", what, options.model, "--json", *(["--bf16"] if bf16 else [])]
    for name, value in flags.items():
        arguments += [f"--{name}", str(value)]
    return json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE).stdout)


class Peer:
    """transformers' model of the folder, on the GPU."""

    def __init__(self, model: str, bf16: bool):
        import torch
        import transformers

        self.torch, self.bf16 = torch, bf16
        torch.manual_seed(1)
        self.config = transformers.AutoConfig.from_pretrained(model)
        self.model = transformers.AutoModelForCausalLM.from_config(self.config).cuda()

    def _ids(self, lengths: list[int]):
        torch = self.torch
        rows = [torch.randint(10, self.config.vocab_size, (length,)) for length in lengths]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0)

    def _timed(self, call) -> float:
        self.torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        self.torch.cuda.synchronize()
        return time.perf_counter() - start

    def seconds_of_update(self, lengths: list[int], repeats: int) -> tuple[float, int]:
        torch = self.torch
        model = self.model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=True)
        ids = self._ids(lengths)
        mask = torch.arange(ids.shape[1])[None, :] < torch.tensor(lengths)[:, None]
        labels = torch.where(mask, ids, -100)

        def update() -> None:
            batch = {"input_ids": ids, "attention_mask": mask.long(), "labels": labels}
            batch = {name: value.cuda() for name, value in batch.items()}
            with torch.autocast("cuda", torch.bfloat16, enabled=self.bf16):
                loss = model(**batch, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()  # the trainers log it

        torch.cuda.reset_peak_memory_stats()
        for _ in range(3):
            update()
        seconds = statistics.median(self._timed(update) for _ in range(repeats))
        return seconds, torch.cuda.max_memory_reserved()

    def seconds_of_completions(self, batch: int, prompt: int, new: int) -> float:
        torch = self.torch
        model = self.model.eval().to(torch.bfloat16 if self.bf16 else torch.float32)
        ids = self._ids([prompt] * batch).cuda()

        def complete() -> None:
            with torch.inference_mode():
                model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=new,
                    min_new_tokens=new,
                    do_sample=False,
                    pad_token_id=0,
                )

        complete()
        return self._timed(complete)


def of_peer(options: argparse.Namespace, bf16: bool, measure):
    """What `measure` says of a fresh peer, whose memory hone has again afterwards."""
    try:
        return measure(Peer(options.model, bf16))
    finally:
        import torch

        gc.collect()
        torch.cuda.empty_cache()


def updates(options: argparse.Namespace, bf16: bool, times: int) -> None:
    lengths = RAGGED * times
    tokens = sum(lengths)
    ours, theirs, memory = [], [], []
    for _ in range(options.rounds):
        report = hone(
            options,
            bf16,
            "step",
            lengths=",".join(map(str, lengths)),
            per_device_train_batch_size=len(lengths),
            repeats=10,
        )
        ours.append(report["seconds"])
        seconds, peak = of_peer(options, bf16, lambda peer: peer.seconds_of_update(lengths, 10))
        theirs.append(seconds)
        memory.append((report["peak_memory"], peak))
    ours, theirs = statistics.median(ours), statistics.median(theirs)
    print(
        f"update, {'bfloat16' if bf16 else 'float32'}, {tokens:6d} tokens: hone {ours * 1e3:7.1f} ms "
        f"{tokens / ours:8.0f} tokens/s {memory[-1][0] * 1e-9:5.2f} GB, transformers "
        f"{theirs * 1e3:7.1f} ms {memory[-1][1] * 1e-9:5.2f} GB, ratio {theirs / ours:.2f}",
        flush=True,
    )


def completions(options: argparse.Namespace, bf16: bool, batch: int) -> None:
    prompt, new = 64, 128
    ours, theirs = [], []
    for _ in range(options.rounds):
        flags = {"prompt_length": prompt, "max_new_tokens": new, "batch_size": batch}
        report = hone(options, bf16, "generate", do_sample="false", repeats=2, **flags)
        ours.append(report["seconds"])
        theirs.append(
            of_peer(options, bf16, lambda peer: peer.seconds_of_completions(batch, prompt, new))
        )
    ours, theirs = statistics.median(ours), statistics.median(theirs)
    print(
        f"greedy, {'bfloat16' if bf16 else 'float32'}, batch {batch:3d}: hone {batch * new / ours:7.0f} "
        f"tokens/s ({100 * report['share_of_bandwidth']:.0f} % of the bandwidth), transformers "
        f"{batch * new / theirs:7.0f}, ratio {theirs / ours:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("hone", help="the program")
    parser.add_argument("--model", required=True, help="a folder with config.json")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--times", type=int, nargs="*", default=[1, 8], help="8 sequences so often")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 32], help="of completions")
    options = parser.parse_args()
    for bf16 in (False, True):
        for times in options.times:
            updates(options, bf16, times)
    for bf16 in (False, True):
        for batch in options.batches:
            completions(options, bf16, batch)


if __name__ == "__main__":
    main()
