"""generate, export, inspect, env and the help texts."""

import json
import os
import re
import shutil
import unittest
from pathlib import Path

from harness import SystemTest, checkpoints, flip_a_byte, read_lines, write_lines
from loop_job import LoopTest

COMMANDS = ("run", "train", "generate", "eval", "export", "inspect", "bench", "env")
PROMPTS = [{"prompt": text} for text in ("one", "a much longer prompt than that", "x", "two words", "?")]


class Generate(SystemTest):
    def setUp(self) -> None:
        super().setUp()
        write_lines(self.folder / "P.jsonl", PROMPTS)

    def generate(self, *more: object, output: str = "O.jsonl", ranks: int | None = None) -> list[dict]:
        self.hone(
            *("generate", "--model_name_or_path", "tiny", "--prompts_file", "P.jsonl", "--max_new_tokens", 12),
            *("--output_file", output, *more),
            ranks=ranks,
        )
        return read_lines(self.folder / output)

    def assert_alike(self, one: list[dict], two: list[dict]) -> None:
        """Equal but for the last bits of log_probs: rows are decoded in other batches."""
        for a, b in zip(one, two, strict=True):
            for x, y in zip(a.pop("log_probs"), b.pop("log_probs"), strict=True):
                self.assertAlmostEqual(x, y, places=4)
        self.assertEqual(one, two)

    def test_greedy(self) -> None:
        """The command line of the documentation; alone, on one rank and on two."""
        alone = self.generate("--do_sample", "false")
        self.assertEqual([(line["prompt_index"], line["k"]) for line in alone], [(i, 0) for i in range(5)])
        self.assertEqual([line["prompt"] for line in alone], [row["prompt"] for row in PROMPTS])
        for line in alone:
            self.assertEqual(
                set(line),
                {"prompt_index", "k", "prompt", "completion", "completion_ids", "log_probs", "finish_reason"},
            )
            self.assertEqual(len(line["completion_ids"]), len(line["log_probs"]))
            self.assertLessEqual(len(line["completion_ids"]), 12)
        self.assertGreater(len({line["completion"] for line in alone}), 1)
        self.assert_alike(alone, self.generate("--do_sample", "false", output="two.jsonl", ranks=2))

    def test_sampled(self) -> None:
        """Samples are keyed by seed, prompt and k: neither ranks nor batches matter."""
        more = ("--num_return_sequences", 3, "--seed", 5)
        one = self.generate(*more, "--batch_size", 2)
        self.assertEqual([(line["prompt_index"], line["k"]) for line in one], [(i, k) for i in range(5) for k in range(3)])
        texts = [line["completion"] for line in one]
        self.assertGreater(len(set(texts)), 10)
        two = self.generate(*more, output="two.jsonl", ranks=2)
        self.assertEqual(texts, [line["completion"] for line in two])
        other = self.generate("--num_return_sequences", 3, "--seed", 6, output="other.jsonl")
        self.assertNotEqual(texts, [line["completion"] for line in other])

    def test_an_output_file_that_cannot_be_written(self) -> None:
        """Said before the model is loaded: there is none here."""
        ended = self.hone(
            *("generate", "--model_name_or_path", "nowhere", "--prompts_file", "P.jsonl"),
            *("--output_file", "missing/O.jsonl"),
            ranks=2,
            code=74,
        )
        self.assert_one_error(ended, "missing/O.jsonl", "No such file or directory")

    def test_a_prompts_file_that_is_not_there(self) -> None:
        """Said before the model is loaded: there is none here."""
        ended = self.hone("generate", "--model_name_or_path", "nowhere", "--prompts_file", "absent.jsonl", code=66)
        self.assert_one_error(ended, "absent.jsonl: no such file")

    def test_a_prompt_too_long_for_the_model(self) -> None:
        write_lines(self.folder / "P.jsonl", [*PROMPTS, {"prompt": "long " * 60}])
        ended = self.hone(
            *("generate", "--model_name_or_path", "tiny", "--prompts_file", "P.jsonl", "--max_new_tokens", 12),
            ranks=2,
            code=65,
        )
        self.assert_one_error(ended, "P.jsonl:6: the prompt has 300 tokens; with max_new_tokens 12", "positions")

    def test_a_failure_leaves_the_old_output(self) -> None:
        (self.folder / "O.jsonl").write_text("old\n")
        self.hone(
            *("generate", "--model_name_or_path", "nowhere", "--prompts_file", "P.jsonl", "--output_file", "O.jsonl"),
            code=66,
        )
        self.assertEqual((self.folder / "O.jsonl").read_text(), "old\n")
        self.assertEqual([p.name for p in self.folder.glob("O.jsonl*")], ["O.jsonl"])

    def test_more_ranks_than_prompts_and_standard_output(self) -> None:
        write_lines(self.folder / "P.jsonl", PROMPTS[:1])
        ended = self.hone(
            *("generate", "--model_name_or_path", "tiny", "--prompts_file", "P.jsonl", "--max_new_tokens", 3), ranks=2
        )
        (line,) = ended.out.splitlines()
        self.assertEqual(json.loads(line)["prompt"], "one")


