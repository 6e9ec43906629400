"""Exercises with each learner's own numbers: the same for the same learner, others for others, and graded safely."""

import contextlib
import csv
import json
import os
import random
import re
import subprocess
import textwrap
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from gfm_lab import assignments, cli, load_data
from gfm_lab.assignments import Draw, Function, Value, difference
from gfm_lab.commands.assign import _safe, read_roster
from gfm_lab.mixers import build_mixer
from gfm_lab.tokenization import KmerTokenizer

ROOT = Path(__file__).resolve().parent.parent
KEY = b"a key for these tests only"
EVERY = [about for name in assignments.notebooks() for about in assignments.templates(name).values()]
every = pytest.mark.parametrize("about", EVERY, ids=lambda t: f"{t.notebook}-{t.name}")
SLOW = {"mutation_scores", "markov_bits"}  # a model reads the DNA of each learner


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Many small tensors: beside other test processes, a second thread waits more than it works."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---- Drawing ----


def test_every_notebook_of_the_course_has_exercises():
    assert assignments.notebooks() == sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb"))
    assert len({(t.notebook, t.name) for t in EVERY}) == len(EVERY) >= 34


def test_a_draw_is_fixed_for_ever():
    """Written down: another Python, or another version of this file, must give the same exercises in mid-term."""
    draw = Draw(b"written down")
    assert draw.integers(8, 0, 99) == [31, 38, 32, 23, 50, 3, 63, 82]
    assert draw.dna(12) == "GATAGTAATTTT" and draw.sample(range(10), 4) == [7, 5, 6, 3]
    draws = Draw(b"even").integers(6000, 1, 6)
    assert set(draws) == {1, 2, 3, 4, 5, 6} and max(draws.count(n) for n in range(1, 7)) < 1120


@every
def test_the_same_learner_always_gets_the_same_exercise(about):
    first, again = (assignments.exercise(about, "ada", KEY) for _ in range(2))
    assert first.text == again.text and first.answer == again.answer
    assert difference(first.answer, again.answer) is None
    assert assignments.exercise(about, "ada", b"another key, of another year").text != first.text
    assert "{" not in first.text  # nothing was left unfilled


@every
def test_two_learners_answers_differ(about):
    """Over 200 learners (25 where a model reads DNA), at most one pair in 200 has the same answer."""
    variants = [assignments.exercise(about, f"s{i}", KEY) for i in range(25 if about.name in SLOW else 200)]
    assert len({variant.text for variant in variants}) >= 0.95 * len(variants)
    same = pairs = 0
    for i, mine in enumerate(variants):
        for other in variants[i + 1 : i + 40]:
            pairs += 1
            same += handed_over(mine, other)
    assert same <= pairs / 200, f"{same} of {pairs} pairs"


def handed_over(mine, other):
    """Does the answer of `mine` pass as the answer of `other`?"""
    if isinstance(mine, Value):
        return difference(other.answer, mine.answer, other.tolerance) is None
    try:
        got = [mine.reference(*call) for call in other.calls]
    except Exception:
        return False
    return difference(other.answer, got, other.tolerance) is None


@every
def test_answers_are_plain_and_what_the_text_promises(about):
    for learner in ("ada", "grace", "rosalind"):
        variant = assignments.exercise(about, learner, KEY)
        written = json.loads(json.dumps(variant.answer))  # no array, no NaN
        assert difference(variant.answer, written, variant.tolerance) is None
        assert difference(written, nudge(written, 3 * variant.tolerance + 1e-6), variant.tolerance)
        words = variant.form if isinstance(variant, Value) else ""
        counts = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
        for word, count in counts.items():
            if words.startswith((f"a list of {word} ", f"two lists of `[{word}")):
                assert len(variant.answer) == count
        assert "nan" not in json.dumps(written).lower() and "None" not in variant.text


def nudge(answer, by):
    """The answer with one entry made wrong."""
    if isinstance(answer, list):
        return [*answer[:-1], nudge(answer[-1], by)] if answer else ["one too many"]
    if isinstance(answer, str):
        return answer + "A"
    return answer + by * max(1.0, abs(answer)) if isinstance(answer, (int, float)) else not answer


# ---- Answers against other ways to compute them ----


def drawn(notebook, name, learner="ada"):
    return assignments.exercise(assignments.templates(notebook)[name], learner, KEY)


