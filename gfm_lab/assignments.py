"""Exercises whose numbers differ from learner to learner, since the course's solutions are public.

A *template* (they stand in `assignment_templates.py`) draws what varies, a stretch of genome, a table of logits, a
stride, and the package computes the answer. What is drawn follows from

    HMAC-SHA256(course key, learner, notebook, exercise)

so the same learner gets the same exercise every time and on every machine, two learners get two, and who has not the
key can work out neither another learner's numbers nor the hidden inputs of a function exercise. The **key is the only
secret**. That an answer can be computed with the package is meant: it then is the exercise. What the variants stop is
copying, from the public solutions or from a neighbour; who gets help from a person or a language model gets it for the
own numbers, and no seed changes that.

    gfm-lab assign key course.key
    gfm-lab assign make 01_tokenization --learner ada --key course.key --output ada.ipynb
    gfm-lab assign grade ada.ipynb --key course.key

Grading runs what learners wrote: see `grade`. Described in INSTRUCTOR.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "Draw",
    "Function",
    "Result",
    "Template",
    "Value",
    "exercise",
    "grade",
    "make_notebook",
    "notebooks",
    "read_key",
    "template",
    "templates",
]

# Raise it when a template changes what it draws or asks: notebooks of another edition are then refused, not misgraded.
EDITION = 1
METADATA = "gfm_lab_assignment"
SHORTEST_KEY = 16
LEARNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,62}[A-Za-z0-9_@-])?")  # Windows drops a last dot
DEVICES = re.compile(
    r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE
)  # names that no file has there
RUNNER = Path(__file__).parent / "commands" / "run_cells.py"


class Draw:
    """Numbers that follow from a seed alone: the same on every Python, which `random` does not promise for a choice.

    >>> Draw(b"seed").integers(3, 0, 9) == Draw(b"seed").integers(3, 0, 9)
    True
    """

    def __init__(self, seed: bytes) -> None:
        self._seed, self._count = seed, 0

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        self._count += 1
        digest = hashlib.sha256(self._seed + self._count.to_bytes(8, "big")).digest()
        return low + int.from_bytes(digest, "big") % (
            high - low + 1
        )  # 256 bits: the remainder's bias is nothing

    def integers(self, count: int, low: int, high: int) -> list[int]:
        return [self.integer(low, high) for _ in range(count)]

    def table(self, rows: int, columns: int, low: int, high: int) -> list[list[int]]:
        return [self.integers(columns, low, high) for _ in range(rows)]

    def choice(self, items: Sequence[Any]) -> Any:
        return items[self.integer(0, len(items) - 1)]

    def sample(self, items: Iterable[Any], count: int) -> list[Any]:
        """`count` different items, in a drawn order."""
        left = list(items)
        return [left.pop(self.integer(0, len(left) - 1)) for _ in range(count)]

    def numbers(self, count: int, low: float, high: float, digits: int = 1) -> list[float]:
        """Numbers with so many digits behind the point, from low to high."""
        scale = 10**digits
        return [n / scale for n in self.integers(count, round(low * scale), round(high * scale))]

    def dna(self, length: int) -> str:
        return "".join(self.choice("ACGT") for _ in range(length))


@dataclass(frozen=True)
class Value:
    """An exercise whose answer is a value: numbers, texts, and lists of them.

    `text` is what the learner reads, `form` says how the answer looks, as in "a list of four numbers", and numbers may
    be off by `tolerance` (times the number, where that is larger than 1).
    """

    text: str
    answer: Any
    form: str
    tolerance: float = 0.0


@dataclass(frozen=True)
class Function:
    """An exercise whose answer is a function, tried on hidden inputs.

    `signature` is its first line, such as "def ids(sequence):", `doc` its docstring, `reference` the right function
    and `calls` the arguments of every hidden call (what JSON can hold: numbers, texts, lists).
    """

    text: str
    signature: str
    doc: str
    reference: Callable[..., Any]
    calls: tuple[tuple[Any, ...], ...]
    tolerance: float = 0.0

    @property
    def answer(self) -> list[Any]:
        """What the right function returns for the hidden calls."""
        return [self.reference(*arguments) for arguments in self.calls]


@dataclass(frozen=True)
class Template:
    """One exercise of one notebook: `draw` makes a learner's variant of it."""

    notebook: str
    name: str
    draw: Callable[[Draw], Value | Function]
    points: int = 2


