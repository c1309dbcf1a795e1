"""The examples of the documentation, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.processes import ROOT

_BLOCK = re.compile(r"^<!-- ([a-z]+): (\S+) -->\n```[a-z]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(document: str, example: str) -> dict[str, str]:
    """Return the blocks of an example by their names: blocks that stand below ``<!-- example: name -->``."""
    text = (ROOT / "docs" / document).read_text()
    return {name: block for marked, name, block in _BLOCK.findall(text) if marked == example}


def write_files(files: dict[str, str], folder: Path) -> None:
    """Write an example's files; ``sh`` is no file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        if name != "sh":
            (folder / name).write_text(text)
