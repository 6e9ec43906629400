"""The exercises of notebook 09, masked language modelling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gfm_lab.checks import Hint, exercise, need, written
from gfm_lab.objectives import mask_tokens

exercise_09 = exercise("09_masked_language_modeling")

WORDS = np.array([5, 6, 7, 8])


@exercise_09
def my_mask(answer: Any) -> str:
    """`answer(ids, maskable, uniform, mask_id, words, rate) -> (shown, labels)`: the rule of three numbers."""
    rng = np.random.default_rng(1)
    cases = [(12, 4, 0.15), (300, 4, 0.15), (1, 4, 1.0), (200, 3, 0.5), (40, 4, 1.0)]
    for length, mask_id, rate in cases:
        ids = rng.integers(5, 9, length)
        ids[:: max(2, length // 5)] = 2  # special tokens, here and there
        maskable = ids > 4
        uniform = rng.random((3, length))
        if length == 300:  # numbers on the border: below a bound means strictly below
            uniform[0, 3:6], uniform[1, 3:6] = 0.0, (0.8, 0.9, 0.1)
            uniform[0, 6:9] = rate
        given = (ids.copy(), maskable.copy(), uniform.copy(), mask_id, WORDS.copy(), rate)
        got = answer(*given)
        if got is None:
            raise Hint("your function returned None; return two things: what the model sees, and the labels")
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise Hint("return two things: what the model sees, and the labels")
        if not np.array_equal(given[0], ids):
            raise Hint(
                "your function changed the ids it was given, and the labels are lost with them: copy first"
            )
        shown, labels = (np.asarray(part) for part in got)
        for name, part in (("what the model sees", shown), ("the labels", labels)):
            if part.shape != ids.shape:
                raise Hint(f"{name} should have the shape {ids.shape}, not {part.shape}")
        right = mask_tokens(
            ids[None],
            maskable[None],
            uniform[:, None],
            mask_token_id=mask_id,
            replacements=WORDS,
            rate=rate,
        )
        _compare(shown, labels, right[0][0], right[1][0], (ids, maskable, uniform, mask_id, rate))
    return f"{len(cases)} sequences, rates 0.15 to 1, special tokens untouched, 80/10/10 to the border"


def _compare(shown: np.ndarray, labels: np.ndarray, seen: np.ndarray, right: np.ndarray, case: tuple) -> None:
    ids, maskable, uniform, mask_id, rate = case
    chosen = right != -100
    if np.array_equal(shown, right) and np.array_equal(labels, seen):
        raise Hint("what the model sees comes first, the labels second")
    if not np.array_equal(labels, right):
        if np.array_equal(labels, ids):
            raise Hint("every token has a label: only chosen ones do, the others get -100")
        if not np.isin(labels[~maskable], -100).all():
            raise Hint("a special token got a label: choose only where `maskable` is True")
        if np.array_equal(labels != -100, chosen) and np.array_equal(labels[chosen], seen[chosen]):
            raise Hint("the labels are what the model sees; they should be what stood there before")
        if np.array_equal(labels != -100, chosen & (shown != ids)) or np.array_equal(
            labels != -100, chosen & (uniform[1] < 0.9)
        ):
            raise Hint("the tenth that is shown unchanged is to be predicted too: it keeps its label")
        if np.array_equal(labels != -100, maskable & (uniform[0] >= rate)):
            raise Hint("you chose the 85 %: a token is chosen where its first number is below the rate")
        if np.array_equal(labels != -100, maskable & (uniform[0] <= rate)):
            raise Hint("a number equal to the rate does not choose: below means strictly below")
        i = int(np.flatnonzero(labels != right)[0])
        raise Hint(
            f"at a token with the numbers {_three(uniform, i)} and rate {rate} the label should be {right[i]}, not "
            f"{labels[i]}"
        )
    wrong = np.flatnonzero(shown != seen)
    if len(wrong) == 0:
        return
    if (shown[~chosen] != ids[~chosen]).any():
        raise Hint("a token that was not chosen has changed: it is shown as it is")
    other = chosen & (uniform[1] >= 0.8) & (uniform[1] < 0.9)
    if np.array_equal(shown, np.where(chosen, mask_id, ids)):
        raise Hint(f"every chosen token is {mask_id}, [MASK]: the second number keeps that for eight in ten")
    if set(wrong) <= set(np.flatnonzero(other)):
        if (shown[other] == mask_id).all() or (shown[other] == ids[other]).all():
            raise Hint("from 0.8 on and below 0.9 another token is shown: words[int(u * len(words))]")
        raise Hint(
            "another token is words[int(u * len(words))] for the third number u of the very same token"
        )
    if set(wrong) <= set(np.flatnonzero(chosen & (uniform[1] >= 0.9))):
        raise Hint("from 0.9 on the chosen token is shown as it is")
    i = int(wrong[0])
    raise Hint(
        f"a chosen token with the numbers {_three(uniform, i)} should be shown as {seen[i]}, not {shown[i]}"
    )


def _three(uniform: np.ndarray, i: int) -> str:
    return ", ".join(f"{u:.3f}" for u in uniform[:, i])


@exercise_09
def prediction(answer: Any) -> str:
    """(words to mask for one base with k = 6, share still readable for k = 6, and for k = 3)."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 3:
        raise Hint("give three numbers: (words, share for k = 6, share for k = 3)")
    words, six, three = answer
    if words != 6:
        raise Hint("how many words of six letters, each one step further, spell the same base?")
    for k, share in ((6, six), (3, three)):
        if not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise Hint(f"the share for k = {k} lies between 0 and 1, not {share!r}")
        right = 1 - 0.9**k
        if abs(share - right) <= 0.006:
            continue
        if abs(share - 0.9**k) <= 0.006:
            raise Hint(f"k = {k}: that is the share that stays hidden, with no word left unchanged")
        if abs(share - 0.1) <= 0.006:
            raise Hint(f"k = {k}: a tenth of the words are unchanged; a base stands in {k} of them")
        if abs(share - 0.1 * k) <= 0.006:
            raise Hint(
                f"k = {k}: adding {k} tenths counts twice where two words are unchanged; how likely is none of {k}?"
            )
        raise Hint(f"k = {k}: the base stays hidden only if none of its {k} words is unchanged")
    return "6 words for one base; 1 - 0.9**6 = 0.47 and 1 - 0.9**3 = 0.27; now measure"


