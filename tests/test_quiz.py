"""Quizzes: letters in any form, a reason for each wrong choice, advice by topic; and the files of questions."""

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gfm_lab import checks
from gfm_lab.checks import quiz

ROOT = Path(__file__).resolve().parent.parent


def entry(number, choices=3, answer=0, **more):
    texts = [{"text": f"choice {number}{x}", "why": f"reason {number}{x}."} for x in "abcde"[:choices]]
    return {"question": f"What is {number}?", "choices": texts, "answer": answer, **more}


def tiny():
    topics = [
        ("strands", "Two strands"),
        ("strands", "Reading back"),
        ("genes", "Genes"),
        ("counts", "Counts"),
    ]
    return {
        "next": "01_tokenization",
        "quiz": [entry(1, 3, 1), entry(2, 4, 3), entry(3, 5, 0)],
        "placement": [
            entry(i, 3, i % 3, topic=topic, section=section) for i, (topic, section) in enumerate(topics)
        ],
    }


@pytest.fixture
def check(tmp_path, monkeypatch):
    (tmp_path / "xx_tiny.json").write_text(json.dumps(tiny()), encoding="utf-8")
    monkeypatch.setattr(quiz, "FOLDER", tmp_path)
    return checks.start("xx_tiny")


def graded(check, part, answer, capsys):
    getattr(check, part)(answer)
    return check.results[part], capsys.readouterr().out


# --- asking -----------------------------------------------------------------------------------------------------------


def test_questions_are_printed_with_letters(check, capsys):
    check.questions("quiz")
    text = capsys.readouterr().out
    assert text.startswith("1. What is 1?\n   a) choice 1a\n   b) choice 1b\n   c) choice 1c\n\n2. What")
    assert "   e) choice 3e" in text and "d) choice 1d" not in text and "reason" not in text


def test_there_is_no_part_of_that_name(check):
    with pytest.raises(ValueError, match="there are: quiz, placement"):
        check.questions("exam")
    with pytest.raises(ValueError, match="there are: none"):
        checks.start("01_tokenization").questions("quiz")


@given(st.text(alphabet="ACGT ,.\n", min_size=1, max_size=400).filter(str.strip))
def test_wrapping_keeps_every_word_and_stays_within_90_columns(text):
    block = quiz._wrapped("   a) ", text.strip())
    assert block.split() == ["a)", *text.split()]
    assert all(len(line) <= 90 or len(line.split()) == 1 for line in block.splitlines())
    assert all(line.startswith("      ") or not line.strip() for line in block.splitlines()[1:])


def test_line_breaks_of_a_question_are_kept():
    block = quiz._wrapped("1. ", "Read this:\nATG\nTAA")
    assert block == "1. Read this:\n   ATG\n   TAA"


# --- grading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["bda", "b d a", "B, D, A", "b;d;a.", ["b", "d", "a"], ("B", "D", "A")])
def test_right_letters_pass_in_any_usual_form(check, capsys, answer):
    status, text = graded(check, "quiz", answer, capsys)
    assert status == checks.OK
    assert text.startswith("[ok] quiz: 3 of 3 right\n")
    assert all(f"reason {reason}." in text for reason in ("1b", "2d", "3a"))


def test_a_wrong_choice_gets_its_own_reason_and_the_right_one_only_the_second_time(check, capsys):
    status, text = graded(check, "quiz", "bca", capsys)
    assert status == checks.HINT
    assert text.startswith("[hint] quiz: 2 of 3 right\n2c  reason 2c.")
    assert "choice 2d" not in text and "reason 2d" not in text and "reason 1" not in text
    _, text = graded(check, "quiz", "ada", capsys)
    assert "1a  reason 1a." in text and "choice 1b" not in text, "another question: its first miss"
    _, text = graded(check, "quiz", "bba", capsys)
    assert "2b  reason 2b." in text and "It is d, 'choice 2d': reason 2d." in text
    assert graded(check, "quiz", "bda", capsys)[0] == checks.OK


def test_a_fresh_start_forgets_what_was_missed(check, capsys):
    graded(check, "quiz", "bca", capsys)
    _, text = graded(checks.start("xx_tiny"), "quiz", "bca", capsys)
    assert "choice 2d" not in text