_TEMPLATES: dict[str, dict[str, Template]] = {}


def template(notebook: str, points: int = 2) -> Callable[[Callable[[Draw], Any]], Callable[[Draw], Any]]:
    """Register a function Draw -> Value or Function as an exercise of `notebook`, under the function's name."""

    def register(draw: Callable[[Draw], Any]) -> Callable[[Draw], Any]:
        _TEMPLATES.setdefault(notebook, {})[draw.__name__] = Template(notebook, draw.__name__, draw, points)
        return draw

    return register


def notebooks() -> list[str]:
    """The notebooks that have exercises with variants."""
    import gfm_lab.assignment_templates  # noqa: F401 (registers them)

    return sorted(_TEMPLATES)


def templates(notebook: str) -> dict[str, Template]:
    """{name: exercise} of a notebook, in order. Raises ValueError for a notebook without any."""
    known = notebooks()
    if notebook not in known:
        raise ValueError(f"no exercises with variants for {notebook!r}; there are: {', '.join(known)}")
    return dict(_TEMPLATES[notebook])


# ---- Keys and seeds ----


def read_key(path: str | Path) -> bytes:
    """The course key in a file. Raises ValueError if it is too short to be a secret."""
    key = Path(path).read_bytes().strip()
    if len(key) < SHORTEST_KEY:
        raise ValueError(
            f"the key in {path} has {len(key)} letters; {SHORTEST_KEY} are the least that cannot be guessed. Make one "
            "with: gfm-lab assign key course.key"
        )
    return key


def check_learner(learner: str) -> str:
    """The learner's name as we use it. Raises ValueError for what cannot be a file's name everywhere."""
    if not LEARNER.fullmatch(learner) or DEVICES.fullmatch(learner):
        raise ValueError(
            f"{learner!r} is no learner's id: use letters, digits and . _ @ - (64 at most, no dot at the end, no name "
            "of a device such as con), such as a matriculation number"
        )
    return learner


def _digest(key: bytes, *parts: str) -> bytes:
    return hmac.new(key, "\0".join((f"edition {EDITION}", *parts)).encode(), hashlib.sha256).digest()


def exercise(template: Template, learner: str, key: bytes) -> Value | Function:
    """The variant of one exercise that belongs to a learner."""
    return template.draw(Draw(_digest(key, learner, template.notebook, template.name)))


def seal(notebook: str, learner: str, key: bytes) -> str:
    """Tells grading that a notebook was made with this key, for this learner and notebook."""
    return _digest(key, "seal", notebook, learner).hex()[:16]


# ---- The learner's notebook ----

SETUP = """import math

import numpy as np
import torch

import gfm_lab
from gfm_lab import load_data, load_model"""


