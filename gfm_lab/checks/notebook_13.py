"""The exercises of notebook 13, practical design."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gfm_lab.checks import Hint, exercise, need, written

exercise_13 = exercise("13_practical_design")


@exercise_13
def prediction(answer: Any) -> str:
    """For each path: is the judge's score higher than the wild type's, and is it more than promised?"""
    right = {"real labels": ("higher", "less"), "shuffled labels": ("lower", "less")}
    words = (("higher", "lower"), ("more", "less"))
    if not isinstance(answer, dict) or set(answer) != set(right):
        raise Hint(f"give a dict with the keys {' and '.join(map(repr, right))}, two words each")
    for name, pair in answer.items():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise Hint(f"{name}: give two words, such as ('higher', 'more')")
        for word, allowed in zip(pair, words, strict=True):
            if word not in allowed:
                raise Hint(f"{name}: {word!r} is not one of {' and '.join(map(repr, allowed))}")
    hints = {
        (
            "real labels",
            0,
        ): "this oracle predicts test variants well; some of what it climbed the judge sees too",
        (
            "real labels",
            1,
        ): "the promise is the largest of thousands of rough numbers: its errors point upwards, and "
        "the judge does not share them",
        (
            "shuffled labels",
            0,
        ): "to the judge these are 20 mutations chosen by nonsense: what do most mutations do?",
        ("shuffled labels", 1): "the path climbed this oracle's errors, of which the judge knows nothing",
    }
    for (name, place), hint in hints.items():
        if answer[name][place] != right[name][place]:
            raise Hint(f"{name}, {('first', 'second')[place]} word: {hint}")
    return (
        "real knowledge survives the judge in part, errors do not; and both promise more than the judge gives"
    )


class _Bent:
    """A smooth score of one-hot letters whose rows do not mix, and its first-order changes by the chain rule."""

    def __init__(self, length: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.weights = torch.randn(length, 4, generator=generator)
        self.curve = 0.3

    def forward(self, hot: torch.Tensor) -> torch.Tensor:
        linear = (hot * self.weights).sum((1, 2))
        return linear + self.curve * linear**2

    def slope(self, hot: torch.Tensor) -> torch.Tensor:
        linear = (hot * self.weights).sum((1, 2))
        return (1 + 2 * self.curve * linear)[:, None, None] * self.weights


@exercise_13
def my_scores(answer: Any) -> str:
    """`answer(forward, hot) -> (N, L, 4)`: the slope of each letter minus that of the letter that stands."""
    cases = [(1, 5), (3, 8), (4, 2)]
    for number, (rows, length) in enumerate(cases):
        oracle = _Bent(length, number)
        letters = torch.randint(4, (rows, length), generator=torch.Generator().manual_seed(10 + number))
        hot = torch.eye(4)[letters]
        given = hot.clone()
        got = answer(oracle.forward, given)
        if isinstance(got, np.ndarray):
            got = torch.from_numpy(got)
        need(got, torch.Tensor, "the result")
        if not torch.equal(given.detach(), hot):
            raise Hint("your function changed the letters it was given: work on a copy")
        if got.shape != hot.shape:
            raise Hint(
                f"letters {tuple(hot.shape)} should give scores {tuple(hot.shape)}, not {tuple(got.shape)}"
            )
        got, slope = got.detach().float(), oracle.slope(hot)
        own = (slope * hot).sum(-1, keepdim=True)
        right = slope - own
        if torch.allclose(got, right, atol=1e-4):
            continue
        wrong = [
            (
                slope,
                "that is the bare slope: a substitution also takes the old letter away; subtract its slope",
            ),
            (own - slope, "the sign is turned round: the slope of the new letter minus that of the old one"),
            (slope * hot, "that is the slope at the letters that stand; asked is each letter in their place"),
            (
                slope - slope.mean(-1, keepdim=True),
                "subtract the slope of the letter that stands, not the mean of four",
            ),
        ]
        for value, hint in wrong:
            if torch.allclose(got, value, atol=1e-4):
                raise Hint(hint)
        if rows > 1 and torch.allclose(got * rows, right, atol=1e-4):
            raise Hint("you averaged over the rows: the gradient of the sum leaves each row its own slope")
        if not got[hot.bool()].abs().max() < 1e-4:
            raise Hint("keeping the letter that stands changes nothing: its score must be 0")
        raise Hint("not the slope at each letter minus the slope at the letter that stands")
    return f"{len(cases)} batches of a curved oracle: slope of the new letter minus slope of the old one"


@exercise_13
def my_accept(answer: Any) -> str:
    """`answer(now, then, temperature, chance) -> (N,) bool`, by the Metropolis rule."""
    random = np.random.default_rng(3)
    temperatures = (1.0, 0.1, 5.0)
    for temperature in temperatures:
        now, chance = random.normal(size=4000), random.random(4000)
        then = now + temperature * random.normal(size=4000)
        got = answer(now.copy(), then.copy(), temperature, chance.copy())
        if isinstance(got, torch.Tensor):
            got = got.numpy()
        got = np.asarray(got)
        if got.shape != now.shape:
            raise Hint(f"{len(now):,} chains need {len(now):,} answers, not an array of shape {got.shape}")
        if got.dtype != bool:
            raise Hint(f"answer True or False for each chain, not numbers of type {got.dtype}")
        change = then - now

        def rule(exponent: np.ndarray, chance: np.ndarray = chance) -> np.ndarray:
            return chance < np.exp(np.minimum(exponent, 50))

        if np.array_equal(got, rule(change / temperature)):
            continue
        if np.array_equal(got, change > 0) or np.array_equal(got, change >= 0):
            raise Hint("you climb: steps downwards are taken too, with the probability of the ratio")
        if np.array_equal(got, rule(-change / temperature)):
            raise Hint("the sign is turned round: a step upwards must always be taken")
        if np.array_equal(got, ~rule(change / temperature)):
            raise Hint("these are the chains that stay: take the step if chance is below the ratio")
        if temperature != 1 and np.array_equal(got, rule(change)):
            raise Hint(f"the temperature has no effect; at T = {temperature} differences are divided by it")
        if temperature != 1 and np.array_equal(got, rule(change * temperature)):
            raise Hint("divide by the temperature: a high one makes all steps nearly equal")
        if temperature != 1 and np.array_equal(got, chance < 1 / (1 + np.exp(-change / temperature))):
            raise Hint(
                "that is the logistic rule (Barker's): right too, but Metropolis takes every step upwards"
            )
        if not got[change > 0].all():
            raise Hint("a step upwards has a ratio above 1 and is always taken")
        if np.array_equal(got, chance < 1 / (1 + np.exp(-change))):
            raise Hint("the ratio is exp(difference / T), not a logistic function of it")
        raise Hint(f"T = {temperature}: take the step where chance is below exp((then - now) / T)")
    with np.errstate(over="ignore"):  # exp of a large number is infinite, which is right here
        huge = answer(np.array([0.0, 0.0]), np.array([1e6, -1e6]), 0.1, np.array([0.5, 0.5]))
    if np.asarray(huge).tolist() != [True, False]:
        raise Hint("a very large step upwards must be taken, and a very large one downwards must not")
    return f"{len(temperatures)} temperatures, 4,000 chains each: taken where chance is below the ratio"


@exercise_13
def my_report(answer: Any) -> str:
    """`answer(oracle_scores, judge_scores, n) -> float`: chosen by the oracle, reported by the judge."""
    random = np.random.default_rng(5)
    cases = [(40, 5), (200, 20), (7, 7)]
    for count, n in cases:
        oracle = random.normal(size=count)
        judge = 0.3 * oracle + random.normal(size=count)
        given = oracle.copy(), judge.copy()
        got = answer(*given, n)
        if isinstance(got, (np.generic, torch.Tensor)):
            got = got.item()
        need(got, (int, float), "the report")
        if not (np.array_equal(given[0], oracle) and np.array_equal(given[1], judge)):
            raise Hint("your function changed the scores it was given: work on copies")
        by_oracle, by_judge = np.argsort(-oracle)[:n], np.argsort(-judge)[:n]
        right = judge[by_oracle].mean()
        if np.isclose(got, right):
            continue
        by_both = np.argsort(-(oracle + judge))[:n]
        wrong = [
            (judge[by_judge].mean(), "the judge still chooses: its score of its own favourites is too high"),
            (oracle[by_judge].mean(), "roles exchanged: here the oracle chooses, and the judge is asked"),
            (
                oracle[by_oracle].mean(),
                "that is the oracle's own score of its favourites: the climbed number",
            ),
            (judge[by_both].mean(), "the judge has a say in the choice: leave it to the oracle alone"),
            (judge[np.argsort(oracle)[:n]].mean(), "these are the n worst designs: sort from the top"),
            (judge[by_oracle].max(), "the best of n is chosen by the judge again: report the mean"),
            (judge.mean(), "that is the mean of all candidates: choose n first"),
        ]
        for value, hint in wrong:
            if np.isclose(got, value):
                raise Hint(hint)
        raise Hint(f"{count} candidates, n = {n}: {right:.4f}, not {got:.4f}")
    return f"{len(cases)} sets of candidates: the oracle chooses, the judge is only asked"


@exercise_13
def interpretation(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "14 is the score that the search climbed, of the model that chose the sequences: no result",
        "the scale of the assay ends at 9, so the model extrapolates",
        "designs of one search are no independent sample: the p value counts the same errors fifty times",
        "missing rows: a judge of other items, random mutants at the same distance, best training variants, "
        "the design by hand",
        "new means unmeasured; stronger is a measurement with replicates and controls",
    )
