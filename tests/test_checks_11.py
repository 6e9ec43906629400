"""Checks of notebook 11: right answers pass in any style, usual mistakes get their hint, nothing raises."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gfm_lab import checks
from gfm_lab.metrics import auroc
from gfm_lab.splits import loci


@pytest.fixture
def check():
    return checks.start("11_practical_promoters")


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


# --- loci ---------------------------------------------------------------------------------------------------


def loci_by_a_loop(start, stop, gap):
    numbers, number, reach = [], 0, stop[0]
    for a, b in zip(start, stop, strict=True):
        if a > reach + gap:
            number += 1
            reach = b
        reach = max(reach, b)
        numbers.append(number)
    return numbers


def loci_by_arrays(start, stop, gap):
    reach = np.maximum.accumulate(stop)
    return np.concatenate([[0], np.cumsum(start[1:] > reach[:-1] + gap)])


@pytest.mark.parametrize("answer", [loci_by_a_loop, loci_by_arrays])
def test_right_loci_pass(check, capsys, answer):
    status, text = run(check, "my_loci", answer, capsys)
    assert status == "ok" and "count as one" in text


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda start, stop, gap: [].append(gap), "is a `return` missing"),
        (lambda start, stop, gap: [0], "one number for each of the 3 rows"),
        (lambda a, b, gap: np.concatenate([[0], np.cumsum(a[1:] > b[:-1] + gap)]), "largest stop so far"),
        (
            lambda a, b, gap: np.concatenate([[0], np.cumsum(a[1:] >= np.maximum.accumulate(b)[:-1] + gap)]),
            "equality joins",
        ),
        (lambda a, b, gap: loci_by_arrays(a, b, 0), "within `gap` bases"),
        (lambda a, b, gap: 1 + loci_by_arrays(a, b, gap), "number them 0, 1, 2"),
        (lambda a, b, gap: np.arange(len(a)), "expected [0, 0"),
        (lambda a, b, gap: 1 / 0, "your code raised ZeroDivisionError"),
    ],
)
def test_wrong_loci_get_their_hint(check, capsys, answer, hint):
    status, text = run(check, "my_loci", answer, capsys)
    assert status == "hint" and hint in text


# --- prediction ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [(0.9, 0.57), [0.85, 0.5]])
def test_sensible_predictions_pass(check, capsys, answer):
    assert run(check, "prediction", answer, capsys)[0] == "ok"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (0.9, "give two numbers"),
        ((..., ...), "replace both dots"),
        ((90, 50), "between 0 and 1"),
        ((0.6, 0.5), "richer in G and C"),
        ((0.9, 0.9), "the same share of G and C"),
    ],
)
def test_wrong_predictions_get_their_hint(check, capsys, answer, hint):
    status, text = run(check, "prediction", answer, capsys)
    assert status == "hint" and hint in text


# --- probe --------------------------------------------------------------------------------------------------


def probe(X, y, split, scale="train", fit="train", choose="valid", swap=False):
    rows = {name: split == name for name in ("train", "valid", "test")}
    rows["all"] = np.ones(len(split), bool)
    rows["not test"] = split != "test"
    X = (X - X[rows[scale]].mean(0)) / X[rows[scale]].std(0)
    best = None
    for C in (0.001, 0.1, 10.0):
        model = LogisticRegression(C=C, max_iter=1000).fit(X[rows[fit]], y[rows[fit]])
        found = auroc(y[rows[choose]], model.decision_function(X[rows[choose]]))
        if best is None or found > best[0]:
            best = (found, C, model.decision_function(X[rows["test"]]))
    return best[:0:-1] if swap else best[1:]


def probe_by_pipelines(X, y, split):
    train, valid, test = (split == name for name in ("train", "valid", "test"))
    fits = {
        C: make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000)).fit(X[train], y[train])
        for C in (0.001, 0.1, 10.0)
    }
    C = max(fits, key=lambda c: auroc(y[valid], fits[c].decision_function(X[valid])))
    return [C, fits[C].decision_function(X[test])]


@pytest.mark.parametrize("answer", [probe, probe_by_pipelines])
def test_honest_probes_pass(check, capsys, answer):
    status, text = run(check, "my_honest_probe", answer, capsys)
    assert status == "ok" and "read once" in text


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"scale": "all"}, "take mean and spread from train alone"),
        ({"choose": "test"}, "test labels"),
        ({"fit": "not test"}, "fit on train alone"),
        ({"scale": "all", "fit": "not test", "choose": "test"}, "test labels"),
        ({"fit": "all"}, "test labels"),
    ],
)
def test_careless_probes_get_their_hint(check, capsys, wrong, hint):
    status, text = run(check, "my_honest_probe", lambda X, y, split: probe(X, y, split, **wrong), capsys)
    assert status == "hint" and hint in text


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda X, y, split: [].append(0), "returned None"),
        (lambda X, y, split: 0.1, "return two things"),
        (lambda X, y, split: (0.1, [0.0] * 3), "one score for each of the 60"),
        (lambda X, y, split: (0.1, np.zeros(60)), "not those of the fit"),
        (lambda X, y, split: (5, probe(X, y, split)[1]), "C is one of"),
    ],
)
def test_other_probes_get_their_hint(check, capsys, answer, hint):
    status, text = run(check, "my_honest_probe", answer, capsys)
    assert status == "hint" and (hint in text or "another C" in text)


# --- written, quiz ------------------------------------------------------------------------------------------


def test_written_answers_show_the_rubric_and_stubs_are_not_attempted(check, capsys):
    assert "words so far" in run(check, "interpretation", "GC.", capsys)[1]
    status, text = run(check, "interpretation", "word " * 40, capsys)
    assert status == "ok" and "twin with random weights" in text
    for name in ("my_loci", "prediction", "my_honest_probe", "interpretation", "quiz"):
        assert run(check, name, ..., capsys)[0] == "not attempted yet"


def test_quiz_answers_are_those_of_the_solution(check, capsys):
    assert run(check, "quiz", "addcbb", capsys)[0] == "ok"


def test_the_loci_of_the_notebook_are_those_of_the_package():
    rng = np.random.default_rng(1)
    start = np.sort(rng.integers(0, 500, 40))
    stop = start + rng.integers(1, 30, 40)
    assert loci(["x"] * 40, start, stop, gap=3).tolist() == loci_by_a_loop(start, stop, 3)