def test_memory_is_what_the_packages_mixers_keep():
    """The formula of the exercise, against the states that real mixers fill."""
    width, state_size, taps, length = 8, 4, 3, 11
    x = torch.randn(1, length, width)
    kept = {}
    for name, options in (
        ("attention", {"heads": 2}),
        ("mamba", {"state_size": state_size, "conv_kernel": taps}),
    ):
        state = {}
        build_mixer(name, width, causal=True, **options)(x, state=state)
        tensors = [v for v in state.values() if isinstance(v, torch.Tensor) and v.is_floating_point()]
        kept[name] = sum(t.numel() for t in tensors)
    assert kept["mamba"] == 2 * width * (state_size + taps - 1)
    assert kept["attention"] == 2 * length * width


def test_a_drawn_number_on_the_edge_counts_as_the_text_says():
    """0.83 is not "below 0.83", though it is below the sum of the floats 0.63 and 0.2."""

    class Edge(Draw):
        """All places are chosen, 63 % hidden, 20 % changed; the number that decides is 0.83 everywhere."""

        def integer(self, low, high):
            return {(50, 70): 63, (10, 25): 20}.get((low, high)) or super().integer(low, high)

        def numbers(self, count, low, high, digits=1):
            self.rows = getattr(self, "rows", [0.9, 0.83, 0.0])
            return [self.rows.pop()] * count

    assert 0.83 < 0.63 + 0.2
    variant = assignments.templates("09_masked_language_modeling")["shown_and_labels"].draw(Edge(b"edge"))
    shown, labels = variant.answer
    assert "u2 below 0.83)" in variant.text and -100 not in labels[1:-1]
    assert shown[1:-1] == labels[1:-1]  # chosen, and shown as they are


def test_public_solutions_do_not_fit():
    """What the solution notebooks hold, where its form fits at all."""
    for learner in ("ada", "grace", "rosalind"):
        variant = drawn("02_embeddings", "positions", learner)
        public = [(torch.tensor(*call).cumsum(1) - 1).clamp(min=0).tolist() for call in variant.calls]
        assert difference(variant.answer, public)
        kmers = drawn("01_tokenization", "kmer_ids", learner)
        for k in (3, 4, 5, 6):
            ids = [KmerTokenizer(k).encode_array(*call).tolist() for call in kmers.calls]
            assert difference(kmers.answer, ids)
        assert difference(drawn("07_choosing_a_mixer", "lookback", learner).answer, [16 + 16 + 2, 50])


@pytest.mark.parametrize("learner", ["ada", "grace", "rosalind", "emmy", "alan"])
def test_answers_by_hand(learner):
    """Some answers again, from the text alone and without the package's functions."""
    text = drawn("03_attention", "score_counts", learner).text
    length, radius = (
        int(re.search(r"has ([\d,]+) tokens", text)[1].replace(",", "")),
        int(re.search(r"window of (\d+)", text)[1]),
    )
    full = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    causal = np.tri(length, dtype=bool)
    counts = [full.size, causal.sum(), (full <= radius).sum(), ((full <= radius) & causal).sum()]
    assert drawn("03_attention", "score_counts", learner).answer == counts

    variant = drawn("05_state_spaces_and_mamba", "selective_states", learner)
    rate = float(re.search(r"A = (-?[\d.]+),", variant.text)[1])
    rows = {
        m[1]: [float(x) for x in m[2].split("|")] for m in re.finditer(r"\| (\w+) \|(.+)\|", variant.text)
    }
    h, states, y = 0.0, [], []
    for u, delta, b, c, mask in zip(*(rows[n] for n in ("u", "delta", "B", "C", "mask")), strict=True):
        if mask:
            h = np.exp(delta * rate) * h + delta * b * u
            y.append(c * h)
        states.append(h)
    assert difference(variant.answer, [states, y], 1e-9) is None

    variant = drawn("p1_dna_for_engineers", "record", learner)
    genome = load_data("ecoli-k12").sequence
    start, stop = (
        int(n.replace(",", "")) for n in re.search(r"bases ([\d,]+) to ([\d,]+) \(", variant.text).groups()
    )
    number, new = re.search(r"base number (\d+),.* replaced by (\w)", variant.text).groups()
    pos, ref, alt = variant.answer
    assert genome[pos - 1] == ref != alt
    changed = genome[: pos - 1] + alt + genome[pos:]
    pair = str.maketrans("ACGT", "TGCA")
    before, after = (g[start:stop].translate(pair)[::-1] for g in (genome, changed))
    assert [i + 1 for i in range(len(before)) if before[i] != after[i]] == [int(number)]
    assert after[int(number) - 1] == new


