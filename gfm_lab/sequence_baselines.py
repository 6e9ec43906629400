"""What any network has to beat on labelled sequences: simple models, each tuned on valid and scored once on test.

    GC content                one number a sequence
    k-mers                    how often each word of k bases occurs: what stands in a sequence, not where
    k-mers in position bins   the same in each of a few equal stretches: what, and roughly where
    PWM scan                  the best match to one motif, found in train (or given), wherever it stands
    additive                  one weight a base and place: sequences of one length, up to 600 bases
    pairwise                  and one a pair of bases at two places: the shorter, the farther apart the places may be
    small CNN                 a small convolutional network (`gfm_lab.predictors`), trained in seconds

All but the last are logistic or ridge regression on these columns (`gfm_lab.sequence_columns`). k, the width of the
motif, the strength of the penalty and the like are those with the best first metric on valid; no choice sees test.

    table = baseline_table((sequences, labels), valid, test, "classification", groups=loci)

gives one line a baseline and metric, with 95 % intervals. `score_table` scores other predictions in the same way, so
that a model's line can stand below. Introduced in notebook p3.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gfm_lab.metrics import METRICS, with_interval
from gfm_lab.sequence_columns import (
    best_match,
    find_motif,
    gc_share,
    kmer_counts,
    one_hot_places,
    one_length,
    position_kmers,
    position_pairs,
)

__all__ = [
    "BASELINES",
    "Baseline",
    "baseline_table",
    "fit_baseline",
    "fit_baselines",
    "fitting_baselines",
    "score_table",
]

Labelled = tuple[Sequence[str], Sequence | np.ndarray]
Features = Callable[[Sequence[str]], np.ndarray]

KS = (3, 4, 5, 6)
BINS = ((2, 10), (3, 3), (3, 7), (4, 3))  # k and how many stretches
WIDTHS = (6, 8, 12)  # of a motif
CNN = {"width": 32, "kernel": 11, "layers": 1, "bins": 5, "hidden": 32, "epochs": 8, "batch_size": 128}
LOWER = ("Brier", "calibration error")  # metrics of which less is better
STRENGTHS = (0.0003, 0.003, 0.03, 0.3)  # logistic regression's C, on standardised columns
PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)  # ridge regression's alpha
LONGEST = 600  # bases: beyond this, one column for each base at each place is too many
PAIRS = 3000  # columns of pairs at most
TASKS = ("classification", "regression")


class Baseline(NamedTuple):
    """A fitted baseline: what was chosen on valid, its first metric there, and how it predicts.

    predict(sequences) gives (N, C) probabilities of the classes, or (N,) values.
    """

    name: str
    chosen: str
    valid: float
    predict: Callable[[Sequence[str]], np.ndarray]


# ---- One call for all ----


def baseline_table(
    train: Labelled,
    valid: Labelled,
    test: Labelled,
    task: str,
    groups: Sequence | np.ndarray | None = None,
    *,
    baselines: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    prevalence: float | None = None,
    sites: Sequence[str] | None = None,
    strata: Sequence | np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """All baselines that fit a data set, tuned on valid, scored on test with 95 % intervals.

    Args:
        train, valid, test: (sequences, labels); labels are class numbers 0, 1, ... or values.
        task: "classification" or "regression".
        groups: (N,) what test items share (locus, gene); the bootstrap draws whole groups. strata: as in
            `metrics.with_interval`.
        baselines: names from `BASELINES`. None: all that fit (places need sequences of one length).
        metrics: names as in `gfm_lab.metrics`; the first one chooses on valid. None: AUROC and AUPRC for two classes,
            accuracy and MCC for more, Spearman and R2 for values.
        prevalence: adds AUPRC at this share of class 1.
        sites: aligned examples of a known motif for the PWM scan. None: a motif is looked for in train.
        resamples, seed: of the bootstrap; the seed also starts the CNN.

    Returns:
        One line for each baseline and metric: `baseline`, `metric`, `value`, `low`, `high`, `chosen`.

    Raises:
        ValueError: a class that is absent from a split, constant or missing labels, lengths that differ where places
            are needed, an unknown name.

    Introduced in notebook p3.
    """
    classes = _checked({"train": train, "valid": valid, "test": test}, task)
    metrics = _metrics(classes, metrics)
    if baselines is None:
        baselines = fitting_baselines([*train[0], *valid[0], *test[0]])
    fits = fit_baselines(train, valid, task, baselines=baselines, metric=metrics[0], sites=sites, seed=seed)
    guesses = {fit.name: fit.predict(test[0]) for fit in fits}
    options: dict[str, Any] = {"metrics": metrics, "prevalence": prevalence, "strata": strata}
    table = score_table(guesses, test[1], task, groups, resamples=resamples, seed=seed, **options)
    table["chosen"] = table["baseline"].map({fit.name: fit.chosen for fit in fits})
    return table


def score_table(
    guesses: Mapping[str, np.ndarray],
    labels: Sequence | np.ndarray,
    task: str,
    groups: Sequence | np.ndarray | None = None,
    *,
    metrics: Sequence[str] | None = None,
    prevalence: float | None = None,
    strata: Sequence | np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Predictions of several models for the same items, scored as `baseline_table` does, without `chosen`.

    guesses: name -> (N, C) probabilities, (N,) scores of class 1, or (N,) values. Arguments and errors of
    `baseline_table`. Introduced in notebook p3.
    """
    classes = _checked_labels(labels, "test", task)
    lines = []
    for name, guess in guesses.items():
        scores = [(metric, {}) for metric in _metrics(classes, metrics)]
        if prevalence is not None:
            scores.append(("AUPRC", {"prevalence": prevalence}))
        for metric, options in scores:
            found = with_interval(metric, labels, guess, groups, strata, resamples, seed, **options)
            lines.append((name, *found))
    return pd.DataFrame(lines, columns=["baseline", "metric", "value", "low", "high"])


