"""Fill in what INSTRUCTOR.md takes from elsewhere, print the concept inventory, and grade it.

    python tools/build_instructor.py                        # rewrite the generated parts
    python tools/build_instructor.py --check                # exit 1 when one of them is stale
    python tools/build_instructor.py --grade answers.csv    # before and after: scores, gain, interval

Generated are: each notebook's minutes and run time, the answers to its quiz, the table of hardware, the key of the
inventory, and docs/concept_inventory.md, the questions as a sheet to print. They come from notebooks/source,
notebooks/measured.json, gfm_lab/checks/questions and gfm_lab/checks/inventory.json. All else in INSTRUCTOR.md is
written by hand.

answers.csv has the columns learner, when (pre or post) and answers (a letter a question, ? for "I do not know"):

    learner,when,answers
    blue 7,pre,bacd?acdbacdbac
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from build_notebooks import NOTEBOOKS, ROOT, is_exercise, read_source, tags
from build_readme import (
    MINUTES_A_QUIZ,
    MINUTES_TO_ANSWER,
    MINUTES_TO_CODE,
    SECONDS_A_LINE,
    SYLLABUS,
    WORDS_A_MINUTE,
    learner_minutes,
    measured,
)

from gfm_lab.checks import quiz

GUIDE = ROOT / "INSTRUCTOR.md"
SHEET = ROOT / "docs" / "concept_inventory.md"
INVENTORY = Path(quiz.__file__).parent / "inventory.json"
NAMES = [name for name, *_ in SYLLABUS]
BY_NUMBER = {name.partition("_")[0]: name for name in NAMES}
HEADING = re.compile(r"(#{1,6}) (.+)")
QUOTED = re.compile("“([^”]+)”")


class GuideError(SystemExit):
    """INSTRUCTOR.md, the inventory or a table of answers is not what this tool expects; the message says what to do."""


# ---- Minutes of a notebook's sections ----


@dataclass
class Section:
    """A heading with its level (2 for ##) and the minutes of what stands below it, up to the next heading."""

    title: str
    level: int
    minutes: float = 0.0


def sections(name: str) -> list[Section]:
    """The sections of one notebook in order; their minutes follow the rule of `build_readme.learner_minutes`."""
    found = [Section("", 0)]
    for cell in read_source(NOTEBOOKS / "source" / f"{name}.py").cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if heading := HEADING.fullmatch(line):
                    found.append(Section(heading[2].strip(), len(heading[1])))
                found[-1].minutes += len(line.split()) / WORDS_A_MINUTE
        elif "figure" not in tags(cell):
            found[-1].minutes += len(cell.source.splitlines()) * SECONDS_A_LINE / 60
            if is_exercise(cell):
                found[-1].minutes += _exercise(cell.source)
    return found


def _exercise(code: str) -> int:
    if "check.quiz(" in code or "check.placement(" in code:
        return MINUTES_A_QUIZ
    writes = any(line.startswith(("def ", "class ")) for line in code.splitlines())
    return MINUTES_TO_CODE if writes else MINUTES_TO_ANSWER


def minutes_of(name: str, titles: Iterable[str]) -> float:
    """Minutes of the named sections, each with what is nested below it; nothing is counted twice.

    Raises GuideError if the notebook has no such heading.
    """
    wanted, parts = set(titles), sections(name)
    unknown = wanted - {part.title for part in parts}
    if unknown:
        raise GuideError(f"notebook {name} has no section {sorted(unknown)[0]!r}: look at its headings")
    total, inside = 0.0, 0
    for part in parts:
        if inside and part.level <= inside:
            inside = 0
        if not inside and part.title in wanted:
            inside = part.level
        if inside:
            total += part.minutes
    return total


def quoted(text: str) -> list[str]:
    """The headings in a line of the guide: what stands in “curly quotes”."""
    return QUOTED.findall(text)


# ---- The parts of the guide ----


def time_line(name: str, skipped: Iterable[str]) -> str:
    """What the notebook takes: a learner's minutes, with and without the skipped sections, and its measured run."""
    everything = learner_minutes(NOTEBOOKS / "source" / f"{name}.py")
    parts = sections(name)
    kept = 5 * round((sum(part.minutes for part in parts) - minutes_of(name, skipped)) / 5)
    run = measured()[name]
    return (
        f"**Minutes.** About {everything} for all of it; about {kept} without the sections under *Skip*. "
        f"It runs in {run['run_seconds']} s and takes {run['peak_mib']:,} MiB."
    )


def quiz_answers(name: str) -> str:
    """Letters and a reason for each part of the notebook's questions; says so if it has none yet."""
    parts = quiz.load(name).parts
    if not parts:
        return "**Quiz.** Its questions and answers stand at the end of the notebook."
    blocks = []
    for part, questions in parts.items():
        letters = "".join(quiz.LETTERS[question.answer] for question in questions)
        title = {"quiz": "Quiz", "placement": "Placement quiz"}.get(part, part)
        lines = [f"**{title}:** `{letters}`", ""]
        lines += [f"{number}. {_reason(question)}" for number, question in enumerate(questions, start=1)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _reason(question: quiz.Question) -> str:
    right = question.choices[question.answer]
    return f"**{quiz.LETTERS[question.answer]}** *{_plain(right.text).rstrip('.')}*: {_plain(right.why)}"


def _plain(text: str) -> str:
    """One line, with the signs that Markdown would take for its own escaped."""
    return re.sub(r"([*_<\[\]])", r"\\\1", " ".join(text.split()))


def hardware() -> str:
    """Run time and peak memory of each notebook, as measured when it was built."""
    runs = measured()
    rows = ["| notebook | run time | peak memory |", "|---|---|---|"]
    for name in NAMES:
        run = runs[name]
        rows.append(f"| {name.replace('_', ' ')} | {run['run_seconds']} s | {run['peak_mib']:,} MiB |")
    top = max(NAMES, key=lambda name: runs[name]["peak_mib"])
    slow = max(NAMES, key=lambda name: runs[name]["run_seconds"])
    cores = " or ".join(str(n) for n in sorted({int(runs[name]["cores"]) for name in NAMES}))
    rows += [
        "",
        f"Measured by `make notebooks` on {cores} cores without a GPU, the kernel's start included; memory is the "
        f"kernel's peak. The largest is {top.partition('_')[0]} with {runs[top]['peak_mib']:,} MiB, the slowest "
        f"{slow.partition('_')[0]} with {runs[slow]['run_seconds']} s.",
    ]
    return "\n".join(rows)


def inventory() -> tuple[quiz.Question, ...]:
    """The questions of the concept inventory, each with its topic and the section that teaches it.

    Raises gfm_lab.checks.quiz.QuestionsError if the file is malformed.
    """
    text = INVENTORY.read_text(encoding="utf-8")
    questions = quiz.parse(text, INVENTORY.name).parts["inventory"]
    more = [(entry.get("topic", ""), entry.get("section", "")) for entry in json.loads(text)["inventory"]]
    return tuple(
        replace(question, topic=topic, section=section)
        for question, (topic, section) in zip(questions, more, strict=True)
    )


def inventory_key() -> str:
    questions = inventory()
    letters = "".join(quiz.LETTERS[question.answer] for question in questions)
    rows = [f"Key: `{letters}`", "", "| | concept | taught in | right | what each wrong choice gives away |"]
    rows.append("|---|---|---|---|---|")
    for number, question in enumerate(questions, start=1):
        wrong = [
            f"**{letter}** {_plain(choice.why)}"
            for i, (letter, choice) in enumerate(zip(quiz.LETTERS, question.choices, strict=False))
            if i != question.answer
        ]
        right = f"**{quiz.LETTERS[question.answer]}** {_plain(question.choices[question.answer].why)}"
        cells = (str(number), question.topic, question.section, right, " ".join(wrong))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def sheet() -> str:
    """docs/concept_inventory.md: the questions without their answers, to print."""
    blocks = [
        "# Concept inventory",
        "<!-- Made by tools/build_instructor.py from gfm_lab/checks/inventory.json: do not edit. -->",
        "Code word (the same before and after): ______________________ · "
        "before the course ☐ · after the course ☐",
        f"{len(inventory())} questions, 20 minutes, no computer, no notes. One letter each; exactly one choice is "
        "right. Write ? if you do not know: it costs no more than a wrong letter, and tells us more than a guess. "
        "This is no exam. It shows us what to teach, and what we failed to teach.",
        "*Words.* **Token:** a piece of sequence that a model reads as one unit. **Bits per base:** the mean "
        "surprise at the true base; 2 is a guess among four letters, lower is better. **AUROC:** how often a "
        "positive example scores above a negative one; 0.5 is a guess. **Likelihood:** how probable a model finds a "
        "sequence.",
    ]
    for number, question in enumerate(inventory(), start=1):
        text = "  \n".join(_plain(line) for line in question.text.splitlines())
        choices = "  \n".join(
            f"({letter}) {_plain(choice.text)}"
            for letter, choice in zip(quiz.LETTERS, question.choices, strict=False)
        )
        blocks.append(f"**{number}.** {text}\n\n{choices}")
    numbers = " | ".join(str(n) for n in range(1, len(inventory()) + 1))
    blocks.append(f"| {numbers} |\n|{'---|' * len(inventory())}\n|{' &nbsp;<br>&nbsp; |' * len(inventory())}")
    return "\n\n".join(blocks) + "\n"


# ---- Putting them in ----


def chapter(text: str, name: str) -> str:
    """The guide's section of one notebook, from its heading to the next one of the same level or above."""
    number = name.partition("_")[0]
    match = re.search(rf"^### {number} · .*?(?=^##?#? )", text + "\n# ", re.MULTILINE | re.DOTALL)
    if not match:
        raise GuideError(f"INSTRUCTOR.md has no section '### {number} · ...'")
    return match[0]


def skipped(part: str) -> list[str]:
    """The headings under *Skip* in the section of one notebook."""
    match = re.search(r"^\*\*Skip when time is short\.\*\* (.*?)\n\n", part, re.MULTILINE | re.DOTALL)
    return quoted(" ".join(match[1].split())) if match else []


def made(text: str) -> dict[str, str]:
    """What should stand in each generated part of the guide, by the name in its markers."""
    parts = {"hardware": hardware(), "inventory": inventory_key()}
    for name in NAMES:
        parts[f"time {name}"] = time_line(name, skipped(chapter(text, name)))
        parts[f"quiz {name}"] = quiz_answers(name)
    return parts


def filled(text: str) -> tuple[str, list[str]]:
    """The guide with all generated parts as they should be, and the names of those that were not.

    Raises GuideError if a marker is missing or there twice.
    """
    old = []
    for name, content in made(text).items():
        start, stop = f"<!-- begin: {name} (tools/build_instructor.py) -->\n", f"<!-- end: {name} -->"
        if (text.count(start), text.count(stop)) != (1, 1) or text.index(start) > text.index(stop):
            raise GuideError(
                f"INSTRUCTOR.md should have {start.strip()!r} once and {stop!r} once, in this order, around what is "
                "generated; put them back"
            )
        before, rest = text.split(start)
        present, after = rest.split(stop)
        wanted = content + "\n"
        if present != wanted:
            old.append(name)
        text = before + start + wanted + stop + after
    return text, old


def stale() -> list[str]:
    """The generated parts that are not what their sources say."""
    _, old = filled(GUIDE.read_text(encoding="utf-8"))
    old = [f"{GUIDE.name} ({name})" for name in old]
    if not SHEET.is_file() or SHEET.read_text(encoding="utf-8") != sheet():
        old.append(f"{SHEET.parent.name}/{SHEET.name}")
    return old


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


# ---- Grading ----


def read_answers(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """{"pre": {learner: (questions,) choices from 0, -1 for "I do not know"}, "post": ...} of a table of answers.

    Raises GuideError with the file and the line: a column or a letter is missing, or a learner stands there twice.
    """
    questions = inventory()
    found: dict[str, dict[str, np.ndarray]] = {"pre": {}, "post": {}}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise GuideError(f"{path} is not UTF-8: save it from the spreadsheet as 'CSV UTF-8'") from None
    # Where a comma stands in decimal numbers, spreadsheets put semicolons between columns.
    header = text.partition("\n")[0]
    with io.StringIO(text, newline="") as file:
        table = csv.DictReader(file, delimiter=";" if ";" in header and "," not in header else ",")
        missing = {"learner", "when", "answers"} - set(table.fieldnames or ())
        if missing:
            raise GuideError(
                f"{path}: the first line should name learner, when and answers; missing: {min(missing)}"
            )
        for row in table:
            here = f"{path}, line {table.line_num}"
            learner, when = (row["learner"] or "").strip(), (row["when"] or "").strip().lower()
            if when not in found:
                raise GuideError(f"{here}: when should be pre or post, not {when!r}")
            if not learner or learner in found[when]:
                raise GuideError(f"{here}: learner {learner!r} is empty or there twice for {when}")
            try:
                chosen = quiz.read_letters(row["answers"], questions, unknown=True)
            except ValueError as fault:
                raise GuideError(f"{here}: {fault}") from None
            found[when][learner] = np.array([-1 if choice is None else choice for choice in chosen])
    if not set(found["pre"]) & set(found["post"]):
        raise GuideError(f"{path}: no learner stands there with both pre and post")
    return found


def gain(pre: np.ndarray, post: np.ndarray) -> float:
    """The class's normalised gain: of what could be gained, the share that was. `pre`, `post`: shares of right answers.

    (mean post - mean pre) / (1 - mean pre), over learners; nan if everybody knew everything before.
    """
    room = 1 - pre.mean()
    return float((post.mean() - pre.mean()) / room) if room > 0 else float("nan")


def report(answers: dict[str, dict[str, np.ndarray]], resamples: int = 10_000, seed: int = 0) -> str:
    """The class before and after, the gain with a 95 % interval over learners, and each question's answers."""
    questions = inventory()
    key = np.array([question.answer for question in questions])
    both = sorted(set(answers["pre"]) & set(answers["post"]))
    pre, post = (np.stack([answers[when][name] for name in both]) for when in ("pre", "post"))
    before, after = (
        (pre == key).mean(axis=1),
        (post == key).mean(axis=1),
    )  # a learner's share of right answers
    draws = np.random.default_rng(seed).integers(0, len(both), (resamples, len(both)))
    change = (after - before) * len(key)
    values = {
        "right answers, after minus before": (change.mean(), [change[d].mean() for d in draws]),
        "normalised gain of the class": (gain(before, after), [gain(before[d], after[d]) for d in draws]),
    }
    once = len(set(answers["pre"]) ^ set(answers["post"]))
    lines = [
        f"{len(both)} learners with both sheets ({once} with one, left out), {len(key)} questions",
        f"before {before.mean() * len(key):.1f} right, after {after.mean() * len(key):.1f}",
    ]
    for name, (value, drawn) in values.items():
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        lines.append(f"{name}: {value:+.2f} [{low:+.2f}, {high:+.2f}]")
    lines += ["", "question  before  after  wrong after  concept"]
    for i, question in enumerate(questions):
        wrong = Counter(quiz.LETTERS[c] for c in post[:, i] if c not in (-1, key[i])).most_common(1)
        worst = f"{wrong[0][0]} {wrong[0][1] / len(both):.0%}" if wrong else "-"
        shares = f"{(pre[:, i] == key[i]).mean():6.0%}  {(post[:, i] == key[i]).mean():5.0%}"
        lines.append(f"{i + 1:8d}  {shares}  {worst:>11}  {question.topic}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 when a generated part is stale"
    )
    parser.add_argument(
        "--grade", type=Path, metavar="CSV", help="grade the answers of a class, before and after"
    )
    options = parser.parse_args(arguments)
    if options.grade:
        if not options.grade.is_file():
            raise GuideError(f"there is no file {options.grade}")
        print(report(read_answers(options.grade)))
        return 0
    if options.check:
        old = stale()
        print(", ".join(old) + ": STALE, run `python tools/build_instructor.py`" if old else "up to date")
        return int(bool(old))
    text, _ = filled(GUIDE.read_text(encoding="utf-8"))
    write(GUIDE, text)
    write(SHEET, sheet())
    print(f"wrote {GUIDE.name} and {SHEET.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
