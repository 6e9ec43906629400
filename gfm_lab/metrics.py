"""How good are predictions of labels? One number is not enough: each comes with an interval, each comparison is paired.

    two classes (0, 1)    auroc, auprc (also at a stated prevalence), brier, calibration
    classes               accuracy, mcc, macro_f1
    values                spearman, r2

    with_interval("auroc", labels, score, groups=locus)     AUROC 0.840 [0.826, 0.853]
    paired("auroc", labels, score_a, score_b, groups=locus) is a better than b on the same items?

The interval is a percentile bootstrap (Efron 1979, doi:10.1214/aos/1176344552): items are drawn with replacement, as
many as there are, and the metric is taken again. Items that share something (overlapping windows, sites of one gene,
copies of a sequence) are no independent evidence: name what they share as `groups`, and whole groups are drawn (the
block, or cluster, bootstrap; Davison and Hinkley 1997, doi:10.1017/CBO9780511802843). The model is held fixed: the
interval says how far the number depends on which items are tested, not how far another training run would move it.

What is undefined is an error, not a number: AUROC and AUPRC of one class, Spearman and R2 of constant values, anything
with nan in it. Constant predictions are defined: AUROC 0.5, AUPRC the prevalence, MCC and Spearman 0.
Introduced in notebook p3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

__all__ = [
    "Calibration",
    "Difference",
    "Metric",
    "accuracy",
    "auprc",
    "auroc",
    "brier",
    "calibration",
    "calibration_error",
    "macro_f1",
    "mcc",
    "paired",
    "r2",
    "spearman",
    "with_interval",
]

LEVEL = 0.95
ENOUGH = 0.5  # if fewer of the resamples than this share are defined, no interval is given


class Metric(NamedTuple):
    """One number with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.name} {self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Difference(NamedTuple):
    """A metric of one model minus that of another on the same items, with its 95 % interval and a two-sided p value."""

    value: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}], p = {self.p:.2g}"


class Calibration(NamedTuple):
    """`calibration`'s answer: a line for each bin that holds items, the expected calibration error, the Brier score."""

    table: pd.DataFrame
    error: float
    brier: float


# ---- Two classes, and a score ----


def auroc(labels: Sequence | np.ndarray, score: Sequence | np.ndarray) -> float:
    """Area under the receiver operating characteristic: the chance that an item of class 1 scores above one of class 0.

    Ties count half; 0.5 is guessing. It is blind to prevalence: 1 positive in 300 gives the same number as 1 in 2.

    Args:
        labels: (N,) 0 or 1.
        score: (N,) larger means class 1; or (N, 2), of which the second column counts.

    Raises:
        ValueError: lengths differ, nan, labels other than 0 and 1, or only one class.

    Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747. Introduced in notebook p3.
    """
    right, wrong = _counts(*_two_classes(labels, score))
    below = np.cumsum(wrong) - wrong / 2  # negatives with a lower score, those with an equal one counted half
    return float(right @ below / (right.sum() * wrong.sum()))


def auprc(
    labels: Sequence | np.ndarray, score: Sequence | np.ndarray, prevalence: float | None = None
) -> float:
    """Area under precision and recall, as average precision: precision at each threshold times the recall it adds.

    Guessing gives the prevalence, the share of class 1. prevalence: what it is where the model will be used, if that
    differs from the share among these items; each item of class 0 then counts (1 - prevalence) / prevalence times
    the ratio of positives to negatives here. That stretches a few negatives over many: the interval says how far.

    labels, score and errors as in `auroc`; ValueError as well for a prevalence that is not between 0 and 1.
    Davis and Goadrich 2006, doi:10.1145/1143844.1143874. Introduced in notebook p3.
    """
    right, wrong = (
        count[::-1] for count in _counts(*_two_classes(labels, score))
    )  # from the highest score down
    weight = 1.0
    if prevalence is not None:
        if not 0 < prevalence < 1:
            raise ValueError(f"prevalence is {prevalence!r}: it is the share of class 1, between 0 and 1")
        weight = (1 - prevalence) / prevalence * right.sum() / wrong.sum()
    adds = right > 0
    above, below = np.cumsum(right)[adds], np.cumsum(wrong)[adds] * weight
    return float((right[adds] * above / (above + below)).sum() / right.sum())


def brier(labels: Sequence | np.ndarray, probability: Sequence | np.ndarray) -> float:
    """Mean squared distance of P(class 1) from what came true; 0.25 for always saying one half (Brier 1950).

    Raises ValueError as `calibration` does. Introduced in notebook p3.
    """
    positive, probability = _probabilities(labels, probability)
    return float(((probability - positive) ** 2).mean())