@given(st.data())
def test_graded_says_ok_for_the_right_letters_alone(data):
    questions = quiz.parse(json.dumps(tiny()), "tiny").parts["quiz"]
    chosen = [data.draw(st.integers(0, len(q.choices) - 1)) for q in questions]
    right, text = quiz.graded(questions, chosen, Counter())
    wrong = [i for i, q in enumerate(questions, start=1) if chosen[i - 1] != q.answer]
    assert right == (not wrong)
    if wrong:
        assert [int(n) for n in re.findall(r"^(\d)[a-e]  ", text, re.MULTILINE)] == wrong


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ("bd", '2 letters for 3 questions; give one each, as in "bac"'),
        ("b", "1 letter for 3"),
        ("", "0 letters for 3"),
        ("bdab", "4 letters for 3"),
        ("bdf", "question 3 has the choices a to e, not 'f'"),
        ("dda", "question 1 has the choices a to c, not 'd'"),
        ("b1a", "not '1'"),
        ("?da", "not '?'"),
        (123, "one letter a question"),
        ([1, 2, 3], "one letter a question"),
        (None, "one letter a question"),
    ],
)
def test_what_is_no_answer_is_explained(check, capsys, answer, hint):
    status, text = graded(check, "quiz", answer, capsys)
    assert status == checks.HINT and hint in text
    assert "reason" not in text


def test_stub_and_progress(check, capsys):
    assert list(check.results) == ["placement", "quiz"]
    status, text = graded(check, "quiz", ..., capsys)
    assert status == checks.TODO and text.startswith("[not attempted yet] quiz: ")
    graded(check, "placement", "abca", capsys)
    _, text = graded(check, "quiz", "bca", capsys)
    assert text.splitlines()[-1] == "xx_tiny  ■▨  1 of 2"
    assert {"questions", "quiz", "placement"} <= set(dir(check))


def test_a_quiz_stands_behind_the_exercises_of_its_notebook(tmp_path, monkeypatch):
    (tmp_path / "01_tokenization.json").write_text(json.dumps(tiny()), encoding="utf-8")
    monkeypatch.setattr(quiz, "FOLDER", tmp_path)
    names = list(checks.start("01_tokenization").results)
    assert names[0] == "placement" and names[-1] == "quiz" and "kmers" in names
    clash = {"kmers": tiny()["quiz"]}
    (tmp_path / "01_tokenization.json").write_text(json.dumps(clash), encoding="utf-8")
    with pytest.raises(ValueError, match="'kmers' is both an exercise and a part"):
        checks.start("01_tokenization")


# --- placement --------------------------------------------------------------------------------------------------------


def test_placement_all_known_says_skip(check, capsys):
    status, text = graded(check, "placement", "abca", capsys)
    assert status == checks.OK and text.startswith("[ok] placement: 4 of 4 right")
    assert "Skip this notebook and open 01_tokenization." in text and "read " not in text


def test_placement_names_the_sections_of_what_was_not_known(check, capsys):
    status, text = graded(check, "placement", "accb", capsys)
    assert status == checks.OK, "a placement quiz is never failed"
    assert re.search(r'strands +1 of 2 +read "Reading back"\n', text)
    assert re.search(r'counts +0 of 1 +read "Counts"\n', text)
    assert re.search(r"genes +1 of 1 +you know this\n", text)
    assert "from the top" in text
    assert "choice" not in text and "reason" not in text


def test_placement_one_gap_of_three_topics_says_which_sections_to_read(check, capsys):
    _, text = graded(check, "placement", "abcb", capsys)
    assert "Read the sections named above" in text


def test_placement_takes_i_do_not_know(check, capsys):
    status, text = graded(check, "placement", "? ? ? ?", capsys)
    assert status == checks.OK and "0 of 4 right" in text and "from the top" in text
    assert 'read "Two strands"; read "Reading back"' in " ".join(text.split())


def test_incomplete_placement_gets_a_hint(check, capsys):
    assert graded(check, "placement", "ab", capsys)[0] == checks.HINT
    assert graded(check, "placement", "abcd", capsys)[0] == checks.HINT
    assert graded(check, "placement", ..., capsys)[0] == checks.TODO


# --- malformed files --------------------------------------------------------------------------------------------------


