"""SIGKILL at chosen moments, then --resume_from_checkpoint auto: the end is that of a run never disturbed."""

import itertools
import json
import shutil
import unittest
from pathlib import Path

from harness import USAGE, Job, SystemTest, checkpoints, read_lines, read_metrics, write_lines
from loop_job import WAITING, LoopTest

AUTO = ("--resume_from_checkpoint", "auto")


class LoopResumeTest(LoopTest):
    """`undisturbed` is the run to compare with; the run of the test is `killed`."""

    def prepare(self, **changes) -> None:
        self.write_loop(**{"train": WAITING} | changes)
        self.undisturbed, self.killed = self.folder / "undisturbed", self.folder / "killed"
        self.run_loop(self.undisturbed)

    def updates_of_round(self, number: int) -> list[int]:
        return [u["step"] for u in read_metrics(self.undisturbed, "update") if u["round"] == number]

    def kill_when(self, path: Path, job: Job) -> None:
        self.wait_until(path.exists, job, path.name)
        job.kill()

    def kill_held(self, job: Job) -> None:
        self.wait_until_held(job)
        job.kill()
        self.unhold()

    def assert_ends_alike(self) -> None:
        self.assert_same_run(self.undisturbed, self.killed)


class KilledInARound(LoopResumeTest):
    """A checkpoint after every update; one that is not the last of its round."""

    def setUp(self) -> None:
        super().setUp()
        # Many small updates: there is time to kill between two of them.
        self.prepare(
            num_rounds=2,
            prompts={"file": "prompts.jsonl", "per_round": 14},
            train={"learning_rate": 2e-3, "global_train_batch_size": 3},
            save={"strategy": "steps", "steps": 1},
            eval={"file": "eval.jsonl"},
        )
        steps = self.updates_of_round(2)
        self.step, self.last = steps[1], steps[-1]
        self.assertGreater(self.last - self.step, 8)

    def test_resume_after_two_kills(self) -> None:
        self.kill_when(self.killed / f"checkpoint-{self.step}", self.start_loop(self.killed))
        self.assertLess(checkpoints(self.killed)[-1], self.last - 2, "killed in the middle of round 2")
        further = checkpoints(self.killed)[-1] + 2
        self.kill_when(self.killed / f"checkpoint-{further}", self.start_loop(self.killed, *AUTO))
        self.assertLess(checkpoints(self.killed)[-1], self.last, "killed in the middle of round 2 again")
        self.run_loop(self.killed, *AUTO)
        self.assert_ends_alike()

    def test_branch_in_another_folder(self) -> None:
        """The middle of a round can be gone on from elsewhere; the other run stays as it is."""
        branch = self.folder / "branch"
        self.run_loop(branch, "--resume_from_checkpoint", self.undisturbed / f"checkpoint-{self.step}")
        self.assert_same_weights(self.undisturbed, branch)
        name = "samples/round-0002.jsonl"
        self.assertEqual(read_lines(self.undisturbed / name), read_lines(branch / name))
        other = self.folder / "other"
        ended = self.run_loop(other, "--resume_from_checkpoint", self.undisturbed / f"checkpoint-{self.step}",
                              "--train.learning_rate", 1e-3)
        self.assertIn("train.learning_rate was 0.002 when the run was last started and is 0.001 now", ended.err)
        self.assertIn("To keep it: --train.learning_rate 0.002", ended.err)