def calibration_error(
    labels: Sequence | np.ndarray, probability: Sequence | np.ndarray, bins: int = 10
) -> float:
    """Expected calibration error: the mean over items of |predicted - observed| of their bin, as in `calibration`."""
    return calibration(labels, probability, bins).error


def calibration(
    labels: Sequence | np.ndarray, probability: Sequence | np.ndarray, bins: int = 10
) -> Calibration:
    """Of the items that were given 70 %, do 70 % come true? A table of equally wide bins of P(class 1).

    Args:
        labels: (N,) 0 or 1; one class alone is allowed.
        probability: (N,) P(class 1), from 0 to 1; or (N, 2), of which the second column counts.
        bins: their number. Empty ones have no line.

    Returns:
        `table` with `above`, `to` (the bin), `items`, `predicted` (mean probability), `observed` (share of class 1) and
        `low`, `high` (Wilson's 95 % interval of that share, for independent items); `error`: expected calibration
        error; `brier`. A model that always says the prevalence has error 0, so this never stands alone.

    Raises:
        ValueError: lengths differ, nan, labels other than 0 and 1, probabilities outside 0 to 1, or no bins.

    Guo et al. 2017, doi:10.48550/arXiv.1706.04599. Introduced in notebook p3.
    """
    positive, probability = _probabilities(labels, probability)
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 1:
        raise ValueError(f"bins is {bins!r}: it must be a whole number, at least 1")
    edges = np.linspace(0, 1, bins + 1)
    number = np.clip(np.searchsorted(edges, probability, side="left") - 1, 0, bins - 1)
    items = np.bincount(number, minlength=bins)
    here = np.flatnonzero(items)
    n = items[here]
    predicted = np.bincount(number, weights=probability, minlength=bins)[here] / n
    observed = np.bincount(number, weights=positive, minlength=bins)[here] / n
    z = 1.959964
    middle = (observed + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(observed * (1 - observed) / n + z**2 / (4 * n**2))
    table = pd.DataFrame(
        {
            "above": edges[here],
            "to": edges[here + 1],
            "items": n,
            "predicted": predicted,
            "observed": observed,
            "low": np.clip(middle - half, 0, 1),
            "high": np.clip(middle + half, 0, 1),
        }
    )
    error = float((n * np.abs(predicted - observed)).sum() / n.sum())
    return Calibration(table, error, float(((probability - positive) ** 2).mean()))


# ---- Classes ----


def accuracy(labels: Sequence | np.ndarray, guess: Sequence | np.ndarray) -> float:
    """Share of right answers. Always naming the commonest class already gives that class's share.

    labels: (N,) classes (numbers or texts). guess: (N,) classes, or (N, C) a score for each of the classes 0 to C - 1.
    Raises ValueError if lengths differ and for nan. Introduced in notebook p3.
    """
    labels, guess = _classes(labels, guess)
    return float((labels == guess).mean())


def mcc(labels: Sequence | np.ndarray, guess: Sequence | np.ndarray) -> float:
    """Matthews' correlation coefficient: the correlation of labels and guesses, -1 to 1, for any number of classes.

    0 for any constant guess, and, by convention, where all labels are one class. Arguments and errors of `accuracy`.
    Matthews 1975, doi:10.1016/0005-2795(75)90109-9; several classes: Gorodkin 2004,
    doi:10.1016/j.compbiolchem.2004.09.006. Introduced in notebook p3.
    """
    labels, guess = _classes(labels, guess)
    names, number = np.unique(np.concatenate([labels, guess]), return_inverse=True)
    true, said = number[: len(labels)], number[len(labels) :]
    t, s = (np.bincount(part, minlength=len(names)).astype(float) for part in (true, said))
    n, right = float(len(labels)), float((true == said).sum())
    spread = (n * n - t @ t) * (n * n - s @ s)
    return float((right * n - t @ s) / np.sqrt(spread)) if spread > 0 else 0.0


def macro_f1(labels: Sequence | np.ndarray, guess: Sequence | np.ndarray) -> float:
    """Mean over the classes that occur, in labels or guesses, of 2 right / (labelled so + guessed so).

    Arguments and errors of `accuracy`. Introduced in notebook p3.
    """
    labels, guess = _classes(labels, guess)
    names, number = np.unique(np.concatenate([labels, guess]), return_inverse=True)
    true, said = number[: len(labels)], number[len(labels) :]
    right = np.bincount(true[true == said], minlength=len(names))
    return float((2 * right / np.bincount(number, minlength=len(names))).mean())


# ---- Values ----


def spearman(values: Sequence | np.ndarray, guess: Sequence | np.ndarray) -> float:
    """Spearman's rank correlation, -1 to 1; ties take their mean rank. A constant guess ranks nothing: 0.

    values, guess: (N,) numbers. Raises ValueError if lengths differ, for nan, and if all values are equal.
    Spearman 1904, doi:10.2307/1412159. Introduced in notebook p3.
    """
    from scipy.stats import rankdata

    values, guess = _values(values, guess)
    if (guess == guess[0]).all():
        return 0.0
    a, b = rankdata(values), rankdata(guess)
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip((a @ b) / np.sqrt((a @ a) * (b @ b)), -1, 1))


