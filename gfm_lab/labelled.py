"""Predictions of labels: how good they are, with intervals, and the linear models that any network has to beat.

    classes   AUROC and AUPRC (two), accuracy and macro F1 (more);  logistic regression
    values    Spearman's rho and R2;                                ridge regression

A linear model reads k-mer counts, which know what stands in a sequence but not where, or the bases place by place,
which know where (for sequences of one length). Introduced in notebook 08.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

__all__ = [
    "LinearModel",
    "Metric",
    "auprc",
    "auroc",
    "interval",
    "kmer_counts",
    "linear_models",
    "measure",
    "one_hot_places",
]

KS = (3, 4, 5)
STRENGTHS = (0.003, 0.03, 0.3)  # logistic regression's C, on standardised columns
PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)  # ridge regression's alpha
LONGEST = 600  # bases: beyond this, one column for each base at each place is too many
RESAMPLES = 500


class Metric(NamedTuple):
    """One number with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float


def measure(
    labels: np.ndarray,
    guess: np.ndarray,
    classes: int | None,
    groups: Sequence | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Metric]:
    """The metrics of a prediction, each with a percentile interval over resampled rows, or groups of rows.

    Args:
        labels: (N,) class numbers from 0, or values.
        guess: (N, C) a score or probability for each class, or (N,) predicted values.
        classes: their number C; None for values.
        groups: (N,) rows that belong together (one gene's sites) are drawn together. None: each row by itself.
        seed, resamples: of the bootstrap (Efron 1979, doi:10.1214/aos/1176344552).

    Raises:
        ValueError: lengths differ, or two classes of which only one occurs.
    """
    if len(labels) != len(guess):
        raise ValueError(f"{len(labels):,} labels but {len(guess):,} predictions")
    found = []
    for name, metric in _metrics(classes).items():
        low, high = interval(metric, labels, guess, groups, seed, resamples)
        found.append(Metric(name, metric(labels, guess), low, high))
    return found


def auroc(labels: np.ndarray, score: np.ndarray) -> float:
    """Chance that a row of class 1 scores above one of class 0, ties counted half. Raises ValueError for one class."""
    positive = _both(labels)
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]  # the mean rank of equal scores
    n = int(positive.sum())
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * (len(labels) - n)))


def auprc(labels: np.ndarray, score: np.ndarray) -> float:
    """Average precision: precision at each threshold, weighted by the recall it adds. Chance: the share of class 1."""
    positive = _both(labels)
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)  # equal scores share a threshold
    right = np.cumsum(positive[order])[last]
    return float((np.diff(right, prepend=0) * right / (last + 1)).sum() / positive.sum())


def _both(labels: np.ndarray) -> np.ndarray:
    positive = np.asarray(labels) == 1
    if positive.all() or not positive.any():
        raise ValueError("only one class occurs here: AUROC and AUPRC compare two")
    return positive


def _f1(labels: np.ndarray, guess: np.ndarray, classes: int) -> float:
    """Mean over the classes that occur, in labels or guesses, of 2 right / (labelled so + guessed so)."""
    right = np.bincount(labels[labels == guess], minlength=classes)
    seen = np.bincount(labels, minlength=classes) + np.bincount(guess, minlength=classes)
    return float((2 * right[seen > 0] / seen[seen > 0]).mean())


def _metrics(classes: int | None) -> dict[str, Callable[[np.ndarray, np.ndarray], float]]:
    """Name -> function of labels and predictions. The first is the one to choose by."""
    from scipy.stats import rankdata

    def r_squared(y: np.ndarray, guess: np.ndarray) -> float:
        return 1 - float(((y - guess) ** 2).mean() / max(y.var(), 1e-12))

    def rho(y: np.ndarray, guess: np.ndarray) -> float:
        if np.ptp(y) == 0 or np.ptp(guess) == 0:
            return 0.0  # a constant ranks nothing
        return float(np.corrcoef(rankdata(y), rankdata(guess))[0, 1])

    if classes is None:
        return {"Spearman": rho, "R2": r_squared}
    if classes == 2:
        return {"AUROC": lambda y, p: auroc(y, p[:, 1]), "AUPRC": lambda y, p: auprc(y, p[:, 1])}
    return {
        "accuracy": lambda y, p: float((p.argmax(1) == y).mean()),
        "macro F1": lambda y, p: _f1(y, p.argmax(1), classes),
    }


def interval(
    metric: Callable[[np.ndarray, np.ndarray], float],
    labels: np.ndarray,
    guess: np.ndarray,
    groups: Sequence | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """(2.5 %, 97.5 %) of `metric` over bootstrap samples of the groups. Samples with one class alone are left out."""
    rows = np.arange(len(labels))
    if groups is not None:
        _, number = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        order = np.argsort(number, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(number))[:-1])
    random = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        if groups is None:
            drawn = random.choice(rows, len(rows))
        else:
            drawn = np.concatenate([members[i] for i in random.integers(0, len(members), len(members))])
        try:
            values.append(metric(labels[drawn], guess[drawn]))
        except ValueError:
            continue
    return (
        (float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))) if values else (np.nan, np.nan)
    )