def fit_baselines(
    train: Labelled,
    valid: Labelled,
    task: str,
    *,
    baselines: Sequence[str] | None = None,
    metric: str | None = None,
    sites: Sequence[str] | None = None,
    seed: int = 0,
) -> list[Baseline]:
    """Fit each baseline of `baselines` (None: all that fit), as `fit_baseline` does. Introduced in notebook p3."""
    names = fitting_baselines([*train[0], *valid[0]]) if baselines is None else list(baselines)
    return [fit_baseline(name, train, valid, task, metric=metric, sites=sites, seed=seed) for name in names]


def fit_baseline(
    name: str,
    train: Labelled,
    valid: Labelled,
    task: str,
    *,
    metric: str | None = None,
    ks: Sequence[int] = KS,
    sites: Sequence[str] | None = None,
    seed: int = 0,
) -> Baseline:
    """Fit one baseline on train; what is left open is chosen by `metric` on valid.

    name: one of `BASELINES`. ks: the lengths of words that "k-mers" tries. Other arguments and errors of
    `baseline_table`. Introduced in notebook p3.
    """
    if name not in BASELINES:
        raise ValueError(f"there is no baseline {name!r}: choose from {', '.join(BASELINES)}")
    classes = _checked({"train": train, "valid": valid}, task)
    first = _metrics(classes, metric if metric is None else [metric])[0]
    if name == "small CNN":
        return _cnn(train, valid, task, first, seed)
    return fit_linear(name, train, valid, classes, first, ks, sites)


def fitting_baselines(sequences: Sequence[str]) -> list[str]:
    """Names of the baselines that can read these sequences: places need one length, words need bases enough."""
    lengths = {len(sequence) for sequence in sequences}
    fits = {
        "GC content": True,
        "k-mers": max(lengths) >= KS[0],
        "k-mers in position bins": len(lengths) == 1 and bool(_bins(max(lengths))),
        "PWM scan": min(lengths) >= WIDTHS[0],
        "additive": len(lengths) == 1 and max(lengths) <= LONGEST,
        "pairwise": len(lengths) == 1 and _reach(max(lengths)) > 0,
        "small CNN": len(lengths) == 1 and max(lengths) >= WIDTHS[0],
    }
    return [name for name in BASELINES if fits[name]]


# ---- What each baseline tries: [(what, columns of sequences)] ----


def _gc_variants(
    sequences: Sequence[str], labels: np.ndarray, classes: int | None
) -> list[tuple[str, Features]]:
    return [
        ("GC", gc_share),
        ("GC and its square", lambda part: np.hstack([gc_share(part), gc_share(part) ** 2])),
    ]


def _kmer_variants(ks: Sequence[int]) -> list[tuple[str, Features]]:
    return [(f"k={k}", lambda part, k=k: kmer_counts(part, k)) for k in ks]