class Checkpoints(LoopTest):
    """What export and inspect say about the checkpoints of a run."""

    def setUp(self) -> None:
        super().setUp()
        self.write_loop(num_rounds=2, save={"strategy": "round"})
        self.output = self.folder / "out"
        self.run_loop(self.output)
        self.steps = checkpoints(self.output)
        self.newest = self.output / f"checkpoint-{self.steps[-1]}"

    def greedy(self, model: Path | str) -> list[str]:
        ended = self.hone(
            *("generate", "--model_name_or_path", model, "--prompts_file", "eval.jsonl", "--max_new_tokens", 8),
            *("--do_sample", "false"),
        )
        return [json.loads(line)["completion"] for line in ended.out.splitlines()]

    def test_export(self) -> None:
        self.hone("export", self.newest, "--output_dir", "newest")
        self.hone("export", self.output, "--output_dir", "of-the-run", ranks=2)
        self.hone("export", self.output / f"checkpoint-{self.steps[0]}", "--output_dir", "older")
        self.assert_same_weights(self.output, self.folder / "newest")
        self.assert_same_weights(self.output, self.folder / "of-the-run")
        final = self.greedy(self.output)
        self.assertEqual(self.greedy("newest"), final)
        self.assertNotEqual(self.greedy("tiny"), final, "training changed what is said")
        self.assertNotEqual(
            (self.folder / "older/model.safetensors").read_bytes(), (self.output / "model.safetensors").read_bytes()
        )

    def test_export_into_a_checkpoint_is_refused(self) -> None:
        for into in (self.newest, self.newest / "deep/er"):
            ended = self.hone("export", self.newest, "--output_dir", into, "--overwrite_output_dir", code=64)
            self.assert_one_error(ended, "is or lies in a checkpoint", "another --output_dir")
        (self.folder / "app").mkdir()
        (self.folder / "app/manifest.json").write_text("{}")  # another program's
        self.hone("export", self.newest, "--output_dir", "app/model")
        self.hone("checkpoint", "verify", self.output)

    def test_export_in_another_type_and_in_several_files(self) -> None:
        self.hone("export", self.newest, "--output_dir", "half", "--dtype", "bfloat16", "--max_shard_size", 2e-5)
        self.assertEqual(json.loads((self.folder / "half/config.json").read_text())["torch_dtype"], "bfloat16")
        index = json.loads((self.folder / "half/model.safetensors.index.json").read_text())
        files = {self.folder / "half" / name for name in index["weight_map"].values()}
        self.assertGreater(len(files), 1)
        whole = (self.output / "model.safetensors").stat().st_size
        self.assertLess(sum(file.stat().st_size for file in files), 0.7 * whole)
        self.hone("eval", "--model_name_or_path", "half", "--eval_file", write_lines(self.folder / "rows.jsonl", [{"text": "the cat sat"}]))

    def test_export_of_a_damaged_newest(self) -> None:
        """The run's newest whole checkpoint is taken, and nothing is changed in the run."""
        flip_a_byte(self.newest)
        before = sorted(path.name for path in self.output.iterdir())
        ended = self.hone("export", self.output, "--output_dir", "made")
        self.assertIn(f"checkpoint-{self.steps[0]} -> ", ended.out)
        self.assertRegex(ended.err, f"warning: .*not exported:\\s+{self.newest.name}: .* does not match its digest")
        self.assertEqual(sorted(path.name for path in self.output.iterdir()), before)
        flip_a_byte(self.output / f"checkpoint-{self.steps[0]}")
        ended = self.hone("export", self.output, "--output_dir", "other", code=65)
        self.assert_one_error(ended, "no checkpoint in", *(f"checkpoint-{step}: " for step in self.steps))

    def test_list_verify_and_repair(self) -> None:
        listed = self.hone("checkpoint", "list", self.output)
        self.assertEqual(len(listed.out.splitlines()), len(self.steps))
        self.assertIn(f"checkpoint-{self.steps[-1]}  step {self.steps[-1]}, ", listed.out.splitlines()[0])
        self.hone("checkpoint", "verify", self.output)
        self.hone("checkpoint", "verify", self.newest)
        self.assertEqual(self.hone("checkpoint", "repair", self.output).out, "nothing to repair: all checkpoints are whole\n")
        flip_a_byte(self.newest)
        self.hone("checkpoint", "list", self.output)  # which does not read it
        ended = self.hone("checkpoint", "verify", self.output, "--json", code=65)
        problems = [line["problem"] for line in json.loads(ended.out)["checkpoints"]]
        self.assertIn("does not match its digest", problems[0])
        self.assertEqual(problems[1:], [None] * (len(self.steps) - 1))
        self.assertIn(f"checkpoint-{self.steps[-1]} is bad", self.hone("checkpoint", "repair", self.output).out)
        self.assertEqual(checkpoints(self.output), self.steps[:-1])
        self.hone("checkpoint", "verify", self.output)

    def test_what_no_start_goes_on_from(self) -> None:
        """A longer run's newest checkpoint, copied in by mistake: whole, and of the same model."""
        self.write_loop(num_rounds=3, save={"strategy": "round"})
        self.run_loop(self.folder / "longer")
        strange = self.output / f"checkpoint-{checkpoints(self.folder / 'longer')[-1]}"
        shutil.copytree(self.folder / "longer" / strange.name, strange)
        first, *rest = self.hone("checkpoint", "list", self.output).out.splitlines()
        self.assertIn("complete, passed over: it is of another run", first)
        self.assertNotIn("passed over", "".join(rest))
        listed = json.loads(self.hone("checkpoint", "verify", self.output, "--json").out)["checkpoints"]
        self.assertEqual([line["passed_over"] for line in listed], ["it is of another run"] + [None] * len(rest))
        self.assertIn(f"{self.newest.name} -> ", self.hone("export", self.output, "--output_dir", "made").out)
        for step in self.steps:
            flip_a_byte(self.output / f"checkpoint-{step}")
        ended = self.hone("export", self.output, "--output_dir", "other", code=65)
        self.assert_one_error(ended, "no checkpoint in", f"{strange.name}: passed over: it is of another run")

    def test_checkpoints_whose_epochs_cannot_be_read_are_listed(self) -> None:
        shutil.rmtree(self.output / "epochs")
        (self.output / "epochs").write_text("not a folder")
        for action in ("list", "verify"):
            ended = self.hone("checkpoint", action, self.output)
            self.assertEqual(len(ended.out.splitlines()), len(self.steps))
            self.assertIn("a start would pass over is not known: cannot list", ended.err)
        ended = self.hone("checkpoint", "repair", self.output, code=74)
        self.assert_one_error(ended, "cannot list", "epochs")

    def test_repair_puts_back_the_only_one(self) -> None:
        """Killed between the two renames of a checkpoint that is published again: nothing else is there."""
        run = self.folder / "replaced"
        shutil.copytree(self.newest, run / f".replaced-{self.newest.name}-0123456789abcdef")
        self.assertIn(f"{self.newest.name} is put back", self.hone("checkpoint", "repair", run).out)
        self.hone("checkpoint", "verify", run)

    def test_what_checkpoint_refuses(self) -> None:
        ended = self.hone("checkpoint", "mend", self.output, code=64)
        self.assert_one_error(ended, "list, verify, repair", '"mend"')
        self.assert_one_error(self.hone("checkpoint", code=64), "action")
        self.assert_one_error(self.hone("checkpoint", "repair", "nowhere", code=66), "nowhere is not a folder")
        self.assert_one_error(self.hone("checkpoint", "list", "tiny", code=65), "tiny is no checkpoint")

    def test_export_writes_over_a_model_only_if_told(self) -> None:
        ended = self.hone("export", self.newest, "--output_dir", "tiny", code=64)
        self.assert_one_error(ended, "tiny holds a model already", "--overwrite_output_dir")
        self.hone("export", self.newest, "--output_dir", "tiny", "--overwrite_output_dir")
        self.assert_same_weights(self.output, self.folder / "tiny")

    def test_export_says_what_is_wrong(self) -> None:
        for folder, code in (("nowhere", 66), ("tiny", 65)):
            ended = self.hone("export", folder, "--output_dir", "made", ranks=2, code=code)
            self.assert_one_error(ended, folder, "checkpoint")
            self.assertFalse((self.folder / "made").exists(), "nothing half-written")

    def test_inspect_says_what_is_wrong(self) -> None:
        for folder, code, what in (("nowhere", 66, "is not a folder"), ("tiny", 65, "it has no manifest.json")):
            ended = self.hone("inspect", folder, code=code)
            self.assert_one_error(ended, folder, what)
            self.assertEqual(ended.out, "")

    def test_a_checkpoint_is_no_model_folder(self) -> None:
        ended = self.hone(
            *("generate", "--model_name_or_path", self.newest, "--prompts_file", "eval.jsonl"), code=66
        )
        self.assert_one_error(ended, "no weights in", f"hone export {self.newest} --output_dir")

    def test_inspect(self) -> None:
        one = json.loads(self.hone("inspect", self.newest, "--json").out)
        self.assertEqual((one["step"], one["verified"], one["problem"]), (self.steps[-1], True, None))
        self.assertEqual(one["world_size"], 2)
        self.assertEqual(one["state"]["global_step"], self.steps[-1])
        tensors = {tensor["name"]: tensor for tensor in one["tensors"]}
        self.assertEqual(sum(tensor["bytes"] for tensor in one["tensors"]), one["tensor_bytes"])
        embedding = next(t for name, t in tensors.items() if name.endswith("model.embed_tokens.weight"))
        self.assertEqual((embedding["shape"], embedding["dtype"]), ([260, 32], "float32"))

        self.assertTrue(one["structure_as_laid_out"])
        first, version, structure, state, *rows = self.hone("inspect", self.newest).out.splitlines()
        step, count = self.steps[-1], len(one["tensors"])
        size = f"{one['tensor_bytes'] / 1e6:.1f} MB"
        self.assertEqual(first, f"{self.newest}  step {step}, {count} tensors, {size}, 2 ranks, whole")
        self.assertEqual(version, f"written by hone {one['hone_version']}")
        self.assertIn("HDF5 structure as hone lays it out", structure)
        self.assertEqual(json.loads(state.removeprefix("state ")), one["state"])
        self.assertEqual(len(rows), count)
        row = next(row for row in rows if row.split()[0] == embedding["name"])
        expected = f"  {embedding['name']}  float32 [260, 32]  {260 * 32 * 4} bytes  {embedding['file']}"
        self.assertEqual(row, expected)

        whole = json.loads(self.hone("inspect", self.output, "--verify", "--json").out)["checkpoints"]
        self.assertEqual([each["step"] for each in whole], self.steps[::-1])
        self.assertTrue(all(each["verified"] for each in whole))
        self.assertIn(f"checkpoint-{self.steps[0]}", self.hone("inspect", self.output).out)

    def test_inspect_finds_damage(self) -> None:
        flip_a_byte(self.newest)
        for arguments in ((self.newest,), (self.output, "--verify")):
            ended = self.hone("inspect", *arguments, code=65)
            self.assertIn("BAD", ended.out)
            self.assertIn("rank-0000", ended.out)
        report = json.loads(self.hone("inspect", self.newest, "--json", code=65).out)
        self.assertFalse(report["verified"])
        self.assertIsNotNone(report["problem"])


