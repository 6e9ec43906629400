"""The instructor's guide: minutes add up, sections exist, numbers stand where they come from, and what is generated is
fresh. The concept inventory gives nothing away; the capstone's blocks make tables that the starting project reads."""

import csv
import importlib.util
import re
import sys
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from traced import COMMENT, FROM, NUMBER, source

from gfm_lab.checks import quiz
from gfm_lab.starter import project

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("build_instructor", ROOT / "tools" / "build_instructor.py")
build = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = build  # its dataclass asks for its module
spec.loader.exec_module(build)
TEXT = build.GUIDE.read_text(encoding="utf-8")
CAPSTONE = ROOT / "docs" / "capstone.md"
every_notebook = pytest.mark.parametrize("name", build.NAMES)

NOTEBOOK = re.compile(r"\]\(notebooks/(\w+)\.ipynb\)")
MADE = re.compile(r"<!-- begin: .*?<!-- end: .*?-->", re.DOTALL)


@lru_cache
def titles(name):
    """The headings of a notebook below its title."""
    return {part.title for part in build.sections(name) if part.level > 1}


@lru_cache
def needed(name):
    return build.learner_minutes(ROOT / "notebooks" / "source" / f"{name}.py")


def under(heading):
    """The guide from one heading to the next of its level or above."""
    level = len(heading.split()[0])
    match = re.search(rf"^{re.escape(heading)}.*?(?=^#{{1,{level}}} |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert match, heading
    return match[0]


def rows(text):
    """The rows of the first table in a text, without its head."""
    table = re.search(r"(^\|.*\|\n)+", text, re.MULTILINE)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


# ---- Generated parts ----


def test_generated_parts_are_fresh():
    assert build.stale() == [], "run: python tools/build_instructor.py"


def test_a_stale_part_is_named_and_mended():
    old = TEXT.replace("**Quiz:** `acbba`", "**Quiz:** `aaaaa`")
    text, named = build.filled(old)
    assert "quiz 00_anatomy" in named and "quiz 04_convolution_and_hyena" not in named
    assert "**Quiz:** `acbba`" in text and "`aaaaa`" not in text
    assert build.filled(text) == (text, []), "twice is once"


def test_a_lost_marker_and_a_wrong_heading_are_named():
    lost = TEXT.replace("<!-- end: quiz 05_state_spaces_and_mamba -->", "")
    with pytest.raises(build.GuideError, match=r"end: quiz 05_state_spaces_and_mamba.*put them back"):
        build.filled(lost)
    with pytest.raises(build.GuideError, match=r"no section '### 07 ·"):
        build.filled(TEXT.replace("### 07 ·", "### 7 ·"))
    with pytest.raises(build.GuideError, match="00_anatomy has no section 'No such place'"):
        build.minutes_of("00_anatomy", ["No such place"])


@every_notebook
def test_minutes_of_the_sections_are_those_of_the_readme(name):
    total = sum(part.minutes for part in build.sections(name))
    assert needed(name) - 6 <= total <= needed(name) + 1, "sections and the README's estimate drift apart"
    every = build.minutes_of(name, titles(name))
    nested = build.minutes_of(name, [part.title for part in build.sections(name) if part.level == 2])
    assert every == pytest.approx(nested), "a section within a skipped one is counted once"


# ---- Plans ----


def test_the_first_hour_has_sixty_minutes_and_no_gap():
    clock, spent = 0, 0
    pages = set(
        re.findall(r"^#+ (.+)$", (ROOT / "slides" / "00_overview.md").read_text("utf-8"), re.MULTILINE)
    )
    for minutes, shown, said, expected in rows(under("## The first hour")):
        start, stop = map(int, minutes.split("–"))
        assert start == clock < stop, f"a gap or an overlap at {minutes}"
        clock = stop
        place = titles("00_anatomy") if shown.startswith("notebook") else pages
        assert set(build.quoted(shown)) <= place, shown
        assert shown.startswith(("notebook: “", "deck: ")) and len(said) > 20 and len(expected) > 20
        spent += (stop - start) * shown.startswith("notebook")
    assert clock == 60 and spent >= 30


def test_pages_of_short_talks_exist():
    decks = set()
    for deck, shown in rows(under("### Short talks")):
        path = ROOT / re.search(r"\]\((.+?)\)", deck)[1]
        there = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
        named = build.quoted(shown)
        assert named == [title for title in there if title in named], f"{path.name}: pages in their order"
        assert 3 <= len(named) <= 10
        decks.add(path.stem[:2])
    talks = re.findall(r"\| (\d+) \| (.+) \| talk \|", TEXT)
    short = {n for minutes, what in talks if int(minutes) <= 25 for n in re.findall(r"slides/(\d\d)_", what)}
    assert short <= decks and len(talks) >= 10


def in_script():
    table = rows(under("## The first hour"))
    spans = [[int(n) for n in row[0].split("–")] for row in table if row[1].startswith("notebook")]
    return sum(stop - start for start, stop in spans)


@pytest.mark.parametrize(("plan", "days"), [("Half a day", 1), ("One day", 1), ("Two days", 2)])
def test_plans_add_up(plan, days):
    heading = re.search(rf"^### {plan}: (\d+) minutes$", TEXT, re.MULTILINE)
    table, stated = rows(under(heading[0])), int(heading[1])
    assert sum(int(row[1]) for row in table) == stated
    begins, rest = [], 0
    for start, minutes, *_ in table:
        hour, minute = map(int, start.rpartition(" ")[2].split(":"))
        clock = 60 * hour + minute
        if begins and not start.startswith("day"):
            assert clock == rest, f"{plan}: the row before {start} ends at another time"
        begins.append(start)
        rest = clock + int(minutes)
    assert sum(start.startswith("day") for start in begins) == (days if days > 1 else 0)
    assert sum(row[3] == "break" for row in table) >= 2 * days
    assert {row[3] for row in table} <= {"script", "talk", "live", "lab", "discussion", "break", "test"}
    for _, _, what, how, left in table:
        for link in re.findall(r"\]\(([^)#]+)\)", what):
            assert (ROOT / link).is_file(), link
        assert not left or how in ("live", "lab"), "only notebooks leave something out"


@pytest.mark.parametrize("plan", ["Half a day", "One day", "Two days"])
def test_plans_say_what_they_leave_out_and_what_is_left_fits(plan):
    heading = re.search(rf"^### {plan}: \d+ minutes$", TEXT, re.MULTILINE)[0]
    given, kept = Counter({"00_anatomy": in_script()}), {}
    for _, minutes, what, how, left in rows(under(heading)):
        if how not in ("live", "lab"):
            continue
        for name in NOTEBOOK.findall(what):  # two notebooks in one row: two groups, side by side
            given[name] += int(minutes)
            if left:
                how_left, named = left.split()[0], build.quoted(left)
                assert how_left in ("without", "only") and named and set(named) <= titles(name), (name, left)
                share = build.minutes_of(name, named)
                total = sum(part.minutes for part in build.sections(name))
                kept[name] = share if how_left == "only" else total - share
    assert len(given) >= 4
    for name, minutes in given.items():
        if minutes < needed(name):
            assert name in kept, (
                f"{plan}: {name} takes {needed(name)} minutes, has {minutes}: what is left out?"
            )
            assert kept[name] <= minutes + 5, f"{plan}: {kept[name]:.0f} minutes of {name} in {minutes}"


def test_the_semester_adds_up():
    table = rows(under("### A semester: 14 weeks of 180 minutes"))
    assert [row[0] for row in table] == [str(week) for week in range(1, 15)]
    taught = set()
    for _, talk, lab, discussion, pause, what, home in table:
        assert int(talk) + int(lab) + int(discussion) + int(pause) == 180
        for link in re.findall(r"\]\(([^)#]+)\)", what):
            assert (ROOT / link).is_file(), link
        used = 0
        for step in re.split(r"[;,] ", what):
            minutes = [int(n) for n in re.findall(r"\((\d+) min\)", step)]
            used += max(minutes, default=0)  # "a or b": two groups, side by side
            for name in NOTEBOOK.findall(step):
                taught.add(name)
                assert max(minutes, default=0) + int(home) >= needed(name), f"{name}: too few minutes"
        assert used <= int(lab)
    assert taught == set(build.NAMES)


# ---- The notebooks ----


@every_notebook
def test_each_notebook_has_all_parts(name):
    part = build.chapter(TEXT, name)
    assert f"](notebooks/{name}.ipynb)" in part
    outcomes = re.search(r"\*\*Outcomes\.\*\* Learners can\n\n((?:- .+\n)+)", part)[1].splitlines()
    assert 3 <= len(outcomes) <= 5
    for line in outcomes:
        assert not re.match(r"- (understand|know|learn|appreciate)\b", line), f"not testable: {line}"
    wrong = rows(part[part.index("**Misconceptions.**") :])
    assert 3 <= len(wrong) <= 6
    for belief, shown, remedy in wrong:
        assert min(len(belief), len(shown), len(remedy)) >= 15, belief
    for label in ("Show live", "Skip when time is short"):
        text = re.search(rf"^\*\*{label}\.\*\* (.+)$", part, re.MULTILINE)[1]
        named = build.quoted(text)
        assert len(named) >= 2, f"{label}: name two sections at least"
        assert set(named) <= titles(name), f"{label}: {set(named) - titles(name)}"
    assert f"<!-- begin: quiz {name} " in part and f"<!-- begin: time {name} " in part
    loose = set(build.quoted(MADE.sub("", part))) - titles(name)
    assert not loose, f"curly quotes are for headings, and {name} has none called {loose}"


def test_the_example_of_a_table_can_be_graded(tmp_path):
    table = re.search(r"```\n(learner,when,answers\n.*?)```", TEXT, re.DOTALL)[1]
    path = tmp_path / "answers.csv"
    path.write_text(table, encoding="utf-8")
    found = build.read_answers(path)
    key = np.array([question.answer for question in build.inventory()])
    assert set(found["pre"]) == set(found["post"]) and 0 < (found["post"]["blue 7"] == key).sum() < 15


@every_notebook
def test_answers_are_those_of_the_quiz(name):
    part = build.chapter(TEXT, name)
    for questions in quiz.load(name).parts.values():
        assert "`" + "".join(quiz.LETTERS[q.answer] for q in questions) + "`" in part


def test_what_is_skipped_leaves_the_core():
    """Take-aways stay, and a third of the time at least."""
    for name in build.NAMES:
        gone = build.skipped(build.chapter(TEXT, name))
        assert "Take-aways" not in gone
        assert build.minutes_of(name, gone) <= 2 / 3 * needed(name), name


# ---- Numbers and links ----


@pytest.mark.parametrize("path", [build.GUIDE, CAPSTONE], ids=lambda path: path.stem)
def test_numbers_stand_where_they_come_from(path):
    """As on the slides, a section at a time: `<!-- from: 03_attention: 0.85, 0.43 -->`, or a file's path."""
    text = MADE.sub("", path.read_text(encoding="utf-8"))
    checked = 0
    for section in re.split(r"^(?=#{2,3} )", text, flags=re.MULTILINE):
        unseen = r"<!--.*?-->|```.*?```|`[^`]*`|Python 3\.\d+"  # code, and a version that looks like a number
        shown = re.sub(unseen, "", section, flags=re.DOTALL).replace("\N{MINUS SIGN}", "-")
        known, here = set(), section.splitlines()[0]
        for name, values in (m.groups() for m in map(FROM.match, COMMENT.findall(section)) if m):
            for value in values.split(", "):
                assert value in shown, f"{here}: {value} is not in the text"
                assert value in source(name), f"{here}: {value} does not stand in {name}"
                known |= set(NUMBER.findall(value))
                checked += 1
        alone = set(NUMBER.findall(re.sub(r"doi:\S+", "", shown))) - known
        assert not alone, f"{here}: say where {sorted(alone)} come from"
    assert checked >= 8


@pytest.mark.parametrize("path", [build.GUIDE, CAPSTONE, build.SHEET], ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    made = {
        re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-")
        for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    for link in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = link.partition("#")
        if file:
            assert (path.parent / file).exists(), link
        else:
            assert anchor in made, link


# ---- The concept inventory ----


def test_the_inventory_is_well_formed():
    questions = build.inventory()
    assert len(questions) == 15 and len({question.text for question in questions}) == 15
    for question in questions:
        assert len(question.choices) == 4
        assert len({choice.text for choice in question.choices}) == 4
        assert len({choice.why for choice in question.choices}) == 4
        assert all(len(choice.why.split()) >= 5 for choice in question.choices), question.text
        number, _, section = question.section.partition(" · ")
        assert section in titles(build.BY_NUMBER[number]), question.section


def test_the_inventory_covers_the_course():
    subjects = Counter(question.topic.partition(":")[0] for question in build.inventory())
    assert set(subjects) == {
        *("tokenizer", "embedding", "mixer", "head", "objective"),
        *("strands", "variants", "baselines", "splits", "intervals"),
    }
    assert max(subjects.values()) <= 3


def test_letter_and_length_give_nothing_away():
    """Whoever always picks one letter, or the longest or shortest choice, does hardly better than a guess."""
    questions = build.inventory()
    letters = Counter(question.answer for question in questions)
    assert sorted(letters) == [0, 1, 2, 3] and max(letters.values()) <= 4
    for extreme in (max, min):
        found = 0
        for question in questions:
            lengths = [len(choice.text) for choice in question.choices]
            found += lengths[question.answer] == extreme(lengths) and lengths.count(extreme(lengths)) == 1
        assert found <= 5, f"{found} right choices are the {extreme.__name__} in length"


def test_the_sheet_tells_no_answer():
    sheet = build.SHEET.read_text(encoding="utf-8")
    for question in build.inventory():
        for choice in question.choices:
            assert build._plain(choice.text) in sheet
            assert build._plain(choice.why) not in sheet
    assert sheet.count("(a) ") == 15


# ---- Grading ----


def answers(tmp_path, lines):
    path = tmp_path / "answers.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["learner", "when", "answers"], *lines])
    return path


def letters(right):
    """A sheet with the first `right` answers right, one wrong, and the rest unknown."""
    questions = build.inventory()
    given = [quiz.LETTERS[q.answer] for q in questions[:right]]
    if right < len(questions):
        given.append(quiz.LETTERS[(questions[right].answer + 1) % 4])
    return "".join(given).ljust(len(questions), "?")


def test_grading_by_hand(tmp_path, capsys):
    lines = [
        ["a", "pre", letters(3)],
        ["b", "pre", letters(6)],
        ["a", "post", letters(9)],
        ["b", "post", letters(12)],
    ]
    path = answers(tmp_path, [*lines, ["c", "pre", letters(15)]])
    key = np.array([question.answer for question in build.inventory()])
    found = build.read_answers(path)
    assert (found["post"]["b"] == key).sum() == 12 and (found["pre"]["a"] == key).sum() == 3
    assert (found["pre"]["a"] == -1).sum() == 11, "I do not know"
    assert build.main(["--grade", str(path)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("2 learners with both sheets (1 with one, left out), 15 questions\n")
    assert "before 4.5 right, after 10.5" in text
    assert "after minus before: +6.00 [+6.00, +6.00]" in text, "both gained six: nothing to vary"
    assert "normalised gain of the class: +0.57 [+0.50, +0.67]" in text  # 6 of 10.5; 6 of 12 to 6 of 9
    assert re.search(r"^ +7 +0% +100% +- +\w", text, re.MULTILINE)
    tenth = quiz.LETTERS[(key[9] + 1) % 4]  # what learner a chose afterwards, wrongly
    assert re.search(rf"^ +10 +0% +50% +{tenth} 50% +objective", text, re.MULTILINE)
    assert re.search(r"^ +15 +0% +0% +- ", text, re.MULTILINE)


def test_a_class_that_knew_all_has_no_gain():
    assert np.isnan(build.gain(np.ones(3), np.ones(3)))
    assert build.gain(np.array([0.2, 0.4]), np.array([0.2, 0.4])) == 0
    assert build.gain(np.array([0.5]), np.array([0.25])) == -0.5


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([["a", "before", letters(3)]], "line 2: when should be pre or post, not 'before'"),
        ([["", "pre", letters(3)]], "line 2: learner '' is empty"),
        (
            [["a", "pre", letters(3)], ["a", "pre", letters(4)]],
            "line 3: learner 'a' is empty or there twice for pre",
        ),
        ([["a", "pre", "abc"]], "line 2: 3 letters for 15 questions"),
        ([["a", "pre", "e" * 15]], "line 2: question 1 has the choices a to d, not 'e'"),
        ([["a", "pre", letters(3)], ["b", "post", letters(3)]], "no learner stands there with both"),
    ],
)
def test_bad_tables_are_named(tmp_path, lines, complaint):
    with pytest.raises(build.GuideError, match=re.escape(complaint)):
        build.main(["--grade", str(answers(tmp_path, lines))])


def test_a_table_without_its_columns_and_no_table(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("name,answers\na,abc\n", encoding="utf-8")
    with pytest.raises(build.GuideError, match="missing: learner"):
        build.main(["--grade", str(path)])
    path.write_bytes("learner,when,answers\nB\u00e4r,pre,a\n".encode("cp1252"))
    with pytest.raises(build.GuideError, match=r"other.csv is not UTF-8"):
        build.main(["--grade", str(path)])
    path.write_text("learner;when;answers\na;pre;abc\n", encoding="utf-8")  # from a German spreadsheet
    with pytest.raises(build.GuideError, match="line 2: 3 letters for 15 questions"):
        build.main(["--grade", str(path)])
    with pytest.raises(build.GuideError, match="there is no file"):
        build.main(["--grade", str(tmp_path / "none.csv")])


# ---- The capstone ----


def test_the_rubric_has_nine_criteria_with_four_levels():
    text = CAPSTONE.read_text(encoding="utf-8")
    table = rows(text[text.index("## Rubric") :])
    names = [row[0].strip("*").lower() for row in table]
    assert names == [
        *("question", "data and licence", "split", "baseline", "model"),
        *("evaluation", "honesty", "reproducibility", "presentation"),
    ]
    for row in table:
        assert len(row) == 5 and len(set(row)) == 5 and all(len(cell) >= 4 for cell in row)


BLOCKS = re.findall(r"```python\n(.*?)```", CAPSTONE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.search(r'load_data\("([^"]+)"', block)[1])
def test_suggested_tables_fit_the_starting_project(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs/capstone.md", "exec"), {})
    monkeypatch.setattr(project, "TABLE", "table.tsv")
    frame = project.labelled(small=False)
    assert {"train", "valid", "test"} == set(frame["split"])
    assert (frame.groupby("group")["split"].nunique() == 1).all(), "a group stands in two splits"
    for _, part in frame.groupby("split"):
        assert 0.2 < part["label"].mean() < 0.8


def test_there_are_three_suggestions():
    assert len(BLOCKS) == 3
