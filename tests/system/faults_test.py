"""SIGKILL and SIGSTOP of a real rank in every phase of a training: all others name it within the bound, and
nothing that save() answered for is lost. See phase_victim.cpp for how a phase is hit."""

import json
import os
import shutil
import signal
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness import (
    Ended,
    EndedFirst,
    Job,
    SystemTest,
    checkpoints,
    is_stopped,
    open_files,
    read_metrics,
    write_script,
)
from loop_job import LoopTest
from tiny_model import make_model

STOPPED = 75
# What mpirun ends with. Of a killed rank and of others that leave because of it, it takes the status of
# whichever it notices first.
CODES = {signal.SIGKILL: (128 + signal.SIGKILL, STOPPED), signal.SIGSTOP: (STOPPED,)}

# In the order in which a round has them. "reduce" comes three times in an update: for the number of targets,
# the gradients, and what the ranks agree on.
PHASES = ("start", "generate", "score", "data", "forward", "backward", "reduce", "optimizer", "evaluate", "checkpoint")
LAST_STEP = 5
SOUND_STEPS = 2  # before the fault


@dataclass(frozen=True)
class Bound:
    """Seconds after the fault."""

    named: float  # in every exit record
    over: float  # mpirun has ended


# A connection that ends is noticed at once; a missing heartbeat after 8 s. mpirun gives whoever is left a second.
BOUNDS = {signal.SIGKILL: Bound(named=1.0, over=3.0), signal.SIGSTOP: Bound(named=10.0, over=12.0)}


@dataclass(frozen=True)
class Case:
    phase: str
    number: signal.Signals
    victim: int
    ranks: int = 2
    count: int = 1  # at which entry of the phase
    inside: bool = False  # in the phase's first collective, waiting for the others

    @property
    def name(self) -> str:
        place = f"{'inside-' if self.inside else ''}{self.phase}-{self.count}"
        return f"{self.number.name}-{place}-rank-{self.victim}-of-{self.ranks}"

    @property
    def fault(self) -> tuple:
        return self.victim, int(self.number), self.phase, self.count, *(("inside",) if self.inside else ())


