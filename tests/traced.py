"""What tests of slides, pages and the guide share: `<!-- from: SOURCE: value, value -->`, and the text of a SOURCE."""

import re
from functools import lru_cache
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
FROM = re.compile(r"^\s*from:\s*(\S+?):\s+(.+?)\s*$", re.DOTALL)  # of a comment's text
NUMBER = re.compile(r"(?<![\w.:/])\d+\.\d{2,}(?![\w./])")  # two decimals and more: something measured


@lru_cache
def source(name: str) -> str:
    """The text of a notebook (with what it printed), or of a file of the repository."""
    notebook = ROOT / "notebooks" / "solutions" / f"{name}.ipynb"
    if not notebook.exists():
        path = ROOT / name
        assert path.is_file() and ROOT in path.resolve().parents, f"there is no notebook and no file {name}"
        return path.read_text(encoding="utf-8")
    parts = []
    for cell in nbformat.read(notebook, as_version=4).cells:
        parts.append(cell.source)
        for output in cell.get("outputs", []):
            parts.append(output.get("text", "") or "")
            parts += [v for k, v in output.get("data", {}).items() if k.startswith("text/")]
    return "\n".join(parts).replace("\N{MINUS SIGN}", "-")
