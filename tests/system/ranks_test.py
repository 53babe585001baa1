"""The number of ranks is no hyper-parameter: one rank, two and sixteen compute the same training."""

import json
import math
import unittest
from pathlib import Path

from harness import SystemTest, checkpoints, read_metrics, write_lines
from tiny_model import read_safetensors

STEPS = 10


class RankCount(SystemTest):
    def setUp(self) -> None:
        super().setUp()
        # Of 2 to 60 tokens, so that shares of equal samples are far from equal in tokens. All letters
        # differ from their neighbours: the gradient of no matrix is rounding noise alone.
        letters = "the quick brown fox jumps over a lazy dog, then sleeps well. "
        rows = [{"text": letters[i : i + 2 + (i * 37) % 59]} for i in range(11)]
        write_lines(self.folder / "rows.jsonl", rows)

    def train(self, ranks: int, *more: object, output: Path | None = None) -> Path:
        output = output or self.folder / f"out-{ranks}"
        self.hone(
            *("train", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--output_dir", output),
            *("--max_steps", STEPS, "--global_train_batch_size", 5, "--per_device_train_batch_size", 2),
            *("--learning_rate", 1e-3, "--weight_decay", 0.1, *more),
            ranks=ranks,
        )
        return output

    def assert_trained_alike(self, one: Path, other: Path) -> None:
        for a, b in zip(read_metrics(one, "update"), read_metrics(other, "update"), strict=True):
            for key in ("step", "learning_rate", "num_samples", "num_tokens", "input_tokens"):
                self.assertEqual(a[key], b[key], key)
            self.assertTrue(math.isclose(a["loss"], b["loss"], rel_tol=1e-6), (a["loss"], b["loss"]))
            self.assertTrue(math.isclose(a["grad_norm"], b["grad_norm"], rel_tol=1e-5))
        self.assert_weights_alike(one, other)

    def assert_weights_alike(self, one: Path, other: Path) -> None:
        start = read_safetensors(self.folder / "tiny/model.safetensors")
        ends = [read_safetensors(run / "model.safetensors") for run in (one, other)]
        for name, values in start.items():
            moved, apart = (
                math.sqrt(sum((x - y) ** 2 for x, y in zip(left, right, strict=True)))
                for left, right in ((ends[0][name], values), (ends[0][name], ends[1][name]))
            )
            self.assertGreater(moved, 0, f"{name} is trained")
            self.assertLess(apart, 1e-3 * moved, name)

    def test_losses_and_weights(self) -> None:
        self.assert_trained_alike(self.train(1), self.train(2))

    def test_resumed_on_other_ranks(self) -> None:
        """Saved by 2 and gone on with by 4, and by 4 and 3: with the optimizer's state whole, and in pieces."""
        whole = self.train(1)
        for before, after, sharding in ((2, 4, "zero1"), (4, 3, "none"), (4, 3, "zero1")):
            with self.subTest(before=before, after=after, sharding=sharding):
                output = self.folder / f"out-{before}-{after}-{sharding}"
                flags = ("--optimizer_sharding", sharding)
                self.train(before, *flags, "--save_steps", 2, output=output)
                newest = checkpoints(output)[0]
                self.assertLess(newest, STEPS)
                gone_on = self.folder / f"on-{before}-{after}-{sharding}"
                checkpoint = output / f"checkpoint-{newest}"
                self.train(after, *flags, "--resume_from_checkpoint", checkpoint, output=gone_on)
                self.assertEqual([u["step"] for u in read_metrics(gone_on, "update")], list(range(newest + 1, STEPS + 1)))
                self.assert_weights_alike(whole, gone_on)

    def test_sixteen_ranks(self) -> None:
        """More ranks than samples in an update, and than cores: no hang, nobody lost, nobody waited for."""
        many = self.train(16)
        self.assert_trained_alike(self.train(1), many)
        for rank in range(16):
            record = json.loads((many / f"exit/rank-{rank}.json").read_text())
            self.assertEqual(record, {"code": 0, "reason": "finished", "step": STEPS})
            log = (many / f"logs/rank-{rank}.log").read_text()
            self.assertNotRegex(log, "waited for|is lost| died")


if __name__ == "__main__":
    unittest.main()