# ---- Linear models ----


def kmer_counts(sequences: Sequence[str], k: int) -> np.ndarray:
    """(N, 4**k) how often each k-mer occurs, in alphabetical order; one with any letter but A, C, G, T is left out."""
    code = np.full(256, -1, np.int8)
    code[np.frombuffer(b"ACGTacgt", np.uint8)] = [0, 1, 2, 3] * 2
    counts = np.zeros((len(sequences), 4**k), np.float32)
    for first in range(0, len(sequences), 1024):
        part = sequences[first : first + 1024]
        letters = code[np.frombuffer("N".join([*part, ""]).encode("ascii"), np.uint8)]
        row = np.repeat(np.arange(len(part)), [len(sequence) + 1 for sequence in part])
        number, known = np.zeros(len(letters), np.int64), np.ones(len(letters), bool)
        for back in range(k):  # the letter `back` places before the k-mer's last one
            shifted = np.concatenate([np.full(min(back, len(letters)), -1, np.int8), letters])[: len(letters)]
            number += shifted.astype(np.int64) * 4**back
            known &= shifted >= 0
        cells = row[known] * 4**k + number[known]
        counts[first : first + len(part)] = np.bincount(cells, minlength=len(part) * 4**k).reshape(
            len(part), -1
        )
    return counts


def one_hot_places(sequences: Sequence[str]) -> np.ndarray:
    """(N, 4 L) which base stands at each place. Raises ValueError unless all sequences have one length."""
    if len({len(sequence) for sequence in sequences}) != 1:
        raise ValueError("the sequences differ in length: a place means the same in all only if they do not")
    letters = np.frombuffer("".join(sequences).upper().encode("ascii"), np.uint8).reshape(len(sequences), -1)
    return (
        (letters[:, :, None] == np.frombuffer(b"ACGT", np.uint8))
        .reshape(len(sequences), -1)
        .astype(np.float32)
    )


class LinearModel(NamedTuple):
    """What it reads, what was chosen on the validation rows, and its predictions for other rows, as for `measure`."""

    name: str
    chosen: str
    guesses: list[np.ndarray]


def linear_models(
    train: tuple[Sequence[str], np.ndarray],
    valid: tuple[Sequence[str], np.ndarray],
    others: Sequence[Sequence[str]],
    classes: int | None,
) -> list[LinearModel]:
    """k-mer counts and, for sequences of one length up to 600, bases by place: fitted on `train`, tuned on `valid`.

    k (3, 4, 5) and the strength of the penalty are those with the best first metric on `valid`. `others` are lists of
    sequences to predict. Returns one model for each kind of columns.
    """
    every = [*train[0], *valid[0], *(sequence for part in others for sequence in part)]
    kinds = {"k-mer counts": [(f"k={k}", lambda part, k=k: kmer_counts(part, k)) for k in KS]}
    lengths = {len(sequence) for sequence in every}
    if len(lengths) == 1 and max(lengths) <= LONGEST:
        kinds["bases by place"] = [("", one_hot_places)]
    name, metric = next(iter(_metrics(classes).items()))
    kind = "ridge" if classes is None else "logistic"
    found = []
    for columns, variants in kinds.items():
        best: tuple[float, str, list[np.ndarray]] | None = None
        for what, make in variants:
            x = make(train[0])
            mean, spread = x.mean(0), x.std(0) + 1e-6
            parts = [(make(part) - mean) / spread for part in (valid[0], *others)]
            for strength, guesses in _fits((x - mean) / spread, train[1], parts, classes):
                score = metric(valid[1], guesses[0])
                if best is None or score > best[0]:
                    best = (score, f"{what} {strength}".strip(), guesses[1:])
        assert best is not None
        found.append(LinearModel(f"{kind}, {columns}", f"{best[1]} ({name} {best[0]:.3f} on valid)", best[2]))
    return found


def _fits(x: np.ndarray, y: np.ndarray, parts: list[np.ndarray], classes: int | None):
    """Yield (strength, predictions of each part) for each strength."""
    if classes is None:
        # One decomposition serves every penalty: of X'X, or of XX' where there are more columns than rows.
        centre = y.mean()
        wide = x.shape[1] > x.shape[0]
        values, vectors = np.linalg.eigh((x @ x.T if wide else x.T @ x).astype(np.float64))
        seen = vectors.T @ ((y - centre) if wide else x.T @ (y - centre))
        for alpha in PENALTIES:
            solved = vectors @ (seen / (values.clip(0) + alpha))
            weights = x.T @ solved if wide else solved
            yield f"alpha={alpha:g}", [part @ weights + centre for part in parts]
        return
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    for strength in STRENGTHS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(x, y)
        guesses = []
        for part in parts:
            p = np.zeros((len(part), classes))
            p[:, model.classes_] = model.predict_proba(part)
            guesses.append(p)
        yield f"C={strength:g}", guesses