# ---- The learner's notebook ----


def test_the_notebook_holds_no_answers_and_is_the_same_every_time():
    made = [assignments.make_notebook("13_practical_design", "ada", KEY) for _ in range(2)]
    assert nbformat.writes(made[0]) == nbformat.writes(made[1])
    assert len({cell.id for cell in made[0].cells}) == len(made[0].cells)
    text = nbformat.writes(made[0])
    for about in assignments.templates("13_practical_design").values():
        for answer in map(str, np.ravel(assignments.exercise(about, "ada", KEY).answer)):
            assert len(answer) < 6 or answer not in text
    assert KEY.decode() not in text
    other = assignments.make_notebook("13_practical_design", "grace", KEY)
    assert not {c.id for c in other.cells} & {c.id for c in made[0].cells}


@pytest.mark.parametrize("notebook", assignments.notebooks())
def test_stubs_compile_and_name_the_exercises(notebook):
    made = assignments.make_notebook(notebook, "ada", KEY)
    names = {}
    for cell in made.cells:
        if cell.metadata.get(assignments.METADATA):
            exec(compile(cell.source, "<stub>", "exec"), names)
    assert set(assignments.templates(notebook)) <= set(names)


@pytest.mark.parametrize(
    "learner", ["", "../ada", "a b", "-ada", "ada/grace", "ä" * 3, "a" * 65, "ada.", "NUL", "com1.x"]
)
def test_names_that_no_file_can_have(learner):
    with pytest.raises(ValueError, match="is no learner's id"):
        assignments.make_notebook("01_tokenization", learner, KEY)


# ---- Comparing ----


def test_difference_says_where_and_never_what():
    assert difference([1, [2.0, "A"]], (1, (2.0005, "A")), 0.001) is None
    assert difference([1, [2.0, "A"]], [1, [2.5, "A"]], 0.001) == "entry 0 of entry 1 of the answer is wrong"
    assert "should have 2 entries, not 1" in difference([1, 2], [1])
    assert difference(1000.0, 1000.9, 0.001) is None and difference(0.001, 0.0031, 0.001)
    for got in (True, None, "1", float("nan"), float("inf"), [1]):
        assert difference(1, got, 1e9 if got is True else 0.5)
    assert difference(True, 1) and difference(False, False) is None and difference("A", ["A"])
    assert difference(0.5, 10**400, 0.01) and difference(1, 10**400)  # no float can hold it


# ---- Grading ----


def hand_in(path, notebook, learner, answers, extra=""):
    """A notebook with these answers in place of its stubs, and a last cell."""
    made = assignments.make_notebook(notebook, learner, KEY)
    for cell in made.cells:
        if cell.metadata.get(assignments.METADATA) in answers:
            cell.source = answers[cell.metadata[assignments.METADATA]]
    made.cells = [
        cell for cell in made.cells if cell.source != assignments.SETUP
    ]  # torch takes seconds to import
    if extra:
        made.cells.append(nbformat.v4.new_code_cell(extra))
    nbformat.write(made, path)
    return path


def right_answers(notebook, learner):
    found = {}
    for name, about in assignments.templates(notebook).items():
        variant = assignments.exercise(about, learner, KEY)
        if isinstance(variant, Value):
            found[name] = f"{name} = {variant.answer!r}"
        else:  # knows the hidden calls by heart
            table = {json.dumps(list(c)): a for c, a in zip(variant.calls, variant.answer, strict=True)}
            found[name] = f"import json\ndef {name}(*given):\n    return {table!r}[json.dumps(list(given))]"
    return found


def outcome(results):
    return {r.exercise: (r.result, r.points) for r in results}


NAME = "01_tokenization"