class Bench(SystemTest):
    def test_sizes_and_bandwidths(self) -> None:
        for ranks in (2, 3):
            ended = self.hone(
                *("bench", "allreduce", "--min_bytes", 4096, "--max_bytes", 300_000, "--repeats", 2, "--json"), ranks=ranks
            )
            report = json.loads(ended.out)
            self.assertEqual((report["backend"], report["ranks"]), ("mpi", ranks))
            self.assertEqual(
                [(line["bytes"], line["memory"]) for line in report["results"]],
                [(size, memory) for size in (4096, 16384, 65536, 262144) for memory in ("any", "own")],
            )
            for line in report["results"]:
                algorithm = line["bytes"] * 1e-9 / line["seconds"]
                self.assertAlmostEqual(line["algorithm_gb_per_second"], algorithm, delta=1e-9 + 1e-6 * algorithm)
                self.assertAlmostEqual(
                    line["bus_gb_per_second"], algorithm * 2 * (ranks - 1) / ranks, delta=1e-9 + 1e-6 * algorithm
                )

    def test_one_rank_is_told_how_to_start_several(self) -> None:
        one = self.hone("bench", "allreduce", "--max_bytes", 4096, "--repeats", 1)
        self.assertIn("mpirun --bind-to none -np 2 hone bench allreduce", one.err)
        two = self.hone("bench", "allreduce", "--max_bytes", 4096, "--repeats", 1, ranks=2)
        self.assertNotIn("mpirun", two.err)

    def test_a_buffer_of_no_whole_numbers(self) -> None:
        ended = self.hone("bench", "allreduce", "--min_bytes", 7, "--max_bytes", 64, code=64)
        self.assert_one_error(ended, "min_bytes must be a multiple of 4", "got 7", "--min_bytes 4")

    def test_a_step(self) -> None:
        for ranks in (None, 2):
            ended = self.hone("bench", "step", "tiny", "--lengths", "5,9,3", "--repeats", 2, "--json", ranks=ranks)
            report = json.loads(ended.out)
            self.assertEqual((report["ranks"], report["tokens"]), (ranks or 1, 17))
            self.assertGreater(report["first_step_from_start"], 0)
            self.assertLess(report["first_step_from_start"], 300)

    def test_what_a_steps_time_goes_to(self) -> None:
        ended = self.hone("bench", "step", "tiny", "--lengths", "50,90", "--repeats", 2, "--profile", "--json")
        rows = {row["what"]: row for row in json.loads(ended.out)["rows"]}
        for what in ("products", "attention", "loss", "elementwise", "allocation"):
            self.assertGreater(rows[what]["operators"], 0, what)
            self.assertGreater(rows[what]["seconds"], 0, what)
        for what in ("dispatch", "optimizer", "reduce", "data"):
            self.assertGreater(rows[what]["seconds"], 0, what)
        for what in ("products", "attention", "loss", "elementwise", "optimizer", "reduce"):
            self.assertGreater(rows[what]["floor"], 0, what)
        for what in ("allocation", "dispatch", "data"):
            self.assertEqual(rows[what]["floor"], 0, what)

    def test_a_step_that_computes_blocks_again(self) -> None:
        products = []
        for more in ((), ("--gradient_checkpointing",)):
            ended = self.hone("bench", "step", "tiny", "--lengths", "5,9", "--repeats", 1, "--profile", "--json", *more)
            products.append(json.loads(ended.out)["rows"][0]["operators"])
        self.assertGreater(products[1], products[0])

    def test_generation(self) -> None:
        config = json.loads((self.folder / "tiny/config.json").read_text())
        del config["eos_token_id"]  # all completions are of one length
        (self.folder / "endless").mkdir()
        (self.folder / "endless/config.json").write_text(json.dumps(config))
        ended = self.hone(
            *("bench", "generate", "endless", "--batch_size", 4, "--num_return_sequences", 2, "--do_sample"),
            *("--prompt_length", 6, "--max_new_tokens", 3, "--repeats", 2, "--json"),
        )
        report = json.loads(ended.out)
        self.assertEqual(report["tokens"], 4 * 3)
        self.assertGreater(report["bandwidth_gb_per_second"], 0)
        self.assertGreaterEqual(report["max_seconds"], report["min_seconds"])

    def test_an_operation_that_is_none(self) -> None:
        ended = self.hone("bench", "foo", code=64)
        self.assert_one_error(ended, "operation must be one of allreduce, step, generate", 'got "foo"')
        overview = self.hone("bench", "--help").out
        for operation in ("allreduce", "step", "generate"):
            self.assertIn(f"hone bench {operation} --help", " ".join(overview.split()))
            self.assertIn(f"Usage: hone bench {operation} ", self.hone("bench", operation, "--help").out)

    def test_the_operation_may_stand_anywhere(self) -> None:
        size = ("--max_bytes", 4096, "--repeats", 1, "--json")
        for arguments in (size, (*size, "allreduce"), ("--operation", "allreduce", *size), ("--operation=allreduce", *size)):
            self.assertEqual(len(json.loads(self.hone("bench", *arguments).out)["results"]), 1)
        ended = self.hone("bench", "--json", "--lengths", "5,9", "step", "tiny", "--repeats", 1)
        self.assertEqual(json.loads(ended.out)["tokens"], 14)

    def test_nothing_to_measure(self) -> None:
        ended = self.hone("bench", "allreduce", "--min_bytes", 64, "--max_bytes", 32, code=64)
        self.assertIn("max_bytes is below min_bytes", ended.err)


