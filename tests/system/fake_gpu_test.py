"""The path of GPUs in the shipping program, on a fake GPU and a fake NCCL (tests/fakes/fake_gpu)."""

import json
import os
import shutil
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from harness import ENVIRONMENT, Ended, SystemTest, read_metrics, write_lines

STOPPED, INTERNAL, DIVERGED = 75, 70, 76
ROWS = [{"text": text} for text in ("the cat sat", "a dog", "birds fly south in winter", "rain", "x y z")]


@unittest.skipUnless("HONE_FAKE_CUDA_MODULE" in os.environ, "nothing can be preloaded before a sanitizer")
class FakeGpuTest(SystemTest):
    def setUp(self) -> None:
        super().setUp()
        write_lines(self.folder / "rows.jsonl", ROWS)
        place = self.folder / "program"
        place.mkdir()
        self.program = place / "hone"  # a copy: the module is looked for beside the program
        shutil.copy(os.environ["HONE_PROGRAM"], self.program)
        (place / "libhone_cuda.so").symlink_to(os.environ["HONE_FAKE_CUDA_MODULE"])
        (place / "libnccl.so.2").symlink_to(os.environ["HONE_FAKE_NCCL"])
        self.environment = {"LD_PRELOAD": os.environ["HONE_FAKE_DRIVER"], "LD_LIBRARY_PATH": str(place)}

    def on_gpus(
        self, *arguments: object, ranks: int | None = 2, code: int = 0, program: str = "hone", **variables: str
    ) -> Ended:
        environment = self.environment | variables
        path = str(self.program.with_name(program))
        return self.hone(*arguments, ranks=ranks, code=code, program=path, environment=environment)

    @staticmethod
    def training(output: str, *more: object) -> tuple:
        return (
            *("train", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--output_dir", output),
            *("--global_train_batch_size", len(ROWS), "--max_steps", 3, "--learning_rate", 1e-3, *more),
        )

    def log(self, output: str) -> str:
        return (self.folder / output / "logs/rank-0.log").read_text()

    def assert_same_training(self, one: str, other: str) -> None:
        updates = [read_metrics(self.folder / output, "update") for output in (one, other)]
        self.assertEqual(len(updates[0]), 3)
        for a, b in zip(*updates, strict=True):
            for key in ("loss", "grad_norm"):
                self.assertAlmostEqual(a[key], b[key], delta=1e-5 * a[key], msg=f"{key} of update {a['step']}")

    def exit_record(self, output: str, rank: int) -> dict:
        return json.loads((self.folder / output / f"exit/rank-{rank}.json").read_text())


class FakeGpu(FakeGpuTest):
    def test_a_training_over_nccl_is_one_over_mpi(self) -> None:
        for sharding in ("none", "zero1"):
            options = ("--optimizer_sharding", sharding)
            over_mpi, over_nccl = f"mpi-{sharding}", f"nccl-{sharding}"
            self.assertIn(", mpi, ", self.hone(*self.training(over_mpi, *options), ranks=2).out)
            self.assertIn(", nccl, ", self.on_gpus(*self.training(over_nccl, *options)).out)
            self.assert_same_training(over_mpi, over_nccl)
            # Closed in order: else it says so.
            self.assertNotIn("NCCL", self.log(over_nccl))

    def test_nccl_that_does_not_begin_is_everybodys_error(self) -> None:
        for fault, ranks in (("r0:id", "rank 0: "), ("init", "rank 0, 1: ")):
            ended = self.on_gpus(*self.training("out"), FAKENCCL=f"{fault}:err=2", code=ENVIRONMENT)
            self.assert_one_error(ended, "NCCL cannot be initialised", ranks, "unhandled system error")
            for rank in (0, 1):
                record = self.exit_record("out", rank)
                self.assertEqual(record["code"], ENVIRONMENT)
                self.assertIn("NCCL cannot be initialised", record["reason"])
        library = self.program.parent / "libnccl.so.2"
        library.unlink()
        library.write_text("no library")
        ended = self.on_gpus(*self.training("out"), code=ENVIRONMENT)
        self.assert_one_error(ended, 'cannot load NCCL from "libnccl.so.2"')

    def test_an_end_of_nccl_out_of_order_is_a_warning(self) -> None:
        ended = self.on_gpus(*self.training("out"), FAKENCCL="finalize:err=2")
        self.assertIn("NCCL did not end in order", ended.err)
        self.assertEqual(len(read_metrics(self.folder / "out", "update")), 3)

    def test_ranks_and_devices_fit(self) -> None:
        for number, (variables, more, parts) in enumerate((
            ({"FAKEGPU_DEVICES": "1"}, (), ("ranks 0 and 1 compute on one device (fake-0)",)),
            ({"FAKEGPU_UUID": "one"}, (), ("ranks 0 and 1 compute on one device (one)",)),
            ({"FAKEGPU_DEVICES": "1"}, ("--allow_shared_device",), ("ranks that share a GPU cannot sum gradients",)),
            ({}, ("--ddp_backend", "mpi"), ("ddp_backend=mpi sums what is in host memory",)),
        )):
            with self.subTest(parts[0]):
                ended = self.on_gpus(*self.training(f"out-{number}", *more), code=ENVIRONMENT, **variables)
                self.assert_one_error(ended, *parts)
        # As a launcher shows each rank its own GPU alone.
        ended = self.on_gpus(*self.training("own"), FAKEGPU_DEVICES="1", FAKEGPU_OWN="1")
        self.assertIn(", nccl, ", ended.out)
        ended = self.on_gpus(*self.training("cpu", "--use_cpu"), FAKEGPU_DEVICES="1")
        self.assertIn(", mpi, ", ended.out)

    def test_the_module_is_loaded_before_libtorch_looks_for_cuda(self) -> None:
        """The fake module refuses to open a device otherwise, in every command that computes."""
        write_lines(self.folder / "prompts.jsonl", [{"prompt": "a"}])
        model = ("--model_name_or_path", "tiny")
        for command in (
            ("generate", *model, "--prompts_file", "prompts.jsonl", "--max_new_tokens", 2),
            ("eval", *model, "--eval_file", "rows.jsonl"),
            ("bench", "allreduce", "--max_bytes", 4096),
            self.training("out"),
        ):
            with self.subTest(command[0]):
                ended = self.on_gpus(*command, FAKEGPU_DEVICES="0", code=ENVIRONMENT)
                self.assert_one_error(ended, "this process sees none")  # so it is asked
                self.on_gpus(*command)

    def test_sums_are_measured_over_nccl_too(self) -> None:
        ended = self.on_gpus("bench", "allreduce", "--max_bytes", 16384, "--repeats", 1, "--json")
        rows = [(line["bytes"], line["memory"], line["backend"]) for line in json.loads(ended.out)["results"]]
        memories = (("any", "mpi"), ("own", "mpi"), ("device", "nccl"))
        self.assertEqual(rows, [(size, *memory) for size in (4096, 16384) for memory in memories])


class FakeGpuFaults(FakeGpuTest):
    """The watchdog and NCCL's own watch, in whole jobs that leave no process behind: Job.wait() looks for them."""

    def test_an_error_ends_the_job(self) -> None:
        """In the sum of gradients of the second update: there is nothing else that goes over NCCL. Also where
        ncclCommAbort does not come back."""
        for number, (abort, limit, end) in enumerate((("", 10.0, ""), (";abort:hang", 15.0, "ncclCommAbort hangs, too"))):
            began = time.monotonic()
            ended = self.on_gpus(*self.training(f"out-{number}"), FAKENCCL=f"r1:op3:async=6{abort}", code=STOPPED)
            self.assertLess(time.monotonic() - began, limit, str(ended))
            self.assert_one_error(ended, "rank 1", "all_reduce(sum", "remote process exited", end)
            record = self.exit_record(f"out-{number}", 1)
            self.assertEqual((record["code"], record["step"]), (STOPPED, 1))

    def test_a_sum_that_hangs_ends_the_job_at_its_limit(self) -> None:
        """All ranks wait in one sum, so that none is to blame: any of the first and the second update."""

        def run(operation: int) -> tuple[float, Ended]:
            began = time.monotonic()
            output = f"out-{operation}"
            command = self.training(output, "--ddp_timeout", 3)
            ended = self.on_gpus(*command, FAKENCCL=f"r1:op{operation}:hang", code=STOPPED)
            return time.monotonic() - began, ended

        with ThreadPoolExecutor(2) as pool:
            for operation, (seconds, ended) in enumerate(pool.map(run, (1, 2, 3, 4)), start=1):
                self.assertLess(seconds, 15.0, str(ended))
                self.assert_one_error(ended, "all ranks are in ", "nothing comes through", "the limit of 3 s")
                for rank in (0, 1):
                    record = self.exit_record(f"out-{operation}", rank)
                    self.assertEqual((record["code"], record["step"]), (STOPPED, (operation - 1) // 2))

    def test_a_rank_that_hangs_in_the_start_of_nccl_is_named(self) -> None:
        """Where not even the call comes back, the others give up after 15 s and wait for it over MPI."""
        ended = self.on_gpus(*self.training("out", "--ddp_timeout", 3), FAKENCCL="r1:init:block", code=STOPPED)
        self.assert_one_error(ended, "rank 1 @", "is waited for: it is in phase NCCL", "the limit of 3 s")
        for rank in (0, 1):
            self.assertEqual(self.exit_record("out", rank)["code"], STOPPED)

    def test_an_abort_that_would_hold_up_the_end_of_the_process(self) -> None:
        """Its exit handlers wait for the thread that hangs in NCCL, as CUDA's may, and all ranks leave in order."""
        ended = self.on_gpus(*self.training("out", "--ddp_timeout", 3), FAKENCCL="init:hang;abort:block", code=ENVIRONMENT)
        self.assert_one_error(ended, "NCCL cannot be initialised: rank 0, 1: not done after 15 s")

    def test_a_wrong_sum_is_named(self) -> None:
        """What one rank received of its first sum differs: its weights do, and the digests that ranks compare."""
        command = self.training("out", "--replica_check_steps", 1)
        ended = self.on_gpus(*command, FAKENCCL="r1:op1:corrupt", code=DIVERGED)
        self.assert_one_error(ended, "after update 1 rank 1 holds another ", "the replicas have diverged since update 0")
        for rank in (0, 1):
            self.assertEqual(self.exit_record("out", rank)["code"], DIVERGED)

    def test_ranks_out_of_step_are_named(self) -> None:
        """One rank sums a number of its own, while it computes gradients; NCCL itself would only hang."""
        shutil.copy(os.environ["HONE_PHASE_VICTIM"], self.program.parent)
        for ranks, rank in ((2, 0), (2, 1), (4, 2)):
            output = self.folder / f"out-{ranks}-{rank}"
            arguments = (self.folder / "tiny", output, rank, 0, "backward", 1)
            devices = {"FAKEGPU_DEVICES": str(ranks)}
            ended = self.on_gpus(*arguments, ranks=ranks, program="phase_victim", code=INTERNAL, **devices)
            self.assertLess(time.time() - (output / "fault").stat().st_mtime, 4.0, str(ended))
            self.assert_one_error(
                ended, "the ranks are out of step", f"rank {rank} @", "makes all_reduce(sum, 1 x float32)", "160 x float32"
            )
            for each in range(ranks):
                self.assertEqual(self.exit_record(output.name, each)["code"], INTERNAL)


if __name__ == "__main__":
    unittest.main()