def broken(**changes):
    content = tiny()
    content["quiz"][1].update(changes)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "tiny.json is not JSON"),
        ("[]", "tiny.json should hold an object"),
        ('{"next": 3}', '"next" should be the name'),
        ('{"quiz": []}', "part 'quiz' should be a name with a list"),
        ('{"a quiz": [1]}', "part 'a quiz'"),
        ('{"quiz": ["What?"]}', 'tiny.json, quiz, question 1: "question" is missing'),
        (broken(question=" "), 'tiny.json, quiz, question 2: "question" is missing or empty'),
        (broken(answer=4), 'question 2: "answer" should be 0 to 3, not 4'),
        (broken(answer="b"), "not 'b'"),
        (broken(answer=True), "not True"),
        (broken(choices=[]), "list of 3 to 5"),
        (broken(choices=entry(1, 2)["choices"]), "list of 3 to 5"),
        (broken(choices=[*entry(1, 3)["choices"], {"text": "d"}]), 'choice d: "why" is missing'),
        (broken(choices=["a", "b", "c"]), 'choice a: "text" is missing'),
        (broken(anser=2), "unknown key 'anser'"),
        (json.dumps({"placement": tiny()["quiz"]}), 'placement, question 1: "topic" is missing'),
    ],
)
def test_a_malformed_file_is_named_with_the_place(text, complaint):
    with pytest.raises(quiz.QuestionsError, match=re.escape(complaint)) as error:
        quiz.parse(text, "tiny.json")
    assert str(error.value).startswith("tiny.json")


# --- the files --------------------------------------------------------------------------------------------------------

PARTS = [
    pytest.param(notebook, part, id=f"{notebook}-{part}")
    for notebook in quiz.notebooks()
    for part in quiz.load(notebook).parts
]
every_part = pytest.mark.parametrize(("notebook", "part"), PARTS)


def test_there_are_questions():
    assert {"quiz", "placement"} <= {part for n in quiz.notebooks() for part in quiz.load(n).parts}


@every_part
def test_questions_are_whole_and_differ(notebook, part):
    questions = quiz.load(notebook).parts[part]
    if part == "quiz":
        assert 5 <= len(questions) <= 8
    texts = [question.text for question in questions]
    assert len(set(texts)) == len(texts)
    for question in questions:
        choices = [choice.text.lower() for choice in question.choices]
        assert len(set(choices)) == len(choices), question.text
        whys = [choice.why for choice in question.choices]
        assert len(set(whys)) == len(whys), f"each choice is wrong in its own way: {question.text}"
        assert all(len(why.split()) >= 3 for why in whys), question.text


@every_part
def test_the_letter_and_the_length_give_nothing_away(notebook, part):
    """A learner who always picks one letter, or the longest choice, is right at most half of the time."""
    questions = quiz.load(notebook).parts[part]
    letters = Counter(question.answer for question in questions)
    assert max(letters.values()) <= len(questions) / 2, letters
    longest = 0
    for question in questions:
        lengths = [len(choice.text) for choice in question.choices]
        longest += lengths.count(max(lengths)) == 1 and lengths[question.answer] == max(lengths)
    assert longest <= len(questions) / 2, f"{longest} of {len(questions)} right choices are the longest"


@every_part
def test_lines_fit_a_page(notebook, part):
    text = quiz.as_text(quiz.load(notebook).parts[part])
    assert max(map(len, text.splitlines())) <= 90
    assert "`" not in text and "<" not in re.sub(r"<\w+>|[<>] ?\d", "", text), "plain text: no markup"


@every_part
def test_right_answers_pass_and_wrong_ones_are_explained(notebook, part, capsys):
    check, questions = checks.start(notebook), quiz.load(notebook).parts[part]
    letters = [quiz.LETTERS[question.answer] for question in questions]
    assert graded(check, part, "".join(letters), capsys)[0] == checks.OK
    if part == "placement":
        return
    draw = random.Random(0)
    for i, question in enumerate(questions):
        wrong = draw.choice([x for x in quiz.LETTERS[: len(question.choices)] if x != letters[i]])
        status, text = graded(check, part, [*letters[:i], wrong, *letters[i + 1 :]], capsys)
        why = question.choices[quiz.LETTERS.index(wrong)].why
        assert status == checks.HINT and " ".join(why.split()) in " ".join(text.split())


@pytest.mark.parametrize("notebook", quiz.notebooks())
def test_placement_sends_to_headings_and_notebooks_that_exist(notebook):
    questions = quiz.load(notebook)
    if questions.next:
        syllabus = (ROOT / "tools" / "build_readme.py").read_text(encoding="utf-8")
        assert f'"{questions.next}"' in syllabus, questions.next
    source = ROOT / "notebooks" / "source" / f"{notebook}.py"
    if not source.exists():
        pytest.skip("the notebook is not written yet")
    headings = re.findall(r"^# #+ (.+)$", source.read_text(encoding="utf-8"), re.MULTILINE)
    for question in questions.parts.get("placement", ()):
        assert question.section in headings, question.section