def test_right_wrong_and_open_answers(tmp_path):
    right = right_answers(NAME, "ada")
    full = assignments.grade(hand_in(tmp_path / "full.ipynb", NAME, "ada", right), KEY)
    assert outcome(full) == {"kmer_ids": ("right", 3), "merges": ("right", 2)}
    half = assignments.grade(hand_in(tmp_path / "half.ipynb", NAME, "ada", {"merges": right["merges"]}), KEY)
    assert outcome(half) == {"kmer_ids": ("not attempted", 0), "merges": ("right", 2)}
    answers = {"kmer_ids": "def kmer_ids(sequence):\n    return 1 / 0", "merges": "merges = {'AA'}"}
    wrong = assignments.grade(hand_in(tmp_path / "wrong.ipynb", NAME, "ada", answers), KEY)
    assert outcome(wrong) == {"kmer_ids": ("wrong", 0), "merges": ("wrong", 0)}
    assert "ZeroDivisionError" in wrong[0].note and "a set is no answer" in wrong[1].note
    stolen = assignments.grade(hand_in(tmp_path / "b.ipynb", NAME, "grace", right), KEY)
    assert {result for result, _ in outcome(stolen).values()} == {"wrong"}


def test_broken_cells_cost_only_themselves(tmp_path):
    right = right_answers(NAME, "ada")
    answers = right | {"kmer_ids": "def kmer_ids(:"}
    path = hand_in(tmp_path / "a.ipynb", NAME, "ada", answers, extra="%time 1 + 1\nraise SystemExit")
    assert outcome(assignments.grade(path, KEY)) == {
        "kmer_ids": ("not attempted", 0),
        "merges": ("right", 2),
    }


def test_an_endless_loop_is_stopped_and_what_came_before_counts(tmp_path, monkeypatch):
    """The limit is reached, here, at the moment at which the endless cell has begun."""
    begun = tmp_path / "begun"

    class Limited(subprocess.Popen):
        def wait(self, timeout=None):
            while timeout and not begun.exists():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return super().wait(0.05)
            if timeout:
                raise subprocess.TimeoutExpired("cells", timeout)
            return super().wait()

    monkeypatch.setattr(assignments.subprocess, "Popen", Limited)
    answers = right_answers(NAME, "ada") | {"kmer_ids": "def kmer_ids(s):\n    return [3]"}
    loop = f"""
        import os, pathlib, subprocess, sys
        child = subprocess.Popen([sys.executable, '-c', 'while True: pass'])
        pathlib.Path({str(begun)!r} + '.part').write_text(str(child.pid))
        os.replace({str(begun)!r} + '.part', {str(begun)!r})
        while True: pass"""
    path = hand_in(tmp_path / "a.ipynb", NAME, "ada", answers, extra=textwrap.dedent(loop))
    results = assignments.grade(path, KEY, seconds=12)
    assert outcome(results) == {"kmer_ids": ("wrong", 0), "merges": ("right", 2)}
    assert all("stopped after 12 s" in r.note for r in results)
    if os.path.isdir("/proc"):  # what the cell started was ended with it: gone, or dead and not yet collected
        stat = Path(f"/proc/{begun.read_text()}/stat")
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            assert stat.read_text().rsplit(")", 1)[1].split()[0] in "ZX"


def test_strange_answers_cost_only_themselves_and_notes_stay_one_line(tmp_path):
    right = right_answers(NAME, "ada")
    answers = {"kmer_ids": "kmer_ids = lambda s: 10 ** 5000", "merges": right["merges"]}
    graded = assignments.grade(hand_in(tmp_path / "long.ipynb", NAME, "ada", answers), KEY)
    assert outcome(graded) == {"kmer_ids": ("wrong", 0), "merges": ("right", 2)}
    silent = """
        class Silent(Exception):
            def __str__(self): raise self
        def kmer_ids(s): raise Silent"""
    answers = {"kmer_ids": textwrap.dedent(silent), "merges": right["merges"]}
    graded = assignments.grade(hand_in(tmp_path / "silent.ipynb", NAME, "ada", answers), KEY)
    assert graded[0].note == "Silent" and outcome(graded)["merges"] == ("right", 2)
    answers = {"kmer_ids": "def kmer_ids(s):\n    raise ValueError('a\\x1b[31m\\nb\\ud800')"}
    (told, _) = assignments.grade(hand_in(tmp_path / "torn.ipynb", NAME, "ada", answers), KEY)
    assert told.note == r"ValueError: a\x1b[31m\nb\ud800" and told.note.encode("utf-8")


