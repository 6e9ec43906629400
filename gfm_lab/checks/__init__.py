"""Exercise checks: property tests that accept every correct solution and give a hint on a wrong one.

    from gfm_lab import checks
    check = checks.start("01_tokenization")
    check.kmers(my_kmers)

The exercises of notebook NN stand in `notebook_NN.py` beside this file. A check never raises, so "Run All" goes
through an unsolved notebook. It prints one line that begins with

    [ok]                 the answer holds; what was tested stands behind it
    [hint]               not yet: what was tried, what came back, what to look at
    [not attempted yet]  the stub still says `...`

and a progress line for the notebook. `check.results` maps each exercise to one of those three words.

A notebook with a file in questions/ has quizzes as well, one for each part of the file. `check.questions("quiz")`
prints the questions, and `check.quiz("bacd")` grades the letters: see `quiz.py`.
"""

from __future__ import annotations

import dis
import importlib
import pkgutil
import random
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from gfm_lab.checks import quiz

OK, HINT, TODO = "ok", "hint", "not attempted yet"
COLOURS = {OK: "32", HINT: "1;93"}  # ANSI: green, and the amber of "bright yellow"; the word says the same


class Hint(Exception):
    """Raised inside a check when an answer is wrong; its text is what the learner reads."""


class NotAttempted(Exception):
    """Raised inside a check when the answer is still the stub."""


_EXERCISES: dict[str, dict[str, Callable[[Any], str]]] = {}


def exercise(notebook: str) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
    """Register a check under its function's name, as an exercise of `notebook`, in the order of definition."""

    def register(check: Callable[[Any], str]) -> Callable[[Any], str]:
        _EXERCISES.setdefault(notebook, {})[check.__name__] = check
        return check

    return register


class Checks:
    """The checks of one notebook, one method an exercise or quiz: `check.kmers(my_kmers)`. Made by `start`."""

    def __init__(self, notebook: str) -> None:
        self.notebook = notebook
        self._questions = quiz.load(notebook)
        self._missed: dict[str, Counter[int]] = {part: Counter() for part in self._questions.parts}
        self._checks = dict(_EXERCISES.get(notebook, {}))
        for part in self._questions.parts:
            if part in self._checks:
                raise ValueError(f"{notebook}: {part!r} is both an exercise and a part of its questions")
        # In the order of the notebook: placement, exercises, quiz.
        quizzes = {part: self._quiz(part) for part in self._questions.parts}
        placement = {"placement": quizzes.pop("placement")} if "placement" in quizzes else {}
        self._checks = {**placement, **self._checks, **quizzes}
        self.results: dict[str, str] = dict.fromkeys(self._checks, TODO)

    def __getattr__(self, name: str) -> Callable[[Any], None]:
        exercises = self.__dict__.get("_checks", {})
        if name not in exercises:
            raise AttributeError(f"no exercise {name!r} in this notebook; there are: {', '.join(exercises)}")
        return lambda answer: self._run(name, answer)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.results]

    def questions(self, part: str = "quiz") -> None:
        """Print the questions of one part, "quiz" or "placement", with lettered choices.

        Raises:
            ValueError: this notebook has no such part.
        """
        if part not in self._questions.parts:
            known = ", ".join(self._questions.parts) or "none"
            raise ValueError(f"{self.notebook} has no questions {part!r}; there are: {known}")
        print(quiz.as_text(self._questions.parts[part]))

    def _quiz(self, part: str) -> Callable[[Any], str]:
        """The check of one part. A placement quiz gives advice, whatever the score; the others grade."""
        questions = self._questions.parts[part]

        def check(answer: Any) -> str:
            try:
                chosen = quiz.read_letters(answer, questions, unknown=part == "placement")
            except ValueError as fault:
                raise Hint(str(fault)) from None
            if part == "placement":
                return quiz.advice(questions, chosen, self._questions.next)
            right, text = quiz.graded(questions, chosen, self._missed[part])
            if not right:
                raise Hint(text)
            return text

        return check

    def _run(self, name: str, answer: Any) -> None:
        try:
            if is_stub(answer):
                raise NotAttempted
            status, text = OK, self._checks[name](answer)
        except NotAttempted:
            status, text = TODO, "replace the three dots by your answer, then run the cell again"
        except Hint as hint:
            status, text = HINT, str(hint)
        except Exception as error:  # the learner's own code failed: a hint too, never a crash of the notebook
            status, text = HINT, f"your code raised {type(error).__name__}: {error}"
        self.results[name] = status
        done = sum(result == OK for result in self.results.values())
        marks = "".join({OK: "■", HINT: "▨", TODO: "□"}[result] for result in self.results.values())
        print(f"{_coloured(status)} {name}: {text}")
        print(f"{self.notebook}  {marks}  {done} of {len(self.results)}")


def start(notebook: str) -> Checks:
    """The checks of one notebook, all still open.

    Args:
        notebook: its file name without the ending, such as "01_tokenization".

    Raises:
        ValueError: no exercises and no questions are known under that name, or its questions are malformed.
    """
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    known = sorted({*_EXERCISES, *quiz.notebooks()})
    if notebook not in known:
        raise ValueError(f"no exercises for {notebook!r}; known notebooks: {', '.join(known)}")
    return Checks(notebook)


def is_stub(answer: Any) -> bool:
    """True for `...` and for a function whose body does nothing (`...`, `pass` or a docstring alone)."""
    if answer is Ellipsis:
        return True
    code = getattr(answer, "__code__", None)
    if code is None:
        return False
    instructions = [i for i in dis.get_instructions(code) if i.opname not in ("RESUME", "NOP")]
    does_nothing = all(i.opname in ("LOAD_CONST", "RETURN_VALUE", "RETURN_CONST") for i in instructions)
    constants = [i.argval for i in instructions if i.opname in ("LOAD_CONST", "RETURN_CONST")]
    return does_nothing and all(value is None or value is Ellipsis for value in constants)


def _coloured(status: str) -> str:
    """ "[ok]" in green, "[hint]" in amber, as notebooks show it; plain text elsewhere."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if status == TODO or not hasattr(shell, "kernel"):
        return f"[{status}]"
    return f"\x1b[{COLOURS[status]}m[{status}]\x1b[0m"


def random_dna(rng: random.Random, length: int) -> str:
    return "".join(rng.choices("ACGT", k=length))


def need(value: Any, kind: type | tuple[type, ...], what: str) -> None:
    if value is None:
        raise Hint("your function returned None; is a `return` missing?")
    if not isinstance(value, kind):
        names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise Hint(f"{what} should be a {names}, not a {type(value).__name__}")


def written(answer: Any, *points: str) -> str:
    """The check of a written answer: it makes sure that there is one, then shows what a good one says."""
    need(answer, str, "the answer")
    words = len(answer.split())
    if words < 25:
        raise Hint(
            f"{words} words so far; write three or four sentences (25 words at least), then compare with the rubric"
        )
    rubric = "; ".join(f"({i}) {point}" for i, point in enumerate(points, start=1))
    return f"thank you. Grade yourself, one point each: {rubric}"
