"""Checks of primer p3: correct answers pass in any style, usual mistakes get their hint, nothing raises."""

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from gfm_lab import checks
from gfm_lab.metrics import auroc, with_interval

NAME = "p3_evaluating_honestly"
PREDICTION = {"balanced": 0.94, "genes": 0.051, "auroc": 0.95}
WORDS = (
    "Random windows differ in GC content, copies cross a random split, seeds do not resample the test. " * 3
)


@pytest.fixture
def check():
    return checks.start(NAME)


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


# --- right answers, written in different ways -----------------------------------------------------------------------


def by_pairs(labels, score):
    positive, negative = score[labels == 1][:, None], score[labels == 0][None, :]
    return ((positive > negative) + 0.5 * (positive == negative)).mean()


def by_loops(labels, score):
    won = [1 if a > b else 0.5 if a == b else 0 for a in score[labels == 1] for b in score[labels == 0]]
    return sum(won) / len(won)


def by_ranks(labels, score):
    n = labels.sum()
    return (rankdata(score)[labels == 1].sum() - n * (n + 1) / 2) / (n * (len(labels) - n))


def over_loci(labels, score, loci, resamples=500, seed=0):
    rng, values = np.random.default_rng(seed), []
    rows_of = [np.flatnonzero(loci == name) for name in np.unique(loci)]
    for _ in range(resamples):
        rows = np.concatenate([rows_of[i] for i in rng.integers(0, len(rows_of), len(rows_of))])
        values.append(auroc(labels[rows], score[rows]))
    return np.quantile(values, [0.025, 0.975])


def over_names(labels, score, loci, resamples=500, seed=0):
    rng, values, names = np.random.default_rng(seed + 7), [], np.unique(loci)
    for _ in range(resamples):
        rows = np.concatenate([np.flatnonzero(loci == name) for name in rng.choice(names, len(names))])
        values.append(auroc(labels[rows], score[rows]))
    return [np.percentile(values, 2.5), np.percentile(values, 97.5)]


def by_package(labels, score, loci, resamples=500, seed=0):
    return with_interval("AUROC", labels, score, groups=loci, resamples=resamples, seed=seed)[2:]


RIGHT = [
    *(("my_auroc", f) for f in (by_pairs, by_loops, by_ranks, roc_auc_score)),
    ("prediction", PREDICTION),
    ("prediction", {"balanced": 0.8 / 0.85, "genes": 0.8 / (0.8 + 0.05 * 300), "auroc": np.float64(0.95)}),
    *(("my_interval", f) for f in (over_loci, over_names, by_package)),
    ("judgement", WORDS),
    ("quiz", "daadba"),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_right_answers_pass(check, name, answer, capsys):
    status, out = run(check, name, answer, capsys)
    assert status == "ok", out


# --- usual mistakes -------------------------------------------------------------------------------------------------


def broken(labels, score, loci, resamples=500, seed=0):
    rng, values, names = np.random.default_rng(seed), [], np.unique(loci)
    for _ in range(20):
        rows = np.isin(loci, rng.choice(names, len(names), replace=False))
        values.append(auroc(labels[rows], score[rows]))
    return min(values), max(values)


def counted_once(labels, score, loci, resamples=500, seed=0):
    rng, values, names = np.random.default_rng(seed), [], np.unique(loci)
    for _ in range(resamples):
        rows = np.isin(loci, rng.choice(names, len(names)))
        values.append(auroc(labels[rows], score[rows]))
    return np.quantile(values, [0.025, 0.975])


def extremes(labels, score, loci, resamples=500, seed=0):
    rng, values = np.random.default_rng(seed), []
    rows_of = [np.flatnonzero(loci == name) for name in np.unique(loci)]
    for _ in range(resamples):
        rows = np.concatenate([rows_of[i] for i in rng.integers(0, len(rows_of), len(rows_of))])
        values.append(auroc(labels[rows], score[rows]))
    return min(values), max(values)


def over_items(labels, score, loci, resamples=500, seed=0):
    return with_interval("AUROC", labels, score, resamples=resamples, seed=seed)[2:]


WRONG = [
    ("my_auroc", lambda y, s: (s[y == 1][:, None] > s[y == 0]).mean(), "equal scores count half"),
    ("my_auroc", lambda y, s: (s[y == 1][:, None] >= s[y == 0]).mean(), "not whole"),
    ("my_auroc", lambda y, s: 1 - by_pairs(y, s), "one minus it"),
    ("my_auroc", lambda y, s: by_pairs(y, s) * y.sum() * (1 - y).sum(), "Divide by the number of pairs"),
    ("my_auroc", lambda y, s: np.corrcoef(y, s)[0, 1], "Compare each positive with each negative"),
    ("my_auroc", lambda y, s: print(end=""), "is a `return` missing"),
    ("my_auroc", lambda y, s: "0.8", "on 32 items"),
    ("my_auroc", lambda y, s: [y, s], "should be one number"),
    ("prediction", {**PREDICTION, "auroc": 0.05}, "how many there are does not enter"),
    ("prediction", {**PREDICTION, "balanced": 0.8}, "Which share of the 85"),
    ("prediction", {**PREDICTION, "genes": 0.8 / 300}, "beside how many"),
    ("prediction", {**PREDICTION, "genes": 5.1}, "between 0 and 1"),
    ("prediction", {**PREDICTION, "genes": ...}, "still open"),
    ("prediction", {"balanced": 0.94}, "lacks auroc, genes"),
    ("prediction", [0.94, 0.05, 0.95], "should be a dict"),
    ("my_interval", broken, "the same ones again"),
    ("my_interval", counted_once, "np.isin counts it once"),
    ("my_interval", extremes, "percentiles"),
    ("my_interval", over_items, "whole loci have to be drawn"),
    ("my_interval", lambda *a: over_loci(*a)[::-1], "the other way round"),
    ("my_interval", lambda *a: (0.1, 0.2), "leaves it out"),
    ("my_interval", lambda *a: print(end=""), "is a `return` missing"),
    ("my_interval", lambda *a: 0.8, "two numbers"),
    ("judgement", "Too good.", "words so far"),
    ("judgement", 3, "should be a str"),
    ("quiz", "daadbb", "5 of 6"),
]


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG, ids=range(len(WRONG)))
def test_usual_mistakes_get_their_hint(check, name, answer, hint, capsys):
    status, out = run(check, name, answer, capsys)
    assert status == "hint" and hint in out, out


def test_stubs_are_not_attempted(check, capsys):
    for name in check.results:
        assert run(check, name, ..., capsys)[0] == "not attempted yet"
    assert list(check.results) == ["my_auroc", "prediction", "my_interval", "judgement", "quiz"]