def r2(values: Sequence | np.ndarray, guess: Sequence | np.ndarray) -> float:
    """Share of the variance explained: 1 - squared errors / squared distances from the mean of these values.

    1 is perfect, 0 no better than that mean, below 0 worse. Arguments and errors of `spearman`.
    Introduced in notebook p3.
    """
    values, guess = _values(values, guess)
    return float(1 - ((values - guess) ** 2).sum() / ((values - values.mean()) ** 2).sum())


METRICS: dict[str, Callable[..., float]] = {
    "AUROC": auroc,
    "AUPRC": auprc,
    "MCC": mcc,
    "accuracy": accuracy,
    "macro F1": macro_f1,
    "Brier": brier,
    "calibration error": calibration_error,
    "Spearman": spearman,
    "R2": r2,
}


# ---- Intervals ----


def with_interval(
    metric: str | Callable[..., float],
    labels: Sequence | np.ndarray,
    guess: Sequence | np.ndarray,
    groups: Sequence | np.ndarray | None = None,
    strata: Sequence | np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
    **options: Any,
) -> Metric:
    """A metric and the percentile interval that holds 95 % of its bootstrap resamples.

    Args:
        metric: its name ("AUROC", "auprc", "R2", ...) or a function of labels and guess.
        labels, guess: (N, ...) as the metric wants them.
        groups: (N,) names of what items share (locus, gene): whole groups are drawn. None: each item by itself.
        strata: (N,) names of kinds that every resample keeps in number, such as the labels where their shares were
            chosen and not found. With groups: each group must be of one kind.
        resamples, seed: of the bootstrap; the same seed gives the same interval.
        options: for the metric, such as prevalence=1/300.

    Resamples in which the metric is undefined (a class that was not drawn) are left out. If they are more than half, or
    if there is one group alone, low and high are nan: such data cannot say how sure the number is.

    Raises:
        ValueError: an unknown metric, lengths that differ, missing groups, and whatever the metric refuses.

    Introduced in notebook p3.
    """
    name, function = _metric(metric, options)
    labels, guess = np.asarray(labels), np.asarray(guess)
    value = function(labels, guess)
    low, high = interval(function, labels, _ranks(name, guess), groups, strata, resamples, seed)
    return Metric(name, value, low, high)


def paired(
    metric: str | Callable[..., float],
    labels: Sequence | np.ndarray,
    a: Sequence | np.ndarray,
    b: Sequence | np.ndarray,
    groups: Sequence | np.ndarray | None = None,
    strata: Sequence | np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
    **options: Any,
) -> Difference:
    """The metric of guess `a` minus that of guess `b` on the same items, with its interval and p value.

    Each resample is scored for both, so that what makes an item hard for both cancels: two intervals that overlap can
    still belong to models that differ. p: twice the share of resamples on the far side of 0 (never below
    2 / (resamples + 1)), so that p < 0.05 where the interval leaves out 0. The p value of one comparison: with
    many models tried, the best of them looks better than it is.

    Arguments and errors of `with_interval`. Introduced in notebook p3.
    """
    name, function = _metric(metric, options)
    labels, a, b = np.asarray(labels), np.asarray(a), np.asarray(b)
    value = function(labels, a) - function(labels, b)
    a, b = _ranks(name, a), _ranks(name, b)
    rows = _resamples(len(labels), groups, strata, resamples, seed)
    found = _defined(
        lambda drawn: function(labels[drawn], a[drawn]) - function(labels[drawn], b[drawn]), rows
    )
    low, high = _percentiles(found, resamples)
    if np.isnan(low):
        return Difference(value, low, high, float("nan"))
    tail = min((found <= 0).sum(), (found >= 0).sum())
    return Difference(value, low, high, float(min(1.0, 2 * (tail + 1) / (len(found) + 1))))


