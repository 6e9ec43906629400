"""The exercises of primer p3, evaluating honestly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gfm_lab.checks import Hint, exercise, need, written
from gfm_lab.metrics import auroc, with_interval

exercise_p3 = exercise("p3_evaluating_honestly")


def _number(value: Any, what: str) -> float:
    if value is None:
        raise Hint("your function returned None; is a `return` missing?")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise Hint(f"{what} should be one number, not {type(value).__name__}") from None


@exercise_p3
def my_auroc(answer: Callable[..., Any]) -> str:
    """`answer(labels, score) -> number`, for numpy arrays."""
    rng = np.random.default_rng(0)
    tests = []
    for ties in (False, True):
        for _ in range(6):
            labels = rng.permutation([0, 1, *rng.integers(0, 2, 30)])
            score = labels * 0.8 + rng.normal(size=32)
            tests.append((labels, np.round(score) if ties else score))
    for number, (labels, score) in enumerate(tests):
        got, right = _number(answer(labels.copy(), score.copy()), "AUROC"), auroc(labels, score)
        if abs(got - right) < 1e-9:
            continue
        ties = "with" if number >= 6 else "without"
        said = f"on 32 items {ties} ties the AUROC is {right:.4f}; yours is {got:.4f}"
        positive, negative = score[labels == 1][:, None], score[labels == 0][None, :]
        if abs(got - (1 - right)) < 1e-9:
            raise Hint(f"{said}: one minus it. Does the positive stand on the left of your comparison?")
        if abs(got - (positive > negative).mean()) < 1e-9:
            raise Hint(f"{said}. Without ties it is right: pairs with equal scores count half")
        if abs(got - (positive >= negative).mean()) < 1e-9:
            raise Hint(f"{said}. Without ties it is right: pairs with equal scores count half, not whole")
        if abs(got - right * positive.size * negative.size) < 1e-6:
            raise Hint(f"{said}: that is the number of pairs won. Divide by the number of pairs")
        raise Hint(f"{said}. Compare each positive with each negative, never items of one class")
    return "12 random tables, half of them with ties: equal to the definition"


@exercise_p3
def prediction(answer: Any) -> str:
    """A dict of three numbers: "balanced", "genes", "auroc"."""
    need(answer, dict, "the prediction")
    missing = {"balanced", "genes", "auroc"} - set(answer)
    if missing:
        raise Hint(f"the prediction lacks {', '.join(sorted(missing))}")
    got = {}
    for name in ("balanced", "genes", "auroc"):
        if answer[name] is Ellipsis:
            raise Hint(f"{name!r} is still open")
        got[name] = _number(answer[name], name)
        if not 0 <= got[name] <= 1:
            raise Hint(f"{name!r} is {got[name]:g}: give a share between 0 and 1")
    if abs(got["auroc"] - 0.95) > 1e-9:
        raise Hint("auroc: it compares one positive with one negative; how many there are does not enter")
    if abs(got["balanced"] - 0.8 / 0.85) > 0.02:
        raise Hint(
            "balanced: of 100 donors 80 are called, of 100 others 5. Which share of the 85 are donors?"
        )
    right = 0.8 / (0.8 + 0.05 * 299)
    if abs(got["genes"] - right) > 0.006:
        raise Hint(
            "genes: for each donor there are 299 others, and 5 % of these are called: 0.8 true calls beside how many?"
        )
    return f"0.94 in the test, {right:.3f} within genes: 19 of 20 calls are wrong, at the same AUROC"


def _grouped(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """60 loci of 1 to 8 copies of one item, in mixed order: a bootstrap over items is too narrow by far."""
    size = rng.integers(1, 9, 60)
    label = rng.permutation([0, 1] * 30)
    score = label + rng.normal(size=60)
    order = rng.permutation(int(size.sum()))
    labels, scores, loci = (
        np.repeat(x, size)[order] for x in (label, score, np.array([f"locus {i}" for i in range(60)]))
    )
    return labels, scores, loci


@exercise_p3
def my_interval(answer: Callable[..., Any]) -> str:
    """`answer(labels, score, loci, resamples, seed) -> (low, high)`, the bootstrap over loci."""
    rng = np.random.default_rng(4)
    ratio, narrow = [], []
    for seed in range(4):
        labels, score, loci = _grouped(rng)
        got = answer(labels, score, loci, 300, seed)
        if got is None:
            raise Hint("your function returned None; is a `return` missing?")
        try:
            low, high = (float(x) for x in got)
        except (TypeError, ValueError):
            raise Hint("return two numbers, low and high") from None
        if low > high:
            raise Hint(f"low is {low:.3f} and high is {high:.3f}: the other way round")
        right = with_interval("AUROC", labels, score, groups=loci, resamples=300, seed=seed)
        items = with_interval("AUROC", labels, score, resamples=300, seed=seed)
        ratio.append((high - low) / (right.high - right.low))
        narrow.append((items.high - items.low) / (right.high - right.low))
        if not low <= right.value <= high:
            raise Hint(
                f"the AUROC is {right.value:.3f}, and your interval, {low:.3f} to {high:.3f}, leaves it out"
            )
    width, by_item = float(np.mean(ratio)), float(np.mean(narrow))
    said = (
        f"on four tables of 60 loci your intervals are {width:.2f} times as wide as the bootstrap's over loci"
    )
    if width < 0.01:
        raise Hint(
            "every resample gives the same number: drawing all loci without replacement draws the same ones again"
        )
    if abs(width - by_item) < 0.08 * by_item:
        raise Hint(
            f"{said}, as wide as those of single items: whole loci have to be drawn, with all of their items"
        )
    if 0.65 < width < 0.86:
        raise Hint(f"{said}: a locus that was drawn twice has to count twice; np.isin counts it once")
    if width > 1.2:
        raise Hint(
            f"{said}: min and max grow apart with the number of resamples; take the 2.5 and 97.5 percentiles"
        )
    if not 0.87 < width < 1.15:
        raise Hint(f"{said}: draw as many loci as there are, with replacement, and keep 95 % of the values")
    return f"{said}; single items would have given {by_item:.2f}"


@exercise_p3
def judgement(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "negatives: random windows differ from promoters in GC content; ask for matched ones, and GC alone beside it",
        "split: random rows leave overlapping and related ones in training; ask for chromosomes or families held out",
        "duplicates: alternative starts repeat sequences; ask for a search on both strands across the split",
        "interval: five seeds move the training, not the test; resample loci, and compare models on the same items",
        "prevalence: a genome is not 1:1; ask for AUPRC at the share where it will be used, and a k-mer baseline",
    )
