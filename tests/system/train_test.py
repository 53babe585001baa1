"""`hone train`: the command line of the documentation, each form of data, the learning rate."""

import json
import shutil
import unittest

from harness import INVALID_DATA, SystemTest, checkpoints, read_metrics, write_lines

TEXTS = [{"text": text} for text in ("the cat sat", "a dog", "birds fly south in winter", "rain", "x y z")]


class TrainTest(SystemTest):
    def train(self, rows: list, *more: object, output: str = "out", ranks: int | None = None) -> list[dict]:
        """Trains on the rows; the update records."""
        write_lines(self.folder / "rows.jsonl", rows)
        self.hone(
            *("train", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--output_dir", output),
            *("--global_train_batch_size", len(rows), "--shuffle_dataset", "false", "--max_steps", 3),
            *("--learning_rate", 1e-3, *more),
            ranks=ranks,
        )
        return read_metrics(self.folder / output, "update")


class CommandLine(TrainTest):
    def test_as_documented(self) -> None:
        write_lines(self.folder / "F.jsonl", TEXTS)
        ended = self.hone(
            *"train --model_name_or_path tiny --train_file F.jsonl --output_dir OUT --max_steps 10 "
            "--global_train_batch_size 4 --per_device_train_batch_size 2 --learning_rate 1e-3 "
            "--lr_scheduler_type linear --warmup_steps 2 --weight_decay 0.1 --max_grad_norm 1.0 "
            "--shuffle_dataset false".split()
        )
        updates = read_metrics(self.folder / "OUT", "update")
        self.assertEqual([u["step"] for u in updates], list(range(1, 11)))
        for update in updates:
            done = update["step"] - 1
            expected = 1e-3 * (done / 2 if done < 2 else (10 - done) / 8)
            self.assertAlmostEqual(update["learning_rate"], expected, delta=1e-12)
            self.assertEqual(update["num_samples"], 4)
        self.assertLess(updates[-1]["loss"], updates[0]["loss"])
        self.assertEqual(checkpoints(self.folder / "OUT"), [10])
        self.assertIn("done: 10 updates", ended.out)

    def test_the_first_update_at_rate_zero_moves_nothing(self) -> None:
        """Warm-up begins at 0, so the first two losses on the same batch are equal."""
        first, second, third = self.train(TEXTS, "--warmup_steps", 2)
        self.assertEqual(first["learning_rate"], 0.0)
        self.assertEqual(first["loss"], second["loss"])
        self.assertLess(third["loss"], second["loss"])

    def test_cosine(self) -> None:
        updates = self.train(TEXTS, "--lr_scheduler_type", "cosine")
        for update, factor in zip(updates, (1.0, 0.75, 0.25), strict=True):
            self.assertAlmostEqual(update["learning_rate"], 1e-3 * factor, delta=1e-12)

    def test_yaml_and_flags_agree(self) -> None:
        """A flag wins over the file; the resolved configuration says what counted."""
        write_lines(self.folder / "rows.jsonl", TEXTS)
        options = {
            "model_name_or_path": "tiny",
            "train_file": "rows.jsonl",
            "output_dir": "out",
            "max_steps": 2,
            "learning_rate": 5e-4,
        }
        (self.folder / "train.yaml").write_text("".join(f"{key}: {value}\n" for key, value in options.items()))
        self.hone("train", "--config", "train.yaml", "--max_steps", 3)
        self.assertEqual(len(read_metrics(self.folder / "out", "update")), 3)
        resolved = (self.folder / "out/config.yaml").read_text()
        self.assertIn("max_steps: 3\n", resolved)
        self.assertIn("learning_rate: 5.0e-04\n", resolved)


class Ranks(TrainTest):
    """What only several ranks have: the options reach what they are for."""

    def trained(self, output: str, *more: object, ranks: int = 2) -> list[dict]:
        return self.train(TEXTS, "--save_steps", 3, *more, output=output, ranks=ranks)

    def test_a_sharded_optimizer_computes_the_same_and_saves_pieces(self) -> None:
        whole = self.trained("whole")
        sharded = self.trained("sharded", "--optimizer_sharding", "zero1")
        for one, other in zip(whole, sharded, strict=True):
            self.assertAlmostEqual(one["loss"], other["loss"], delta=1e-5 * one["loss"])
            self.assertAlmostEqual(one["grad_norm"], other["grad_norm"], delta=1e-5 * one["grad_norm"])
        shown = json.loads(self.hone("inspect", "sharded/checkpoint-3", "--json").out)
        self.assertTrue(shown["verified"], shown["problem"])
        self.assertTrue(shown["structure_as_laid_out"])
        pieces = [tensor for tensor in shown["tensors"] if tensor["first"] > 0]
        self.assertTrue(pieces and all(tensor["name"].startswith("exp_avg") for tensor in pieces))
        self.assertIn("from element", self.hone("inspect", "sharded/checkpoint-3").out)

    def test_gradients_that_travel_as_bfloat16_are_rounded(self) -> None:
        whole, rounded = self.trained("whole"), self.trained("rounded", "--ddp_comm_hook", "bf16")
        self.assertEqual(whole[0]["loss"], rounded[0]["loss"])  # of the same weights
        self.assertNotEqual(whole[0]["grad_norm"], rounded[0]["grad_norm"])
        self.assertAlmostEqual(whole[0]["grad_norm"], rounded[0]["grad_norm"], delta=0.02 * whole[0]["grad_norm"])


class StartLine(TrainTest):
    """What changes how a run computes is said at its start, where it is in effect."""

    def start_line(self, *more: object, ranks: int | None = None) -> str:
        write_lines(self.folder / "rows.jsonl", TEXTS)
        ended = self.hone(
            *("train", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--output_dir", "out"),
            *("--max_steps", 1, *more),
            ranks=ranks,
        )
        self.assertFalse((self.folder / "out/samples").exists(), "nothing is sampled")
        shutil.rmtree(self.folder / "out")
        found = [line for line in ended.out.splitlines() if line.startswith("with ")]
        return found[0] if found else ""

    def test_nothing_special(self) -> None:
        self.assertEqual(self.start_line(), "")

    def test_what_is_in_effect(self) -> None:
        flags = ("--optimizer_sharding", "zero1", "--ddp_comm_hook", "bf16", "--bf16", "--gradient_checkpointing")
        both = "with   bf16, gradient_checkpointing"
        self.assertEqual(self.start_line(*flags, ranks=2), both + ", optimizer_sharding zero1, ddp_comm_hook bf16")
        self.assertEqual(self.start_line(*flags), both)
        self.assertEqual(self.start_line("--full_determinism"), "with   full_determinism")


class DataForms(TrainTest):
    """Each form gives the targets that its rows say, and the same on two ranks."""

    def targets(self, rows: list, *more: object, output: str = "out", ranks: int | None = None) -> int:
        return self.train(rows, *more, output=output, ranks=ranks)[0]["num_tokens"]

    def test_text(self) -> None:
        """A sample's first token has nothing before it and is no target."""
        count = sum(len(row["text"]) - 1 for row in TEXTS)
        self.assertEqual(self.targets(TEXTS), count)
        self.assertEqual(self.targets(TEXTS, "--append_eos", "true", output="eos"), count + len(TEXTS))

    def test_prompt_and_completion(self) -> None:
        rows = [{"prompt": "2 + 2 = ", "completion": "4"}, {"prompt": "say ", "completion": "hello"}]
        self.assertEqual(self.targets(rows), len("4") + len("hello") + 2, "completions and their ends")
        everything = sum(len(row["prompt"] + row["completion"]) for row in rows)
        self.assertEqual(self.targets(rows, "--completion_only_loss", "false", output="all"), everything)

    def test_messages(self) -> None:
        rows = [
            {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
            {"messages": [{"role": "user", "content": "bye"}]},
        ]
        # <turn>user: hi<eos> and so on; the special ones are a token each.
        rendered = [["user: hi", "assistant: hello"], ["user: bye"]]
        count = sum(sum(len(turn) + 2 for turn in turns) - 1 for turns in rendered)
        self.assertEqual(self.targets(rows), count)

    def test_conversation_and_its_answer(self) -> None:
        rows = [
            {
                "prompt": [{"role": "user", "content": "hi"}],
                "completion": [{"role": "assistant", "content": "hello"}],
            }
        ]
        self.assertEqual(self.targets(rows), len("hello") + 1, "the answer and its end")

    def test_tokens(self) -> None:
        rows = [
            {"input_ids": [5, 6, 7, 8]},
            {"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]},
            {"input_ids": [0, 0, 5, 6], "attention_mask": [0, 0, 1, 1]},
            {"input_ids": [9, 9, 9], "attention_mask": [1, 1, 0], "labels": [9, 9, 9]},
        ]
        self.assertEqual(self.targets(rows), 3 + 2 + 1 + 1)
        self.assertEqual(self.targets(rows, output="two", ranks=2), 3 + 2 + 1 + 1)

    def test_text_and_its_tokens_train_alike(self) -> None:
        rows = [{"input_ids": list(row["text"].encode())} for row in TEXTS]
        losses = [
            [update["loss"] for update in self.train(each, output=name)]
            for each, name in ((TEXTS, "texts"), (rows, "tokens"))
        ]
        self.assertEqual(*losses)

    def test_nothing_to_train(self) -> None:
        """Rows without a target make no update: an error, not an endless run."""
        write_lines(self.folder / "rows.jsonl", [{"input_ids": [1, 2], "labels": [-100, -100]}] * 3)
        ended = self.hone(
            *("train", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--output_dir", "out"),
            ranks=2,
            code=65,
        )
        self.assert_one_error(ended, "rows.jsonl", "no sample has a token to train on")


class Evaluation(TrainTest):
    def test_while_training(self) -> None:
        write_lines(self.folder / "eval.jsonl", TEXTS[:2])
        self.train(TEXTS, "--eval_file", "eval.jsonl", "--eval_steps", 1, "--keep_best_model", ranks=2)
        best = (self.folder / "out/best/model.safetensors").read_bytes()
        self.assertEqual(best, (self.folder / "out/model.safetensors").read_bytes(), "the last one was the best")
        records = read_metrics(self.folder / "out", "eval")
        self.assertEqual([record["step"] for record in records], [1, 2, 3])
        self.assertLess(records[-1]["eval_loss"], records[0]["eval_loss"])
        final = json.loads(
            self.hone("eval", "--model_name_or_path", "out", "--eval_file", "eval.jsonl", "--json").out
        )
        self.assertAlmostEqual(final["eval_loss"], records[-1]["eval_loss"], places=5)

    def test_without_targets(self) -> None:
        write_lines(self.folder / "rows.jsonl", TEXTS)
        write_lines(self.folder / "eval.jsonl", [{"input_ids": [1, 2, 3], "labels": [-100] * 3}])
        model = ("--model_name_or_path", "tiny", "--eval_file", "eval.jsonl")
        train = ("train", *model, "--train_file", "rows.jsonl", "--output_dir", "out", "--max_steps", 1)
        for command in (("eval", *model), train):
            ended = self.hone(*command, ranks=2, code=INVALID_DATA)
            self.assert_one_error(ended, "eval.jsonl: no sample has a token to be evaluated on")

    def test_verify_command(self) -> None:
        write_lines(self.folder / "rows.jsonl", TEXTS)
        for ranks, splits in ((None, 20), (2, 6)):
            for dtype, most in (("float32", 1e-5), ("float64", 1e-9)):
                ended = self.hone(
                    *("verify", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--json"),
                    *("--dtype", dtype),
                    ranks=ranks,
                )
                lines = json.loads(ended.out)
                self.assertEqual(len(lines), splits)
                self.assertEqual(len({line["split"] for line in lines}), splits)
                for line in lines:
                    self.assertLess(line["gradient_difference"], most, line)
                    self.assertTrue(line["within_tolerance"])

    def test_eval_command(self) -> None:
        write_lines(self.folder / "eval.jsonl", TEXTS)
        results = []
        for ranks in (1, 2):
            ended = self.hone(
                *("eval", "--model_name_or_path", "tiny", "--eval_file", "eval.jsonl", "--json"), ranks=ranks
            )
            results.append(json.loads(ended.out))
        one, two = results
        self.assertEqual(
            set(one), {"eval_loss", "eval_perplexity", "eval_samples", "eval_tokens", "eval_truncated", "eval_runtime"}
        )
        self.assertEqual(one["eval_samples"], len(TEXTS))
        self.assertEqual(one["eval_tokens"], sum(len(row["text"]) - 1 for row in TEXTS))
        for key in ("eval_loss", "eval_perplexity", "eval_samples", "eval_tokens"):
            self.assertAlmostEqual(one[key], two[key], delta=1e-6 * abs(one[key]))


if __name__ == "__main__":
    unittest.main()
