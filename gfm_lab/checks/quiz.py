"""Multiple-choice questions: read from questions/NN_topic.json, printed as text, graded by letters.

A file holds the parts of one notebook; "placement" (may I skip this notebook?) and "quiz" (did it arrive?) are the
usual two:

    {"next": "01_tokenization",
     "quiz": [{"question": "...", "choices": [{"text": "...", "why": "..."}, ...], "answer": 1}, ...],
     "placement": [{"topic": "...", "section": "...", "question": ..., "choices": ..., "answer": ...}, ...]}

`answer` counts from 0. `why` says what is wrong with a wrong choice, and why the right one is right. `topic` groups
the questions of a placement quiz, and `section` is the heading to read when a topic is not known yet. `next` is the
notebook to open when all is known. Line breaks in a question or a choice are kept.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "questions"
LETTERS = "abcde"
WIDTH = 90
UNKNOWN = (
    "?"  # a placement quiz may be answered "I do not know": better than a guess for choosing what to read
)


class QuestionsError(ValueError):
    """A file of questions is not what this module expects; the message names the file, the part and the question."""


@dataclass(frozen=True)
class Choice:
    text: str
    why: str


@dataclass(frozen=True)
class Question:
    """One question with 3 to 5 choices; `answer` is the index of the right one."""

    text: str
    choices: tuple[Choice, ...]
    answer: int
    topic: str = ""
    section: str = ""


@dataclass(frozen=True)
class Questions:
    """The parts of one notebook, in the order of the file, and the notebook that follows it."""

    parts: dict[str, tuple[Question, ...]]
    next: str = ""


def notebooks() -> list[str]:
    """The notebooks that have questions, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(notebook: str) -> Questions:
    """The questions of one notebook, such as "p1_dna_for_engineers"; none at all if it has no file.

    Raises:
        QuestionsError: the file is no JSON, or a question is incomplete.
    """
    path = FOLDER / f"{notebook}.json"
    if not path.is_file():
        return Questions({})
    return parse(path.read_text(encoding="utf-8"), path.name)


def parse(text: str, name: str) -> Questions:
    """Questions from the text of a file; `name` is what an error calls it. Raises QuestionsError."""
    try:
        content = json.loads(text)
    except ValueError as fault:
        raise QuestionsError(f"{name} is not JSON: {fault}") from None
    if not isinstance(content, dict):
        raise QuestionsError(f"{name} should hold an object of parts, such as {{'quiz': [...]}}")
    following = content.pop("next", "")
    if not isinstance(following, str):
        raise QuestionsError(f'{name}: "next" should be the name of a notebook, not {following!r}')
    parts = {}
    for part in content:
        if not part.isidentifier() or not isinstance(content[part], list) or not content[part]:
            raise QuestionsError(f"{name}: part {part!r} should be a name with a list of questions")
        parts[part] = tuple(
            _question(entry, f"{name}, {part}, question {number}", part)
            for number, entry in enumerate(content[part], start=1)
        )
    return Questions(parts, following)


def _question(entry: Any, here: str, part: str) -> Question:
    text = _text(entry, "question", here)
    choices = entry.get("choices")
    if not isinstance(choices, list) or not 3 <= len(choices) <= len(LETTERS):
        raise QuestionsError(f'{here}: "choices" should be a list of 3 to {len(LETTERS)}')
    read = []
    for letter, choice in zip(LETTERS, choices, strict=False):
        there = f"{here}, choice {letter}"
        read.append(Choice(_text(choice, "text", there), _text(choice, "why", there)))
    answer = entry.get("answer")
    if type(answer) is not int or not 0 <= answer < len(choices):
        raise QuestionsError(f'{here}: "answer" should be 0 to {len(choices) - 1}, not {answer!r}')
    topic, section = ("", "")
    if part == "placement":
        topic, section = _text(entry, "topic", here), _text(entry, "section", here)
    unknown = sorted(set(entry) - {"question", "choices", "answer", "topic", "section"})
    if unknown:
        raise QuestionsError(f"{here}: unknown key {unknown[0]!r}")
    return Question(text, tuple(read), answer, topic, section)


def _text(entry: Any, key: str, here: str) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise QuestionsError(f'{here}: "{key}" is missing or empty')
    return value.strip()


