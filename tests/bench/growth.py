"""How speed and memory of an update grow with the length of sequences, their number, and the
layers of the model, of SmolLM2-135M's shape: a line for each point, and a chart.

For a machine that does nothing else: some ten minutes, and 20 GB of free memory.
"""

import argparse
import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "peers"))
import models
import worker
from worker import flags

MODEL = "SmolLM2-135M"
TOKENS = 4096
SWEEPS = {  # name: (what grows, its values, sequences and layers of each)
    "length": ("tokens of a sequence, 4,096 in all", [64 << i for i in range(7)]),
    "batch": ("sequences of 128 tokens", [1 << i for i in range(7)]),
    "layers": ("layers, 8 sequences of 128 tokens", [2, 4, 8, 16, 32, 48]),
}


def lengths_of(sweep: str, value: int) -> list[int]:
    if sweep == "length":
        return [value] * (TOKENS // value)
    return [128] * (value if sweep == "batch" else 8)


def measure(options: argparse.Namespace, folder: pathlib.Path, sweep: str, value: int) -> dict:
    lengths = lengths_of(sweep, value)
    model = models.write(folder, MODEL, value if sweep == "layers" else None)
    arguments = ["bench", "step", str(model)]
    arguments += flags(
        lengths=",".join(map(str, lengths)),
        per_device_train_batch_size=len(lengths),
        repeats=3 if sum(lengths) < TOKENS else 1,
        bf16=options.bf16,
        use_cpu=True,
    )
    report = worker.hone(options.hone, arguments, options.threads)
    return {
        "sweep": sweep,
        "value": value,
        "speed": sum(lengths) / report["seconds"],
        "gigabytes": report["peak_memory"] * 1e-9,
        "seconds": report["seconds"],
    }


class Panel:
    """One chart: a value for each place, on an axis whose places are even (values double)."""

    WIDTH, HEIGHT, LEFT, TOP = 250, 150, 52, 34

    def __init__(self, column: int, row: int, title: str, below: str) -> None:
        self.x = self.LEFT + column * (self.WIDTH + 70)
        self.y = self.TOP + row * (self.HEIGHT + 84)
        self.title, self.below = title, below

    def svg(self, points: list[tuple[int, float]]) -> str:
        top = max(value for _, value in points) * 1.1
        places = [
            (
                self.x + self.WIDTH * i / (len(points) - 1),
                self.y + self.HEIGHT * (1 - value / top),
            )
            for i, (_, value) in enumerate(points)
        ]
        bottom = self.y + self.HEIGHT
        parts = [
            f'<text x="{self.x}" y="{self.y - 10}" class="title">{self.title}</text>',
            f'<path d="M{self.x} {self.y}V{bottom}H{self.x + self.WIDTH}" class="axis"/>',
            f'<text x="{self.x + self.WIDTH / 2}" y="{bottom + 36}" class="middle">'
            f"{self.below}</text>",
            '<polyline class="line" points="'
            + " ".join(f"{x:.0f},{y:.0f}" for x, y in places)
            + '"/>',
        ]
        for (x, y), (value, height) in zip(places, points):
            parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="2.5"/>')
            parts.append(f'<text x="{x:.0f}" y="{bottom + 16}" class="middle">{value}</text>')
            shown = f"{height:.0f}" if height >= 100 else f"{height:.1f}"
            parts.append(f'<text x="{x:.0f}" y="{y - 7:.0f}" class="middle">{shown}</text>')
        return "\n".join(parts)


STYLE = """<style>
text { font: 10px sans-serif; fill: #444; }
.title { font-weight: bold; font-size: 12px; }
.middle { text-anchor: middle; }
.axis { fill: none; stroke: #999; }
.line { fill: none; stroke: #2a6fb0; stroke-width: 2; }
circle { fill: #2a6fb0; }
</style>"""


def chart(points: list[dict]) -> str:
    panels = []
    for column, (sweep, (below, _)) in enumerate(SWEEPS.items()):
        own = [point for point in points if point["sweep"] == sweep]
        # The output layer takes its time however few layers there are.
        first = ("seconds", "seconds") if sweep == "layers" else ("tokens a second", "speed")
        for row, (name, key) in enumerate([first, ("peak memory, GB", "gigabytes")]):
            drawn = [(point["value"], point[key]) for point in own]
            panels.append(Panel(column, row, name, below).svg(drawn))
    body = "\n".join(panels)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 980 480">\n'
        f'{STYLE}\n<rect width="980" height="480" fill="white"/>\n{body}\n</svg>\n'
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hone", type=pathlib.Path, help="the program")
    parser.add_argument("--threads", type=int, default=2, help="of the program; default 2")
    parser.add_argument("--bf16", action="store_true", help="in bfloat16")
    parser.add_argument("--json", type=pathlib.Path, help="a file for all numbers")
    parser.add_argument("--svg", type=pathlib.Path, help="a file for the chart")
    options = parser.parse_args()
    if not options.hone.is_file():
        parser.error(f"{options.hone} is no program; build it, and give build/hone")
    return options


def main() -> int:
    options = parse()
    options.hone = options.hone.resolve()
    points = []
    with tempfile.TemporaryDirectory(prefix="hone-growth-") as folder:
        for sweep, (_, values) in SWEEPS.items():
            for value in values:
                try:
                    point = measure(options, pathlib.Path(folder), sweep, value)
                except worker.Failed as failure:
                    print(failure, file=sys.stderr)
                    return 1
                points.append(point)
                print(
                    f"{sweep:7} {value:5}  {point['seconds']:8.3f} s  {point['speed']:8.1f} tokens/s  "
                    f"{point['gigabytes']:6.2f} GB",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps(points, indent=1) + "\n")
    if options.svg:
        options.svg.write_text(chart(points))
    return 0


sys.exit(main())
