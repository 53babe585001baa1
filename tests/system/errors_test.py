"""What goes wrong is said once for the whole run: where, what, what to do, with the exit code of its kind.

Everything runs on two ranks; nothing hangs, nothing half-written stays, and the corrected command works.
"""

import json
import os
import struct
import unittest
from pathlib import Path

from harness import (
    ENVIRONMENT,
    INVALID_DATA,
    IO,
    MISSING,
    RUN_HELD,
    USAGE,
    Ended,
    SystemTest,
    checkpoints,
    flip_a_byte,
    read_lines,
    read_metrics,
    write_lines,
    write_script,
)
from loop_job import WAITING, LoopTest
from tiny_model import make_model, write_safetensors

AUTO = ("--resume_from_checkpoint", "auto")


class TrainErrors(SystemTest):
    def setUp(self) -> None:
        super().setUp()
        write_lines(self.folder / "rows.jsonl", [{"text": "a row"}, {"text": "and another"}])

    def train(self, *more: object, code: int = 0, model: str = "tiny", output: str = "out") -> Ended:
        return self.hone(
            *("train", "--model_name_or_path", model, "--train_file", "rows.jsonl", "--output_dir", output),
            *("--max_steps", 2, *more),
            ranks=2,
            code=code,
        )

    def refuse(self, *parts: str, code: int, arguments: tuple = (), **more) -> None:
        """The run fails with one error block that has `parts`, and leaves no model and no checkpoint."""
        self.assert_one_error(self.train(*arguments, code=code, **more), *parts)
        self.assertEqual(checkpoints(self.folder / "out"), [])
        self.assertFalse((self.folder / "out/model.safetensors").exists())

    def assert_corrected_command_works(self) -> None:
        """A run that failed before it made anything is in nobody's way."""
        self.train()


