"""Every command on each model family; dropout, bfloat16 and full_determinism through the whole program."""

import json
import unittest

from harness import SystemTest, read_lines, read_metrics, write_lines
from tiny_model import make_model, read_safetensors

PAIRS = [
    {"prompt": text, "completion": text[::-1]}
    for text in ("the cat", "a", "birds fly south in winter", "rain", "x y z", "no", "yes")
]


class FamilyTest(SystemTest):
    family = "llama"

    def setUp(self) -> None:
        super().setUp()
        make_model(self.folder / "model", family=self.family)
        write_lines(self.folder / "pairs.jsonl", PAIRS)

    def train(self, *more: object, output: str = "out", ranks: int | None = None) -> list[dict]:
        self.hone(
            *("train", "--model_name_or_path", "model", "--train_file", "pairs.jsonl", "--output_dir", output),
            *("--global_train_batch_size", 4, "--per_device_train_batch_size", 1, "--max_steps", 6),
            *("--learning_rate", 3e-3, "--num_threads", 1, *more),
            ranks=ranks,
        )
        return read_metrics(self.folder / output, "update")

    def weights(self, output: str) -> dict:
        return read_safetensors(self.folder / output / "model.safetensors")


class WholeFamilyTest(FamilyTest):
    """Runs where `family` names one: see the classes below."""

    def check_every_command(self) -> None:
        one = self.train("--eval_file", "pairs.jsonl")
        two = self.train(output="two", ranks=2)
        self.assertLess(one[-1]["loss"], one[0]["loss"])
        for a, b in zip(one, two, strict=True):
            self.assertAlmostEqual(a["loss"], b["loss"], delta=1e-3)
            self.assertEqual(a["num_tokens"], b["num_tokens"])
        self.assertAlmostEqual(one[0]["loss"], two[0]["loss"], delta=1e-6)
        evaluated = json.loads(
            self.hone("eval", "--model_name_or_path", "out", "--eval_file", "pairs.jsonl", "--json").out
        )
        logged = read_metrics(self.folder / "out", "eval")[-1]
        self.assertAlmostEqual(evaluated["eval_loss"], logged["eval_loss"], delta=1e-6)
        self.hone(
            *("generate", "--model_name_or_path", "out", "--prompts_file", "pairs.jsonl", "--max_new_tokens", 8),
            *("--do_sample", "false", "--output_file", "answers.jsonl"),
            ranks=2,
        )
        self.assertEqual(len(read_lines(self.folder / "answers.jsonl")), len(PAIRS))
        verified = self.hone("verify", "--model_name_or_path", "model", "--train_file", "pairs.jsonl", "--json")
        self.assertTrue(all(line["within_tolerance"] for line in json.loads(verified.out)))

    def check_loop(self) -> None:
        (self.folder / "loop.yaml").write_text(
            "model_name_or_path: model\noutput_dir: run\nnum_rounds: 2\n"
            "prompts: {file: pairs.jsonl, per_round: 5}\n"
            "generate: {num_return_sequences: 3, max_new_tokens: 6}\n"
            "reward: {check: regex, pattern: '.'}\nkeep: {best_of: 2}\n"
            "eval: {file: pairs.jsonl}\n"
        )
        self.hone("run", "loop.yaml", ranks=2)
        kept = [line for round in (1, 2) for line in read_lines(self.folder / f"run/samples/round-{round:04}.jsonl")]
        self.assertEqual(len(kept), 2 * 5 * 3)
        updates = read_metrics(self.folder / "run", "update")
        self.assertGreater(len(updates), 0)
        targets = sum(len(line["completion_ids"]) for line in kept if line["kept"])
        self.assertEqual(sum(update["num_tokens"] for update in updates), targets)
        self.hone("export", "run", "--output_dir", "exported")
        self.assertEqual(self.weights("exported"), self.weights("run"))


