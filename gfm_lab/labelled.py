"""Predictions of labels: how good they are, with intervals, and the linear models that any network has to beat.

    classes   AUROC and AUPRC (two), accuracy and macro F1 (more);  logistic regression
    values    Spearman's rho and R2;                                ridge regression

A linear model reads k-mer counts, which know what stands in a sequence but not where, or the bases place by place,
which know where (for sequences of one length). This is what `gfm-lab finetune` reports; `gfm_lab.metrics` has more
metrics and paired tests, `gfm_lab.sequence_baselines` more baselines. Introduced in notebook 08.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from gfm_lab import metrics
from gfm_lab.metrics import Metric, auprc, auroc
from gfm_lab.sequence_baselines import LONGEST, fit_linear
from gfm_lab.sequence_columns import kmer_counts, one_hot_places

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
RESAMPLES = 500


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
        ValueError: lengths differ, two classes of which only one occurs, or values that are all equal.
    """
    found = []
    for name, metric in _metrics(classes).items():
        value = metric(labels, guess)
        found.append(Metric(name, value, *interval(metric, labels, guess, groups, seed, resamples)))
    return found


def _metrics(classes: int | None) -> dict[str, Callable[[np.ndarray, np.ndarray], float]]:
    """Name -> function of labels and predictions. The first is the one to choose by."""
    if classes is None:
        return {"Spearman": metrics.spearman, "R2": metrics.r2}
    if classes == 2:
        return {"AUROC": auroc, "AUPRC": auprc}
    return {"accuracy": metrics.accuracy, "macro F1": metrics.macro_f1}


def interval(
    metric: Callable[[np.ndarray, np.ndarray], float],
    labels: np.ndarray,
    guess: np.ndarray,
    groups: Sequence | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """(2.5 %, 97.5 %) of `metric` over bootstrap samples of the groups: `gfm_lab.metrics.interval`."""
    return metrics.interval(metric, labels, guess, groups, None, resamples, seed)


# ---- Linear models ----


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
    lengths = {len(sequence) for part in (train[0], valid[0], *others) for sequence in part}
    kinds = {"k-mers": "k-mer counts"}
    if len(lengths) == 1 and max(lengths) <= LONGEST:
        kinds["additive"] = "bases by place"
    kind = "ridge" if classes is None else "logistic"
    first = next(iter(_metrics(classes)))
    found = []
    for name, columns in kinds.items():
        fit = fit_linear(name, train, valid, classes, first, ks=KS)
        found.append(LinearModel(f"{kind}, {columns}", fit.chosen, [fit.predict(part) for part in others]))
    return found
