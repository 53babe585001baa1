"""Shows that the tests fail where the program is wrong: builds the wrong versions of mutants.py one
by one and runs the test that must find each.

    run_mutants.py BUILD_FOLDER [--jobs N] [NAME...]

The build folder holds a finished build by Ninja. A mutant that no test finds, that crashes or hangs
instead of failing a test, that does not compile, or whose text is not once in its file, is an
error.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import time

from mutants import MUTANTS

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BYTES_PER_COMPILE = 2 << 30
TEST_SECONDS = 60
TEST_ENVIRONMENT = {"OMP_NUM_THREADS": "1", **os.environ}


class Problem(Exception):
    """What is wrong with a mutant, its tests or the build."""


def run(command, folder):
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise Problem(f"{command}\n{done.stdout}{done.stderr}")
    return done.stdout


def replaced(text, old, new, what):
    if text.count(old) != 1:
        raise Problem(f"{what} holds {text.count(old)} times, not once: {old}")
    return text.replace(old, new)


class Build:
    """What Ninja would run for each object and binary."""

    def __init__(self, folder):
        self.folder = folder
        steps = json.loads(run("ninja -t compdb", folder))
        self.commands = {step["output"]: step["command"] for step in steps}
        self.objects = {step["file"]: step["output"] for step in steps
                        if step["output"].endswith(".o")}

    def compile(self, original, source, target):
        """Compiles `source` with the command of `original`."""
        if str(original) not in self.objects:
            raise Problem(f"{original} is not compiled in {self.folder}")
        object_file = self.objects[str(original)]
        command = self.commands[object_file].replace(object_file, str(target))
        # A wrong version may leave a name unused, and that is not what it is tried for.
        run(replaced(command, f" -c {original}", f" -w -c {source}", "the compile command"),
            self.folder)

    def link(self, test, object_file, target):
        """Links `test` with an object that comes before the archive that holds the right one."""
        if test not in self.commands:
            raise Problem(f"there is no test binary {test} in {self.folder}")
        command = replaced(self.commands[test], f" -o {test} ", f" -o {target} {object_file} ",
                           "the link command")
        run(command, self.folder)


def failures(binary, only, report):
    """Runs the tests and returns how many of how many fail."""
    report.unlink(missing_ok=True)
    command = [binary, f"--gtest_filter={only}", f"--gtest_output=json:{report}",
               "--gtest_fail_fast"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TEST_SECONDS,
                              env=TEST_ENVIRONMENT)
    except subprocess.TimeoutExpired:
        raise Problem(f"hangs: {binary} {only} ran for {TEST_SECONDS} s") from None
    if done.returncode not in (0, 1) or not report.exists():
        raise Problem(f"crashes: {binary} {only} ended with {done.returncode}\n"
                      f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
    result = json.loads(report.read_text())
    return result["failures"], result["tests"]


def require_passing(build, report, test, only):
    failed, count = failures(build.folder / test, only, report)
    if failed or not count:
        raise Problem(f"without any change {failed} of {count} tests fail: {test} {only}")


def make_and_run(build, work, mutant):
    """Returns the number of tests that find the mutant."""
    original = SOURCE / mutant.file
    folder = work / mutant.name
    folder.mkdir(exist_ok=True)
    source, object_file, binary = folder / original.name, folder / "mutant.o", folder / mutant.test
    text = original.read_text()
    source.write_text(replaced(text, mutant.old, mutant.new, mutant.file))
    build.compile(original, source, object_file)
    build.link(mutant.test, object_file, binary)
    failed, _ = failures(binary, mutant.only, folder / "report.json")
    binary.unlink()
    if not failed:
        raise Problem(f"SURVIVED: {mutant.test} {mutant.only} passes, though {mutant.breaks}")
    return failed


def attempt(what, function, *arguments):
    """Runs one job and prints its line. Returns whether it went as it must."""
    started = time.monotonic()
    try:
        function(*arguments)
        line, good = "ok", True
    except (Problem, OSError) as problem:
        line, good = f"FAILED: {problem}", False
    print(f"{time.monotonic() - started:5.1f} s  {what}: {line}", flush=True)
    return good


def default_jobs():
    cores = len(os.sched_getaffinity(0))
    kib = int(re.search(r"MemAvailable: *(\d+)", pathlib.Path("/proc/meminfo").read_text())[1])
    return max(1, min(cores, kib * 1024 // BYTES_PER_COMPILE))


def chosen(names):
    if unknown := set(names) - {mutant.name for mutant in MUTANTS}:
        sys.exit(f"there is no mutant {', '.join(sorted(unknown))}")
    return [mutant for mutant in MUTANTS if not names or mutant.name in names]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=default_jobs())
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    mutants = chosen(arguments.names)
    build = Build(arguments.build.resolve())
    work = build.folder / "tests" / "mutants" / "work"
    work.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        right = [pool.submit(attempt, f"unchanged {test} {only}", require_passing, build,
                             work / f"unchanged{i}.json", test, only)
                 for i, (test, only) in enumerate(sorted({(m.test, m.only) for m in mutants}))]
        wrong = [pool.submit(attempt, m.name, make_and_run, build, work, m) for m in mutants]
    good = [job.result() for job in right + wrong]
    print(f"{sum(job.result() for job in wrong)} of {len(mutants)} mutants are found")
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    try:
        main()
    except (Problem, OSError) as problem:
        sys.exit(f"run_mutants.py: {problem}")