class Gpt(WholeFamilyTest):
    family = "gpt2"

    def test_commands(self) -> None:
        self.check_every_command()

    def test_loop(self) -> None:
        self.check_loop()


    def test_lists_beside_input_ids_must_be_as_long(self) -> None:
        row = {"input_ids": [5, 6, 7]}
        for name in ("labels", "attention_mask"):
            write_lines(self.folder / "pairs.jsonl", [row, row | {name: [1, 1]}])
            ended = self.hone(
                *("train", "--model_name_or_path", "model", "--train_file", "pairs.jsonl", "--output_dir", "out"),
                code=65,
            )
            self.assertIn(f"pairs.jsonl:2: {name} has 2 entries, input_ids has 3", ended.err)

    def test_what_was_done_is_told_at_the_end(self) -> None:
        self.train("--max_length", 5)
        (record,) = read_metrics(self.folder / "out", "train")
        self.assertEqual(record["updates"], 6)
        self.assertEqual(record["step"], 6)
        self.assertGreater(record["truncated"], 0)
        self.assertGreater(record["train_loss"], 0)

    def test_an_id_that_the_model_does_not_know_is_named_before_training(self) -> None:
        write_lines(self.folder / "pairs.jsonl", [{"input_ids": [5, 6]}] * 9 + [{"input_ids": [5, 10**6]}])
        ended = self.hone(
            *("train", "--model_name_or_path", "model", "--train_file", "pairs.jsonl", "--output_dir", "out"),
            code=65,
        )
        self.assertIn("pairs.jsonl:10: input_ids hold 1000000, outside the model's vocabulary", ended.err)

    def test_row37_a_run_of_nothing_but_lost_updates_ends(self) -> None:
        """Left out one by one they would never end."""
        ended = self.hone(
            *("train", "--model_name_or_path", "model", "--train_file", "pairs.jsonl", "--output_dir", "out"),
            *("--learning_rate", 1e38, "--on_non_finite", "skip", "--max_steps", 1000),
            code=76,
        )
        self.assertIn("no update of the last two passes over", ended.err)
        self.assertIn("Lower learning_rate", ended.err)

    def test_a_sample_counts_by_its_weight(self) -> None:
        # The one that does not count comes last, so that dropout is that of the others alone.
        rows = [PAIRS[2], PAIRS[4], PAIRS[0] | {"weight": 0}]
        losses = []
        for count in (3, 2):
            write_lines(self.folder / "pairs.jsonl", rows[:count])
            updates = self.train(
                *("--global_train_batch_size", count, "--max_steps", 2, "--shuffle_dataset", "false"),
                *("--eval_file", "pairs.jsonl"),
                output=f"of_{count}",
            )
            evaluated = read_metrics(self.folder / f"of_{count}", "eval")
            losses.append([line["loss"] for line in updates] + [evaluated[-1]["eval_loss"]])
        for weighted, without in zip(*losses, strict=True):
            self.assertAlmostEqual(weighted, without, delta=1e-5)


class EncoderDecoder(WholeFamilyTest):
    family = "t5"

    def test_commands(self) -> None:
        self.check_every_command()

    def test_loop(self) -> None:
        self.check_loop()

    def test_labels_are_as_many_as_they_are(self) -> None:
        """Token ids and labels train what the texts they stand for do."""
        rows = [{"input_ids": [5, 6, 7, 8], "labels": [9, 1]}, {"input_ids": [5], "labels": [10, 11, 12, 1]}]
        write_lines(self.folder / "pairs.jsonl", rows)
        updates = self.train("--global_train_batch_size", 2, "--max_steps", 2)
        self.assertEqual([update["num_tokens"] for update in updates], [6, 6])
        self.assertEqual([update["input_tokens"] for update in updates], [(4 + 1 + 2) + (1 + 1 + 4)] * 2, "sources, start tokens and labels")

    def test_row25_texts_without_targets_are_refused(self) -> None:
        """One message on any number of ranks, before anything is trained."""
        write_lines(self.folder / "pairs.jsonl", [{"text": "no target"}])
        for ranks in (None, 2):
            ended = self.hone(
                *("train", "--model_name_or_path", "model", "--train_file", "pairs.jsonl", "--output_dir", "out"),
                ranks=ranks,
                code=65,
            )
            self.assertIn('{"text"} row has no target, which an encoder-decoder model needs', ended.err)
            self.assertEqual(ended.err.count("error:"), 1)


class Precision(FamilyTest):
    family = "gpt2"

    def test_bf16_trains_masters_and_resumes_to_the_same_bits(self) -> None:
        whole = self.train("--bf16", "true", "--save_steps", 3)
        exact = self.train(output="exact")
        self.assertAlmostEqual(whole[0]["loss"] / exact[0]["loss"], 1.0, delta=3e-3)
        self.assertLess(whole[-1]["loss"], whole[0]["loss"])
        config = json.loads((self.folder / "out/config.json").read_text())
        self.assertEqual(config["torch_dtype"], "float32", "what was trained are the masters")
        self.hone("export", "out", "--output_dir", "exported")
        self.assertEqual(self.weights("exported"), self.weights("out"))
        described = json.loads(self.hone("inspect", "out/checkpoint-3", "--json").out)
        self.assertEqual({tensor["dtype"] for tensor in described["tensors"]}, {"float32"})
        self.train("--bf16", "true", "--resume_from_checkpoint", "out/checkpoint-3", output="again")
        again, undisturbed = (self.folder / name / "model.safetensors" for name in ("again", "out"))
        self.assertEqual(again.read_bytes(), undisturbed.read_bytes())

    def test_full_determinism_is_the_same_on_any_number_of_ranks(self) -> None:
        flags = ("--full_determinism", "true")
        alone = self.train(*flags)
        for ranks in (2, 4):
            output = f"on{ranks}"
            shared = self.train(*flags, output=output, ranks=ranks)
            self.assertEqual([u["loss"] for u in shared], [u["loss"] for u in alone])
            self.assertEqual(self.weights(output), self.weights("out"))

    def test_full_determinism_is_refused_on_three_ranks(self) -> None:
        ended = self.hone(
            *("train", "--model_name_or_path", "model", "--train_file", "pairs.jsonl", "--output_dir", "out"),
            *("--full_determinism", "true", "--num_threads", 1),
            ranks=3,
            code=64,
        )
        self.assertIn("works on 1, 2 or 4 ranks, this job has 3", ended.err)


if __name__ == "__main__":
    unittest.main()
