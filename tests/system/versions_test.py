"""Checkpoints that earlier versions wrote: each is read for ever. `HONE_WRITE_VERSIONS=1 python3 -m unittest
versions_test` with the environment of ctest adds those of this version that are not there yet."""

import json
import math
import os
import shutil
import unittest
from pathlib import Path

from harness import SystemTest, read_metrics, write_lines
from tiny_model import make_model

# By version of the format, and what each was trained with.
KEPT = Path(__file__).parent / "versions"
VARIANTS = {"whole": ("--optimizer_sharding", "none"), "pieces": ("--optimizer_sharding", "zero1")}
# By name, so that none is lost. Version 1 had no pieces.
FOLDERS = ("1-whole", "2-pieces", "3-pieces", "3-whole")
SAVED, LAST = 2, 4
SMALL = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
# Two passes, shuffled: the order of samples is part of what is kept.
ROWS = [{"text": text} for text in ("the cat sat", "a dog", "birds fly south", "rain", "x y z", "ten more words")]


def is_piece(tensor: dict) -> bool:
    """An entry with fewer bytes than its tensor, which is float32 here."""
    return tensor["bytes"] < 4 * math.prod(tensor["shape"])


class Versions(SystemTest):
    def setUp(self) -> None:
        super().setUp()
        make_model(self.folder / "small", changes=SMALL)
        write_lines(self.folder / "rows.jsonl", ROWS)

    def train(self, output: str, *more: object, ranks: int) -> list[dict]:
        self.hone(
            *("train", "--model_name_or_path", "small", "--train_file", "rows.jsonl", "--output_dir", output),
            *("--global_train_batch_size", 3, "--max_steps", LAST, "--save_steps", SAVED, "--learning_rate", 1e-2),
            *("--num_train_epochs", 2, *more),
            ranks=ranks,
        )
        return read_metrics(self.folder / output, "update")

    @unittest.skipUnless("HONE_WRITE_VERSIONS" in os.environ, "writes into the tree")
    def test_write_those_of_this_version(self) -> None:
        for name, options in VARIANTS.items():
            updates = self.train(name, *options, ranks=2)
            written = self.folder / name / f"checkpoint-{SAVED}"
            version = json.loads((written / "manifest.json").read_text())["format_version"]
            place = KEPT / f"{version}-{name}"
            if place.exists():
                continue
            shutil.copytree(written, place / written.name)
            losses = {str(update["step"]): update["loss"] for update in updates}
            (place / "losses.json").write_text(json.dumps(losses, indent=1) + "\n")

    def test_each_is_gone_on_from(self) -> None:
        self.assertEqual(tuple(sorted(place.name for place in KEPT.iterdir())), FOLDERS)
        for name in FOLDERS:
            place = KEPT / name
            version, _, variant = name.partition("-")
            options = VARIANTS[variant]
            losses = json.loads((place / "losses.json").read_text())
            manifest = json.loads((place / f"checkpoint-{SAVED}/manifest.json").read_text())
            self.assertEqual(manifest["format_version"], int(version), name)
            self.assertEqual(any(map(is_piece, manifest["tensors"])), variant == "pieces", name)
            shown = self.hone("inspect", place / f"checkpoint-{SAVED}", "--json").out
            self.assertTrue(json.loads(shown)["structure_as_laid_out"], place)
            for ranks in (1, 2, 3):
                output = f"{place.name}-{ranks}"
                shutil.copytree(place, self.folder / output)
                updates = self.train(output, *options, "--resume_from_checkpoint", "auto", ranks=ranks)
                self.assertEqual([update["step"] for update in updates], list(range(SAVED + 1, LAST + 1)))
                for update in updates:
                    self.assertAlmostEqual(update["loss"], losses[str(update["step"])], delta=1e-5)
            written = self.folder / f"{name}-1/checkpoint-{LAST}/manifest.json"
            ours = json.loads(written.read_text())["format_version"]
            self.assertIn(f"{ours}-{variant}", FOLDERS, "this version's own are not kept yet")


if __name__ == "__main__":
    unittest.main()