class Options(TrainErrors):
    def test_unknown_option(self) -> None:
        self.refuse("--learning_rat", "learning_rate", code=USAGE, arguments=("--learning_rat", 1))
        self.assertFalse((self.folder / "out").exists())

    def test_bad_values(self) -> None:
        for name, value in (("learning_rate", "fast"), ("max_length", 0), ("lr_scheduler_type", "liner")):
            with self.subTest(name):
                self.refuse(name, str(value), code=USAGE, arguments=(f"--{name}", value))

    def test_several_problems_are_told_together(self) -> None:
        ended = self.hone("train", "--max_stps", 3, "--seed", "x", ranks=2, code=USAGE)
        self.assert_one_error(ended, "max_stps", '"--max_steps"', "--seed must be", '"x"')
        ended = self.hone("train", "--seed", 1, ranks=2, code=USAGE)
        self.assert_one_error(ended, "model_name_or_path", "train_file", "output_dir")

    def test_a_yaml_file_without_its_flag(self) -> None:
        for command in ("train", "eval", "generate", "verify", "plan"):
            with self.subTest(command):
                ended = self.hone(command, "t.yaml", code=USAGE)
                self.assert_one_error(ended, '"t.yaml"', "--config t.yaml")

    def test_ranks_that_are_told_otherwise(self) -> None:
        common = ("train", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--output_dir", "out")
        program = os.environ["HONE_PROGRAM"]
        for name, value, default in (
            ("learning_rate", "0.3", "5.0e-05"),
            ("seed", "3", "42"),
            ("bf16", "true", "false"),
            ("max_length", "9", "null"),
        ):
            with self.subTest(name):
                ended = self.hone(
                    *(*common, ":", "-np", 1, program, *common, f"--{name}", value), ranks=1, code=USAGE
                )
                says = f"{name} is {value} on rank 1 and {default} on rank 0"
                self.assert_one_error(ended, says, f"--{name} {value}", f"--{name} {default}")
                self.assertEqual([entry.name for entry in (self.folder / "out").iterdir()], ["exit"])
        ended = self.hone(*(*common, "--max_steps", 1, "--num_threads", 1), ":", "-np", 1, program,
                          *(*common, "--max_steps", 1, "--num_threads", 50), ranks=1)
        self.assertRegex(ended.err, "warning: rank 1 @ .*: 50 threads in each of 2 ranks")

    def test_more_tokens_than_the_model_has_positions(self) -> None:
        make_model(self.folder / "gpt2", family="gpt2")
        write_lines(self.folder / "rows.jsonl", [{"text": "a b c " * 100}])
        self.refuse("max_length 600", "256 positions", "--max_length 256",
                    code=USAGE, model="gpt2", arguments=("--max_length", 600))

    def test_unknown_command(self) -> None:
        self.assert_one_error(self.hone("trian", ranks=2, code=USAGE), "trian", '"train"')


class Models(TrainErrors):
    def test_hub_id(self) -> None:
        self.refuse("HuggingFaceTB/SmolLM2-135M", "hf download", code=MISSING, model="HuggingFaceTB/SmolLM2-135M")

    def test_no_such_folder(self) -> None:
        self.refuse("./nowhere", "does not exist", code=MISSING, model="./nowhere")

    def test_a_name_that_is_nowhere(self) -> None:
        self.refuse("tinny", 'Did you mean "tiny"?', "hone/models/tinny", code=MISSING, model="tinny")
        for rank in (0, 1):
            record = json.loads((self.folder / f"out/exit/rank-{rank}.json").read_text())
            self.assertEqual(record["code"], MISSING)
            self.assertIn('Did you mean "tiny"?', record["reason"])

    def change_config(self, **changes) -> None:
        file = self.folder / "tiny/config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    def test_row04_unknown_model_type(self) -> None:
        self.change_config(model_type="bert")
        self.refuse("tiny/config.json", '"bert"', "llama", "gpt2", code=INVALID_DATA)

    def test_config_that_is_not_json(self) -> None:
        (self.folder / "tiny/config.json").write_text('{"model_type": "llama",')
        self.refuse("tiny/config.json", code=INVALID_DATA)

    def test_weights_of_another_shape(self) -> None:
        self.change_config(intermediate_size=64)
        self.refuse("mlp", "48", "64", code=INVALID_DATA)

    def test_truncated_weights(self) -> None:
        file = self.folder / "tiny/model.safetensors"
        file.write_bytes(file.read_bytes()[:-1000])
        self.refuse("tiny/model.safetensors", code=INVALID_DATA)

    def test_a_header_longer_than_the_file(self) -> None:
        (self.folder / "tiny/model.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
        self.refuse("tiny/model.safetensors", code=INVALID_DATA)

    def test_missing_tensor(self) -> None:
        write_safetensors(self.folder / "tiny/model.safetensors", {"model.norm.weight": ([32], [1.0] * 32)})
        self.refuse("tiny", "model.embed_tokens.weight", code=INVALID_DATA)

    def test_missing_weights_and_tokenizer(self) -> None:
        for name in ("tokenizer.json", "model.safetensors"):
            (self.folder / "tiny" / name).unlink()
            self.refuse("tiny", name, code=MISSING)


class Data(TrainErrors):
    def refuse_line(self, line: str, *parts: str) -> None:
        with self.subTest(line):
            (self.folder / "rows.jsonl").write_text('{"text": "fine"}\n' + line + "\n")
            self.refuse("rows.jsonl:2", *parts, code=INVALID_DATA)

    def test_malformed_lines(self) -> None:
        self.refuse_line('{"text": "cut')
        self.refuse_line('{"txt": "misnamed"}', "text", "txt")
        self.refuse_line('{"text": 5}', "text", "5")
        write_lines(self.folder / "rows.jsonl", [{"text": "fine"}])
        self.assert_corrected_command_works()

    def test_an_id_beyond_the_vocabulary(self) -> None:
        write_lines(self.folder / "rows.jsonl", [{"input_ids": [1, 2]}, {"input_ids": [1, 260]}])
        self.refuse("260", code=INVALID_DATA)

    def test_empty_file(self) -> None:
        (self.folder / "rows.jsonl").write_text("\n")
        self.refuse("rows.jsonl", "no rows", code=INVALID_DATA)

    def test_missing_file(self) -> None:
        (self.folder / "rows.jsonl").unlink()
        self.refuse("rows.jsonl", code=MISSING)


class OutputFolder(TrainErrors):
    def test_a_finished_run_is_not_overwritten(self) -> None:
        self.train()
        before = {file: file.read_bytes() for file in (self.folder / "out").rglob("*.safetensors")}
        ended = self.train(code=USAGE)
        self.assert_one_error(ended, "out already holds checkpoint-2", "--resume_from_checkpoint auto")
        self.assertEqual(before, {file: file.read_bytes() for file in before})
        self.assertEqual([line["kind"] for line in read_metrics(self.folder / "out")], ["update", "update", "train"])

    def test_resume_true_wants_a_checkpoint(self) -> None:
        self.refuse("holds no checkpoint", "auto", code=MISSING, arguments=("--resume_from_checkpoint", "true"))

    def test_resume_from_a_word(self) -> None:
        self.refuse("auto, true, false", code=MISSING, arguments=("--resume_from_checkpoint", "yes"))

    def test_resume_from_a_folder_that_is_not_there(self) -> None:
        self.refuse(
            "checkpoint-9", code=MISSING, arguments=("--resume_from_checkpoint", str(self.folder / "out/checkpoint-9"))
        )

    def test_another_seed_is_another_run(self) -> None:
        self.train()
        ended = self.train("--seed", 7, *AUTO, "--max_steps", 4, code=USAGE)
        self.assert_one_error(ended, "checkpoint-2", "seed 42", "7", "Go on with --seed 42")
        self.assertEqual(checkpoints(self.folder / "out"), [2])
        self.train(*AUTO, "--max_steps", 4)

    def test_a_damaged_checkpoint_is_passed_over(self) -> None:
        """The next older one is used, with a warning, and the end is the same."""
        steps = ("--max_steps", 4, "--save_steps", 1)
        self.train(*steps, output="undisturbed")
        self.train(*steps)
        flip_a_byte(self.folder / "out/checkpoint-4")
        ended = self.train(*steps, *AUTO)
        self.assertIn("refused", ended.err)
        self.assertIn("checkpoint-4", ended.err)
        self.assert_same_weights(self.folder / "undisturbed", self.folder / "out")
        self.assert_same_metrics(self.folder / "undisturbed", self.folder / "out")

    def test_only_damaged_checkpoints(self) -> None:
        self.train()
        flip_a_byte(self.folder / "out/checkpoint-2")
        ended = self.train(*AUTO, code=INVALID_DATA)
        self.assert_one_error(ended, "checkpoint-2", "out")
        self.assertTrue((self.folder / "out/checkpoint-2").exists(), "nothing is deleted")


class NotWritable(TrainErrors):
    """As root may write anywhere, a file stands where a folder has to be made, or the other way round."""

    def block(self, name: str) -> Path:
        path = self.folder / "out" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("in the way")
        return path

    def test_output_dir_is_a_file(self) -> None:
        (self.folder / "out").write_text("in the way")
        self.refuse("out is a file", code=USAGE)

    def test_output_dir_cannot_be_made(self) -> None:
        (self.folder / "blocked").write_text("in the way")
        self.refuse("blocked/out", code=IO, output="blocked/out")

    def test_samples_is_a_file(self) -> None:
        self.block("samples")
        self.refuse("out", code=USAGE)

    def test_final_model_cannot_be_written(self) -> None:
        """What was trained is not lost: the checkpoint is there, and resuming writes the model."""
        (self.folder / "out/config.json").mkdir(parents=True)
        self.assert_one_error(self.train(code=IO), "out/config.json")
        self.assertEqual(checkpoints(self.folder / "out"), [2])
        (self.folder / "out/config.json").rmdir()
        self.train(*AUTO)
        self.assertTrue((self.folder / "out/model.safetensors").exists())

    def test_output_file_of_generate(self) -> None:
        write_lines(self.folder / "P.jsonl", [{"prompt": "a"}])
        ended = self.hone(
            *("generate", "--model_name_or_path", "tiny", "--prompts_file", "P.jsonl", "--max_new_tokens", 2),
            *("--output_file", "no/such/folder.jsonl"),
            ranks=2,
            code=IO,
        )
        self.assert_one_error(ended, "no/such/folder.jsonl")

    def generate_into(self, output: object, code: int = 0) -> Ended:
        write_lines(self.folder / "P.jsonl", [{"prompt": "a"}])
        return self.hone(
            *("generate", "--model_name_or_path", "tiny", "--prompts_file", "P.jsonl", "--max_new_tokens", 2),
            *("--output_file", output),
            ranks=2,
            code=code,
        )

    def test_a_folder_as_output_file_of_generate(self) -> None:
        (self.folder / "results").mkdir()
        self.assert_one_error(self.generate_into("results", code=USAGE), "results", "is a folder")

    def test_what_is_no_plain_file_stays(self) -> None:
        self.generate_into("/dev/null")
        self.assertTrue(Path("/dev/null").is_char_device())
        (self.folder / "real.jsonl").write_text("old")
        (self.folder / "link.jsonl").symlink_to("real.jsonl")
        self.generate_into("link.jsonl")
        self.assertTrue((self.folder / "link.jsonl").is_symlink())
        self.assertEqual(len(read_lines(self.folder / "real.jsonl")), 1)


class LoopErrors(LoopTest):
    def refuse(self, *parts: str, code: int, arguments: tuple = ()) -> Ended:
        ended = self.run_loop(self.folder / "out", *arguments, code=code)
        self.assert_one_error(ended, *parts)
        self.assertEqual(checkpoints(self.folder / "out"), [])
        self.assertFalse((self.folder / "out/model.safetensors").exists())
        return ended


class LoopFile(LoopErrors):
    def write_yaml(self, text: str) -> None:
        (self.folder / "loop.yaml").write_text(text)

    def test_unknown_key(self) -> None:
        self.write_yaml("model_name_or_path: tiny\nkeep:\n  treshold: 0.5\n")
        self.refuse("loop.yaml:3:3", "keep.treshold", "threshold", code=USAGE)
        self.assertFalse((self.folder / "out").exists())

    def test_unknown_section(self) -> None:
        self.write_yaml("model_name_or_path: tiny\nkep: {threshold: 0.5}\n")
        self.refuse("loop.yaml:2:1", 'Did you mean "keep"?', code=USAGE)

    def test_not_yaml(self) -> None:
        self.write_yaml("keep: {threshold: 0.5\nseed: 1\n")
        self.refuse("loop.yaml:2", code=USAGE)

    def test_wrong_value(self) -> None:
        self.write_yaml("model_name_or_path: tiny\nnum_rounds: many\n")
        self.refuse("loop.yaml:2:13", "num_rounds", "many", code=USAGE)

    def test_no_such_file(self) -> None:
        ended = self.hone("run", "absent.yaml", ranks=2, code=MISSING)
        self.assert_one_error(ended, "absent.yaml")

    def test_a_prompt_without_its_answer(self) -> None:
        write_lines(self.folder / "prompts.jsonl", [{"prompt": "a", "answer": "1"}, {"prompt": "b"}])
        self.write_loop(reward={"check": "number", "field": "answer"})
        self.refuse("prompts.jsonl:2", "answer", code=INVALID_DATA)

    def test_a_prompt_too_long_for_the_model(self) -> None:
        """Found before the first round, whether or not that draws it."""
        for file, more in (("prompts.jsonl", {}), ("eval.jsonl", {"eval": {"file": "eval.jsonl"}})):
            with self.subTest(file):
                rows = read_lines(self.folder / file)
                write_lines(self.folder / file, [*rows[:-1], rows[-1] | {"prompt": "long " * 60}])
                self.write_loop(num_rounds=1, prompts={"file": "prompts.jsonl", "per_round": 1}, **more)
                self.refuse(f"{file}:{len(rows)}: the prompt has 300 tokens", "positions", code=INVALID_DATA)
                self.assertEqual(list(self.folder.glob("out/samples/*")), [])
                write_lines(self.folder / file, rows)
        self.run_loop(self.folder / "out")

    def test_a_check_and_a_program(self) -> None:
        self.write_loop(reward={"check": "number", "field": "answer"})
        program = ("--reward.command", *self.reward_command)
        self.refuse("reward.check is number", "reward.py", "--reward.check=", code=USAGE, arguments=program)
        self.run_loop(self.folder / "out", "--reward.check=", *program, "--num_rounds", 1)


class RewardPrograms(LoopErrors):
    """A program that fails ends the run in time, with its own last words; the corrected run can start."""

    def run_with(self, text: str, *parts: str, code: int = INVALID_DATA, timeout: float = 30) -> None:
        command = write_script(self.folder / "bad.py", "import sys, time\n" + text)
        self.write_loop(reward={"command": command, "timeout": timeout})
        ended = self.refuse("bad.py", *parts, code=code)
        self.assertNotIn("round=1/", ended.out)

    def test_dies(self) -> None:
        self.run_with("sys.stdin.readline(); sys.exit('no licence found')", "exit status 1", "no licence found")
        self.write_loop(num_rounds=1)
        self.run_loop(self.folder / "out")

    def test_dies_on_one_rank_only(self) -> None:
        self.run_with(
            "import os, pathlib\n"
            "first = True\n"
            "try: os.mkdir('first')\n"
            "except FileExistsError: first = False\n"
            "for line in sys.stdin:\n"
            "  if first: sys.exit(3)\n"
            "  print(1, flush=True)",
            "exit status 3",
        )

    def test_dies_before_the_model_is_loaded(self) -> None:
        """There is no model. The prompts are a pipe, so that the program has ended once they are read."""
        ended_file, pipe = self.folder / "pid", self.folder / "pipe.jsonl"
        text = f"import os, pathlib, sys\npathlib.Path('{ended_file}').write_text(f'{{os.getpid()}}.')\nsys.exit('gone')"
        os.mkfifo(pipe)
        self.write_loop(
            model_name_or_path="./nowhere",
            prompts={"file": "pipe.jsonl"},
            reward={"command": write_script(self.folder / "bad.py", text)},
        )
        job = self.start_loop(self.folder / "out", ranks=None)

        def has_ended() -> bool:
            pid = ended_file.read_text() if ended_file.exists() else ""
            return pid.endswith(".") and int(pid[:-1]) not in job.processes()

        self.wait_until(has_ended, job, "the program has ended")
        write_lines(pipe, [{"prompt": "a"}])
        ended = job.wait()
        self.assertEqual(ended.code, INVALID_DATA, str(ended))
        self.assert_one_error(ended, "bad.py", "exit status 1 before it was asked anything", "gone")

    def test_hangs(self) -> None:
        self.run_with("sys.stdin.readline(); time.sleep(1000)", "timeout of 1 s", timeout=1)

    def test_prints_garbage(self) -> None:
        self.run_with("for line in sys.stdin: print('good', flush=True)", '"good"', "reward")

    def test_prints_nan(self) -> None:
        self.run_with("for line in sys.stdin: print('nan', flush=True)", '"nan"', "number")

    def test_prints_too_much(self) -> None:
        self.run_with("for line in sys.stdin: print('1\\n' * 999, end='', flush=True)", "more than one line")

    def test_is_missing(self) -> None:
        self.write_loop(reward={"command": ["./no-such-program"]})
        self.refuse("reward.command", "no-such-program", code=USAGE)

    def test_has_no_interpreter(self) -> None:
        (self.folder / "score.sh").write_text("#!/no/such/shell\n")
        (self.folder / "score.sh").chmod(0o755)
        self.write_loop(reward={"command": ["./score.sh"]})
        self.refuse("score.sh", "interpreter", code=ENVIRONMENT)


# In the named rounds, the rank that asks may write no file as large as a checkpoint's.
SMALL_FILES = """
import os, resource, sys
from pathlib import Path
samples, rounds = Path(sys.argv[1]), sys.argv[2:]
kind, rank = resource.RLIMIT_FSIZE, os.getppid()
_, hard = resource.prlimit(rank, kind)
for line in sys.stdin:
    number = len(list(samples.glob("round-*"))) + 1
    resource.prlimit(rank, kind, (50_000 if str(number) in rounds else hard, hard))
    print(1, flush=True)
"""


class FailingSaves(LoopErrors):
    """A checkpoint that cannot be written is told of and done without; three in a row end the run."""

    def run_where_saves_fail(self, *rounds: int) -> Ended:
        command = [*write_script(self.folder / "small.py", SMALL_FILES), str(self.folder / "out/samples")]
        reward = {"command": command + [str(number) for number in rounds], "timeout": 30}
        self.write_loop(num_rounds=4, save={"strategy": "round"}, reward=reward, train=WAITING)
        ended = self.start_loop(self.folder / "out").wait()
        self.assertNotIn("moved aside", ended.err)
        return ended

    def test_two_are_done_without(self) -> None:
        ended = self.run_where_saves_fail(1, 3)
        self.assertEqual(ended.code, 0, str(ended))
        self.assertEqual(ended.err.count("File too large"), 2, str(ended))
        self.assertEqual(ended.err.count("Training goes on without it"), 2, str(ended))

    def test_three_in_a_row_end_the_run(self) -> None:
        ended = self.run_where_saves_fail(1, 2, 3)
        self.assertEqual(ended.code, IO, str(ended))
        self.assert_one_error(ended, "saving checkpoint-", "File too large", str(self.folder / "out"))
        self.assertEqual(ended.err.count("Training goes on without it"), 2)
        self.assertEqual(checkpoints(self.folder / "out"), [])
        self.run_loop(self.folder / "out", *AUTO)


class RunningElsewhere(LoopErrors):
    """What happens to the run directory while a job runs in it."""

    def test_the_folder_of_a_running_job(self) -> None:
        self.write_loop()
        output = self.folder / "out"
        self.hold_at(self.folder / "tiny")
        job = self.start_loop(output)
        self.wait_until_held(job)
        logs = (output / "logs/rank-0.log").read_text()
        for more in ((), AUTO):
            ended = self.run_loop(output, *more, code=RUN_HELD)
            self.assert_one_error(ended, "out is in use by pid ", "--output_dir")
        self.assertEqual((output / "logs/rank-0.log").read_text(), logs, "its logs are its own")
        self.assertFalse((output / "exit").exists(), "and so are its records")
        self.release()
        self.assertEqual(job.wait().code, 0, "the first run does not notice")


if __name__ == "__main__":
    unittest.main()