def test_the_learners_code_sees_neither_our_environment_nor_our_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_SECRET", "sesame")
    seen = tmp_path / "seen.json"
    look = f"""
        import json, os, pathlib
        seen = [dict(os.environ), os.listdir('.'), os.listdir('..')]
        pathlib.Path({str(seen)!r}).write_text(json.dumps(seen))"""
    assignments.grade(hand_in(tmp_path / "a.ipynb", NAME, "ada", {}, extra=textwrap.dedent(look)), KEY)
    env, here, above = json.loads(seen.read_text())
    assert "COURSE_SECRET" not in env and "job.json" not in above
    assert [name for name in here if not name.startswith(".")] == []


def test_files_that_are_no_submissions(tmp_path):
    right = right_answers(NAME, "ada")
    good = hand_in(tmp_path / "good.ipynb", NAME, "ada", right)
    content = json.loads(good.read_text(encoding="utf-8"))

    def note(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        (result,) = assignments.grade(tmp_path / name, KEY)
        assert (result.result, result.points) == ("not graded", 0)
        return result.note

    assert "cut off" in note("cut.ipynb", good.read_text(encoding="utf-8")[:300])
    assert "cut off" in note("list.ipynb", "[]")
    assert "not made by" in note("own.ipynb", json.dumps(content | {"metadata": {}}))
    about = content["metadata"][assignments.METADATA]

    def changed(**what):
        return json.dumps(content | {"metadata": {assignments.METADATA: about | what}})

    assert "its name was changed" in note("grace.ipynb", changed(learner="grace"))
    assert "another learner" in note("seal.ipynb", changed(seal="\u00e4" * 16))
    assert "another learner" in note("torn.ipynb", changed(learner="\ud800"))
    assert "cut off" in note("deep.ipynb", "[" * 100_000)
    assert "edition 0" in note("old.ipynb", changed(edition=0))
    assert "no exercises with variants" in note("99.ipynb", changed(notebook="99_later"))
    (result,) = assignments.grade(good, b"the key of another course")
    assert "another key" in result.note
    (result,) = assignments.grade(tmp_path / "absent.ipynb", KEY)
    assert result.note


# ---- The command ----


@pytest.fixture
def course(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "course.key").write_bytes(KEY + b"\n")
    (tmp_path / "roster.csv").write_text(
        "name,learner\nAda L.,ada\nGrace H.,grace\n,\nEmmy N.,emmy\n", encoding="utf-8-sig"
    )
    return tmp_path


def test_from_the_roster_to_the_grades(course, capsys):
    make = ["assign", "make", NAME, "--key", "course.key", "--roster", "roster.csv", "--output", "out"]
    assert cli.main(make) == 0 and "3 notebooks for 3 learners" in capsys.readouterr().out
    assert cli.main(make) == 2 and "it may be somebody's work" in capsys.readouterr().err
    inbox = course / "inbox"
    for learner in ("ada", "grace"):
        (inbox / learner).mkdir(parents=True)
    hand_in(inbox / "ada" / "mine.ipynb", NAME, "ada", right_answers(NAME, "ada"))
    hand_in(inbox / "grace" / "mine.ipynb", NAME, "ada", {})  # somebody else's file
    (inbox / "grace" / "cut.ipynb").write_text("{", encoding="utf-8")
    grade = ["assign", "grade", "inbox", "--key", "course.key", "--roster", "roster.csv", "--output", "g.csv"]
    assert cli.main(grade) == 0
    assert "5 of   5" in capsys.readouterr().out
    with open("g.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    points = {(Path(row["file"]).parts[1:], row["exercise"]): row["points"] for row in rows if row["file"]}
    assert points[("ada", "mine.ipynb"), "kmer_ids"] == "3"
    assert points[("grace", "mine.ipynb"), "kmer_ids"] == "0"
    notes = {row["file"] or row["learner"]: row["note"] for row in rows}
    assert "cut off" in notes[os.path.join("inbox", "grace", "cut.ipynb")]
    assert "handed in twice" in notes[os.path.join("inbox", "grace", "mine.ipynb")]
    assert notes["grace"] == notes["emmy"] == "handed in nothing"


def test_ctrl_c_keeps_what_was_graded(course, capsys, monkeypatch):
    (course / "inbox").mkdir()
    for name in ("a", "b"):
        (course / "inbox" / f"{name}.ipynb").write_text("{}", encoding="utf-8")
    asked = []

    def grade(path, key, seconds):
        asked.append(path)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return [assignments.Result(str(path), "ada", NAME, "kmer_ids", "right", 3, 3)]

    monkeypatch.setattr(assignments, "grade", grade)
    assert cli.main(["assign", "grade", "inbox", "--key", "course.key", "--output", "g.csv"]) != 0
    assert "1 of 2 files stand in g.partial.csv" in capsys.readouterr().err
    assert not Path("g.csv").exists()
    with open("g.partial.csv", encoding="utf-8", newline="") as handle:
        assert [(row["learner"], row["points"]) for row in csv.DictReader(handle)] == [("ada", "3")]


@pytest.mark.parametrize(
    "text, fault",
    [
        ("name\nada\n", r"line 1: no column 'learner', only name"),
        ("learner\nada\na b\n", r"line 3: 'a b' is no learner's id"),
        ("learner,name\nada,x\n,Grace\n", r"line 3: '' is no learner's id"),
        ("learner\nada\nAda\n", r"line 3: 'Ada' stands in line 2 already"),
        ("learner\n", r"no learner below the header"),
        ("name;learner\nAda;ada\nGrace;a b\n", r"line 3: 'a b' is no learner's id"),
    ],
)
def test_a_roster_with_a_fault(tmp_path, text, fault):
    path = tmp_path / "roster.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"roster.csv.*{fault}"):
        read_roster(path)


def test_a_roster_from_a_spreadsheet(tmp_path):
    path = tmp_path / "roster.csv"
    path.write_bytes("learner;name\r\nada;Ada L.\r\n".encode("utf-8-sig"))
    assert read_roster(path) == ["ada"]
    path.write_bytes("learner,name\nada,Ada\nemmy,Bäcker\n".encode("cp1252"))
    with pytest.raises(ValueError, match=r"roster.csv, line 3: not UTF-8"):
        read_roster(path)


@pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX's")
@pytest.mark.parametrize("mask, mode", [(0o077, 0o600), (0o022, 0o644)])
def test_files_get_the_rights_the_account_gives(course, mask, mode):
    before = os.umask(mask)
    try:
        make = ["assign", "make", NAME, "--learner", "ada", "--output", "a.ipynb", "--key", "course.key"]
        assert cli.main(make) == 0 and (course / "a.ipynb").stat().st_mode & 0o777 == mode
        assert (
            cli.main(["assign", "key", "new.key"]) == 0
            and (course / "new.key").stat().st_mode & 0o777 == 0o600
        )
        assert os.umask(mask) == mask  # given back
    finally:
        os.umask(before)


def test_keys(course, capsys):
    assert cli.main(["assign", "key", "new.key"]) == 0
    first = (course / "new.key").read_bytes()
    assert len(first.strip()) == 64 and (
        os.name != "posix" or (course / "new.key").stat().st_mode & 0o077 == 0
    )
    assert cli.main(["assign", "key", "new.key"]) == 2 and (course / "new.key").read_bytes() == first
    assert cli.main(["assign", "key", "other.key"]) == 0 and (course / "other.key").read_bytes() != first
    (course / "short.key").write_text("sesame", encoding="utf-8")
    make = ["assign", "make", NAME, "--learner", "ada", "--output", "a.ipynb", "--key", "short.key"]
    capsys.readouterr()
    assert cli.main(make) == 2 and "16 are the least" in capsys.readouterr().err


def test_answers_and_list(course, capsys):
    assert cli.main(["assign", "answers", "03_attention", "--learner", "ada", "--key", "course.key"]) == 0
    assert repr(drawn("03_attention", "score_counts").answer) in capsys.readouterr().out
    assert cli.main(["assign", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(about.notebook in listed and about.name in listed for about in EVERY)


def test_a_formula_in_a_note_stays_text(course):
    assert _safe({"note": "=1+1", "points": -1, "file": "a"}) == {"note": "'=1+1", "points": -1, "file": "a"}


def test_functions_are_tried_on_inputs_that_tell_mistakes_apart():
    """Each function exercise refuses a function that is right for one stride, side or letter only."""
    for learner in ("ada", "grace", "rosalind"):
        variant = drawn("01_tokenization", "kmer_ids", learner)
        assert isinstance(variant, Function)
        assert difference(variant.answer, [answer[:-1] for answer in variant.answer])
        strand = drawn("06_both_strands", "other_strand", learner)
        assert difference(strand.answer, [call[0] for call in strand.calls])
        rng = random.Random(0)
        shuffled = [rng.sample(answer, len(answer)) for answer in strand.answer]
        assert difference(strand.answer, shuffled)