class FaultTest(SystemTest):
    def train(self, output: Path, *fault: object, ranks: int) -> Ended:
        program = os.environ["HONE_PHASE_VICTIM"]
        return self.start(self.folder / "tiny", output, *fault, ranks=ranks, program=program).wait()

    def check(self, cases: list[Case], at_once: int) -> None:
        """Runs so many jobs at a time, and prints what each took."""
        with ThreadPoolExecutor(at_once) as pool:
            rows = list(pool.map(self.checked, cases))
        print(f"\n{'signal':8} {'phase':14} {'entry':>5} {'victim':>6} {'ranks':>5} {'named s':>8} {'over s':>7}")
        for case, named, over in rows:
            print(
                f"{case.number.name:8} {case.phase + (', inside' if case.inside else ''):14} {case.count:5} {case.victim:6} {case.ranks:5} "
                f"{named:8.2f} {over:7.2f}"
            )

    def checked(self, case: Case) -> tuple[Case, float, float]:
        run = self.folder / case.name
        # wait() fails where a process is left behind.
        ended = self.train(run, *case.fault, ranks=case.ranks)
        ended_at = time.time()
        about = f"{case.name}\n{ended}"
        self.assertTrue((run / "fault").exists(), f"no fault: {about}")
        began = (run / "fault").stat().st_mtime
        self.assertIn(ended.code, CODES[case.number], about)
        self.assert_named(case, run, ended)
        named = max((run / f"exit/rank-{rank}.json").stat().st_mtime for rank in self.survivors(case)) - began
        over = ended_at - began
        self.assertLess(named, BOUNDS[case.number].named, about)
        self.assertLess(over, BOUNDS[case.number].over, about)
        self.assert_nothing_lost(case, run)
        return case, named, over

    @staticmethod
    def survivors(case: Case) -> list[int]:
        return [rank for rank in range(case.ranks) if rank != case.victim]

    def assert_named(self, case: Case, run: Path, ended: Ended) -> None:
        how = {
            signal.SIGKILL: r"died: its connection ended without a goodbye",
            signal.SIGSTOP: r"is lost: no heartbeat for \d+ s \(stopped, or cut off from this node\)",
        }[case.number]
        updates = {"start": 0, "checkpoint": SOUND_STEPS + 1}.get(case.phase, SOUND_STEPS)
        place = rf"in phase {case.phase} for \d+ s, after update {updates}"
        if case.inside:
            place += r", in all_"
        cause = rf"rank {case.victim} @ \S+ {how}; last heard of {place}"
        told = [line for line in ended.err.splitlines() if line.startswith("error: ")]
        self.assertEqual(len(told), 1, f"{case.name}\n{ended}")
        self.assertRegex(told[0], rf"^error: {cause}")
        for file in run.glob("exit/rank-*.json"):
            # A stopped rank that mpirun wakes to end it has a record too.
            record = json.loads(file.read_text())
            self.assertEqual(record["code"], STOPPED, f"{case.name} {file.name}: {record}")
            self.assertRegex(record["reason"], rf"^{cause}", f"{case.name} {file.name}")
        for rank in self.survivors(case):
            self.assertTrue((run / f"exit/rank-{rank}.json").exists(), f"{case.name}: no record of rank {rank}")

    def assert_nothing_lost(self, case: Case, run: Path) -> None:
        acknowledged = run / "acknowledged"
        steps = [int(line) for line in acknowledged.read_text().split()] if acknowledged.exists() else []
        self.assertEqual(bool(steps), case.phase != "start", case.name)
        for step in steps:
            self.assertIn(step, checkpoints(run), case.name)

    def assert_resume(self, cases: list[Case], at_once: int = 1) -> None:
        """Each run goes on from there and ends, bit by bit, as one that nothing befell."""
        for ranks in {case.ranks for case in cases}:
            undisturbed = self.folder / f"undisturbed-{ranks}"
            if not undisturbed.exists():
                self.assertEqual(self.train(undisturbed, ranks=ranks).code, 0)

        def resume(case: Case) -> None:
            run = self.folder / case.name
            ended = self.train(run, ranks=case.ranks)
            self.assertEqual(ended.code, 0, f"{case.name}\n{ended}")
            self.assertEqual(checkpoints(run)[-1], LAST_STEP)
            self.assert_same_weights(self.folder / f"undisturbed-{case.ranks}", run)

        with ThreadPoolExecutor(at_once) as pool:
            for job in [pool.submit(resume, case) for case in cases]:
                job.result()


ENTRIES = [(phase, 1) for phase in PHASES] + [("reduce", 2), ("reduce", 3)]


class Killed(FaultTest):
    def test_rank_0_in_every_phase(self) -> None:
        self.kill_and_resume(victim=0)

    def test_the_last_rank_in_every_phase(self) -> None:
        self.kill_and_resume(victim=1)

    def kill_and_resume(self, victim: int) -> None:
        cases = [Case(phase, signal.SIGKILL, victim, count=count) for phase, count in ENTRIES]
        cases += [Case("reduce", signal.SIGKILL, victim, count=count, inside=True) for count in (1, 2, 3)]
        self.check(cases, at_once=3)
        self.assert_resume(cases, at_once=2)
        run = self.folder / cases[PHASES.index("reduce")].name
        acknowledged = (run / "acknowledged").read_text().split()[-1]
        self.hone("inspect", run / f"checkpoint-{acknowledged}")


class Stopped(FaultTest):
    def test_in_every_phase(self) -> None:
        """Half of them before the others wait, half while they wait: rank 0, and the last of three."""
        cases = [
            Case(phase, signal.SIGSTOP, victim=0 if i % 2 == 0 else 2, ranks=2 if i % 2 == 0 else 3)
            for i, phase in enumerate(PHASES)
        ]
        inside = [Case("reduce", signal.SIGSTOP, victim=i % 2, count=i, inside=True) for i in (2, 3)]
        self.check(cases + inside, at_once=6)
        self.assert_resume(cases[-2:])


def every_phase(number: signal.Signals, victims: list[int], ranks: int) -> list[Case]:
    cases = [Case(phase, number, victim, ranks, count) for phase, count in ENTRIES for victim in victims]
    return cases + [Case("reduce", number, v, ranks, count, inside=True) for v in victims for count in (1, 2, 3)]


