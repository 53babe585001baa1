"""`hone run` on two ranks: what the run directory holds, and that its numbers add up."""

import collections
import json
import re
import sys
import unittest

from harness import checkpoints, read_lines, read_metrics, write_script
from loop_job import DEFAULTS, LoopTest

PER_ROUND = DEFAULTS["prompts"]["per_round"]
SAMPLES = DEFAULTS["generate"]["num_return_sequences"]


class RewardProgram(LoopTest):
    """One run with a reward program, looked at from all sides."""

    def setUp(self) -> None:
        super().setUp()
        self.write_loop(eval={"file": "eval.jsonl"}, save={"strategy": "round"})
        self.output = self.folder / "out"
        self.ended = self.run_loop(self.output)
        self.rounds = {i: read_lines(self.output / f"samples/round-{i:04}.jsonl") for i in (1, 2, 3)}

    def test_run(self) -> None:
        for check in (
            self.check_files,
            self.check_samples,
            self.check_counts,
            self.check_rule,
            self.check_trained,
            self.check_trained_once,
            self.check_screen,
        ):
            with self.subTest(check.__name__):
                check()

    def check_files(self) -> None:
        for name in (
            "metrics.jsonl",
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "config.yaml",
            "logs/rank-0.log",
            "logs/rank-1.log",
        ):
            self.assertGreater((self.output / name).stat().st_size, 0, name)
        for rank in (0, 1):
            record = json.loads((self.output / f"exit/rank-{rank}.json").read_text())
            self.assertEqual((record["code"], record["reason"]), (0, "finished"))
        self.assertEqual(
            checkpoints(self.output), [record["step"] for record in read_metrics(self.output, "round") if record["round"]]
        )
        self.assertIn("num_rounds: 3", (self.output / "config.yaml").read_text())

    def check_samples(self) -> None:
        everything = [(p, k) for p in range(PER_ROUND) for k in range(SAMPLES)]
        for number, samples in self.rounds.items():
            self.assertEqual([(s["prompt_index"], s["k"]) for s in samples], everything)
            self.assertEqual({s["rank"] for s in samples}, {0, 1}, "both ranks generate")
            self.assertEqual({s["round"] for s in samples}, {number})
            self.assertEqual(len({s["prompt"] for s in samples}), PER_ROUND)
            for sample in samples:
                self.assertEqual(sample["kept"], sample["outcome"] == "kept")
                self.assertIn(sample["finish_reason"], ("eos", "length"))
                self.assertIsInstance(sample["completion"], str)
                self.assertIn(len(sample["completion_ids"]), (1, 2))
        first, second = ([(s["prompt"], s["completion_ids"]) for s in self.rounds[number]] for number in (1, 2))
        self.assertNotEqual(first, second)

    def check_counts(self) -> None:
        seen = collections.Counter()
        for record in read_metrics(self.output, "round"):
            if record["round"] == 0:
                continue
            outcomes = collections.Counter(s["outcome"] for s in self.rounds[record["round"]])
            seen += outcomes
            parts = ("kept", "below_threshold", "duplicate", "not_best")
            self.assertEqual(record["generated"], sum(record[part] for part in parts))
            self.assertEqual(record["generated"], PER_ROUND * SAMPLES)
            self.assertEqual({part: record[part] for part in parts}, {part: outcomes[part] for part in parts})
            rewards = [s["reward"] for s in self.rounds[record["round"]]]
            self.assertAlmostEqual(record["reward"], sum(rewards) / len(rewards), places=9)
        self.assertEqual(len(seen), 4, f"each outcome should occur, else this shows little: {seen}")

    def check_rule(self) -> None:
        """Kept are, of each prompt, the best three different completions of at least 0.3."""
        for samples in self.rounds.values():
            by_prompt = collections.defaultdict(list)
            for sample in samples:
                by_prompt[sample["prompt_index"]].append(sample)
            for each in by_prompt.values():
                passing = {s["completion"]: s["reward"] for s in each if s["reward"] >= 0.3}
                kept = [s for s in each if s["kept"]]
                self.assertEqual(len({s["completion"] for s in kept}), len(kept))
                best = sorted(passing.values(), reverse=True)[:3]
                self.assertEqual(sorted((s["reward"] for s in kept), reverse=True), best)

    def check_trained(self) -> None:
        """What was kept was trained, once: in samples, and in tokens, as only completions are targets."""
        updates = read_metrics(self.output, "update")
        self.assertEqual([u["step"] for u in updates], list(range(1, len(updates) + 1)))
        for record in read_metrics(self.output, "round"):
            if record["round"] == 0:
                continue
            kept = [s for s in self.rounds[record["round"]] if s["kept"]]
            own = [u for u in updates if u["round"] == record["round"]]
            self.assertEqual(sum(u["num_samples"] for u in own), len(kept))
            self.assertEqual(record["num_samples"], len(kept))
            self.assertEqual(sum(u["num_tokens"] for u in own), sum(len(s["completion_ids"]) for s in kept))
            self.assertEqual(len(own), -(-len(kept) // 4))
            self.assertEqual(record["step"], own[-1]["step"])

    def check_trained_once(self) -> None:
        """Both ranks' logs name, by place among the kept in the order of (prompt, k), what each update trains
        there. Every place comes once, on one rank."""
        pattern = re.compile(r"update (\d+) trains samples((?: \d+)*) of the call here")
        trained = collections.defaultdict(list)
        ranks_at_work = set()
        for rank in (0, 1):
            for update, places in pattern.findall((self.output / f"logs/rank-{rank}.log").read_text()):
                trained[int(update)] += map(int, places.split())
                if places:
                    ranks_at_work.add(rank)
        self.assertEqual(ranks_at_work, {0, 1})
        for number, samples in self.rounds.items():
            updates = [u["step"] for u in read_metrics(self.output, "update") if u["round"] == number]
            places = [place for step in updates for place in trained[step]]
            self.assertEqual(sorted(places), list(range(sum(s["kept"] for s in samples))))

    def check_screen(self) -> None:
        """Plain key=value lines where there is no terminal; a closing summary; ranks do not repeat them."""
        lines = self.ended.out.splitlines()
        self.assertEqual(sum(line.startswith("round=3/3 ") for line in lines), 1, self.ended.out)
        self.assertIn("2 ranks", lines[0])
        self.assertIn("--resume_from_checkpoint auto", lines[-1])
        self.assertIn("before ", self.ended.out)
        self.assertNotIn("\x1b", self.ended.out)


class TaskFolder(LoopTest):
    def test_files_are_looked_for_beside_the_loop_file(self) -> None:
        task = self.folder / "task"
        task.mkdir()
        (self.folder / "reward.py").rename(task / "score.py")
        (self.folder / "prompts.jsonl").rename(task / "prompts.jsonl")
        loop = self.write_loop(num_rounds=1, reward={"command": [sys.executable, "score.py", str(self.folder)]})
        loop.rename(task / "loop.yaml")
        ended = self.hone("run", "task/loop.yaml", "--output_dir", "out", ranks=2)
        self.assertIn("14 prompts, 0 for evaluation, 1 round\n", ended.out)
        self.assertTrue((self.folder / "out/model.safetensors").exists())


class NothingKept(LoopTest):
    def test_says_so_and_where_to_look(self) -> None:
        self.write_loop(num_rounds=2, reward={"check": "exact", "field": "answer"}, keep={"threshold": 1})
        ended = self.run_loop(self.folder / "out", "--gradient_checkpointing")
        self.assertIn("\nwith   gradient_checkpointing\n", ended.out)
        self.assertIn("round 2 keeps none of its 36 completions", ended.err)
        self.assertIn("samples/round-0002.jsonl", ended.err)
        self.assertIn("nothing was trained", ended.out)
        self.assertNotIn("loss=", ended.out, "there is none")
        self.assertNotIn("loss", read_metrics(self.folder / "out", "round")[-1])
        for file in ("model.safetensors",):
            self.assertTrue((self.folder / "out" / file).exists())


class BuiltInCheck(LoopTest):
    def test_regex(self) -> None:
        self.write_loop(
            reward={"check": "regex", "pattern": "[a-m]"},
            keep={"threshold": 0.5},
            eval={"file": "eval.jsonl", "every_rounds": 2},
            save={"strategy": "round", "total_limit": 1},
        )
        run = self.folder / "out"
        ended = self.run_loop(run)
        for number in (1, 2, 3):
            for sample in read_lines(run / f"samples/round-{number:04}.jsonl"):
                passes = any(letter in sample["completion"] for letter in "abcdefghijklm")
                self.assertEqual(sample["reward"], float(passes))
                self.assertEqual(sample["kept"], passes)
        self.assertEqual(len(checkpoints(run)), 2, "two stay at least")
        self.assertIn("accuracy", ended.out)
        evaluated = [r["round"] for r in read_metrics(run, "round") if "eval_reward" in r]
        self.assertEqual(evaluated, [0, 2, 3])

    def test_the_number_of_ranks_changes_no_sample(self) -> None:
        self.write_loop(reward={"check": "exact", "field": "answer"}, keep={"all": True}, num_rounds=1)
        texts = []
        for ranks in (None, 2):
            run = self.folder / f"out-{ranks}"
            self.run_loop(run, ranks=ranks)
            texts.append([s | {"rank": 0} for s in read_lines(run / "samples/round-0001.jsonl")])
        self.assertEqual(*texts)


# Of evaluation prompts, which come last: the answers of round 1 are the best.
BEST_FIRST = """
import json, pathlib, sys
for line in sys.stdin:
    request = json.loads(line)
    is_eval = int(request["prompt"].split()[1]) >= 14
    rounds = len(list(pathlib.Path(sys.argv[1]).glob("out/samples/round-*.jsonl")))
    print((0.1, 0.9, 0.5, 0.4, 0.3)[rounds] if is_eval else 0.5, flush=True)
"""


class BestRound(LoopTest):
    def test_its_checkpoint_stays_beside_the_newest(self) -> None:
        script = [*write_script(self.folder / "best_first.py", BEST_FIRST), str(self.folder)]
        self.write_loop(
            num_rounds=4,
            reward={"command": script, "timeout": 30},
            eval={"file": "eval.jsonl"},
            save={"strategy": "round", "total_limit": 2},
        )
        run = self.folder / "out"
        self.run_loop(run)
        ends = [record["step"] for record in read_metrics(run, "round") if record["round"]]
        self.assertEqual(checkpoints(run), [ends[0], ends[2], ends[3]])


class SavesThatWait(LoopTest):
    def test_ceiling_of_overhead(self) -> None:
        """The first save tells what one takes, and the last is never left out: those between have to wait."""
        for ceiling, rounds_saved in ((0, 4), (1e-9, 2)):
            run = self.folder / f"out-{rounds_saved}"
            self.write_loop(num_rounds=4, save={"strategy": "round", "max_overhead": ceiling})
            self.run_loop(run)
            ends = [max(u["step"] for u in read_metrics(run, "update") if u["round"] == n) for n in (1, 2, 3, 4)]
            self.assertEqual(checkpoints(run), ends if rounds_saved == 4 else [ends[0], ends[-1]])


if __name__ == "__main__":
    unittest.main()
