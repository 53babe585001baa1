"""`hone plan` says what a run then takes."""

import json
import random
import shutil
import unittest

from harness import MISSING, USAGE, SystemTest, read_metrics, write_lines
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
            *("--max_steps", 2, "--learning_rate", 1e-5, "--num_threads", 1, *TRAINING, *more),
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
            (None, ("--async_save=false",), ("--async_save=false",)),
        ):
            with self.subTest(plan_flags):
                planned = self.plan(*plan_flags)["plans"][0]["rank_bytes"]
                measured = self.measured(ranks, *train_flags)
                off = planned["resident"] / measured - 1
                self.assertLess(abs(off), 0.1, f"off by {off:.1%} of {measured / 1e6:.0f} MB: {planned}")


class LlamaMemory(MemoryTest):
    family = "llama"

    def test_sharding_saves_what_is_planned(self) -> None:
        """By itself, since in the total half of the moments would hide behind all else."""
        make_model(self.folder / "model", family=self.family, changes=SIZES[self.family])
        write_lines(self.folder / "rows.jsonl", [{"input_ids": [1 + i] * 8} for i in range(2 * BATCH)])
        sharding = "--optimizer_sharding", "zero1"
        whole, part = (self.plan("--ranks", 2, *more)["plans"][0]["rank_bytes"] for more in ((), sharding))
        planned = whole["resident"] - part["resident"]
        self.assertAlmostEqual(planned / part["optimizer"], 1.0, places=3)
        saved = self.measured(2) - self.measured(2, *sharding)
        self.assertLess(abs(saved / planned - 1), 0.1, f"{saved} bytes less, planned {planned}")

    def test_the_plan_is_what_a_run_takes(self) -> None:
        self.check_against_runs()


class GptMemory(MemoryTest):
    family = "gpt2"

    def test_the_plan_is_what_a_run_takes(self) -> None:
        self.check_against_runs()


class Answers(SystemTest):
    """What a first look at a plan asks. Only config.json is there."""

    def setUp(self) -> None:
        super().setUp()
        for file in (self.folder / "tiny").iterdir():
            if file.name != "config.json":
                file.unlink()

    def plan(self, *more: object) -> dict:
        return json.loads(self.hone("plan", "tiny", "--json", *more).out)

    def refuse(self, *parts: str, arguments: tuple, code: int = USAGE) -> None:
        self.assert_one_error(self.hone("plan", *arguments, code=code), *parts)

    def test_ranks_from_a_list(self) -> None:
        for text in ("ranks: [2, 4]", "ranks:\n  - 2\n  - 4", "ranks: 2,4"):
            (self.folder / "ranks.yaml").write_text(text)
            with self.subTest(text):
                planned = self.plan("--config", "ranks.yaml")["plans"]
                self.assertEqual([plan["ranks"] for plan in planned], [2, 4])
        self.refuse("ranks is empty", "--ranks 2,8,64", arguments=("tiny", "--ranks="))

    def test_missing_and_assumed_speeds(self) -> None:
        def notes(*more: object) -> str:
            return "\n".join(self.plan(*more)["notes"])

        self.assertIn("no times for --ranks 1: they need --tflops (", notes())
        some = notes("--tflops", 1, "--ranks", "1,2,16")
        self.assertIn("no times for --ranks 2, 16: they need --node_link_gb_per_second, --link_gb_per_second (", some)
        speeds = ("--tflops", 1, "--ranks", "1,16", "--node_link_gb_per_second", 10, "--link_gb_per_second", 1)
        self.assertIn("assume --node_link_latency_us 0, --link_latency_us 0 (", notes(*speeds))
        known = (*speeds, "--node_link_latency_us", 3, "--link_latency_us", 9)
        self.assertEqual(notes(*known), "")
        self.assertIn("note: no times for --ranks 1", self.hone("plan", "tiny").out)

    def test_what_would_make_it_fit(self) -> None:
        shape = ("--ranks", "1,4", "--max_length", 256, "--per_device_train_batch_size", 64)
        self.assertNotIn("fits", self.plan(*shape)["plans"][0])
        totals = [plan["rank_bytes"]["total"] for plan in self.plan(*shape)["plans"]]
        one, four = self.plan(*shape, "--memory_gb", totals[0] * 1e-9 - 1e-6)["plans"]
        self.assertEqual((one["fits"], four["fits"]), (False, False))
        options = ("--dtype", "bfloat16"), ("--gradient_checkpointing",), ("--optimizer_sharding", "zero1"), ("--async_save=false",)
        names = ("dtype bfloat16", "gradient_checkpointing", "optimizer_sharding zero1", "async_save false")
        for name, option in zip(names, options, strict=True):
            for plan, alone in zip((one, four), self.plan(*shape, *option)["plans"], strict=True):
                self.assertEqual(plan["changes"][name], alone["rank_bytes"]["total"], name)
        half = "per_device_train_batch_size 32"
        self.assertEqual(list(one["changes"])[4], half)
        smaller = self.plan(*shape, "--per_device_train_batch_size", 32, "--gradient_accumulation_steps", 2)
        self.assertEqual(one["changes"][half], smaller["plans"][0]["rank_bytes"]["total"])
        self.assertLess(list(one["changes"].values())[-1], min(list(one["changes"].values())[:-1]))
        text = self.hone("plan", "tiny", *shape, "--memory_gb", 0.25).out
        self.assertRegex(text, r"fits in 0\.25 GB +no +no\n")
        self.assertRegex(text, r"per_device_train_batch_size \d+ +(! )?\d\.\d+ GB")
        fine = self.plan(*shape, "--memory_gb", 100)["plans"][0]
        self.assertEqual((fine["fits"], fine["changes"]), (True, {}))

    def test_names_and_values_that_are_others_here(self) -> None:
        self.refuse("--dtype bfloat16", arguments=("tiny", "--bf16"))
        self.refuse("overlap has no effect on CPUs", "--device cuda", arguments=("tiny", "--overlap", 0.5))
        self.plan("--overlap", 0.5, "--device", "cuda")

    def test_more_tokens_than_positions(self) -> None:
        self.assertIn("max_length 1000 is beyond the 256 positions", self.plan("--max_length", 1000)["notes"][0])
        make_model(self.folder / "gpt2", family="gpt2")
        self.refuse("beyond the model's 256 positions", arguments=("gpt2", "--max_length", 257))

    def test_a_model_is_its_configuration(self) -> None:
        (self.folder / "empty").mkdir()
        for name in ("nowhere", "no/where", "empty", "tiny/config.json"):
            with self.subTest(name):
                ended = self.hone("plan", name, code=MISSING)
                self.assert_one_error(ended, "config.json")
                self.assertNotIn("safetensors", ended.err)


if __name__ == "__main__":
    unittest.main()