def as_text(questions: Sequence[Question]) -> str:
    """The questions with lettered choices, wrapped at 90 columns."""
    blocks = []
    for number, question in enumerate(questions, start=1):
        lines = [_wrapped(f"{number}. ", question.text)]
        lines += [_wrapped(f"   {x}) ", c.text) for x, c in zip(LETTERS, question.choices, strict=False)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def read_letters(answer: Any, questions: Sequence[Question], *, unknown: bool = False) -> list[int | None]:
    """Letters -> the index of each choice; None where the answer is "?" (if `unknown` allows it).

    `answer` is "bacd", "b a c d", "B, A, C, D" or a list of letters.

    Raises:
        ValueError: with a sentence for the learner: not letters, too few or too many, or no such choice.
    """
    if not isinstance(answer, (str, list, tuple)) or not all(isinstance(letter, str) for letter in answer):
        raise ValueError(f"give one letter a question, as in {_example(len(questions))}")
    letters = re.sub(r"[\s,;.]", "", "".join(answer)).lower()
    if len(letters) != len(questions):
        given = f"{len(letters)} letter{'s' * (len(letters) != 1)}"
        raise ValueError(
            f"{given} for {len(questions)} questions; give one each, as in {_example(len(questions))}"
        )
    chosen: list[int | None] = []
    for number, (letter, question) in enumerate(zip(letters, questions, strict=True), start=1):
        known = LETTERS[: len(question.choices)]
        if unknown and letter == UNKNOWN:
            chosen.append(None)
        elif letter in known:
            chosen.append(known.index(letter))
        else:
            raise ValueError(f"question {number} has the choices a to {known[-1]}, not {letter!r}")
    return chosen


def graded(
    questions: Sequence[Question], chosen: Sequence[int | None], missed: Counter[int]
) -> tuple[bool, str]:
    """Is all right, and what to tell the learner.

    A wrong choice gets its own explanation, which leaves the question open for another look. Who misses the same
    question a second time (`missed` counts, and is brought up to date here) is told the right choice and its reason.
    """
    right = [choice == question.answer for question, choice in zip(questions, chosen, strict=True)]
    lines = [f"{sum(right)} of {len(questions)} right"]
    for number, (question, choice) in enumerate(zip(questions, chosen, strict=True)):
        solution = question.choices[question.answer]
        if all(right):
            lines.append(_wrapped(f"{number + 1}{LETTERS[question.answer]}  ", solution.why))
        elif choice is not None and not right[number]:
            missed[number] += 1
            lines.append(_wrapped(f"{number + 1}{LETTERS[choice]}  ", question.choices[choice].why))
            if missed[number] > 1:
                text = " ".join(solution.text.split())
                reason = f"It is {LETTERS[question.answer]}, '{text}': {solution.why}"
                lines.append(_wrapped("    ", reason))
    return all(right), "\n".join(lines)


def advice(questions: Sequence[Question], chosen: Sequence[int | None], following: str = "") -> str:
    """What a placement quiz says: right answers per topic, and the sections to read, or to skip the notebook."""
    topics: dict[str, list[bool]] = {}
    sections: dict[str, list[str]] = {}  # topic -> sections of its questions that were not right
    for question, choice in zip(questions, chosen, strict=True):
        right = choice == question.answer
        topics.setdefault(question.topic, []).append(right)
        sections.setdefault(question.topic, [])
        if not right and question.section not in sections[question.topic]:
            sections[question.topic].append(question.section)
    total = sum(sum(right) for right in topics.values())
    wide = max(map(len, topics))
    lines = [f"{total} of {len(questions)} right"]
    for topic, right in topics.items():
        read = "; ".join(f'read "{section}"' for section in sections[topic]) or "you know this"
        lines.append(_wrapped(f"  {topic:<{wide}}  {sum(right)} of {len(right)}  ", read))
    known = sum(all(right) for right in topics.values())
    if known == len(topics):
        after = f" and open {following}" if following else ""
        lines.append(f"Skip this notebook{after}. Its quiz, at the end, is a second opinion.")
    elif 2 * known >= len(topics):
        lines.append("Read the sections named above, and skip the others.")
    else:
        lines.append("Read this notebook from the top: it was written for you.")
    return "\n".join(lines)


def _example(count: int) -> str:
    return '"' + ("bacd" * count)[:count] + '"'


def _wrapped(start: str, text: str) -> str:
    """`start` and the text behind it, wrapped; further lines begin below the text."""
    lines: list[str] = []
    for line in text.splitlines():
        lines += textwrap.wrap(line, WIDTH - len(start), break_long_words=False, break_on_hyphens=False) or [
            ""
        ]
    return "\n".join([start + lines[0], *(" " * len(start) + line for line in lines[1:])])
