"""Programs that are measured: those of peers stay up, hone starts anew for each round."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
MOST = str(2**63 - 1)
# The C library keeps its memory and takes it in huge pages, as hone's own allocator does, for a
# peer that would otherwise spend a quarter of its step on page faults.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": MOST,
    "MALLOC_TRIM_THRESHOLD_": MOST,
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


class Failed(Exception):
    """A measured program ended with an error."""


def flags(**options) -> list[str]:
    """--name value of each; --name alone for True, nothing for False."""
    given = [(f"--{name}", value) for name, value in options.items() if value is not False]
    return [
        word for name, value in given for word in ([name] if value is True else [name, str(value)])
    ]


def environment(threads: int, more: dict[str, str] | None = None) -> dict[str, str]:
    fixed = {
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # no processes that stay beside the measured one
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    return {**os.environ, **fixed, **(more or {})}


class Worker:
    """A peer's program of this folder, running until close()."""

    def __init__(
        self,
        program: str,
        arguments: list[str],
        threads: int,
        log: pathlib.Path,
        variables: dict[str, str] | None = None,
    ) -> None:
        self.name, self.log = program, log
        # Of this program alone, and nothing is left behind: the first step has all to compile.
        compiled = {"TORCHINDUCTOR_CACHE_DIR": str(log.with_suffix(".compiled"))}
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / program), *arguments, "--threads", str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment(threads, {**compiled, **(variables or {})}),
            )
        try:
            self.ready = self.answer()
        except BaseException:
            self.close()
            raise

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            tail = self.log.read_text()[-2000:]
            raise Failed(f"{self.name} ended with {code}; the end of {self.log}:\n{tail}")
        return json.loads(line)

    def step(self, **arguments) -> dict:
        with contextlib.suppress(BrokenPipeError):  # it has ended, and has no answer either
            self.process.stdin.write(json.dumps(arguments) + "\n")
            self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def hone(program: pathlib.Path, arguments: list[str], threads: int, ranks: int = 1) -> dict:
    """What `hone ARGUMENT... --json` says. Several ranks are started by mpirun."""
    command = [str(program), *arguments, "--num_threads", str(threads), "--json"]
    if ranks > 1:
        command = ["mpirun", "-q", "-np", str(ranks), *command]
    done = subprocess.run(
        command, env=environment(threads), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def hone_step(program: pathlib.Path, arguments: list[str], threads: int, ranks: int = 1) -> dict:
    """Of a process of its own: its first step does not count, its second does."""
    step = ["bench", "step", *arguments, *flags(use_cpu=True, repeats=1)]
    return hone(program, step, threads, ranks)
