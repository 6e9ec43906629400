"""The exercises of notebook 11, promoters from question to answer."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from gfm_lab.checks import Hint, exercise, written
from gfm_lab.splits import loci

exercise_11 = exercise("11_practical_promoters")


@exercise_11
def my_loci(answer: Any) -> str:
    """`answer(start, stop, gap) -> numbers`, for intervals of one chromosome sorted by start."""
    rng = random.Random(0)
    cases = [
        ([0, 5, 20], [10, 8, 30], 0),
        ([0, 2, 20, 75], [40, 5, 60, 80], 10),  # the second lies within the first
        ([0, 10, 20], [10, 20, 30], 0),
        ([0, 10, 23], [8, 20, 30], 2),  # the second lies just near enough, the third does not
        ([7], [9], 0),
    ]
    for _ in range(20):
        start = sorted(rng.randrange(300) for _ in range(12))
        cases.append((start, [a + rng.randint(1, 25) for a in start], rng.randint(0, 8)))
    for start, stop, gap in cases:
        got = answer(np.array(start), np.array(stop), gap)
        if got is None:
            raise Hint("your function returned None; is a `return` missing?")
        got = np.asarray(got)
        if got.shape != (len(start),):
            raise Hint(
                f"return one number for each of the {len(start)} rows, not something of shape {got.shape}"
            )
        right = loci(["x"] * len(start), start, stop, gap=gap)
        if np.array_equal(got, right):
            continue
        case = f"start {start[:4]}, stop {stop[:4]}, gap {gap}"
        if _same_groups(got, right):
            raise Hint(f"{case}: the groups are right; number them 0, 1, 2, ... along the chromosome")
        if np.array_equal(got, _wrong(start, stop, gap, reach="last")):
            raise Hint(f"{case}: an interval may lie inside an earlier one; keep the largest stop so far")
        if np.array_equal(got, loci(["x"] * len(start), start, stop)):
            raise Hint(f"{case}: rows that lie within `gap` bases belong together, too")
        if np.array_equal(got, _wrong(start, stop, gap, strict=True)):
            raise Hint(f"{case}: 'within gap' means at a distance of at most gap, so equality joins")
        raise Hint(f"{case}: expected {right[:4].tolist()} for the first rows, got {got[:4].tolist()}")
    return f"{len(cases)} sets of intervals, some inside others; rows of a locus now count as one"


def _same_groups(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(((a[:, None] == a) == (b[:, None] == b)).all())


def _wrong(
    start: list[int], stop: list[int], gap: int, reach: str = "most", strict: bool = False
) -> list[int]:
    """Loci with a usual mistake: only the last stop counts, or a distance of exactly `gap` separates."""
    numbers, number, end = [], 0, stop[0]
    for i, (a, b) in enumerate(zip(start, stop, strict=True)):
        apart = a >= end + gap if strict else a > end + gap
        if i and apart:
            number, end = number + 1, b
        end = b if reach == "last" else max(end, b)
        numbers.append(number)
    return numbers


@exercise_11
def prediction(answer: Any) -> str:
    """(AUROC of GC content against random windows, against windows matched in GC)."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Hint("give two numbers: (against random windows, against matched windows)")
    if any(value is Ellipsis for value in answer):
        raise Hint("replace both dots by a number between 0 and 1")
    against_random, against_matched = (float(value) for value in answer)
    for value in (against_random, against_matched):
        if not 0 <= value <= 1:
            raise Hint(f"an AUROC lies between 0 and 1, not {value:g}; 0.5 is a coin")
    if against_random < 0.8:
        raise Hint(
            "against random windows it is higher: most promoters here are far richer in G and C than the genome"
        )
    if not 0.45 <= against_matched <= 0.65:
        raise Hint("the negatives were chosen to have the same share of G and C: how much can be left of it?")
    return "about 0.9 and just above a coin; run the next cell"


@exercise_11
def my_honest_probe(answer: Any) -> str:
    """`answer(X, y, split) -> (C, scores of the test rows)`: scale and fit on train, choose on valid."""
    from sklearn.linear_model import LogisticRegression

    from gfm_lab.metrics import auroc

    rng = np.random.default_rng(0)
    split = np.array(["train"] * 80 + ["valid"] * 60 + ["test"] * 60)
    rng.shuffle(split)
    y = rng.integers(0, 2, len(split))
    X = rng.normal(size=(len(split), 30)) * np.linspace(0.2, 4, 30) + 3
    X[:, :4] += 0.5 * y[:, None]

    def right(X: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        train, valid, test = (split == name for name in ("train", "valid", "test"))
        Z = (X - X[train].mean(0)) / X[train].std(0)
        fits = [LogisticRegression(C=C, max_iter=1000).fit(Z[train], y[train]) for C in (0.001, 0.1, 10.0)]
        best = int(np.argmax([auroc(y[valid], fit.decision_function(Z[valid])) for fit in fits]))
        return (0.001, 0.1, 10.0)[best], fits[best].decision_function(Z[test])

    def ask(X: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        got = answer(X.copy(), y.copy(), split.copy())
        if got is None:
            raise Hint("your function returned None; return two things: C, and the scores of the test rows")
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise Hint("return two things: C, and the scores of the test rows")
        scores = np.asarray(got[1], dtype=float)
        if scores.shape != (60,):
            raise Hint(f"one score for each of the 60 test rows, not an array of shape {scores.shape}")
        return float(got[0]), scores

    C, scores = ask(X, y)
    # What test rows hold must not matter: labels first, then the features of other test rows.
    other = y.copy()
    other[split == "test"] = 1 - other[split == "test"]
    C_other, scores_other = ask(X, other)
    if C_other != C or not np.allclose(scores, scores_other):
        if np.allclose(scores, scores_other):
            raise Hint("with other test labels another C is chosen: choose it on valid")
        raise Hint("the scores change with the test labels: neither fit nor choice may read them")
    moved, last = X.copy(), np.flatnonzero(split == "test")[1:]
    moved[last] += 50
    if not np.isclose(ask(moved, y)[1][0], scores[0]):
        raise Hint(
            "when other test rows move, the score of the first one changes: take mean and spread from train alone"
        )
    expected_C, expected = right(X, y)
    if C not in (0.001, 0.1, 10.0):
        raise Hint(f"C is one of 0.001, 0.1 and 10, not {C:g}; return it first, then the scores")
    fitted = split != "test"
    for rows in (split == "train", fitted):
        Z = (X - X[rows].mean(0)) / X[rows].std(0)
        greedy = LogisticRegression(C=C, max_iter=1000).fit(Z[fitted], y[fitted])
        if np.array_equal(np.argsort(scores), np.argsort(greedy.decision_function(Z[~fitted]))):
            raise Hint(
                "valid was fitted as well, so it could not choose: fit on train alone, choose C on valid"
            )
    if expected_C != C:
        raise Hint("another C is better on valid: fit on the scaled training rows, score the valid rows")
    if not np.array_equal(np.argsort(scores), np.argsort(expected)):
        raise Hint(
            "the scores are not those of the fit with the chosen C: scale test like train, then score it"
        )
    return "no row of test, and no label of valid, moves a score; valid chooses, test is read once"


@exercise_11
def interpretation(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "negatives: random windows make it a question of GC; ask for GC content and word counts on the same rows, "
        "and for matched negatives",
        "split: random rows put neighbours and near copies on both sides; by locus or region instead",
        "uncertainty: a few dozen test loci; an interval over loci, best by cross-validation",
        "'thanks to pre-training' is shown by the twin with random weights, not by a high score",
        "in their place: a frozen probe beside a k-mer baseline first; fine-tune only if that wins",
    )
