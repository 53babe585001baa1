"""`hone plan` says what a run then takes."""

import json
import random
import shutil
import unittest

from harness import SystemTest, read_metrics, write_lines
from tiny_model import make_model

# Of some hundred megabytes each, parameters and activations alike, so that none of the figures decides alone.
SIZES = {
    "llama": {
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
    "gpt2": {"n_embd": 640, "n_layer": 6, "n_head": 10, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
}
BATCH, LENGTH = 4, 256
TRAINING = ("--per_device_train_batch_size", BATCH, "--max_length", LENGTH)


class MemoryTest(SystemTest):
    family = ""

    def plan(self, *more: object) -> dict:
        return json.loads(self.hone("plan", "model", "--json", *TRAINING, *more).out)

    def measured(self, ranks: int | None, *more: object) -> int:
        self.hone(
            *("train", "--model_name_or_path", "model", "--train_file", "rows.jsonl", "--output_dir", "out"),
            *("--max_steps", 2, "--save_steps", 0, "--learning_rate", 1e-5, "--num_threads", 1, *TRAINING, *more),
            ranks=ranks,
        )
        (record,) = read_metrics(self.folder / "out", "train")
        shutil.rmtree(self.folder / "out")  # of some hundred megabytes
        return record["peak_memory"]

    def check_against_runs(self) -> None:
        make_model(self.folder / "model", family=self.family, changes=SIZES[self.family])
        draw = random.Random(1)
        rows = [{"input_ids": [draw.randrange(250) for _ in range(LENGTH)]} for _ in range(2 * BATCH)]
        write_lines(self.folder / "rows.jsonl", rows)
        for ranks, plan_flags, train_flags in (
            (None, (), ()),
            (None, ("--gradient_checkpointing",), ("--gradient_checkpointing",)),
            (None, ("--dtype", "bfloat16"), ("--bf16",)),
            (2, ("--ranks", 2, "--optim", "sgd"), ("--optim", "sgd")),
            (2, ("--ranks", 2, "--optimizer_sharding", "zero1"), ("--optimizer_sharding", "zero1")),
        ):
            with self.subTest(plan_flags):
                planned = self.plan(*plan_flags)["plans"][0]["rank_bytes"]
                measured = self.measured(ranks, *train_flags)
                off = planned["resident"] / measured - 1
                self.assertLess(abs(off), 0.1, f"off by {off:.1%} of {measured / 1e6:.0f} MB: {planned}")


class LlamaMemory(MemoryTest):
    family = "llama"

    def test_the_plan_is_what_a_run_takes(self) -> None:
        self.check_against_runs()


class GptMemory(MemoryTest):
    family = "gpt2"

    def test_the_plan_is_what_a_run_takes(self) -> None:
        self.check_against_runs()


if __name__ == "__main__":
    unittest.main()
