"""SIGUSR1: save and stop with exit code 75. SIGUSR2: save and go on. Sent to mpirun, as a scheduler does."""

import json
import os
import signal
import unittest
from pathlib import Path

from harness import SystemTest, checkpoints, read_metrics, write_lines
from loop_job import WAITING, LoopTest

AUTO = ("--resume_from_checkpoint", "auto")
STOPPED = 75


def exit_codes(run: Path) -> set[int]:
    return {json.loads(file.read_text())["code"] for file in run.glob("exit/rank-*.json")}


class Training(SystemTest):
    """Signals that arrive between the updates of `hone train`."""

    STEPS = 120

    def setUp(self) -> None:
        super().setUp()
        write_lines(self.folder / "rows.jsonl", [{"text": f"row {i} " + "abc" * (i % 5)} for i in range(23)])
        self.arguments = [
            *("train", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl"),
            *("--max_steps", self.STEPS, "--global_train_batch_size", 2, "--learning_rate", 1e-3),
        ]
        self.undisturbed, self.signalled = self.folder / "undisturbed", self.folder / "signalled"

    def send_after_some_steps(self, number: int, ranks: int | None):
        job = self.start(*self.arguments, "--output_dir", self.signalled, ranks=ranks)
        metrics = self.signalled / "metrics.jsonl"
        self.wait_until(lambda: metrics.exists() and metrics.read_text().count("\n") > 2, job, "three updates")
        job.signal(number)
        return job.wait()

    def check_stop(self, ranks: int | None) -> None:
        self.hone(*self.arguments, "--output_dir", self.undisturbed, ranks=ranks)
        ended = self.send_after_some_steps(signal.SIGUSR1, ranks)
        self.assertEqual(ended.code, STOPPED, str(ended))
        self.assertEqual(exit_codes(self.signalled), {STOPPED})
        self.assertIn("--resume_from_checkpoint auto", ended.out)
        (step,) = checkpoints(self.signalled)
        self.assertLess(step, self.STEPS)
        self.assertEqual(read_metrics(self.signalled)[-1]["step"], step)
        self.assertFalse((self.signalled / "model.safetensors").exists())
        self.hone(*self.arguments, "--output_dir", self.signalled, *AUTO, ranks=ranks)
        self.assertEqual(exit_codes(self.signalled), {0})
        self.assert_same_weights(self.undisturbed, self.signalled)
        self.assert_same_metrics(self.undisturbed, self.signalled)

    def check_save(self, ranks: int | None) -> None:
        ended = self.send_after_some_steps(signal.SIGUSR2, ranks)
        self.assertEqual(ended.code, 0, str(ended))
        self.assertEqual(exit_codes(self.signalled), {0})
        asked, last = checkpoints(self.signalled)
        self.assertLess(asked, last)
        self.assertEqual(last, self.STEPS)

    def test_stop_without_mpirun(self) -> None:
        self.check_stop(None)

    def test_stop_one_rank(self) -> None:
        self.check_stop(1)

    def test_stop_two_ranks(self) -> None:
        self.check_stop(2)

    def test_save_one_rank(self) -> None:
        self.check_save(1)

    def test_save_two_ranks(self) -> None:
        self.check_save(2)


class Loop(LoopTest):
    """Signals while the completions of round 2 are scored: nothing of the round is trained yet."""

    def prepare(self) -> Path:
        self.write_loop(train=WAITING, eval={"file": "eval.jsonl"}, save={"strategy": "round"})
        self.undisturbed, self.signalled = self.folder / "undisturbed", self.folder / "signalled"
        self.run_loop(self.undisturbed)
        self.ends = [record["step"] for record in read_metrics(self.undisturbed, "round")]

    def signal_while_held(self, number: int):
        self.hold_at(self.signalled / f"checkpoint-{self.ends[1]}")
        job = self.start_loop(self.signalled)
        self.wait_until_held(job)
        job.signal(number)
        log = self.signalled / "logs/rank-0.log"
        self.wait_until(lambda: signal.Signals(number).name in log.read_text(), job, "rank 0 notes the signal")
        self.release()
        return job.wait()

    def test_stop(self) -> None:
        self.prepare()
        ended = self.signal_while_held(signal.SIGUSR1)
        self.assertEqual(ended.code, STOPPED, str(ended))
        self.assertEqual(exit_codes(self.signalled), {STOPPED})
        self.assertEqual(checkpoints(self.signalled)[-1], self.ends[1], "nothing of round 2 was trained")
        self.run_loop(self.signalled, *AUTO)
        self.assert_same_weights(self.undisturbed, self.signalled)
        self.assert_same_metrics(self.undisturbed, self.signalled)

    def test_save(self) -> None:
        self.prepare()
        ended = self.signal_while_held(signal.SIGUSR2)
        self.assertEqual(ended.code, 0, str(ended))
        self.assert_same_weights(self.undisturbed, self.signalled)
        self.assert_same_metrics(self.undisturbed, self.signalled)


class NothingToSave(SystemTest):
    def test_the_first_signal_ends_the_command(self) -> None:
        """The data is a pipe, so that the command is at work for as long as nothing is written there."""
        for command, option in (("generate", "prompts_file"), ("eval", "eval_file"), ("verify", "train_file")):
            with self.subTest(command):
                pipe = self.folder / f"{command}.jsonl"
                os.mkfifo(pipe)
                job = self.start(command, "--model_name_or_path", "tiny", f"--{option}", pipe, ranks=None)
                with pipe.open("w"):  # opens once the command reads
                    job.signal(signal.SIGTERM)
                ended = job.wait()
                self.assertEqual(ended.code, -signal.SIGTERM, str(ended))
                self.assertEqual(ended.err.count("SIGTERM"), 0, str(ended))


if __name__ == "__main__":
    unittest.main()
