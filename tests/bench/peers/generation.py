"""Completions of prompts: hone against transformers' generate()."""

import argparse
import pathlib
import statistics

import models
import worker
from table import Way, spread, table
from worker import flags

MODEL = "SmolLM2-135M"
PROMPT_LENGTH = 64
BATCHES = (1, 8, 16)
# Not measured in this run: llama.cpp (of llama-cpp-python 0.3.36, built for the processor) on 2
# cores of an AMD EPYC (Zen 5), the same shape with random weights; decoding alone, without the
# prompt. By bf16, then batch.
LLAMA_CPP = {False: {1: 63, 8: 214, 16: 319}, True: {1: 103, 8: 349, 16: 520}}

Kind = tuple[int, str]  # batch, greedy or sampling


class Case:
    """One precision. A round makes each kind once by each way, in an order that turns."""

    def __init__(self, options: argparse.Namespace, folder: pathlib.Path, bf16: bool) -> None:
        self.options, self.folder, self.bf16 = options, folder, bf16
        self.model = models.write(folder, MODEL, options.num_layers)
        self.kinds = [(batch, way) for way in ("greedy", "sampling") for batch in BATCHES]
        self.hone = {kind: Way("hone") for kind in self.kinds}
        self.plain = {kind: Way("transformers as it comes") for kind in self.kinds}
        self.best = {kind: Way("transformers, hone's settings") for kind in self.kinds}
        self.bandwidth: dict[Kind, list[float]] = {kind: [] for kind in self.kinds}

    def hone_run(self, batch: int, way: str) -> dict:
        new_tokens = self.options.new_tokens
        arguments = ["bench", "generate", str(self.model), *self.common()]
        arguments += flags(use_cpu=True, batch_size=batch, max_new_tokens=new_tokens, repeats=1)
        if way == "sampling":
            arguments += flags(do_sample=True, temperature=0.8, top_k=50, top_p=0.95)
        return worker.hone(self.options.hone, arguments, self.options.threads)

    def common(self) -> list[str]:
        return flags(prompt_length=PROMPT_LENGTH, bf16=self.bf16)

    def start(
        self, name: str, variables: dict[str, str] | None = None, **settings: bool
    ) -> worker.Worker:
        arguments = [str(self.model), *self.common()]
        arguments += flags(new_tokens=self.options.new_tokens, **settings)
        return worker.Worker(
            "generate.py", arguments, self.options.threads, self.folder / f"{name}.log", variables
        )

    def start_best(self, onednn: bool) -> worker.Worker:
        name = "transformers-settings"
        peer = self.start(name, worker.KEEP_MEMORY, onednn=onednn, best_precision=True)
        for way in self.best.values():
            way.note = peer.ready["note"]
        return peer

    def measure_hone(self, kind: Kind) -> None:
        answer = self.hone_run(*kind)
        self.hone[kind].add(answer["tokens_per_second"], answer)
        self.bandwidth[kind].append(100 * answer["share_of_bandwidth"])

    def measure_peer(self, peer: worker.Worker, ways: dict[Kind, Way], kind: Kind) -> None:
        answer = peer.step(batch=kind[0], way=kind[1])
        ways[kind].add(kind[0] * self.options.new_tokens / answer["seconds"], answer)

    def measure(self, kind: Kind, number: int, plain: worker.Worker, best: worker.Worker) -> None:
        turns = [
            lambda: self.measure_hone(kind),
            lambda: self.measure_peer(plain, self.plain, kind),
            lambda: self.measure_peer(best, self.best, kind),
        ]
        for i in range(len(turns)):
            turns[(i + number) % len(turns)]()

    def run(self) -> None:
        onednn = self.hone_run(1, "greedy")["products_by"] == "oneDNN"
        started = []
        try:
            started.append(self.start("transformers"))
            started.append(self.start_best(onednn))
            for peer in started:  # once each that does not count
                for batch, way in self.kinds:
                    peer.step(batch=batch, way=way)
            for number in range(self.options.rounds):
                for kind in self.kinds:
                    self.measure(kind, number, *started)
        finally:
            for peer in started:
                peer.close()

    def show(self, kind: Kind) -> list[dict]:
        batch, way = kind
        ways = [self.hone[kind], self.plain[kind], self.best[kind]]
        title = (
            f"Generation, {MODEL}, {'bfloat16' if self.bf16 else 'float32'}, {way}, batch {batch}: "
            f"prompt {PROMPT_LENGTH}, {self.options.new_tokens} new tokens, "
            f"{self.options.threads} threads, {self.options.rounds} rounds"
        )
        text = table(title, ways)
        middle = statistics.median(self.bandwidth[kind])
        text += f"hone reads weights at {middle:.0f} % of the memory's read bandwidth\n"
        if way == "greedy":
            published = LLAMA_CPP[self.bf16][batch]
            ratio = [speed / published for speed in self.hone[kind].speeds]
            text += (
                f"llama.cpp, published, not of this run: {published} tokens/s, "
                f"hone x {spread(ratio, 5, 2)}\n"
            )
        print(text, flush=True)
        return [{"what": title, **vars(entry)} for entry in ways]


def run(options: argparse.Namespace, folder: pathlib.Path) -> list[dict]:
    records = []
    for bf16 in options.bf16_values:
        case = Case(options, folder, bf16)
        case.run()
        for kind in case.kinds:
            records += case.show(kind)
    return records
