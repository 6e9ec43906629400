"""The exercises of notebook 07, choosing a mixer."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from gfm_lab.checks import Hint, exercise, need, written

exercise_07 = exercise("07_choosing_a_mixer")

TRIAL = ("mixer", "learning_rate", "parameters", "valid", "test")


def _counters(draw: random.Random) -> list[Callable[[int], int]]:
    """Functions from a feed-forward width to the parameters of a model: plain, gated, rounded up to 8, tiny."""
    counters: list[Callable[[int], int]] = []
    for _ in range(4):
        dim, layers, rest = draw.choice((16, 32, 64)), draw.randint(1, 6), draw.randint(500, 90_000)
        counters += [
            lambda inner, d=dim, n=layers, r=rest: r + n * (2 * d * inner + inner + d),
            lambda inner, d=dim, n=layers, r=rest: r + n * (3 * d * inner + d),
            lambda inner, d=dim, n=layers, r=rest: r + n * 2 * d * (8 * -(-inner // 8)),
        ]
    return counters


@exercise_07
def my_width(answer: Any) -> str:
    """`answer(count, target) -> inner`: the width of at least 1 whose count(inner) is nearest to target."""
    draw = random.Random(7)
    cases = [(count, count(draw.randint(2, 600)) + draw.randint(-40, 40)) for count in _counters(draw)]
    cases.append((lambda inner: 10_000 + 100 * inner, 5_000))  # too large at any width
    cases.append((lambda inner: 7 + 100 * inner, 1_060))  # nearest is above
    for count, target in cases:
        got = answer(count, target)
        need(got, (int, float), "the width")
        sizes = [abs(count(inner) - target) for inner in range(1, 4_000)]
        best = min(sizes)
        case = f"aiming at {target:,} parameters"
        if isinstance(got, float) and not got.is_integer():
            raise Hint(f"{case}, you returned {got:.2f}: a layer has a whole number of units")
        if got < 1:
            raise Hint(f"{case}, you returned {got:g}: the smallest width is 1")
        if got >= 4_000 or got == count(1 + sizes.index(best)):
            raise Hint(f"{case}, you returned {got:,.0f}: is that the number of parameters? Return the width")
        miss = abs(count(int(got)) - target)
        if miss > best:
            below = max((i for i in range(1, 4_000) if count(i) <= target), default=1)
            if count(int(got)) == count(below):
                raise Hint(
                    f"{case}, you stay below the target; one step above it is nearer (off by {best:,}, not {miss:,})"
                )
            raise Hint(
                f"{case}, width {int(got)} is off by {miss:,} parameters, width {1 + sizes.index(best)} by {best:,}"
            )
    return f"{len(cases)} kinds of model, also with a size that grows in steps: always the nearest width"


@exercise_07
def prediction(answer: Any) -> str:
    """(window, convolution): how far back the last layer of each can look."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Hint("give two whole numbers: (sliding window, convolution)")
    window, convolution = answer
    for got, right, what, slips in (
        (
            window, 34, "the window",
            {
                32: "two layers of radius 16 make 32. What does the shared convolution under them add?",
                16: "that is one layer; what the second reads has already been mixed by the first",
                18: "that is one layer and the shared convolution; there is a second layer",
                35: "that counts the position itself as well; asked is how far back",
                66: "that is both sides; a causal window has one",
            },
        ),
        (
            convolution, 50, "the convolution",
            {
                48: "both layers make 48. What does the shared convolution under them add?",
                58: "seven taps span six steps: (kernel - 1) * dilation",
                59: "seven taps span six steps: (kernel - 1) * dilation",
                56: "seven taps span six steps: (kernel - 1) * dilation",
                51: "that counts the position itself as well; asked is how far back",
                42: "that is the dilated layer alone: add the others",
                14: "the second layer's taps are 7 positions apart",
            },
        ),
    ):  # fmt: skip
        need(got, (int, float), f"the reach of {what}")
        if got != right:
            raise Hint(
                slips.get(got, f"{what}: add up what each of the three layers can look back, one by one")
            )
    return (
        "34 and 50 tokens; attention, Hyena and Mamba look back as far as the sequence goes. Now the curves"
    )


def _fair(trials: list[dict[str, Any]], reference: int) -> dict[str, float]:
    """The right answer."""
    kept: dict[str, list[dict[str, Any]]] = {}
    for trial in trials:
        if abs(trial["parameters"] - reference) <= 0.02 * reference:
            kept.setdefault(trial["mixer"], []).append(trial)
    tries = min(map(len, kept.values()))
    return {name: min(own[:tries], key=lambda t: t["valid"])["test"] for name, own in kept.items()}


def _by(trials: list[dict[str, Any]], reference: int, sized: bool, tries: bool, key: str) -> dict[str, float]:
    """Answers with some of the faults left in."""
    kept: dict[str, list[dict[str, Any]]] = {}
    for trial in trials:
        if not sized or abs(trial["parameters"] - reference) <= 0.02 * reference:
            kept.setdefault(trial["mixer"], []).append(trial)
    fewest = min(map(len, kept.values())) if tries else len(trials)
    return {name: min(own[:fewest], key=lambda t: t[key])["test"] for name, own in kept.items()}


