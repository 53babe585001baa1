"""The pages say what the program does: options, output keys, links, examples."""

import json
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from markdown import PAGES, SOURCE, anchor, blocks, first_cells, rows, sections
from tiny_model import make_model

PROGRAM = os.environ["HONE_PROGRAM"]
COMMANDS = ["run", "train", "generate", "eval", "verify", "export", "checkpoint", "checkpoint list",
            "checkpoint verify", "checkpoint repair", "inspect", "plan", "bench", "bench allreduce",
            "bench step", "bench generate", "env"]
PROMPTS = [("What is 2 + 3?", 5), ("What is 4 + 4?", 8), ("What is 1 + 1?", 2)]


def hone(*arguments: str, cwd: Path | None = None) -> str:
    result = subprocess.run([PROGRAM, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise AssertionError(f"hone {' '.join(arguments)}: {result.returncode}\n{result.stderr}")
    return result.stdout


class Workplace:
    """A folder with a tiny model where the pages expect the demo's, and the program on the path."""

    def __init__(self, model: str | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name)
        if model:
            Path(self.model).parent.mkdir(parents=True)
            Path(self.model).symlink_to(model)
        else:
            make_model(Path(self.model))
        (self.path / "build").mkdir()
        (self.path / "build/hone").symlink_to(PROGRAM)
        lines = [json.dumps({"prompt": text, "answer": answer}) for text, answer in PROMPTS]
        (self.path / "prompts.jsonl").write_text("\n".join(lines) + "\n")
        rows = [json.dumps({"prompt": text, "completion": f" {answer}"}) for text, answer in PROMPTS]
        (self.path / "samples.jsonl").write_text("\n".join(rows) + "\n")

    @property
    def model(self) -> str:
        return str(self.path / "cache/hone/models/SmolLM2-135M-Instruct")

    def shell(self, script: str) -> str:
        environment = os.environ | {
            "XDG_CACHE_HOME": str(self.path / "cache"),
            "PATH": f"{self.path / 'build'}:{os.environ['PATH']}",
        }
        result = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=self.path, env=environment,
                                capture_output=True, text=True,
                                timeout=200 * float(os.environ.get("HONE_TEST_TIME_FACTOR", "1")), check=False)
        if result.returncode != 0:
            raise AssertionError(f"{script}\nended with {result.returncode}:\n{result.stdout}{result.stderr}")
        return result.stdout

    def close(self) -> None:
        self._folder.cleanup()


def options_of_help(command: str) -> dict[str, str]:
    """Options of `hone COMMAND --help` with their defaults; none is "", "required" where they are."""
    text = hone(*command.split(), "--help").split("\nHelp\n")[0]
    text = text[text.index("\n\n"):]
    entries = re.split(r"^  --", text, flags=re.MULTILINE)[1:]
    options = {}
    for entry in entries:
        flat = " ".join(entry.split())
        name = re.match(r"(?:\[no_\])?(\S+)", flat).group(1)
        remarks = re.search(r"\(([^()]*)\)(?: [A-Z][a-z]+)?$", flat).group(1).split("; ")
        given = [remark.removeprefix("default ") for remark in remarks if remark.startswith("default ")]
        options[name] = "required" if "required" in remarks else (given or [""])[0]
    return options


def groups_of_help(command: str) -> dict[str, list[str]]:
    """Names of options, without prefixes, by the heading they stand under."""
    text = hone(command, "--help")
    parts = re.split(r"^([A-Z][a-z]+)\n", text[text.index("\n\n"):], flags=re.MULTILINE)
    return {title: re.findall(r"^  --(?:\[no_\])?(?:\w+\.)?(\w+)", part, re.MULTILINE)
            for title, part in zip(parts[1::2], parts[2::2])}


def options_of_page(command: str) -> dict[str, str]:
    page = sections(SOURCE / "docs/commands.md")
    section = page[f"hone {command}"]
    listed = {row[0].strip("`").removeprefix("--"): row[2] for row in rows(section)}
    by_anchor = {anchor(title): text for title, text in page.items()}
    takes = re.search(r"^Takes (.*?)\n\n", section, re.MULTILINE | re.DOTALL)
    for target, prefix in re.findall(r"\(#([\w-]+)\)(?:\s+as\s+`(\w+\.)`)?", takes.group(1) if takes else ""):
        for row in rows(by_anchor[target]):
            listed.setdefault(prefix + row[0].strip("`").removeprefix("--"), row[2])
    return listed


class Options(unittest.TestCase):
    def test_page_and_help_list_the_same(self) -> None:
        for command in COMMANDS:
            with self.subTest(command):
                self.assertEqual(sorted(options_of_page(command)), sorted(options_of_help(command)))

    def test_defaults_are_those_of_the_help(self) -> None:
        for command in COMMANDS:
            page = options_of_page(command)
            for name, default in options_of_help(command).items():
                with self.subTest(f"{command} {name}"):
                    words = re.split(r"[;\s]+", page[name])
                    listed = page[name].replace(",", " ")  # as the help text writes lists
                    self.assertIn(default, [*words, listed] if default else [page[name]])

    def test_shared_headings_are_groups_of_the_help(self) -> None:
        page = (SOURCE / "docs/commands.md").read_text()
        shared = page[page.index("## Shared options"):page.index("## hone run")]
        groups = groups_of_help("train") | groups_of_help("generate")
        found = {title: [row[0].strip("`").removeprefix("--") for row in rows(text)]
                 for title, text in re.findall(r"^### (.*?)\n(.*?)(?=^### |\Z)", shared, re.MULTILINE | re.DOTALL)}
        self.assertEqual({title: groups.get(title) for title in found}, found)

    def test_every_command_has_a_section(self) -> None:
        listed = re.findall(r"^  ([a-z]+)  +\S", hone("--help"), re.MULTILINE)
        self.assertEqual(sorted(set(listed)), sorted({command.split()[0] for command in COMMANDS}))

    def test_every_operation_of_bench_has_a_section(self) -> None:
        operations = re.search(r"--operation (\S+)", hone("bench", "--help")).group(1).split("|")
        self.assertEqual([f"bench {operation}" for operation in operations],
                         [command for command in COMMANDS if command.startswith("bench ")])


class Promises(unittest.TestCase):
    """docs/trainer.md names a test for each promise."""

    def test_named_tests_exist(self) -> None:
        tests = set()
        for file in (SOURCE / "tests").rglob("*_test.cpp"):
            for suite, name in re.findall(r"TEST(?:_F|_P)?\((\w+),\s*(\w+)\)", file.read_text()):
                tests.add(f"{suite}.{name}")
        for file in [*(SOURCE / "tests/system").glob("*_test.py"), *(SOURCE / "tests/docs").glob("*_test.py")]:
            group = ""
            for kind, name in re.findall(r"^ *(class|def) (\w+)", file.read_text(), re.MULTILINE):
                group = name if kind == "class" else group
                tests.add(f"{file.stem}.{group}.{name}")
        named = set()
        page = (SOURCE / "docs/trainer.md").read_text()
        promises = re.findall(r"^\| (\d+) \| (.*) \| (.*) \|(.*)\|$", page, re.MULTILINE)
        self.assertEqual([int(number) for number, *_ in promises], list(range(1, 39)))
        for number, promise, _, shown_by in promises:
            found = re.findall(r"`([\w.]+)`", shown_by)
            self.assertRegex(shown_by, rf"(?i)row{int(number):02}_", f"no test is named after: {promise}")
            named.update(found)
        self.assertEqual(named - tests, set())


class OutputKeys(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.place = Workplace()
        cls.addClassCleanup(cls.place.close)
        cls.page = sections(SOURCE / "docs/outputs.md")
        hone("run", "--model_name_or_path", cls.place.model, "--prompts.file", "prompts.jsonl", "--output_dir",
             "run", "--reward.check", "number", "--reward.field", "answer", "--generate.max_new_tokens", "4",
             "--eval.file", "prompts.jsonl", "--prompts.per_round", "3", "--train.global_train_batch_size", "99",
             cwd=cls.place.path)
        hone("train", "--model_name_or_path", cls.place.model, "--train_file", "samples.jsonl", "--eval_file",
             "samples.jsonl", "--output_dir", "sft", "--max_steps", "1", cwd=cls.place.path)

    def assert_documented(self, section: str, *objects: dict) -> None:
        keys = set().union(*(found.keys() for found in objects))
        self.assertEqual(sorted(keys), sorted(first_cells(self.page[section])), section)

    def words_of(self, section: str, key: str) -> list[str]:
        """What the page has in backticks of what it says of a key."""
        meaning = next(row[1] for row in rows(self.page[section]) if row[0] == f"`{key}`")
        return re.findall(r"`(\w+)`", meaning)

    def lines(self, file: str, kind: str = "") -> list[dict]:
        found = [json.loads(line) for line in (self.place.path / file).read_text().splitlines()]
        return [entry for entry in found if entry.get("kind", "") == kind]

    def test_metrics(self) -> None:
        self.assert_documented("metrics.jsonl: `update`", *self.lines("run/metrics.jsonl", "update"),
                               *self.lines("sft/metrics.jsonl", "update"))
        before, *after = self.lines("run/metrics.jsonl", "round")
        self.assertEqual(sorted(before), ["eval_reward", "eval_seconds", "kind", "round", "step"])
        self.assert_documented("metrics.jsonl: `round`", *after)
        self.assert_documented("metrics.jsonl: `eval`", *self.lines("sft/metrics.jsonl", "eval"))

    def test_samples(self) -> None:
        self.assert_documented("samples/round-NNNN.jsonl", *self.lines("run/samples/round-0001.jsonl"))

    def test_exit_record(self) -> None:
        record = json.loads((self.place.path / "run/exit/rank-0.json").read_text())
        self.assert_documented("exit/rank-N.json", record)
        self.assertEqual((record["code"], record["reason"]), (0, "finished"))

    def test_generate(self) -> None:
        out = hone("generate", "--model_name_or_path", self.place.model, "--prompts_file", "prompts.jsonl",
                   "--max_new_tokens", "4", cwd=self.place.path)
        self.assert_documented("hone generate", *(json.loads(line) for line in out.splitlines()))

    def test_eval(self) -> None:
        out = hone("eval", "--model_name_or_path", self.place.model, "--eval_file", "samples.jsonl", "--json",
                   cwd=self.place.path)
        self.assert_documented("hone eval", json.loads(out))

    def test_verify(self) -> None:
        lines = json.loads(hone("verify", "--model_name_or_path", self.place.model, "--train_file", "samples.jsonl",
                                "--json", cwd=self.place.path))
        self.assert_documented("hone verify", *lines)

    def test_checkpoint(self) -> None:
        listed = json.loads(hone("checkpoint", "list", "run", "--json", cwd=self.place.path))
        self.assert_documented("hone checkpoint", *listed["checkpoints"])
        repaired = json.loads(hone("checkpoint", "repair", "run", "--json", cwd=self.place.path))
        self.assertEqual(repaired, {"done": [], "any_whole": True})

    def test_inspect(self) -> None:
        whole = json.loads(hone("inspect", "run/checkpoint-1", "--json", cwd=self.place.path))
        self.assert_documented("hone inspect", whole)
        self.assert_documented("hone inspect: `state`", whole["state"] | {"best_metric": None, "best_metric_name": None})
        self.assertEqual(self.words_of("hone inspect", "tensors"), list(whole["tensors"][0]))
        listed = json.loads(hone("inspect", "run", "--json", cwd=self.place.path))
        self.assertEqual(listed, {"checkpoints": [{"path": "run/checkpoint-1"}]})

    def test_plan(self) -> None:
        report = json.loads(hone("plan", self.place.model, "--ranks", "1,8", "--tflops", "1",
                                 "--node_link_gb_per_second", "1", "--memory_gb", "0.1", "--json"))
        self.assert_documented("hone plan", report, *report["plans"])
        self.assert_documented("hone plan: `rank_bytes`", *(plan["rank_bytes"] for plan in report["plans"]))

    def test_bench(self) -> None:
        report = json.loads(hone("bench", "allreduce", "--max_bytes", "4096", "--repeats", "1", "--json"))
        self.assert_documented("hone bench allreduce", report, *report["results"])

    def test_bench_step(self) -> None:
        report = json.loads(hone("bench", "step", self.place.model, "--lengths", "5,9", "--repeats", "1", "--profile",
                                 "--json"))
        self.assert_documented("hone bench step", report)
        self.assert_documented("hone bench step: `rows`", *report["rows"])
        self.assertEqual(self.words_of("hone bench step: `rows`", "what"), [row["what"] for row in report["rows"]])
        self.assertEqual(self.words_of("hone bench step", "operators"), list(report["operators"][0]))

    def test_bench_generate(self) -> None:
        model = self.place.path / "endless"
        model.mkdir()
        config = json.loads((Path(self.place.model) / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"eos_token_id": None}))
        report = json.loads(hone("bench", "generate", str(model), "--max_new_tokens", "2", "--repeats", "1", "--json"))
        self.assert_documented("hone bench generate", report)

    def test_env(self) -> None:
        report = json.loads(hone("env", "--json"))
        self.assert_documented("hone env", report)
        for row in rows(self.page["hone env"])[:3]:
            with self.subTest(row[0]):
                for name, value in report[row[0].strip("`")].items():
                    for key in [name, *(value if isinstance(value, dict) else [])]:
                        self.assertIn(f"`{key}`", row[1])

    def test_files_of_a_run(self) -> None:
        listed = " ".join(first_cells(self.page["The run directory"]))
        for entry in (self.place.path / "run").iterdir():
            name = re.sub(r"-\d+$", "-N", entry.name)
            if name not in ("tokenizer_config.json", "generation_config.json"):
                self.assertIn(name, listed)

    def test_resolved_configuration_is_taken_back(self) -> None:
        hone("run", "run/config.yaml", "--output_dir", "again", cwd=self.place.path)
        first, again = ((self.place.path / name / "samples/round-0001.jsonl").read_text() for name in ("run", "again"))
        self.assertEqual(first, again)


class Examples(unittest.TestCase):
    """Blocks marked `run` and `file NAME` do what they say."""

    def setUp(self) -> None:
        self.place = Workplace()
        self.addCleanup(self.place.close)

    def run_page(self, page: Path) -> None:
        marked = [block for block in blocks(page) if block.mark]
        self.assertTrue(marked, page)
        for block in marked:
            if block.mark.startswith("file "):
                (self.place.path / block.mark.removeprefix("file ")).write_text(block.text)
            else:
                self.assertEqual(block.mark, "run")
                self.place.shell(block.text)

    def run_readme(self) -> None:
        """With the prompts of the page: a file of the same name where the job runs would win."""
        (self.place.path / "prompts.jsonl").unlink()
        self.run_page(SOURCE / "README.md")

    def test_readme(self) -> None:
        self.run_readme()
        self.assertTrue((self.place.path / "runs/mine/model.safetensors").exists())

    def test_readme_teaches_what_it_says(self) -> None:
        if not os.environ.get("HONE_DEMO_MODEL"):
            self.skipTest("HONE_DEMO_MODEL names no folder")
        self.place = Workplace(os.environ["HONE_DEMO_MODEL"])
        self.addCleanup(self.place.close)
        self.run_readme()
        records = map(json.loads, (self.place.path / "runs/mine/metrics.jsonl").read_text().splitlines())
        accuracy = [record["eval_reward"] for record in records if "eval_reward" in record]
        self.assertEqual(len(accuracy), 5)
        self.assertGreater(accuracy[-1], accuracy[0] + 0.3, accuracy)
        self.run_page(SOURCE / "docs/checkpoints.md")

    def test_checkpoints(self) -> None:
        # A run of four updates that keeps its newest checkpoints, as the README's does.
        self.place.shell("mpirun -np 2 build/hone train --model_name_or_path SmolLM2-135M-Instruct --train_file "
                         "samples.jsonl --output_dir runs/mine --max_steps 4 --save_steps 1 --save_total_limit 2")
        self.run_page(SOURCE / "docs/checkpoints.md")
        self.assertTrue((self.place.path / "exported/model.safetensors").exists())

    def test_loop(self) -> None:
        if not self.place.shell("command -v jq || true"):
            self.skipTest("the shell example needs jq")
        self.run_page(SOURCE / "docs/loop.md")
        samples = (self.place.path / "runs/shell/samples/round-0001.jsonl").read_text().splitlines()
        for sample in map(json.loads, samples):
            digits = any("0" <= letter <= "9" for letter in sample["completion"])
            self.assertEqual(sample["reward"], 1.0 if digits else 0.0, sample)

    def test_commands(self) -> None:
        self.run_page(SOURCE / "docs/commands.md")

    def test_scaling(self) -> None:
        """What the page shows below a command is what the command prints."""
        shown = 0
        page = [block for block in blocks(SOURCE / "docs/scaling.md") if block.mark or block.language == "text"]
        for block, after in zip(page, [*page[1:], None]):
            if block.mark.startswith("file "):
                (self.place.path / block.mark.removeprefix("file ")).write_text(block.text)
            elif block.mark == "run":
                printed = self.place.shell(block.text)
                if after and after.language == "text":
                    shown += 1
                    self.assertEqual(printed, after.text)
        self.assertEqual(shown, 5)

    def test_cpp_blocks_are_compiled_ones(self) -> None:
        compiled = "".join((SOURCE / file).read_text() for file in (
            "examples/library/iterative_loop.cpp", "tests/docs/library_snippets_test.cpp"))
        for page in (SOURCE / "README.md", SOURCE / "docs/library.md"):
            for block in blocks(page):
                if block.language == "cpp":
                    self.assertIn(block.text, compiled, page)


class Links(unittest.TestCase):
    def test_targets_exist(self) -> None:
        for page in PAGES:
            text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
            for target in re.findall(r"\]\(([^)]+)\)", text):
                with self.subTest(f"{page.name}: {target}"):
                    self.assertNotIn("://", target)
                    file, _, name = target.partition("#")
                    linked = (page.parent / file) if file else page
                    self.assertTrue(linked.exists())
                    if name:
                        self.assertIn(name, [anchor(title) for title in sections(linked)])


if __name__ == "__main__":
    unittest.main()
