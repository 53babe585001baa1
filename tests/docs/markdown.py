"""What the tests of the documentation read from its pages."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(os.environ["HONE_SOURCE"])
PAGES = [SOURCE / "README.md", SOURCE / "CONTRIBUTING.md", *sorted((SOURCE / "docs").glob("*.md"))]


@dataclass
class Block:
    """A fenced block; `mark` is the comment before it: "run", "file NAME" or empty."""

    language: str
    mark: str
    text: str


def blocks(page: Path) -> list[Block]:
    pattern = r"(?:^<!-- ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$"
    found = re.findall(pattern, page.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(language, mark, text) for mark, language, text in found]


def sections(page: Path) -> dict[str, str]:
    """Text by heading, of any level, without what stands under a deeper one."""
    parts = re.split(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def first_cells(text: str) -> list[str]:
    """Names in backticks of the first column of a section's tables."""
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
