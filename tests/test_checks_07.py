"""Checks of notebook 07: correct solutions pass in any style, usual mistakes get their hint, nothing raises."""

import pytest

from gfm_lab import checks


@pytest.fixture
def check():
    return checks.start("07_choosing_a_mixer")


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


# --- a width that matches ---------------------------------------------------------------------------------


def by_search(count, target):
    return min(range(1, 5_000), key=lambda inner: abs(count(inner) - target))


def by_walking(count, target):
    inner = 1
    while count(inner + 1) <= target:
        inner += 1
    return inner if target - count(inner) <= count(inner + 1) - target else inner + 1


def by_halving(count, target):
    low, high = 1, 2
    while count(high) < target:
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= target else (low, middle)
    return min((low, high), key=lambda inner: abs(count(inner) - target))


@pytest.mark.parametrize("answer", [by_search, by_halving])
def test_right_widths_pass(check, capsys, answer):
    status, text = run(check, "my_width", answer, capsys)
    assert status == "ok" and "nearest" in text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda count, target: "12", "should be a int or float"),
        (lambda count, target: count(by_search(count, target)), "Return the width"),
        (lambda count, target: 0, "smallest width is 1"),
        (lambda count, target: by_search(count, target) + 0.5, "whole number"),
        (
            lambda count, target: max((i for i in range(1, 2_000) if count(i) <= target), default=1),
            "stay below the target",
        ),
        (lambda count, target: 1, "is off by"),
        (lambda count, target: count.nothing, "raised AttributeError"),
    ],
)
def test_wrong_widths_get_a_hint(check, capsys, answer, words):
    status, text = run(check, "my_width", answer, capsys)
    assert status == "hint" and words in text


# --- reach ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        ((34, 50), "ok", "34 and 50"),
        ([34.0, 50], "ok", "as far as the sequence"),
        ((32, 48), "hint", "shared convolution"),
        ((16, 50), "hint", "that is one layer"),
        ((66, 50), "hint", "both sides"),
        ((34, 58), "hint", "(kernel - 1) * dilation"),
        ((34, 51), "hint", "counts the position itself"),
        ((34, 7), "hint", "one by one"),
        ((34, "far"), "hint", "should be a int or float"),
        (34, "hint", "two whole numbers"),
        (..., "not attempted yet", "three dots"),
    ],
)
def test_predictions(check, capsys, answer, status, words):
    got, text = run(check, "prediction", answer, capsys)
    assert got == status and words in text


# --- a fair report ----------------------------------------------------------------------------------------


def fair(trials, reference, within=0.02, chosen_by="valid", equal=True, report="test"):
    sized = [t for t in trials if abs(t["parameters"] / reference - 1) <= within]
    mixers = {t["mixer"]: [u for u in sized if u["mixer"] == t["mixer"]] for t in sized}
    tries = min(len(own) for own in mixers.values()) if equal else None
    return {m: min(own[:tries], key=lambda t: t[chosen_by])[report] for m, own in mixers.items()}


def by_sorting(trials, reference):
    kept = {}
    for trial in trials:
        if 0.98 * reference <= trial["parameters"] <= 1.02 * reference:
            kept.setdefault(trial["mixer"], []).append((trial["valid"], trial["test"]))
    tries = sorted(len(own) for own in kept.values())[0]
    return {mixer: sorted(own[:tries])[0][1] for mixer, own in kept.items()}


@pytest.mark.parametrize("answer", [fair, by_sorting])
def test_fair_reports_pass(check, capsys, answer):
    status, text = run(check, "my_report", answer, capsys)
    assert status == "ok" and "equal tries" in text


def spoiled(trials, reference):
    trials.sort(key=lambda t: t["valid"])
    return fair(trials, reference)


def too_early(trials, reference):
    mixers = {t["mixer"]: [u for u in trials if u["mixer"] == t["mixer"]] for t in trials}
    tries = min(map(len, mixers.values()))
    cut = [t for own in mixers.values() for t in own[:tries]]
    return fair(cut, reference, equal=False)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda t, r: fair(t, r, 9, "test", False), "all three faults"),
        (lambda t, r: fair(t, r, chosen_by="test"), "test score still chooses"),
        (lambda t, r: fair(t, r, within=9), "models of any size"),
        (lambda t, r: fair(t, r, equal=False), "more tries than another"),
        (lambda t, r: fair(t, r, 9, equal=False), "unequal sizes and unequal tries"),
        (
            lambda t, r: fair(t, r, chosen_by="test", equal=False),
            "choice by test score and the unequal tries",
        ),
        (lambda t, r: fair(t, r, 9, "test"), "choice by test score and the unequal sizes"),
        (lambda t, r: fair(t, r, report="valid"), "validation score of a trial"),
        (lambda t, r: {m: round(v, 3) for m, v in fair(t, r).items()}, "do not round"),
        (lambda t, r: {}, "one entry for each mixer"),
        (spoiled, "changed the trials"),
        (too_early, "after you have left out"),
        (lambda t, r: fair(t, 0), "ZeroDivisionError"),
    ],
)
def test_unfair_reports_get_a_hint(check, capsys, answer, words):
    status, text = run(check, "my_report", answer, capsys)
    assert status == "hint" and words in text


# --- a written answer ---------------------------------------------------------------------------------------


def test_a_written_answer_gets_the_rubric_and_a_short_one_a_hint(check, capsys):
    assert run(check, "interpretation", "Mamba is better.", capsys)[0] == "hint"
    status, text = run(check, "interpretation", "one seed each tells us nothing " * 6, capsys)
    assert status == "ok" and "seed" in text and "baseline" in text