def make_notebook(notebook: str, learner: str, key: bytes) -> Any:
    """The exercises of a notebook for one learner, without answers: an nbformat notebook.

    The same arguments give the same bytes. Raises ValueError for an unknown notebook, or an id that cannot be a name.
    """
    import nbformat

    check_learner(learner)

    def cell(kind: str, part: str, text: str, **metadata: Any) -> Any:
        digest = hashlib.sha256("\0".join((notebook, learner, part)).encode()).hexdigest()[:12]
        new = nbformat.v4.new_markdown_cell if kind == "text" else nbformat.v4.new_code_cell
        return new(text, id=digest, metadata=metadata)

    found = templates(notebook)
    head = (
        f"# Exercises for {notebook}\n\nFor **{learner}**. Your numbers are yours alone: a neighbour's are others. Use "
        "the notebook, the package, paper; each answer stays in the name that its cell gives it. Run all cells, save, "
        f"and hand in this file. {sum(t.points for t in found.values())} points.\n\nThe answers are run away from the "
        "course's folder: use `load_data` and `load_model`, not files of your own."
    )
    cells = [cell("text", "head", head), cell("code", "setup", SETUP)]
    for number, (name, about) in enumerate(found.items(), start=1):
        variant = exercise(about, learner, key)
        text = f"## {number} · {name.replace('_', ' ')} ({about.points} points)\n\n{variant.text}"
        if isinstance(variant, Value):
            text += f"\n\nAnswer with {variant.form}."
            if variant.tolerance:
                text += f" A number may be off by {variant.tolerance:g}."
            stub = f"{name} = ..."
        else:
            stub = f'{variant.signature}\n    """{variant.doc}"""\n    ...  # your code here'
        cells += [cell("text", f"{name} text", text), cell("code", name, stub, **{METADATA: name})]
    made = nbformat.v4.new_notebook(cells=cells)
    made.nbformat_minor = 5
    made.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            METADATA: {
                "edition": EDITION,
                "notebook": notebook,
                "learner": learner,
                "seal": seal(notebook, learner, key),
            },
        }
    )
    nbformat.validate(made)
    return made


# ---- Comparing ----


def difference(expected: Any, got: Any, tolerance: float = 0.0, where: str = "the answer") -> str | None:
    """What is wrong with an answer, without telling the right one; None where it is right.

    Tuples and lists are the same; True is no number. A number may be off by `tolerance`, times the number if that is
    larger than 1.
    """
    if isinstance(expected, (list, tuple)):
        if not isinstance(got, (list, tuple)):
            return f"{where} should be a list"
        if len(got) != len(expected):
            return f"{where} should have {len(expected)} entries, not {len(got)}"
        faults = (
            difference(e, g, tolerance, f"entry {i} of {where}")
            for i, (e, g) in enumerate(zip(expected, got, strict=True))
        )
        return next((fault for fault in faults if fault), None)
    if isinstance(expected, str):
        right = isinstance(got, str) and got.strip() == expected
    elif isinstance(expected, bool) or isinstance(got, bool):
        right = expected is got
    elif not isinstance(got, (int, float)) or (isinstance(got, float) and not math.isfinite(got)):
        return f"{where} should be a number"
    else:
        try:
            right = abs(got - expected) <= tolerance * max(1.0, abs(expected))
        except OverflowError:  # a whole number that no float can hold
            right = False
    return None if right else f"{where} is wrong"


# ---- Grading ----


@dataclass(frozen=True)
class Result:
    """What grading found for one exercise of one file: `result` is right, wrong, not attempted or not graded."""

    file: str
    learner: str = ""
    notebook: str = ""
    exercise: str = ""
    result: str = "not graded"
    points: int = 0
    of: int = 0
    note: str = ""


@dataclass(frozen=True)
class _Submission:
    """A file that was handed in: who says it is whose, and its code."""

    notebook: str
    learner: str
    cells: list[dict[str, str]] = field(default_factory=list)


