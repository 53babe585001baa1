"""A training step: hone against TRL's trainer, the best Python loop and the products alone."""

import argparse
import pathlib

import models
import worker
from table import GB, Way, ratios, spread, table
from worker import flags

# Measured after the others, which take all memory together; in rounds of their own.
SETTLED = "trl_settled"
SETTLED_ROUNDS = 2
LENGTHS = [111, 306, 347, 172, 183, 102, 77, 78]


class Case:
    """One model in one precision. A round makes one step of each way, in an order that turns."""

    def __init__(
        self, options: argparse.Namespace, folder: pathlib.Path, model: str, bf16: bool
    ) -> None:
        self.options, self.folder, self.name, self.bf16 = options, folder, model, bf16
        self.model = models.write(folder, model, options.num_layers)
        self.lengths = options.lengths or LENGTHS
        both = options.threads > 1
        self.hone = Way(f"hone, 1 process x {options.threads}")
        self.split = Way(f"hone, {options.threads} processes x 1") if both else None
        self.beside_settled = Way("hone, 1 process, in the rounds of TRL with hone's settings")
        self.workers: dict[str, worker.Worker] = {}
        self.ways = {
            "trl": Way("TRL IterativeSFTTrainer"),
            "loop": Way("best Python loop"),
            "products": Way("matrix products alone"),
            SETTLED: Way("TRL, hone's settings"),
        }

    def hone_step(self, threads: int, ranks: int) -> dict:
        return worker.hone_step(self.options.hone, [str(self.model), *self.common()], threads, ranks)

    def common(self) -> list[str]:
        return flags(lengths=",".join(map(str, self.lengths)), bf16=self.bf16)

    def start(self, key: str, onednn: bool, variables: dict[str, str] | None = None) -> None:
        arguments = [str(self.model), *self.common(), *flags(onednn=onednn)]
        log = self.model / f"{key}-{'bfloat16' if self.bf16 else 'float32'}.log"
        program = f"{key.split('_')[0]}_step.py"
        started = worker.Worker(program, arguments, self.options.threads, log, variables)
        self.workers[key] = started
        self.ways[key].note = started.ready.get("note", "")

    def start_all(self) -> None:
        self.onednn = self.hone_step(self.options.threads, 1)["products_by"] == "oneDNN"
        self.start("trl", onednn=False)
        self.start("loop", self.onednn, worker.KEEP_MEMORY)
        self.start("products", self.onednn)

    def close_all(self) -> None:
        for started in self.workers.values():
            started.close()
        self.workers.clear()

    def measure_hone(self, way: Way, threads: int, ranks: int) -> None:
        answer = self.hone_step(threads, ranks)
        way.add(sum(self.lengths) / answer["seconds"], answer)

    def measure_peer(self, key: str) -> None:
        answer = self.workers[key].step()
        self.ways[key].add(sum(self.lengths) / answer["seconds"], answer)

    def round(self, number: int) -> None:
        turns = [lambda: self.measure_hone(self.hone, self.options.threads, 1)]
        turns += [lambda key=key: self.measure_peer(key) for key in self.workers]
        if self.split:
            turns.append(lambda: self.measure_hone(self.split, 1, self.options.threads))
        for i in range(len(turns)):
            turns[(i + number) % len(turns)]()

    def settled_round(self, number: int) -> None:
        """Beside its own speed, that of hone in the same round is kept."""
        self.measure_peer(SETTLED)
        answer = self.hone_step(self.options.threads, 1)
        self.beside_settled.add(sum(self.lengths) / answer["seconds"], answer)

    def run(self) -> None:
        try:
            self.start_all()
            for number in range(self.options.rounds):
                self.round(number)
            self.close_all()
            self.start(SETTLED, self.onednn, worker.KEEP_MEMORY)
            for number in range(min(SETTLED_ROUNDS, self.options.rounds)):
                self.settled_round(number)
        finally:
            self.close_all()

    def hones(self) -> list[Way]:
        return [self.hone, *([self.split] if self.split else [])]

    def all_ways(self) -> list[Way]:
        return [*self.hones(), *(way for key, way in self.ways.items() if key != SETTLED)]

    def apart(self) -> list[Way]:
        return [self.beside_settled, self.ways[SETTLED]]

    def title(self) -> str:
        dtype = "bfloat16" if self.bf16 else "float32"
        return (
            f"Training step, {self.name}, {dtype}: {len(self.lengths)} sequences, "
            f"{sum(self.lengths)} tokens, {self.options.threads} threads, "
            f"{self.options.rounds} rounds"
        )

    def compared(self, way: Way) -> str:
        share = [100 * value for value in ratios(way, self.ways["products"])]
        return (
            f"{way.name}: TRL x {spread(ratios(way, self.ways['trl']), 5, 2)}, "
            f"best loop x {spread(ratios(way, self.ways['loop']), 5, 2)}, "
            f"products {spread(share, 3, 0)} %\n"
        )

    def beside_trl(self, way: Way) -> str:
        return f"{way.name}: {100 * way.memory / self.ways['trl'].memory:.0f} % of TRL's memory each\n"

    def text(self) -> str:
        text = table(self.title(), self.all_ways())
        text += "".join(map(self.compared, self.hones()))
        text += "".join(map(self.beside_trl, self.hones()))
        settled = self.ways[SETTLED]
        ratio = spread(ratios(*self.apart()), 5, 2)
        note = f" ({settled.note})" if settled.note else ""
        text += f"TRL with hone's settings, in rounds of its own: x {ratio}, {settled.memory * GB:.2f} GB"
        return text + note + "\n"


def cases(options: argparse.Namespace) -> list[tuple[str, bool]]:
    shapes = ["GPT-2 124M"] if options.short else models.CONFIGS
    return [(model, bf16) for model in shapes for bf16 in options.bf16_values]


def run(options: argparse.Namespace, folder: pathlib.Path) -> list[dict]:
    records = []
    for model, bf16 in cases(options):
        case = Case(options, folder, model, bf16)
        case.run()
        print(case.text(), flush=True)
        ways = [*case.all_ways(), *case.apart()]
        records += [{"what": case.title(), **vars(way)} for way in ways]
    return records