def _trials(draw: random.Random) -> tuple[list[dict[str, Any]], int]:
    reference = draw.randint(20_000, 2_000_000)
    trials = []
    for mixer in ("attention", "hyena", "mamba")[: draw.randint(2, 3)]:
        base = draw.uniform(1.86, 1.94)
        for _ in range(draw.randint(2, 7)):
            off = draw.choice((0.0, 0.005, -0.015, 0.012, 0.4, -0.3))
            trials.append(
                dict(
                    mixer=mixer, learning_rate=draw.choice((1e-3, 3e-3, 1e-2)),
                    parameters=round(reference * (1 + off)), valid=base + draw.gauss(0, 0.01),
                    test=base + draw.gauss(0, 0.01),
                )
            )  # fmt: skip
    mixers = {t["mixer"] for t in trials}
    for mixer in mixers:  # one of the right size at least
        next(t for t in trials if t["mixer"] == mixer)["parameters"] = reference
    return trials, reference


# What an answer with some of the faults left in does: are sizes equal, are tries equal, what chooses; and its hint.
FAULTS = (
    (False, False, "test", "nothing has changed yet: all three faults are still there"),
    (True, True, "test", "the test score still chooses the trial; which score is there to choose with?"),
    (False, True, "valid", "models of any size still compete: keep those within 2 % of the reference"),
    (
        True,
        False,
        "valid",
        "one mixer still has more tries than another, and the best of more tries looks better: give all as many as "
        "the one with the fewest (of the right size) has, from the front of the list",
    ),
    (True, False, "test", "sizes are right; the choice by test score and the unequal tries are left"),
    (False, False, "valid", "the choice is right; unequal sizes and unequal tries are left"),
    (False, True, "test", "tries are equal; the choice by test score and the unequal sizes are left"),
)


@exercise_07
def my_report(answer: Any) -> str:
    """`answer(trials, reference) -> {mixer: test bits}`: a fair choice among trials."""
    draw, wrong = random.Random(3), False
    rounds = [_trials(draw) for _ in range(40)]
    late = "equalise the tries after you have left out the models of the wrong size, not before"
    rounded = "do not round: return the test bits as they are"
    chosen_by = "that is the validation score of a trial: it chooses; what is reported is its test"
    possible = {*FAULTS, late, rounded, chosen_by}  # what explains all the answers so far
    for trials, reference in rounds:
        given = [dict(trial) for trial in trials]
        got = answer(given, reference)
        need(got, dict, "the report")
        if given != trials:
            raise Hint("your function changed the trials it was given: build a new list instead")
        right = _fair(trials, reference)
        if set(got) != set(right) and set(got) != set(_late(trials, reference)):
            raise Hint(f"the report should have one entry for each mixer, {sorted(right)}, not {sorted(got)}")
        values = {name: value["test"] if isinstance(value, dict) else value for name, value in got.items()}
        wrong = wrong or not _equal(values, right)
        possible -= {f for f in FAULTS if not _equal(values, _by(trials, reference, *f[:3]))}
        if not _equal(values, _late(trials, reference)):
            possible.discard(late)
        if not _equal(values, {name: round(value, 3) for name, value in right.items()}):
            possible.discard(rounded)
        if not all(values[t["mixer"]] != t["test"] for t in trials if t["mixer"] in values) or not all(
            any(v == t["valid"] for t in trials) for v in values.values()
        ):
            possible.discard(chosen_by)
    if not wrong:
        return f"{len(rounds)} sets of trials: equal sizes, equal tries, chosen on valid, reported on test"
    for fault in FAULTS:
        if fault in possible:
            raise Hint(fault[3])
    for hint in (late, rounded, chosen_by):
        if hint in possible:
            raise Hint(hint)
    raise Hint(
        "steps: keep the right sizes, cut to the fewest tries, choose by valid, report that one's test"
    )


def _equal(values: dict[str, float], right: dict[str, float]) -> bool:
    return set(values) == set(right) and all(
        math.isclose(values[name], right[name], abs_tol=1e-9) for name in right
    )


def _late(trials: list[dict[str, Any]], reference: int) -> dict[str, float]:
    """Tries are equalised before sizes: some mixers are then left with fewer."""
    own: dict[str, list[dict[str, Any]]] = {}
    for trial in trials:
        own.setdefault(trial["mixer"], []).append(trial)
    fewest = min(map(len, own.values()))
    sized = {
        name: [t for t in kept[:fewest] if abs(t["parameters"] - reference) <= 0.02 * reference]
        for name, kept in own.items()
    }
    return {name: min(kept, key=lambda t: t["valid"])["test"] for name, kept in sized.items() if kept}


@exercise_07
def interpretation(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "0.01 bits from one seed each: no interval, and no spread between seeds to hold it against",
        "the learning rate was tuned for one of them: the same setting is fair only if it suits both, or each gets "
        "the same number of trials, chosen on validation data",
        "wall-clock time on a shared server measures the server: processor time, alone, in alternating rounds",
        "windows of 512 bases cannot show what long context is good for, and bits per base hardly notice recall; a "
        "bacterium with few repeats says little of a human genome",
        "no baseline: how far below the best Markov model are both, and what does 0.01 bits change for a task?",
    )