def _bins(length: int) -> list[tuple[int, int]]:
    return [(k, bins) for k, bins in BINS if length // bins >= 2 * k]


def _bin_variants(
    sequences: Sequence[str], labels: np.ndarray, classes: int | None
) -> list[tuple[str, Features]]:
    length = one_length(sequences)
    if not _bins(length):
        raise ValueError(f"sequences of {length} bases are too short for k-mers in position bins")
    return [
        (f"k={k} in {bins} bins", lambda part, k=k, bins=bins: position_kmers(part, k, bins))
        for k, bins in _bins(length)
    ]


def _additive_variants(
    sequences: Sequence[str], labels: np.ndarray, classes: int | None
) -> list[tuple[str, Features]]:
    one_length(sequences)
    return [("", one_hot_places)]


def _reach(length: int) -> int:
    """How far apart the two places of a pair may be, for at most PAIRS columns."""
    columns = np.cumsum(16 * np.arange(length - 1, 0, -1))
    return int((columns <= PAIRS).sum())


def _pair_variants(
    sequences: Sequence[str], labels: np.ndarray, classes: int | None
) -> list[tuple[str, Features]]:
    length = one_length(sequences)
    reach = _reach(length)
    if reach == 0:
        raise ValueError(
            f"sequences of {length} bases have too many pairs of places: at most {PAIRS // 16} are taken"
        )
    what = "all pairs" if reach >= length - 1 else f"places up to {reach} apart"
    return [(what, lambda part: position_pairs(part, reach))]


# ---- The motif ----


def _motif_variants(
    sequences: Sequence[str], labels: np.ndarray, classes: int | None
) -> list[tuple[str, Features]]:
    """A motif of each width, on one strand and on both. More than two classes: one motif a class, against the rest."""
    if min(map(len, sequences)) < WIDTHS[0]:
        raise ValueError(f"a PWM scan needs sequences of at least {WIDTHS[0]} bases")
    if classes is None:
        top = np.quantile(labels, 0.75)
        marked = [labels > top if (labels > top).any() else labels == top]
    else:
        marked = [labels == number for number in (range(classes) if classes > 2 else [1])]
    variants = []
    for width in WIDTHS:
        if width > min(map(len, sequences)):
            continue
        for both in (False, True):
            pwms = [find_motif(sequences, positive, width, both) for positive in marked]
            variants.append(
                (f"width {width}, {'both strands' if both else 'one strand'}", _scanner(pwms, both))
            )
    return variants


def _site_variants(sites: Sequence[str]) -> list[tuple[str, Features]]:
    width = one_length(sites)
    counts = one_hot_places(sites).reshape(len(sites), width, 4).sum(0) + 0.5
    pwm = np.log2(counts / counts.sum(1, keepdims=True) / 0.25)
    return [
        (f"{len(sites):,} sites, {'both strands' if both else 'one strand'}", _scanner([pwm], both))
        for both in (False, True)
    ]


def _scanner(pwms: Sequence[np.ndarray], both: bool) -> Features:
    return lambda part: np.stack([best_match(part, pwm, both)[0] for pwm in pwms], 1)


BASELINES: dict[str, Callable[..., Any]] = {
    "GC content": _gc_variants,
    "k-mers": lambda *_: _kmer_variants(KS),
    "k-mers in position bins": _bin_variants,
    "PWM scan": _motif_variants,
    "additive": _additive_variants,
    "pairwise": _pair_variants,
    "small CNN": lambda *_: [],
}


# ---- Fits ----


def fit_linear(
    name: str,
    train: Labelled,
    valid: Labelled,
    classes: int | None,
    metric: str,
    ks: Sequence[int] = KS,
    sites: Sequence[str] | None = None,
) -> Baseline:
    """Of all columns and penalties of a linear baseline, those whose `metric` on valid is best. Nothing is checked."""
    if name == "k-mers":
        variants = _kmer_variants(ks)
    elif name == "PWM scan" and sites is not None:
        variants = _site_variants(sites)
    else:
        variants = BASELINES[name](train[0], np.asarray(train[1]), classes)
    y, y_valid, best = np.asarray(train[1]), np.asarray(valid[1]), None
    for what, columns in variants:
        x = columns(train[0]).astype(np.float32)
        mean, spread = x.mean(0), x.std(0)
        scale = np.where(spread > 1e-5, 1 / np.maximum(spread, 1e-5), 0).astype(
            np.float32
        )  # constant columns: 0
        x_valid = (columns(valid[0]).astype(np.float32) - mean) * scale
        for strength, predict in fits((x - mean) * scale, y, classes):
            score = METRICS[metric](y_valid, predict(x_valid))
            if best is None or (score < best[0] if metric in LOWER else score > best[0]):
                best = (score, f"{what} {strength}".strip(), columns, mean, scale, predict)
    assert best is not None
    score, chosen, columns, mean, scale, predict = best

    def apply(sequences: Sequence[str]) -> np.ndarray:
        return predict((columns(sequences).astype(np.float32) - mean) * scale)

    return Baseline(name, f"{chosen} ({metric} {score:.3f} on valid)", float(score), apply)


def fits(
    x: np.ndarray, y: np.ndarray, classes: int | None
) -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """Yield (strength, predict) for each strength: logistic regression, or ridge for values (classes None)."""
    if classes is None:
        # One decomposition serves every penalty: of X'X, or of XX' where there are more columns than rows.
        centre = y.mean()
        wide = x.shape[1] > x.shape[0]
        values, vectors = np.linalg.eigh((x @ x.T if wide else x.T @ x).astype(np.float64))
        seen = vectors.T @ ((y - centre) if wide else x.T @ (y - centre))
        for alpha in PENALTIES:
            solved = vectors @ (seen / (values.clip(0) + alpha))
            weights = x.T @ solved if wide else solved
            yield f"alpha={alpha:g}", lambda part, weights=weights: part @ weights + centre
        return
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    back = None
    if x.shape[1] > x.shape[0]:
        # More columns than rows: the weights lie in the span of the rows, so as many rotated columns say the same.
        with threadpool_limits(1):
            values, vectors = np.linalg.eigh((x @ x.T).astype(np.float64))
        keep = values > 1e-6 * max(values.max(), 1e-6)
        back = (x.T @ (vectors[:, keep] / np.sqrt(values[keep]))).astype(np.float32)
        x = (vectors[:, keep] * np.sqrt(values[keep])).astype(np.float32)
    for strength in STRENGTHS:
        # Products of a matrix and a vector: a second thread gains nothing, and on a busy machine costs much.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(x, y)

        def predict(part: np.ndarray, model: LogisticRegression = model) -> np.ndarray:
            p = np.zeros((len(part), classes))
            p[:, model.classes_] = model.predict_proba(part if back is None else part @ back)
            return p

        yield f"C={strength:g}", predict


def _cnn(train: Labelled, valid: Labelled, task: str, metric: str, seed: int) -> Baseline:
    from gfm_lab.predictors import train_predictor

    model = train_predictor(train, valid, kind="cnn", task=task, seed=seed, **CNN)
    score = METRICS[metric](np.asarray(valid[1]), model.predict(valid[0]))
    return Baseline(
        "small CNN",
        f"seed={seed} ({metric} {score:.3f} on valid)",
        float(score),
        model.predict,
    )


# ---- What goes in ----


def _checked(splits: Mapping[str, Labelled], task: str) -> int | None:
    """The number of classes, None for values. Raises ValueError for splits that cannot be used."""
    for split, (sequences, labels) in splits.items():
        if isinstance(sequences, str) or len(sequences) != len(labels):
            raise ValueError(
                f"{split} has {len(sequences):,} sequences but {len(labels):,} labels: give one for each"
            )
        if len(sequences) < 2:
            raise ValueError(f"{split} has {len(sequences)} items: at least two are needed")
        short = [row for row, sequence in enumerate(sequences) if not sequence]
        if short:
            raise ValueError(f"sequence {short[0]:,} of {split} is empty: leave it out")
    counts = {split: _checked_labels(labels, split, task) for split, (_, labels) in splits.items()}
    if task == "regression":
        return None
    classes = max(counts.values())
    for split, (_, labels) in splits.items():
        absent = sorted(set(range(classes)) - set(np.asarray(labels).tolist()))
        if absent:
            raise ValueError(
                f"class {absent[0]} is absent from {split}: every split needs every class; split by other groups, or "
                "leave the class out of all"
            )
    return classes


def _checked_labels(labels: Any, split: str, task: str) -> int:
    """The largest class number plus 1; 0 for values."""
    if task not in TASKS:
        raise ValueError(f"there is no task {task!r}: choose 'classification' or 'regression'")
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "biuf":
        raise ValueError(
            f"labels of {split} are of type {labels.dtype}, shape {labels.shape}: give (N,) numbers"
        )
    if not np.isfinite(labels.astype(float)).all():
        row = int((~np.isfinite(labels.astype(float))).argmax())
        raise ValueError(f"the label of row {row:,} of {split} is {labels[row]}: leave the row out")
    if (labels == labels[0]).all():
        raise ValueError(f"every label of {split} is {labels[0]}: there is nothing to tell apart")
    if task == "regression":
        return 0
    if (labels < 0).any() or (labels % 1 != 0).any() if labels.dtype.kind != "b" else False:
        raise ValueError(
            f"labels of {split} are no class numbers: number the classes 0, 1, ..., or task='regression'"
        )
    return int(labels.max()) + 1


def _metrics(classes: int | None, metrics: Sequence[str] | None) -> list[str]:
    """Names of metrics; the first one chooses."""
    if metrics is None:
        if not classes:
            return ["Spearman", "R2"]
        return ["AUROC", "AUPRC"] if classes == 2 else ["accuracy", "MCC"]
    known = {name.lower(): name for name in METRICS}
    unknown = [name for name in metrics if name.lower() not in known]
    if unknown or not metrics:
        raise ValueError(
            f"there is no metric {unknown[0] if unknown else ''!r}: choose from {', '.join(METRICS)}"
        )
    return [known[name.lower()] for name in metrics]
