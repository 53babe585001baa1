"""A run directory has one owner, whoever else starts there."""

import time
import unittest

from harness import RUN_HELD, SystemTest, read_metrics, write_lines

STARTS = 20
PATIENCE_S = 120.0


class OneOwner(SystemTest):
    def test_of_twenty_that_start_at_once(self) -> None:
        write_lines(self.folder / "rows.jsonl", [{"text": text} for text in ("the cat sat", "a dog", "rain")])
        command = ("train", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--output_dir", "out")
        jobs = [self.start(*command, "--max_steps", 10**9, "--num_train_epochs", 10**9, ranks=None) for _ in range(STARTS)]
        deadline = time.monotonic() + PATIENCE_S
        while sum(job.is_running() for job in jobs) > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        owners = [job for job in jobs if job.is_running()]
        self.assertEqual(len(owners), 1)
        for job in jobs:
            if job is owners[0]:
                continue
            ended = job.wait()
            self.assertEqual(ended.code, RUN_HELD, str(ended))
            self.assert_one_error(ended, f"out is in use by pid {owners[0].pid} on ")
        # The others have not disturbed it.
        done = len(read_metrics(self.folder / "out", "update"))
        self.wait_until(lambda: len(read_metrics(self.folder / "out", "update")) > done + 10, owners[0], "further updates")


if __name__ == "__main__":
    unittest.main()
