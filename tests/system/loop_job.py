"""A small `hone run`: prompts, a reward program that can be held at a chosen moment, and its YAML."""

import json
from pathlib import Path

from harness import Ended, Job, SystemTest, read_lines, write_lines, write_script

# Rewards that depend on every byte of a completion, so that any other sample shows. In a folder with a
# file "hold_at", the program waits before its first answer once the path named there exists, and says
# so with a file "held-PID", until there is a file "go".
REWARD = """
import json, os, sys, time, zlib
from pathlib import Path
folder = Path(sys.argv[1])
def hold():
    order = folder / "hold_at"
    if not order.exists() or not Path(order.read_text()).exists():
        return
    (folder / f"held-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.002)
for line in sys.stdin:
    hold()
    request = json.loads(line)
    print(zlib.crc32((request["prompt"] + request["completion"]).encode()) % 100 / 100, flush=True)
"""

DEFAULTS = {
    "model_name_or_path": "tiny",
    "seed": 3,
    "num_rounds": 3,
    "prompts": {"file": "prompts.jsonl", "per_round": 6},
    # Short and cool: some completions of a prompt are equal.
    "generate": {"num_return_sequences": 6, "max_new_tokens": 2, "temperature": 0.5},
    "keep": {"threshold": 0.3, "best_of": 3, "dedup": "exact"},
    "train": {"learning_rate": 2e-3, "global_train_batch_size": 4, "per_device_train_batch_size": 2},
}


# What is held when a checkpoint exists comes behind it: where training waits for the disk.
WAITING = DEFAULTS["train"] | {"async_save": False}


class LoopTest(SystemTest):
    """Has prompts.jsonl and eval.jsonl, and writes loop files."""

    def setUp(self) -> None:
        super().setUp()
        rows = [{"prompt": f"number {i} is ", "answer": str(i)} for i in range(20)]
        write_lines(self.folder / "prompts.jsonl", rows[:14])
        write_lines(self.folder / "eval.jsonl", rows[14:])
        self.reward_command = [*write_script(self.folder / "reward.py", REWARD), str(self.folder)]

    def write_loop(self, **changes) -> Path:
        """loop.yaml from the defaults; a section that is named replaces the default one. JSON is YAML."""
        loop = DEFAULTS | {"reward": {"command": self.reward_command, "timeout": 30}} | changes
        file = self.folder / "loop.yaml"
        file.write_text(json.dumps(loop, indent=1))
        return file

    def run_loop(self, output: Path, *arguments: object, ranks: int | None = 2, code: int = 0) -> Ended:
        return self.hone("run", "loop.yaml", "--output_dir", output, *arguments, ranks=ranks, code=code)

    def start_loop(self, output: Path, *arguments: object, ranks: int | None = 2) -> Job:
        return self.start("run", "loop.yaml", "--output_dir", output, *arguments, ranks=ranks)

    def assert_same_run(self, one: Path, other: Path) -> None:
        """The same weights, records and samples, whatever befell one of them on its way."""
        self.assert_same_weights(one, other)
        self.assert_same_metrics(one, other)
        files = sorted(file.name for file in (one / "samples").iterdir())
        self.assertEqual(files, sorted(file.name for file in (other / "samples").iterdir()))
        for name in files:
            self.assertEqual(*(read_lines(run / "samples" / name) for run in (one, other)))

    def hold_at(self, path: Path) -> None:
        """From when `path` exists, reward programs wait; see wait_until_held() and release()."""
        (self.folder / "hold_at").write_text(str(path))

    def wait_until_held(self, job: Job) -> None:
        self.wait_until(lambda: any(self.folder.glob("held-*")), job, "the reward program is held")

    def release(self) -> None:
        (self.folder / "go").touch()

    def unhold(self) -> None:
        for file in (*self.folder.glob("held-*"), self.folder / "hold_at"):
            file.unlink()
