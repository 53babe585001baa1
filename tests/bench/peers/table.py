"""Minimum, median and maximum of what was measured, and how many times faster hone was."""

import dataclasses
import statistics

GB = 1e-9


@dataclasses.dataclass
class Way:
    """One way of doing the same work. Numbers by round."""

    name: str
    speeds: list[float] = dataclasses.field(default_factory=list)  # tokens a second
    memory: int = 0  # bytes, the most of any round
    note: str = ""

    def add(self, speed: float, answer: dict) -> None:
        self.speeds.append(speed)
        self.memory = max(self.memory, answer["peak_memory"])


def spread(values: list[float], width: int, digits: int) -> str:
    parts = (min(values), statistics.median(values), max(values))
    return " ".join(f"{value:{width}.{digits}f}" for value in parts)


def ratios(ours: Way, theirs: Way) -> list[float]:
    """Of the same round: the machine's speed drifts from one round to the next."""
    return [mine / other for mine, other in zip(ours.speeds, theirs.speeds)]


def line_of(way: Way, ours: Way) -> str:
    memory = f"{way.memory * GB:6.2f}" if way.memory else f"{'-':>6}"
    compared = f"{'':20}" if way is ours else spread(ratios(ours, way), 6, 2)
    speeds = spread(way.speeds, 6, 0 if min(way.speeds) >= 100 else 1)
    return f"{way.name:34} {speeds}  {compared}  {memory}"


def table(title: str, ways: list[Way]) -> str:
    """`ways` begins with hone's, with which the others are compared."""
    ours = ways[0]
    lines = [
        title,
        f"{'':34} {'tokens/s':^20}  {'hone is faster by':^20}  {'peak':>6}",
        f"{'':34} " + 2 * f"{'min':>6} {'median':>6} {'max':>6}  " + f"{'GB':>6}",
    ]
    lines += [line_of(way, ours) for way in ways]
    lines += [f"{way.name}: {way.note}" for way in ways if way.note]
    return "\n".join(lines) + "\n"