class KilledInARoundOfFixedBits(LoopResumeTest):
    """Under full_determinism the number of ranks may change in the middle of a round, and no bit does."""

    PROMPTS, SAMPLES = 12, 7

    def setUp(self) -> None:
        super().setUp()
        # Of 3 to 40 tokens, so that other ranks have other shares; drawn so warm, and so many tokens, that
        # weights which are off in their last bits would soon draw others.
        letters = "the quick brown fox jumps over a lazy dog, then sleeps well. "
        rows = [{"prompt": letters[i : i + 3 + (i * 17) % 38]} for i in range(20)]
        write_lines(self.folder / "prompts.jsonl", rows)
        self.prepare(
            num_threads=1,  # on one rank too
            prompts={"file": "prompts.jsonl", "per_round": self.PROMPTS},
            generate={"num_return_sequences": self.SAMPLES, "max_new_tokens": 8, "temperature": 1.0},
            keep={"threshold": 0.3},
            train={
                **{"learning_rate": 2e-3, "global_train_batch_size": 5, "per_device_train_batch_size": 2},
                "full_determinism": True,
            },
            save={"strategy": "steps", "steps": 1},
            eval={"file": "eval.jsonl"},
        )

    def kill_in_round_two(self) -> None:
        """Tried again where this process slept while the round went by."""
        steps = self.updates_of_round(2)
        for _ in range(5):
            self.kill_when(self.killed / f"checkpoint-{steps[1]}", self.start_loop(self.killed))
            if checkpoints(self.killed)[-1] < steps[-1]:
                break
            shutil.rmtree(self.killed)
        newest = self.killed / f"checkpoint-{checkpoints(self.killed)[-1]}"
        state = json.loads(self.hone("inspect", newest, "--json").out)["state"]
        self.assertEqual(state["call"], 1, "round 1 is trained")
        self.assertGreater(state["updates_in_call"], 0, "and round 2 in part")
        self.assertEqual(state["generate_call"], 2, "of samples that are not drawn again")

    def resumed(self, name: str, *more: object, ranks: int) -> Path:
        """A copy of the killed run, after which it has ended."""
        run = self.folder / name
        shutil.copytree(self.killed, run)
        ended = self.run_loop(run, *AUTO, *more, ranks=ranks)
        self.assertNotIn("warning", ended.err)
        return run

    def assert_same_bits(self, run: Path, ranks: int) -> None:
        self.assert_same_weights(self.undisturbed, run)
        self.assert_same_metrics(self.undisturbed, run)
        one, other = (read_metrics(path, "update") for path in (self.undisturbed, run))
        for update in (*one, *other):
            del update["seconds"]
        self.assertEqual(one, other, "to the last bit, where the above are rounded")
        for number in (1, 2, 3):
            self.assert_same_samples(run, number, ranks)

    def assert_same_samples(self, run: Path, number: int, ranks: int) -> None:
        """Drawn by other ranks after the kill, else the same, in the same order and each once."""
        name = f"samples/round-{number:04}.jsonl"
        if number <= 2:
            self.assertEqual((self.undisturbed / name).read_bytes(), (run / name).read_bytes())
        one, other = (read_lines(run / name) for run in (self.undisturbed, run))
        self.assertEqual({row.pop("rank") for row in one}, {0, 1})
        self.assertEqual({row.pop("rank") for row in other}, set(range(2 if number <= 2 else ranks)))
        self.assertEqual(one, other)
        places = [(row["prompt_index"], row["k"]) for row in other]
        self.assertEqual(places, [*itertools.product(range(self.PROMPTS), range(self.SAMPLES))])
        trained = [update["num_samples"] for update in read_metrics(run, "update") if update["round"] == number]
        self.assertEqual(sum(trained), sum(row["kept"] for row in other), "what is kept is trained once")

    def test_resume_on_other_ranks(self) -> None:
        """On four, there also with the optimizer in pieces, and on one. Three are refused, which does no harm."""
        self.kill_in_round_two()
        ended = self.run_loop(self.killed, *AUTO, ranks=3, code=USAGE)
        self.assert_one_error(ended, "full_determinism works on 1, 2 or 4 ranks, this job has 3")
        for ranks, sharding in ((4, "none"), (4, "zero1"), (1, "none")):
            with self.subTest(ranks=ranks, sharding=sharding):
                run = self.resumed(f"on-{ranks}-{sharding}", "--train.optimizer_sharding", sharding, ranks=ranks)
                self.assert_same_bits(run, ranks)


class KilledBetweenRounds(LoopResumeTest):
    def test_while_round_two_is_scored(self) -> None:
        self.prepare(save={"strategy": "round"})
        end_of_round_one = self.updates_of_round(1)[-1]
        self.hold_at(self.killed / f"checkpoint-{end_of_round_one}")
        self.kill_held(self.start_loop(self.killed))
        self.assertEqual(checkpoints(self.killed), [end_of_round_one])
        self.run_loop(self.killed, *AUTO)
        self.assert_ends_alike()

    def test_between_the_last_update_and_the_evaluation(self) -> None:
        """The checkpoint says that round 2 is done, but it was neither evaluated nor recorded."""
        self.prepare(save={"strategy": "steps", "steps": 1}, eval={"file": "eval.jsonl"})
        end_of_round_two = self.updates_of_round(2)[-1]
        self.hold_at(self.killed / f"checkpoint-{end_of_round_two}")
        self.kill_held(self.start_loop(self.killed))
        self.assertEqual(checkpoints(self.killed)[-1], end_of_round_two)
        self.run_loop(self.killed, *AUTO)
        self.assert_ends_alike()

    def test_before_the_first_checkpoint(self) -> None:
        self.prepare(save={"strategy": "round"})
        self.hold_at(self.killed / "logs")
        self.kill_held(self.start_loop(self.killed))
        self.assertEqual(checkpoints(self.killed), [])
        self.run_loop(self.killed, *AUTO)
        self.assert_ends_alike()


