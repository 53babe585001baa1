"""examples/slurm/run_or_requeue.sh with a scontrol that only notes its arguments, around the real program."""

import os
import signal
import subprocess
import unittest
from pathlib import Path

from harness import PATIENCE_S
from loop_job import LoopTest

SCRIPT = Path(__file__).parents[2] / "examples/slurm/run_or_requeue.sh"


class Requeue(LoopTest):
    def setUp(self) -> None:
        super().setUp()
        self.output = self.folder / "out"
        self.asked = self.folder / "asked"
        scontrol = self.folder / "bin/scontrol"
        scontrol.parent.mkdir()
        scontrol.write_text(f'#!/bin/sh\necho "$@" >> "{self.asked}"\n')
        scontrol.chmod(0o755)
        self.write_loop(save={"strategy": "round"})

    def job(self, *command: object, **environment: str) -> subprocess.Popen:
        variables = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "17"}
        return subprocess.Popen(
            [SCRIPT, self.output, *map(str, command)],
            cwd=self.folder,
            env=os.environ | variables | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ended(self, job: subprocess.Popen, code: int) -> str:
        out, err = job.communicate(timeout=PATIENCE_S)
        self.assertEqual(job.returncode, code, out + err)
        return out + err

    def run_command(self, *more: object) -> list[object]:
        return [os.environ["HONE_PROGRAM"], "run", "loop.yaml", "--output_dir", self.output, *more]

    def stopped_job(self, **environment: str) -> str:
        """A job that gets SIGUSR1 from outside, as Slurm sends it, while it scores."""
        self.hold_at(self.folder / "tiny")
        job = self.job(*self.run_command(), **environment)
        try:
            self.wait_for_hold()
            (rank,) = subprocess.run(
                ["pgrep", "-s", str(job.pid), "-f", "run loop.yaml --output_dir"], capture_output=True, text=True
            ).stdout.split()[-1:]
            os.kill(int(rank), signal.SIGUSR1)
            self.release()
            return self.ended(job, 75)
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)

    def wait_for_hold(self) -> None:
        class Started:  # what wait_until() asks of a job
            is_running = staticmethod(lambda: True)

        self.wait_until(lambda: any(self.folder.glob("held-*")), Started, "the reward program is held")

    def test_a_stopped_job_goes_back_and_on(self) -> None:
        self.assertIn("back in the queue", self.stopped_job())
        self.assertEqual(self.asked.read_text(), "requeue 17\n")
        said = self.ended(self.job(*self.run_command("--resume_from_checkpoint", "auto")), 0)
        self.assertIn("round=3/3", said)
        self.assertEqual(self.asked.read_text(), "requeue 17\n", "a finished job stays out of the queue")

    def test_not_for_ever(self) -> None:
        said = self.stopped_job(SLURM_RESTART_COUNT="3", HONE_MAX_RESTARTS="3")
        self.assertIn("restarted 3 times already", said)
        self.assertFalse(self.asked.exists())

    def test_a_failed_job_stays_out(self) -> None:
        said = self.ended(self.job(*self.run_command("--model_name_or_path", "nowhere")), 66)
        self.assertIn("not put back in the queue", said)
        self.assertFalse(self.asked.exists())

    def test_what_an_earlier_start_left_does_not_count(self) -> None:
        (self.output / "exit").mkdir(parents=True)
        (self.output / "exit/rank-0.json").write_text('{\n  "code": 75\n}\n')
        said = self.ended(self.job("false"), 1)
        self.assertIn("none recorded", said)
        self.assertFalse(self.asked.exists())

    def test_usage(self) -> None:
        self.assertEqual(subprocess.run([SCRIPT, "only-one"], capture_output=True).returncode, 64)


if __name__ == "__main__":
    unittest.main()