class Environment(SystemTest):
    def test_json(self) -> None:
        report = json.loads(self.hone("env", "--json").out)
        self.assertTrue(report)
        self.assertTrue(all(isinstance(section, dict) for section in report.values()))
        self.assertEqual(len(self.hone("env", ranks=2).out.split("\n\n")), 1)

    def test_starts_fast(self) -> None:
        """Against a start that does nothing but load the libraries. Processor time, the best of five: other jobs and
        the machine's speed do not count."""

        def seconds(*arguments: str) -> float:
            before = os.times()
            self.hone(*arguments)
            after = os.times()
            return after.children_user + after.children_system - before.children_user - before.children_system

        pairs = [(seconds("env", "--json"), seconds("--version")) for _ in range(5)]
        look, load = (min(times) for times in zip(*pairs))
        self.assertLess(look, 1.5 * load)

    def test_help(self) -> None:
        overview = self.hone("--help").out
        for command in COMMANDS:
            self.assertIn(f"\n  {command} ", overview)
            text = self.hone(command, "--help").out
            self.assertTrue(text.startswith("Usage:") or f"hone {command}" in text.splitlines()[0], text[:200])
            self.assertTrue(all(len(line) <= 100 for line in text.splitlines()), "fits a terminal")
            if command != "env":
                self.assertGreater(len(re.findall(r"^ +-", text, re.M)), 1)
        self.assertIn("--train.learning_rate", self.hone("run", "--help").out)
        self.assertRegex(self.hone("--version").out, r"^hone \d+\.\d+\.\d+\n$")

    def test_no_command(self) -> None:
        self.assertIn("hone COMMAND", self.hone(ranks=2, code=64).err)


class LoadedLibraries(LoopTest):
    def test_a_cpu_run_maps_no_cuda_library(self) -> None:
        self.write_loop()
        output = self.folder / "out"
        self.hold_at(self.folder / "tiny")
        job = self.start_loop(output)
        self.wait_until_held(job)
        ranks = job.rank_processes()
        self.assertEqual(len(ranks), 2)
        for pid in ranks:
            maps = Path(f"/proc/{pid}/maps").read_text()
            self.assertIn("libtorch_cpu", maps)
            for library in ("libtorch_cuda", "libc10_cuda", "libnccl", "libcublas"):
                self.assertNotIn(library, maps)
        job.kill()


if __name__ == "__main__":
    unittest.main()