class KilledAfterTheLastRound(LoopResumeTest):
    def test_before_the_last_evaluation(self) -> None:
        self.prepare(save={"strategy": "steps", "steps": 1}, eval={"file": "eval.jsonl"})
        end = self.updates_of_round(3)[-1]
        self.hold_at(self.killed / f"checkpoint-{end}")
        self.kill_held(self.start_loop(self.killed))
        self.assertFalse((self.killed / "model.safetensors").exists())
        ended = self.run_loop(self.killed, *AUTO)
        self.assert_ends_alike()
        self.assertIn("gained", ended.out)

    def test_a_finished_run_can_go_on(self) -> None:
        """Two rounds and then a third one end as three in one go do."""
        self.prepare(save={"strategy": "round"})
        ended = self.run_loop(self.killed, "--num_rounds", 2)
        self.assertIn("go on    --resume_from_checkpoint auto --num_rounds 4", ended.out)
        ended = self.run_loop(self.killed, *AUTO, "--train.async_save=true")
        self.assert_ends_alike()
        self.assertNotIn("warning", ended.err, "another end is no other run, nor another way to save")

    def test_an_end_before_what_is_done_is_refused(self) -> None:
        self.prepare(save={"strategy": "round"})
        config = (self.undisturbed / "config.yaml").read_bytes()
        ended = self.run_loop(self.undisturbed, *AUTO, "--num_rounds", 2, code=USAGE)
        self.assert_one_error(ended, "after round 3, num_rounds is 2", "--num_rounds of more than 3")
        step = self.updates_of_round(3)[-1]
        ended = self.run_loop(self.undisturbed, *AUTO, "--train.max_steps", step - 1, code=USAGE)
        self.assert_one_error(ended, f"after update {step}", f"max_steps of more than {step}")
        self.assertEqual((self.undisturbed / "config.yaml").read_bytes(), config)


class ChangedSamples(LoopTest):
    def test_of_a_round_that_is_not_trained_yet(self) -> None:
        """Of a completion that was dropped, which no batch tells of."""
        self.write_loop(save={"strategy": "round"})
        run = self.folder / "out"
        self.run_loop(run, "--train.max_steps", 1)
        samples = run / "samples/round-0001.jsonl"
        lines = samples.read_text().splitlines(keepends=True)
        dropped = next(i for i, line in enumerate(lines) if not json.loads(line)["kept"])
        lines[dropped] = lines[dropped].replace('"reward":0', '"reward":1')
        samples.write_text("".join(lines))
        ended = self.run_loop(run, *AUTO, "--train.max_steps", 9, code=65)
        self.assert_one_error(ended, "round-0001.jsonl is not as the run wrote it")