@exercise_09
def my_bits(answer: Any) -> str:
    """`answer(nats_per_token, hidden_bases) -> bits per masked base`."""
    cases = [(math.log(4), 1), (math.log(4096), 6), (1.26, 1), (7.9, 6), (2.09, 1.5), (0.0, 1)]
    for nats, hidden in cases:
        got = answer(nats, hidden)
        need(got, (int, float), "the result")
        right = nats / math.log(2) / hidden
        if math.isclose(got, right, rel_tol=1e-6, abs_tol=1e-9):
            continue
        case = f"{nats:.3f} nats for {hidden} hidden bases"
        wrong = {
            nats / math.log(2): f"{case}: these are bits per token; share them out over the hidden bases",
            nats
            / hidden: f"{case}: these are nats per base; a bit is ln 2 nats, so there are more bits than nats",
            nats * math.log(2) / hidden: f"{case}: you multiplied by ln 2; ln 4 nats should become 2 bits",
            nats
            / math.log(2)
            * hidden: f"{case}: a loss for several bases is larger than that for one: divide",
            nats / math.log(4) / hidden: f"{case}: that is in units of 2 bits; one bit is ln 2 nats",
        }
        for value, hint in wrong.items():
            if math.isclose(got, value, rel_tol=1e-6):
                raise Hint(hint)
        raise Hint(f"{case} are {right:.3f} bits per masked base, not {got:.3f}")
    return "nucleotides 2 bits at ln 4, 6-mers 2 bits at ln 4096, runs of overlapping words in between"


@exercise_09
def my_repaired(answer: Any) -> str:
    """`answer(logits, ids, chosen) -> bits`: over the chosen places alone, in bits."""
    generator = torch.Generator().manual_seed(2)
    cases = [(3, 40, 0.15), (1, 9, 0.5), (8, 128, 0.05), (2, 5, 1.0)]
    for rows, length, rate in cases:
        ids = torch.randint(5, 9, (rows, length), generator=generator)
        chosen = torch.rand(rows, length, generator=generator) < rate
        chosen[0, 0] = True
        logits = torch.randn(rows, length, 10, generator=generator)
        logits += 6 * F.one_hot(ids, 10) * ~chosen[..., None]  # what can be seen is read back
        got = answer(logits.clone(), ids.clone(), chosen.clone())
        if isinstance(got, torch.Tensor) and got.numel() == 1:
            got = got.item()
        need(got, (int, float), "the result")
        right = F.cross_entropy(logits[chosen], ids[chosen]).item() / math.log(2)
        if math.isclose(got, right, rel_tol=1e-4):
            continue
        everything = F.cross_entropy(logits.flatten(0, 1), ids.flatten()).item()
        case = f"{int(chosen.sum())} chosen of {chosen.numel()} bases"
        wrong = {
            everything * math.log(2): "nothing has changed yet: both bugs are still there",
            everything
            / math.log(2): f"{case}: bits now, but still averaged over the bases that it could see",
            right * math.log(2): f"{case}: the right places, in nats: one bit is ln 2 nats",
            right * math.log(2) ** 2: f"{case}: the right places; now nats to bits: divide by ln 2",
            right * chosen.sum().item() / chosen.numel(): f"{case}: you divide by the number of all bases",
            right * chosen.sum().item(): f"{case}: that is the sum; give the mean over the chosen bases",
        }
        if not bool(chosen.all()):
            visible = F.cross_entropy(logits[~chosen], ids[~chosen]).item()
            wrong |= {
                visible / math.log(2): f"{case}: you kept the others; index with `chosen`, not `~chosen`"
            }
        for value, hint in wrong.items():
            if math.isclose(got, value, rel_tol=1e-4):
                raise Hint(hint)
        raise Hint(f"{case}: {right:.4f} bits per masked base, not {got:.4f}")
    return f"{len(cases)} batches, 5 to 100 % chosen: only hidden bases count, and they count in bits"


@exercise_09
def interpretation(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "the two accuracies are of different tasks: with independent masks the neighbours of an overlapping 6-mer "
        "spell it, those of a nucleotide do not",
        "the baseline that is missing: copying from the neighbours, without any model, reaches nearly 100 % there",
        "comparable numbers: bits per base that is really hidden (runs of words, 80/10/10 drawn for the run), one "
        "protocol, the same bases, held-out DNA, with an interval",
        "accuracy alone hides how sure a model is, and whether masked guessing helps a task is for that task to say",
    )
