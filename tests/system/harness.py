"""Runs the program as a user does: alone or under mpirun, with signals and kills; reads what it leaves behind.

HONE_PROGRAM is the program; HONE_MPIRUN the MPI launcher with its flags (both are set by ctest).
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from tiny_model import make_model

# A rank that loses all of its time slices on a busy machine is slow, not hung; nothing here takes 60 s,
# without a sanitizer that slows everything down.
PATIENCE_S = 60.0 * float(os.environ.get("HONE_TEST_TIME_FACTOR", "1"))

# Measured, so different in every run.
TIMINGS = ("seconds", "_per_second", "_time", "peak_memory", "eval_runtime", "slowest_rank", "skew")

# Exit codes.
USAGE, INVALID_DATA, MISSING, ENVIRONMENT, RUN_HELD, IO = 64, 65, 66, 69, 73, 74


class Ended:
    """What a command came to."""

    def __init__(self, command: list[str], code: int, out: str, err: str):
        self.command, self.code, self.out, self.err = command, code, out, err

    def __str__(self) -> str:
        return f"{shlex.join(self.command)}\nexit code {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


class EndedFirst(AssertionError):
    """A job was over before what was waited for."""


class Job:
    """A command in a session of its own, so that it can be killed with everything that it started."""

    def __init__(self, command: list[str], cwd: Path, environment: dict[str, str]):
        self.command = command
        self._out = tempfile.TemporaryFile()
        self._err = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def processes(self) -> list[int]:
        """All processes of the session: mpirun puts each rank into a group of its own, not a session."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            if int(fields[3]) == self.pid and fields[0] != "Z":
                found.append(int(entry.name))
        return found

    def rank_processes(self) -> list[int]:
        """The processes that run the program itself."""
        program = Path(os.environ["HONE_PROGRAM"]).resolve()

        def runs_it(pid: int) -> bool:
            try:
                return Path(f"/proc/{pid}/exe").resolve() == program
            except OSError:
                return False

        return [pid for pid in self.processes() if runs_it(pid)]

    def rank_process(self, rank: int) -> int:
        """Of a job under Open MPI, which tells each rank its number in the environment; ProcessLookupError where it
        is gone."""
        name = f"OMPI_COMM_WORLD_RANK={rank}".encode()
        candidates = self.rank_processes()
        for pid in candidates:
            try:
                is_named = name in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                # What a rank starts has its environment, and for a moment its program.
                if is_named and parent_of(pid) not in candidates:
                    return pid
            except OSError:  # it has just ended
                continue
        raise ProcessLookupError(f"no rank {rank}")

    def signal(self, number: int) -> None:
        """To the started process alone: mpirun passes SIGUSR1 and SIGUSR2 on to all ranks."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to everything at once, then again to what was born meanwhile."""
        while processes := self.processes():
            for pid in processes:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.005)
        self._process.wait()

    def wait(self, patience_s: float = PATIENCE_S) -> Ended:
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"hangs: not done after {patience_s} s\n{self._ended(-1)}") from None
        left = self._left_behind()
        self.kill()
        ended = self._ended(self._process.returncode)
        if left:
            raise AssertionError(f"left {len(left)} processes behind\n{ended}")
        return ended

    def _left_behind(self) -> list[int]:
        """What still runs a moment after the end: the kernel needs one to end a dead rank's children."""
        deadline = time.monotonic() + 2.0
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.005)
        return left

    def _ended(self, code: int) -> Ended:
        texts = []
        for stream in (self._out, self._err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
        return Ended(self.command, code, *texts)

    def close(self) -> None:
        self.kill()
        self._out.close()
        self._err.close()


class SystemTest(unittest.TestCase):
    """A folder with a model in `tiny`, gone after the test, and jobs that do not outlive it."""

    def setUp(self) -> None:
        self._jobs: list[Job] = []
        self.folder = Path(tempfile.mkdtemp(prefix="hone-system-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.addCleanup(lambda: [job.close() for job in self._jobs])
        make_model(self.folder / "tiny")

    def start(
        self,
        *arguments: object,
        ranks: int | None = 1,
        environment: dict[str, str] | None = None,
        program: str | None = None,
    ) -> Job:
        """Starts `hone ARGUMENTS`, or another program; `ranks` None: without mpirun."""
        command = [program or os.environ["HONE_PROGRAM"], *map(str, arguments)]
        if ranks is not None:
            command = [*shlex.split(os.environ["HONE_MPIRUN"]), "-np", str(ranks), *command]
        job = Job(command, self.folder, environment or {})
        self._jobs.append(job)
        return job

    def hone(self, *arguments: object, ranks: int | None = None, code: int = 0, **more) -> Ended:
        """Runs `hone ARGUMENTS` to its end, which must be `code`."""
        ended = self.start(*arguments, ranks=ranks, **more).wait()
        self.assertEqual(ended.code, code, str(ended))
        return ended

    def wait_until(self, condition, job: Job, what: str) -> None:
        """Polls, as there is nothing to wait on; fails when the job ends first."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if not job.is_running():
                raise EndedFirst(f"ended before: {what}\n{job.wait()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"never came: {what}")
            time.sleep(0.001)

    def assert_one_error(self, ended: Ended, *parts: str) -> None:
        """One error block for the whole run, whatever the number of ranks, with `parts` in it."""
        blocks = [line for line in ended.err.splitlines() if line.startswith("error: ")]
        self.assertEqual(len(blocks), 1, str(ended))
        block = ended.err[ended.err.index("error: ") :]
        for part in parts:
            self.assertIn(part, block, str(ended))
        self.assertIn(f"exit code {ended.code}", block, str(ended))

    def assert_same_weights(self, one: Path, other: Path) -> None:
        same = (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
        self.assertTrue(same, f"{one.name} and {other.name} end with different weights")

    def assert_same_metrics(self, one: Path, other: Path) -> None:
        """The same records in the same order, but for what the clock says, the order of sums, and what each
        start says of itself alone."""
        both = ([line for line in read_metrics(run) if line["kind"] != "train"] for run in (one, other))
        self.assertEqual(*map(untimed, both))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_stopped(pid: int) -> bool:
    """Whether SIGSTOP has reached every thread: one that waits for a disk runs on until that has answered."""
    try:
        stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:  # a thread has just ended
        return False
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def open_files(pid: int) -> list[Path]:
    """None of a process that is gone."""
    found = []
    try:
        for entry in os.listdir(f"/proc/{pid}/fd"):
            try:
                found.append(Path(os.readlink(f"/proc/{pid}/fd/{entry}")))
            except FileNotFoundError:  # it has just been closed
                continue
    except OSError:
        return []
    return found


def write_lines(file: Path, rows: list) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def read_lines(file: Path) -> list[dict]:
    """Of JSON lines: only a line feed ends one, whatever else splitlines() takes for an end."""
    return [json.loads(line) for line in file.read_text().split("\n") if line]


def read_metrics(run: Path, kind: str | None = None) -> list[dict]:
    return [record for record in read_lines(run / "metrics.jsonl") if kind in (None, record["kind"])]


def untimed(records: list[dict]) -> list[dict]:
    def plain(value):
        return f"{value:.12g}" if isinstance(value, float) else value

    return [{key: plain(value) for key, value in record.items() if not key.endswith(TIMINGS)} for record in records]


def checkpoints(run: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("checkpoint-")) for path in run.glob("checkpoint-*"))


def write_script(file: Path, text: str) -> list[str]:
    """A Python program and the command that runs it."""
    file.write_text(text)
    return [sys.executable, "-S", str(file)]


def flip_a_byte(checkpoint: Path) -> None:
    """In the middle of the tensors of the first rank's file."""
    file = checkpoint / "rank-00000-of-00002.h5"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