class ChangedModel(SystemTest):
    """The weights come from the checkpoint, all else from the model's folder."""

    def test_its_configuration_and_tokenizer(self) -> None:
        write_lines(self.folder / "rows.jsonl", [{"text": "say: one"}, {"text": "say: two"}])
        train = ("train", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--output_dir", "out")
        self.hone(*train, "--max_steps", 1)
        self.assertNotIn("has changed since", self.hone(*train, *AUTO, "--max_steps", 2, ranks=2).err)
        config = self.folder / "tiny/config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"rms_norm_eps": 0.5}))
        tokenizer = self.folder / "tiny/tokenizer_config.json"
        tokenizer.write_text(tokenizer.read_text() + " ")
        (self.folder / "tiny/chat_template.jinja").write_text("{{ messages }}")
        ended = self.hone(*train, *AUTO, "--max_steps", 3, ranks=2)
        self.assertRegex(ended.err, r"tiny has changed since checkpoint-2: rms_norm_eps of config.json was 1e-0\d and is 0.5 now")
        self.assertIn("tokenizer_config.json is another", ended.err)
        self.assertIn("chat_template.jinja is new", ended.err)
        self.assertEqual(ended.err.count("has changed since"), 3)


class ChangedOrder(SystemTest):
    """shuffle_dataset may change where a run goes on, and the run says that it ends otherwise."""

    def test_from_shuffled_to_the_order_of_the_file(self) -> None:
        rows = [{"text": "x" * length} for length in (2, 3, 5, 9, 17, 33)]
        write_lines(self.folder / "rows.jsonl", rows)
        arguments = [
            *("train", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--output_dir", "out"),
            *("--global_train_batch_size", 2, "--learning_rate", 0.0),
        ]
        self.hone(*arguments, "--max_steps", 3)
        ended = self.hone(*arguments, *AUTO, "--max_steps", 6, "--no_shuffle_dataset")
        self.assertIn("shuffle_dataset was true when the run was last started and is false now", ended.err)
        self.assertIn("To keep it: --shuffle_dataset true", ended.err)
        tokens = [update["input_tokens"] for update in read_metrics(self.folder / "out", "update")]
        self.assertEqual(sum(tokens[:3]), sum(tokens[3:]), "a whole pass before and behind")
        in_order = [len(a["text"]) + len(b["text"]) for a, b in zip(rows[::2], rows[1::2], strict=True)]
        more = tokens[3] - in_order[0]  # end tokens
        self.assertEqual(tokens[3:], [count + more for count in in_order])


class KilledTraining(SystemTest):
    def setUp(self) -> None:
        super().setUp()
        write_lines(self.folder / "rows.jsonl", [{"text": f"row {i} " + "abc" * (i % 5)} for i in range(23)])
        write_lines(self.folder / "eval.jsonl", [{"text": "one more row"}, {"text": "and another"}])
        self.arguments = [
            *("train", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--eval_file", "eval.jsonl"),
            *("--max_steps", 24, "--global_train_batch_size", 4, "--learning_rate", 1e-3, "--save_steps", 2),
            *("--eval_steps", 4),
        ]

    def train(self, output: Path, *more: object, ranks: int) -> None:
        self.hone(*self.arguments, "--output_dir", output, *more, ranks=ranks)

    def check(self, ranks: int) -> None:
        undisturbed, killed = self.folder / "undisturbed", self.folder / "killed"
        self.train(undisturbed, ranks=ranks)
        for step in (4, 12):
            job = self.start(*self.arguments, "--output_dir", killed, *AUTO, ranks=ranks)
            self.wait_until((killed / f"checkpoint-{step}").exists, job, f"checkpoint-{step}")
            job.kill()
            self.assertFalse((killed / "model.safetensors").exists(), "killed before the end")
        self.train(killed, *AUTO, ranks=ranks)
        self.assert_same_weights(undisturbed, killed)
        self.assert_same_metrics(undisturbed, killed)

    def test_on_another_number_of_ranks(self) -> None:
        """The batch of the run stays what it was at the start: 2 ranks x 3 samples, four epochs of 23."""
        arguments = [
            *("train", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--num_train_epochs", 4),
            *("--per_device_train_batch_size", 3, "--learning_rate", 1e-3, "--save_steps", 2),
        ]
        undisturbed, killed = self.folder / "undisturbed", self.folder / "killed"
        self.hone(*arguments, "--output_dir", undisturbed, ranks=2)
        job = self.start(*arguments, "--output_dir", killed, ranks=2)
        self.wait_until((killed / "checkpoint-4").exists, job, "checkpoint-4")
        job.kill()
        self.assertFalse((killed / "model.safetensors").exists(), "killed before the end")
        self.hone(*arguments, "--output_dir", killed, *AUTO, ranks=1)
        updates = read_metrics(killed, "update")
        self.assertEqual([u["step"] for u in updates], list(range(1, 17)))
        for one, other in zip(read_metrics(undisturbed, "update"), updates, strict=True):
            for key in ("step", "num_samples", "num_tokens", "learning_rate"):
                self.assertEqual(one[key], other[key])
            self.assertAlmostEqual(one["loss"], other["loss"], delta=1e-5 * one["loss"])

    def test_on_one_rank(self) -> None:
        self.check(ranks=1)

    def test_on_two_ranks(self) -> None:
        self.check(ranks=2)


if __name__ == "__main__":
    unittest.main()