def read_submission(path: Path, key: bytes) -> _Submission:
    """Read a file that was handed in. Raises ValueError with what is wrong with it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        about = content["metadata"].get(METADATA)
        cells = [
            {"source": "".join(cell["source"]), "exercise": str(cell["metadata"].get(METADATA, ""))}
            for cell in content["cells"]
            if cell["cell_type"] == "code"
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("not a notebook, or cut off: ask for the file again") from None
    if not isinstance(about, dict) or not {"edition", "notebook", "learner", "seal"} <= set(about):
        raise ValueError("not made by `gfm-lab assign make`, or its metadata was removed")
    if about["edition"] != EDITION:
        raise ValueError(f"made with edition {about['edition']} of the exercises; this is edition {EDITION}")
    notebook, learner = str(about["notebook"]), str(about["learner"])
    templates(notebook)
    # As bytes: of texts, compare_digest takes only ASCII, and the file's may be anything.
    claimed = ascii(about["seal"])[1:-1].encode()
    if not LEARNER.fullmatch(learner) or not hmac.compare_digest(
        claimed, seal(notebook, learner, key).encode()
    ):
        raise ValueError(
            f"made with another key, or for another learner than {learner}: its name was changed"
        )
    return _Submission(notebook, learner, cells)


def grade(path: str | Path, key: bytes, seconds: float = 120.0) -> list[Result]:
    """Grade one notebook that was handed in: one Result an exercise; never raises for what is in the file.

    **It runs the learner's code**, in a fresh Python process with IPython, as a kernel has, in an empty folder that is
    removed afterwards, for `seconds` at most, without this process's environment variables. That guards against
    endless loops and against accidents. It does not guard against malice: the code can read what your account can
    read, the key file included, and use the network. Grade strangers' work in a container, or in an account that owns
    nothing. What an answer is compared with never enters that process; the hidden inputs of functions do.
    """
    path = Path(path)
    try:
        submission = read_submission(path, key)
    except ValueError as fault:
        return [Result(printable(path), note=printable(fault))]
    found = templates(submission.notebook)
    variants = {name: exercise(about, submission.learner, key) for name, about in found.items()}
    wanted = {
        name: list(map(list, variant.calls)) if isinstance(variant, Function) else None
        for name, variant in variants.items()
    }
    collected, note = _run(submission.cells, wanted, seconds)
    results = []
    for name, variant in variants.items():
        got = collected.get(name, {"missing": True})
        result, why = _judged(variant, got)
        results.append(
            Result(
                file=printable(path),
                learner=submission.learner,
                notebook=submission.notebook,
                exercise=name,
                result=result,
                points=found[name].points if result == "right" else 0,
                of=found[name].points,
                note=printable("; ".join(text for text in (why, note) if text)),
            )
        )
    return results


def printable(text: Any) -> str:
    """One line that every terminal and file can take: control signs and broken letters are written as escapes.

    Names of files and messages of errors come from learners; half a letter in one would cost the class its table.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def _judged(variant: Value | Function, got: dict[str, Any]) -> tuple[str, str]:
    """(result, note) for what was collected of one exercise."""
    if "missing" in got:
        return "not attempted", "its name is not defined"
    if "stub" in got:
        return "not attempted", ""
    if "error" in got:
        return "wrong", str(got["error"])
    fault = difference(variant.answer, got.get("value"), variant.tolerance)
    return ("wrong", fault) if fault else ("right", "")


def _run(cells: list[dict[str, str]], wanted: dict[str, Any], seconds: float) -> tuple[dict[str, Any], str]:
    """Run cells in a fresh process and collect the named answers; ({name: what it gave}, a note)."""
    with tempfile.TemporaryDirectory(prefix="gfm-lab-grade-") as folder:
        work = Path(folder) / "work"
        work.mkdir()
        job, out = Path(folder) / "job.json", Path(folder) / "out.json"
        job.write_text(json.dumps({"cells": cells, "wanted": wanted}), encoding="utf-8")
        keep = ("PATH", "SYSTEMROOT", "LANG", "LC_ALL", "TMPDIR", "TEMP")
        env = {name: os.environ[name] for name in keep if name in os.environ}
        env |= {
            "HOME": str(work),
            "USERPROFILE": str(work),
            "IPYTHONDIR": str(work / ".ipython"),
            "MPLCONFIGDIR": str(work / ".mpl"),
        }
        env |= {"MPLBACKEND": "Agg", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        own_group = {"start_new_session": True} if os.name == "posix" else {}
        process = subprocess.Popen(
            [sys.executable, "-I", str(RUNNER), str(job), str(out)],
            cwd=work,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **own_group,
        )
        note = ""
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            note = f"stopped after {seconds:g} s; what was answered before counts"
        finally:
            _end(process)
        if process.returncode and not note:
            note = f"its process ended by itself (exit code {process.returncode})"
        try:
            collected = json.loads(out.read_text(encoding="utf-8"))
            return (collected if isinstance(collected, dict) else {}), note
        except (OSError, ValueError):
            return {}, note or "nothing could be collected"


def _end(process: subprocess.Popen) -> None:
    """End a process and all that it started."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()