class EveryPhaseNightly(FaultTest):
    def test_killed(self) -> None:
        """The first rank, the last and one between them."""
        num_resumed = 0
        for ranks in (2, 3, 4, 5, 6):
            cases = every_phase(signal.SIGKILL, sorted({0, ranks // 2, ranks - 1}), ranks)
            self.check(cases, at_once=1)
            self.assert_resume(cases, at_once=2)
            num_resumed += len(cases)
        print(f"\n{num_resumed} runs killed and resumed")
        self.assertGreaterEqual(num_resumed, 200)

    def test_stopped(self) -> None:
        for ranks in (2, 3, 4, 5):
            cases = every_phase(signal.SIGSTOP, [0, ranks - 1], ranks)
            self.check(cases, at_once=4)
            self.assert_resume(cases, at_once=2)

    def test_sixteen_ranks(self) -> None:
        """In what every rank does: there are fewer samples than ranks."""
        cases = [
            Case("reduce", number, victim, ranks=16)
            for number in (signal.SIGKILL, signal.SIGSTOP)
            for victim in (0, 15)
        ]
        self.check(cases, at_once=1)
        self.assert_resume(cases[-1:])


# Signals the rank that it scores for, where that is FAULT_RANK, once there is a checkpoint.
REWARD = """
import json, os, sys, time
from pathlib import Path
run, number = Path(os.environ.get("FAULT_RUN", "")), os.environ.get("FAULT_SIGNAL", "0")
victim = "OMPI_COMM_WORLD_RANK=" + os.environ.get("FAULT_RANK", "none")
is_here = victim.encode() in Path(f"/proc/{os.getppid()}/environ").read_bytes().split(bytes(1))
for line in sys.stdin:
    request = json.loads(line)
    if is_here and any(run.glob("checkpoint-*")):
        time.sleep(1.3)  # until a heartbeat has told of the phase
        (run / "fault").touch()
        os.kill(os.getppid(), int(number))
        time.sleep(60)
    print(len(request["completion"]) % 3, flush=True)
"""


class Loop(LoopTest):
    """The same of `hone run` itself, while it scores: the reward program signals its rank."""

    def checked(self, number: signal.Signals, victim: int) -> str:
        run = self.folder / f"{number.name}-{victim}"
        arguments = ("run", "loop.yaml", "--output_dir", run)
        fault = {"FAULT_RUN": str(run), "FAULT_RANK": str(victim), "FAULT_SIGNAL": str(int(number))}
        ended = self.start(*arguments, ranks=2, environment=fault).wait()
        self.assertTrue((run / "fault").exists(), str(ended))
        seconds = time.time() - (run / "fault").stat().st_mtime
        how = {signal.SIGKILL: "died", signal.SIGSTOP: "is lost"}[number]
        self.assertIn(ended.code, CODES[number], str(ended))
        self.assertLess(seconds, BOUNDS[number].over, str(ended))
        record = json.loads((run / f"exit/rank-{1 - victim}.json").read_text())
        self.assertEqual(record["code"], STOPPED)
        self.assertRegex(record["reason"], rf"^rank {victim} @ \S+ {how}.* in phase score")
        self.hone(*arguments, "--resume_from_checkpoint", "auto", ranks=2)
        self.assert_same_run(self.folder / "undisturbed", run)
        return f"hone run: {number.name} of rank {victim} while it scores: over after {seconds:.2f} s"

    def test_signalled_while_scoring(self) -> None:
        command = write_script(self.folder / "reward.py", REWARD)
        self.write_loop(reward={"command": command, "timeout": 90}, save={"strategy": "round"})
        self.run_loop(self.folder / "undisturbed")
        cases = ((signal.SIGSTOP, 0), (signal.SIGKILL, 1), (signal.SIGKILL, 0))
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(self.checked, *case) for case in cases]
            print("", *(job.result() for job in jobs), sep="\n")


class LoopThatSavesTest(LoopTest):
    """SIGKILL of one rank of `hone run` while its share of a checkpoint is being written, and right behind that."""

    RANKS = 2

    def setUp(self) -> None:
        super().setUp()
        # Larger than `tiny`, so that a share takes a while to write where syncing takes none.
        make_model(self.folder / "wide", changes={"hidden_size": 128, "intermediate_size": 384})
        self.write_loop(
            model_name_or_path="wide",
            num_rounds=2,
            prompts={"file": "prompts.jsonl", "per_round": 10},
            train={"learning_rate": 2e-3, "global_train_batch_size": 3},
            save={"strategy": "steps", "steps": 1, "total_limit": 2},
        )
        self.undisturbed = self.folder / "undisturbed"
        self.run_loop(self.undisturbed, ranks=self.RANKS)

    def is_writing(self, pid: int, rank: int) -> bool:
        """Whether it has its file of a checkpoint open: it is not synced yet, and nobody was told of it."""
        name = f"rank-{rank:05}-of-{self.RANKS:05}.h5"
        return any(file.name == name and file.parent.name.startswith(".tmp-") for file in open_files(pid))

    def stop_while_writing(self, job: Job, victim: int) -> int:
        """The process, which stands still for a look at it: a kill that is too late would show little."""
        pid = job.rank_process(victim)
        while True:
            self.wait_until(lambda: self.is_writing(pid, victim), job, f"rank {victim} writes its share")
            os.kill(pid, signal.SIGSTOP)
            self.wait_until(lambda: is_stopped(pid), job, f"rank {victim} stands still")
            if self.is_writing(pid, victim):
                return pid
            os.kill(pid, signal.SIGCONT)  # there is another save

    def kill(self, job: Job, run: Path, victim: int, place: str) -> None:
        round_two = [update["step"] for update in read_metrics(self.undisturbed, "update") if update["round"] == 2]
        self.wait_until((run / f"checkpoint-{round_two[0]}").exists, job, "an update of round 2 is saved")
        pid = self.stop_while_writing(job, victim)
        whole = checkpoints(run)
        if place == "behind":
            os.kill(pid, signal.SIGCONT)
            self.wait_until(lambda: not self.is_writing(pid, victim), job, f"the share of rank {victim} is written")
        os.kill(pid, signal.SIGKILL)
        ended = job.wait()
        if ended.code == 0:
            raise EndedFirst(str(ended))
        self.assertIn(ended.code, CODES[signal.SIGKILL], str(ended))
        self.assertRegex(ended.err, rf"(?m)^error: rank {victim} @ \S+ died")
        self.assertFalse((run / "model.safetensors").exists())
        if place == "writing":
            self.assertEqual(checkpoints(run), whole, f"none without the share of rank {victim}\n{ended}")

    def check(self, victim: int, place: str, async_save: str) -> None:
        run = self.folder / f"{victim}-{place}-{async_save}"
        arguments = ("--train.async_save", async_save)
        for is_last_try in (False, False, True):
            job = self.start_loop(run, *arguments, ranks=self.RANKS)
            try:
                self.kill(job, run, victim, place)
                break
            except (EndedFirst, ProcessLookupError):  # this process slept while the run went on to its end
                if is_last_try:
                    raise
                job.kill()
                shutil.rmtree(run)
        self.hone("checkpoint", "verify", run)
        self.run_loop(run, *arguments, "--resume_from_checkpoint", "auto", ranks=self.RANKS)
        self.assertEqual(list(run.glob(".tmp-*")), [])
        self.assert_same_run(self.undisturbed, run)

    def check_all(self, victim: int) -> None:
        """While training goes on, and while it waits for the disk."""
        for place, async_save in (("writing", "true"), ("writing", "false"), ("behind", "true")):
            with self.subTest(place=place, async_save=async_save):
                self.check(victim, place, async_save)


class RootThatSaves(LoopThatSavesTest):
    def test_it_is_killed(self) -> None:
        """Nobody is left to publish what the others have written."""
        self.check_all(0)


class LastRankThatSaves(LoopThatSavesTest):
    def test_it_is_killed(self) -> None:
        """Rank 0 waits for its share, and is left alone with its own; or has all of it, and may publish."""
        self.check_all(self.RANKS - 1)


if __name__ == "__main__":
    unittest.main()