def interval(
    metric: Callable[[np.ndarray, np.ndarray], float],
    labels: np.ndarray,
    guess: np.ndarray,
    groups: Sequence | np.ndarray | None = None,
    strata: Sequence | np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """(low, high) alone, for any function of labels and guess. Arguments and errors of `with_interval`."""
    rows = _resamples(len(labels), groups, strata, resamples, seed)
    return _percentiles(_defined(lambda drawn: metric(labels[drawn], guess[drawn]), rows), resamples)


def _ranks(name: str, guess: np.ndarray) -> np.ndarray:
    """AUROC and AUPRC ask for the order alone: sorted once here, no resample has to be sorted again."""
    if not name.startswith(("AUROC", "AUPRC")):
        return guess
    return np.unique(_one_column(guess), return_inverse=True)[1].astype(np.int64)


def _resamples(items: int, groups: Any, strata: Any, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Row numbers of each resample; none if there is but one unit to draw, which would give the same every time."""
    if isinstance(resamples, bool) or not isinstance(resamples, int | np.integer) or resamples < 1:
        raise ValueError(f"resamples is {resamples!r}: it must be a whole number, at least 1")
    group = np.arange(items) if groups is None else _names(groups, items, "groups")
    units = int(group.max()) + 1 if items else 0
    if strata is None:
        kinds = [np.arange(units)]
    else:
        stratum = _names(strata, items, "strata")
        kind = np.full(units, -1)
        kind[group] = stratum
        if (kind[group] != stratum).any():
            row = int((kind[group] != stratum).argmax())
            raise ValueError(
                f"strata and groups cross: the group of row {row:,} holds items of two strata; leave strata out, "
                "or make groups that lie within one"
            )
        kinds = [np.flatnonzero(kind == number) for number in range(int(stratum.max()) + 1)]
    return _draw(kinds, None if groups is None else group, resamples, seed, units)


def _draw(
    kinds: list[np.ndarray], group: np.ndarray | None, resamples: int, seed: int, units: int
) -> Iterator[np.ndarray]:
    if units < 2:
        return
    random = np.random.default_rng(seed)
    if group is not None:
        order, size = np.argsort(group, kind="stable"), np.bincount(group)
        first = np.cumsum(size) - size  # where the rows of each group begin in `order`
    for _ in range(resamples):
        drawn = np.concatenate([kind[random.integers(0, len(kind), len(kind))] for kind in kinds])
        if group is None:
            yield drawn
            continue
        rows = size[drawn]
        begin = first[drawn] - (np.cumsum(rows) - rows)
        yield order[np.repeat(begin, rows) + np.arange(rows.sum())]


def _defined(metric: Callable[[np.ndarray], float], rows: Iterator[np.ndarray]) -> np.ndarray:
    values = []
    for drawn in rows:
        try:
            values.append(metric(drawn))
        except ValueError:  # undefined for these rows: one class, or one value
            continue
    return np.array(values)


def _percentiles(values: np.ndarray, resamples: int) -> tuple[float, float]:
    if len(values) < max(1, ENOUGH * resamples):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _names(names: Any, items: int, what: str) -> np.ndarray:
    """(N,) names -> numbers 0, 1, ... in sorted order."""
    names = np.asarray(names)
    if names.shape != (items,):
        raise ValueError(f"{what} have shape {names.shape}: give one name for each of the {items:,} items")
    missing = pd.isna(names)
    if missing.any():
        raise ValueError(
            f"{what} miss a name at row {int(missing.argmax()):,}: name each, or leave the row out"
        )
    return np.unique(names.astype(str), return_inverse=True)[1]


def _metric(metric: str | Callable[..., float], options: dict[str, Any]) -> tuple[str, Callable[..., float]]:
    if callable(metric):
        known = [name for name, function in METRICS.items() if function is metric]
        name, function = known[0] if known else getattr(metric, "__name__", "metric"), metric
    else:
        plain = {name.lower().replace(" ", "").replace("_", ""): name for name in METRICS}
        asked = str(metric).lower().replace(" ", "").replace("_", "")
        if asked not in plain:
            raise ValueError(f"there is no metric {metric!r}: choose one of {', '.join(METRICS)}")
        name = plain[asked]
        function = METRICS[name]
    if not options:
        return name, function
    if options.get("prevalence") is not None:
        name = f"{name} at {options['prevalence']:.2g}"
    return name, lambda labels, guess: function(labels, guess, **options)


# ---- What goes in ----


def _arrays(labels: Any, guess: Any) -> tuple[np.ndarray, np.ndarray]:
    labels, guess = np.asarray(labels), np.asarray(guess)
    if labels.ndim != 1 or guess.ndim not in (1, 2):
        raise ValueError(
            f"labels have shape {labels.shape} and predictions {guess.shape}: give (N,) labels and (N,) or (N, C) "
            "predictions"
        )
    if len(labels) != len(guess):
        raise ValueError(f"{len(labels):,} labels but {len(guess):,} predictions: give one for each item")
    if len(labels) == 0:
        raise ValueError("there are no items: nothing can be measured")
    for what, array in (("label", labels), ("prediction", guess)):
        missing = pd.isna(array)
        if array.dtype.kind == "f":
            missing = ~np.isfinite(array)
        if missing.any():
            row = int(missing.reshape(len(array), -1).any(1).argmax())
            raise ValueError(
                f"the {what} of row {row:,} is {array[row]}: leave out items without a finite one, in all models alike"
            )
    return labels, guess


def _one_column(guess: np.ndarray) -> np.ndarray:
    """(N,) or (N, 1) as it is; (N, 2): what is said of class 1."""
    if guess.ndim == 2:
        if guess.shape[1] > 2:
            raise ValueError(
                f"predictions have {guess.shape[1]} columns: this metric is for two classes; give (N,) scores of "
                "class 1"
            )
        guess = guess[:, -1]
    return guess.astype(float)


def _binary(labels: np.ndarray) -> np.ndarray:
    positive = labels == 1
    other = ~positive & (labels != 0)
    if np.any(other):
        raise ValueError(f"found the label {labels[other.argmax()]!r}: labels of two classes are 0 and 1")
    return positive


def _counts(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Items of class 1 and of class 0 at each score, ascending. Whole numbers from 0 (ranks) need no sorting."""
    place = score if score.dtype.kind == "i" else np.unique(score, return_inverse=True)[1]
    items = np.bincount(place)
    right = np.bincount(place[positive], minlength=len(items))
    return right.astype(float), (items - right).astype(float)


def _two_classes(labels: Any, score: Any) -> tuple[np.ndarray, np.ndarray]:
    labels, score = _arrays(labels, score)
    positive = _binary(labels)
    if positive.all() or not positive.any():
        raise ValueError(
            f"only one class occurs here (all {len(labels):,} labels are {labels[0]}): AUROC and AUPRC compare two"
        )
    ranks = score.dtype.kind == "i" and score.ndim == 1 and score.min() >= 0 and score.max() <= 4 * len(score)
    return positive, score if ranks else _one_column(score)


def _probabilities(labels: Any, probability: Any) -> tuple[np.ndarray, np.ndarray]:
    labels, probability = _arrays(labels, probability)
    probability = _one_column(probability)
    if probability.min() < 0 or probability.max() > 1:
        raise ValueError(
            f"probabilities run from {probability.min():.3g} to {probability.max():.3g}: they must lie from 0 to 1 "
            "(are these logits?)"
        )
    return _binary(labels), probability


def _classes(labels: Any, guess: Any) -> tuple[np.ndarray, np.ndarray]:
    labels, guess = _arrays(labels, guess)
    if guess.ndim == 2:
        guess = guess.argmax(1)
    if (labels.dtype.kind in "OUS") != (guess.dtype.kind in "OUS"):
        raise ValueError(
            f"labels are of type {labels.dtype} and guesses of type {guess.dtype}: name classes alike in both"
        )
    if guess.dtype.kind == "f" and np.any(guess % 1):
        row = int((guess % 1 != 0).argmax())
        raise ValueError(
            f"the guess of row {row:,} is {guess[row]:.3g}: this metric takes classes, not scores; choose a threshold "
            "first (on valid), or give (N, C) scores"
        )
    return labels, guess


def _values(values: Any, guess: Any) -> tuple[np.ndarray, np.ndarray]:
    values, guess = _arrays(values, guess)
    if guess.ndim == 2:
        if guess.shape[1] != 1:
            raise ValueError(f"predictions have shape {guess.shape}: give (N,) values")
        guess = guess[:, 0]
    values, guess = values.astype(float), guess.astype(float)
    if (values == values[0]).all():
        raise ValueError(
            f"all {len(values):,} values are {values[0]:g}: Spearman and R2 need values that differ"
        )
    return values, guess
