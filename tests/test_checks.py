"""Exercise checks: correct solutions pass, usual mistakes get their hint, a stub is told apart, nothing raises."""

from collections import Counter
from itertools import pairwise

import pytest

from gfm_lab import checks
from gfm_lab.tokenization import merge_pair


@pytest.fixture
def check():
    return checks.start("01_tokenization")


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


def kmers_by_loop(sequence, k, stride=1):
    words, start = [], 0
    while start + k <= len(sequence):
        words.append(sequence[start : start + k])
        start += stride
    return words


def kmers_by_zip(sequence, k, stride=1):
    return tuple("".join(letters) for letters in zip(*(sequence[i:] for i in range(k)), strict=False))[
        ::stride
    ]


def changed_by_loop(before, after):
    count = 0
    for i in range(max(len(before), len(after))):
        count += i >= len(before) or i >= len(after) or before[i] != after[i]
    return count


def merge_last_of_ties(tokens):
    counts = Counter(pairwise(tokens))
    pair = max(counts, key=lambda p: (counts[p], p))
    merged = []
    for token in tokens:
        if merged and (merged[-1], token) == pair and not getattr(merged[-1], "done", False):
            merged[-1] = Done(merged[-1] + token)
        else:
            merged.append(token)
    return list(pair), [str(token) for token in merged]


class Done(str):
    done = True


RIGHT = [
    ("prediction", (6, 1)),
    ("prediction", [6, 1]),
    ("kmers", kmers_by_loop),
    ("kmers", kmers_by_zip),
    ("changed_tokens", changed_by_loop),
    ("merge_step", merge_last_of_ties),
    ("slips", {"a", "B", "D"}),
    ("slips", "ABD"),
    ("interpretation", "word " * 30),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_every_correct_answer_passes(check, capsys, name, answer):
    status, text = run(check, name, answer, capsys)
    assert status == checks.OK, text
    assert text.startswith("[ok]")


def lost_last(s, k, stride=1):
    return [s[i : i + k] for i in range(0, len(s) - k, stride)]


def keeps_tail(s, k, stride=1):
    return [s[i : i + k] for i in range(0, len(s), stride)]


def ignores_stride(s, k, stride=1):
    return [s[i : i + k] for i in range(len(s) - k + 1)]


def forgets_return(s, k, stride=1):
    _ = [s[i : i + k] for i in range(len(s) - k + 1)]


def merge_greedy_overlap(tokens):
    pair = Counter(pairwise(tokens)).most_common(1)[0][0]
    return pair, [a + b for a, b in pairwise(tokens) if (a, b) == pair]


def merge_in_place(tokens):
    pair = Counter(pairwise(tokens)).most_common(1)[0][0]
    tokens[:] = merge_pair(tokens, pair)
    return pair, tokens


def merge_rarest(tokens):
    pair = Counter(pairwise(tokens)).most_common()[-1][0]
    return pair, merge_pair(tokens, pair)


def merge_first_only(tokens):
    pair = Counter(pairwise(tokens)).most_common(1)[0][0]
    i = list(pairwise(tokens)).index(pair)
    return pair, [*tokens[:i], "".join(pair), *tokens[i + 2 :]]


WRONG = [
    ("prediction", (1, 1), "in how many"),
    ("prediction", (5, 1), "both ends"),
    ("prediction", (6, 6), "exactly one"),
    ("prediction", 6, "two numbers"),
    ("kmers", lost_last, "mind the +1"),
    ("kmers", keeps_tail, "last window start"),
    ("kmers", ignores_stride, "stride is not used"),
    ("kmers", forgets_return, "`return` missing"),
    ("kmers", lambda s, k, stride: 1 / 0, "ZeroDivisionError"),
    ("kmers", lambda s: [], "TypeError"),
    ("changed_tokens", lambda a, b: len(set(a) ^ set(b)), "a set forgets"),
    ("changed_tokens", lambda a, b: sum(x == y for x, y in zip(a, b, strict=False)), "stayed the same"),
    ("changed_tokens", lambda a, b: sum(x != y for x, y in zip(a, b, strict=False)), "no partner"),
    ("merge_step", merge_greedy_overlap, "no base may be lost"),
    ("merge_step", merge_in_place, "changed the list"),
    ("merge_step", merge_rarest, "another occurs"),
    ("merge_step", merge_first_only, "every occurrence"),
    ("merge_step", lambda tokens: tokens, "return two things"),
    ("slips", {"A", "C"}, "no slip"),
    ("slips", {"A"}, "2 still to find"),
    ("slips", {"A", "Z"}, "A to F"),
    ("interpretation", "copying", "sentences"),
]


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_usual_mistakes_get_their_hint(check, capsys, name, answer, hint):
    status, text = run(check, name, answer, capsys)
    assert status == checks.HINT
    assert text.startswith("[hint]")
    assert hint in text


def stub_dots(sequence, k, stride=1):
    """Docstring."""
    ...


def stub_pass(sequence, k, stride=1):
    pass


def stub_return(sequence, k, stride=1):
    return ...


@pytest.mark.parametrize("stub", [..., stub_dots, stub_pass, stub_return])
def test_stubs_are_told_apart_from_wrong_answers(check, capsys, stub):
    status, text = run(check, "kmers", stub, capsys)
    assert status == checks.TODO
    assert text.startswith("[not attempted yet]")


@pytest.mark.parametrize("answer", [forgets_return, lambda: 0, {"A"}, 0, None, ""])
def test_an_answer_is_not_a_stub(answer):
    assert not checks.is_stub(answer)


def test_progress_line_counts_and_remembers(check, capsys):
    run(check, "kmers", kmers_by_loop, capsys)
    run(check, "kmers", lost_last, capsys)
    _, text = run(check, "slips", "ABD", capsys)
    assert text.splitlines()[-1] == "01_tokenization  □▨■□□□□  1 of 7"


def test_unknown_names_are_explained(check):
    with pytest.raises(AttributeError, match="there are: prediction, kmers"):
        getattr(check, "kmer")  # noqa: B009
    with pytest.raises(ValueError, match="01_tokenization"):
        checks.start("99_nothing")
