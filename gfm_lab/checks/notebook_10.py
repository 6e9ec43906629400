"""The exercises of notebook 10, autoregressive modelling."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gfm_lab.checks import Hint, exercise, need, written
from gfm_lab.generation import sampling_probabilities

exercise_10 = exercise("10_autoregressive_modeling")


def _nats(logits: torch.Tensor, labels: torch.Tensor, real: torch.Tensor) -> float:
    """Mean cross-entropy where `real`; nan if nothing is."""
    return F.cross_entropy(logits[real], labels[real]).item() if bool(real.any()) else float("nan")


@exercise_10
def my_bits(answer: Any) -> str:
    """`answer(logits, ids, mask) -> (bits, perplexity)`: shifted by one, padding left out."""
    generator = torch.Generator().manual_seed(3)
    cases = [(1, 12, False), (3, 40, True), (2, 5, True), (4, 200, False)]
    for rows, length, padded in cases:
        ids = torch.randint(5, 9, (rows, length), generator=generator)
        mask = torch.ones(rows, length, dtype=torch.bool)
        if padded:
            for row in range(rows):
                mask[row, length - 1 - row * (length // 6) :] = False
        ids[~mask] = 0
        logits = torch.randn(rows, length, 10, generator=generator)
        logits[:, :-1] += 2 * F.one_hot(ids[:, 1:], 10)  # a model that knows something of the next base
        got = answer(logits.clone(), ids.clone(), mask.clone())
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise Hint("return two numbers: bits per base and perplexity")
        bits, perplexity = (v.item() if isinstance(v, torch.Tensor) and v.numel() == 1 else v for v in got)
        need(bits, (int, float), "bits per base")
        need(perplexity, (int, float), "the perplexity")
        _compare_bits(bits, logits, ids, mask, f"{rows} x {length} bases" + (", padded" if padded else ""))
        if not math.isclose(perplexity, 2**bits, rel_tol=1e-4):
            if math.isclose(perplexity, math.exp(bits), rel_tol=1e-4):
                raise Hint(
                    "e to the power of nats, or 2 to the power of bits: you took e to the power of bits"
                )
            raise Hint(
                f"the perplexity of {bits:.4f} bits is 2**{bits:.4f} = {2**bits:.4f}, not {perplexity:.4f}"
            )
    return f"{len(cases)} batches, with and without padding: shifted once, in bits, and 2 to their power"


def _compare_bits(
    bits: float, logits: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor, case: str
) -> None:
    ln2, everywhere = math.log(2), torch.ones_like(mask)
    right = _nats(logits[:, :-1], ids[:, 1:], mask[:, 1:])
    if math.isclose(bits, right / ln2, rel_tol=1e-4):
        return
    wrong = [
        (right, f"{case}: that is in nats; divide by ln 2"),
        (right * ln2, f"{case}: you multiplied by ln 2; ln 4 nats should become 2 bits"),
        (
            _nats(logits, ids, mask) / ln2,
            f"{case}: no shift: you ask each position for the base that it reads. Scores at t belong to base t + 1",
        ),
        (_nats(logits, ids, everywhere) / ln2, f"{case}: no shift, and padding is scored too"),
        (
            _nats(logits[:, 1:], ids[:, :-1], mask[:, :-1]) / ln2,
            f"{case}: shifted to the wrong side: scores at t belong to base t + 1, not t - 1",
        ),
        (
            _nats(logits[:, :-2], ids[:, 2:], mask[:, 2:]) / ln2,
            f"{case}: shifted twice: scores at t are asked for base t + 2",
        ),
        (_nats(logits[:, :-1], ids[:, 1:], everywhere[:, 1:]) / ln2, f"{case}: padding is scored too"),
        (
            _nats(logits[:, :-1], ids[:, 1:], mask[:, :-1]) / ln2,
            f"{case}: the mask belongs to the labels: it is shifted as they are, mask[:, 1:]",
        ),
    ]
    for value, hint in wrong:
        if math.isclose(bits, value, rel_tol=1e-4):
            raise Hint(hint)
    raise Hint(f"{case}: {right / ln2:.4f} bits per base, not {bits:.4f}")


@exercise_10
def prediction(answer: Any) -> str:
    """(nats per overlapping 6-mer, nats per 6-mer side by side, perplexity at 1.93 bits)."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 3:
        raise Hint("give three numbers: (nats overlapping, nats side by side, perplexity)")
    for value in answer:
        need(value, (int, float), "each of them")
    overlapping, side, perplexity = answer
    if not abs(overlapping - math.log(4)) <= 0.011:
        if abs(overlapping - math.log(4096)) <= 0.02:
            raise Hint("(i) not 4,096 words: the next one begins with the last five letters of this one")
        if abs(overlapping) < 0.01:
            raise Hint("(i) five of six letters are known, but the last one is new")
        if abs(overlapping - 2) <= 0.011:
            raise Hint("(i) 2 is right in bits; in nats it is less")
        raise Hint("(i) four words are left, all equally likely: ln of how many?")
    if not abs(side - math.log(4096)) <= 0.02:
        if abs(side - 12) <= 0.02:
            raise Hint("(ii) 12 is right in bits: six bases of 2; in nats it is less")
        raise Hint("(ii) any of 4**6 words may follow: how many nats is that?")
    if not abs(perplexity - 2**1.93) <= 0.011:
        if abs(perplexity - math.exp(1.93)) <= 0.02:
            raise Hint("(iii) bits are powers of 2, not of e")
        raise Hint("(iii) two to the power of the bits")
    return "ln 4 = 1.39, ln 4096 = 8.32 and 2**1.93 = 3.81: each loss is nothing without its unit"


@exercise_10
def filing(answer: Any) -> str:
    """A dict of four claims about HyenaDNA, True or False."""
    right = {
        "decoder-only": True,
        "Transformer": False,
        "predicts the next token": True,
        "keeps keys and values while it writes": False,
    }
    if not isinstance(answer, dict) or set(answer) != set(right):
        raise Hint(f"give a dict with the four keys {', '.join(map(repr, right))}, each True or False")
    for name, value in answer.items():
        if not isinstance(value, bool):
            raise Hint(f"{name}: say True or False, not {value!r}")
    hints = {
        "decoder-only": "decoder-only says: one body that reads from the left and predicts the next token; causal=True",
        "Transformer": "a Transformer is built on attention. Which part of HyenaDNA's mixer lets positions weigh each "
        "other as pairs?",
        "predicts the next token": "HyenaDNA was trained with this objective; site 5 is the same for both",
        "keeps keys and values while it writes": "keys and values are attention's. Hyena has filters: it reads "
        "everything again for each new base",
    }
    for name, value in right.items():
        if answer[name] != value:
            raise Hint(f"{name}: {hints[name]}")
    return "decoder-only: yes, by its direction and objective; Transformer: no, for its mixer is no attention"


class _Model:
    """Stands for a causal language model: fixed scores for every text, and the shift inside, as everywhere."""

    def __init__(self, seed: int) -> None:
        self.table = torch.randn(10, 10, generator=torch.Generator().manual_seed(seed))
        self.shifts: list[torch.Tensor] = []

    def __call__(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **others: Any,
    ) -> SimpleNamespace:
        logits = self.table[input_ids]
        if labels is None:
            return SimpleNamespace(logits=logits, loss=None)
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return SimpleNamespace(logits=logits, loss=loss)


@exercise_10
def my_loss(answer: Any) -> str:
    """`answer(model, ids, mask) -> nats`: labels unshifted, -100 at padding."""
    generator = torch.Generator().manual_seed(5)
    cases = [(2, 30, False), (3, 24, True), (1, 7, True)]
    for number, (rows, length, padded) in enumerate(cases):
        ids = torch.randint(5, 9, (rows, length), generator=generator)
        mask = torch.ones(rows, length, dtype=torch.bool)
        if padded:
            for row in range(rows):
                mask[row, length - 2 - 3 * row :] = False
        ids[~mask] = 0
        model, given = _Model(number), ids.clone()
        got = answer(model, given, mask.clone())
        if not torch.equal(given, ids):
            raise Hint("your function changed the ids it was given: masked_fill and clone make new ones")
        if isinstance(got, torch.Tensor) and got.numel() == 1:
            got = got.item()
        need(got, (int, float), "the loss")
        logits, everywhere = model.table[ids], torch.ones_like(mask)
        right = _nats(logits[:, :-1], ids[:, 1:], mask[:, 1:])
        if math.isclose(got, right, rel_tol=1e-4):
            continue
        case = f"{rows} x {length} bases" + (", padded" if padded else "")
        twice = _nats(logits[:, :-2], ids[:, 2:], mask[:, 2:])
        wrong = [
            (
                twice,
                f"{case}: still shifted twice: by you and by the model. It learns the base after the next one",
            ),
            (
                _nats(logits[:, :-2], ids[:, 2:], everywhere[:, 2:]),
                f"{case}: shifted twice, and padding is scored",
            ),
            (
                _nats(logits[:, :-1], ids[:, 1:], everywhere[:, 1:]),
                f"{case}: padding is scored: -100 says no label",
            ),
            (
                _nats(logits, ids, mask),
                f"{case}: without any shift the model is asked for the base that it reads",
            ),
            (right / math.log(2), f"{case}: that is in bits; a loss to train with stays in nats"),
        ]
        for value, hint in wrong:
            if math.isclose(got, value, rel_tol=1e-4):
                raise Hint(hint)
        raise Hint(f"{case}: {right:.4f} nats per base, not {got:.4f}")
    return f"{len(cases)} batches: one shift, the model's own; padding has no label"


@exercise_10
def my_probabilities(answer: Any) -> str:
    """`answer(scores, temperature, top_k) -> probabilities`."""
    rng = np.random.default_rng(4)
    cases = [(1.0, None), (0.5, None), (2.0, None), (1.0, 2), (0.7, 3), (1.0, 1), (1.3, 4)]
    for temperature, top_k in cases:
        for size in (4, 9):
            scores = rng.normal(size=size) * 2
            given = scores.copy()
            got = answer(given, temperature, top_k)
            if isinstance(got, torch.Tensor):
                got = got.detach().numpy()
            if not isinstance(got, (np.ndarray, list, tuple)) or np.shape(got) != (size,):
                raise Hint(f"return {size} probabilities for {size} scores")
            if not np.array_equal(given, scores):
                raise Hint("your function changed the scores it was given: work on a copy")
            _compare_probabilities(np.asarray(got, dtype=float), scores, temperature, top_k)
    large = answer(np.array([1000.0, 999.0, -1000.0, 0.0]), 1.0, None)
    if not np.isfinite(np.asarray(large, dtype=float)).all():
        raise Hint("scores of 1,000 overflow: subtract the largest score before you exponentiate")
    return f"{len(cases)} settings, 4 and 9 choices: temperature first, then top-k, then they sum to 1"


def _compare_probabilities(
    got: np.ndarray, scores: np.ndarray, temperature: float, top_k: int | None
) -> None:
    right = _probabilities(scores, temperature, top_k)
    case = f"T = {temperature}, top_k = {top_k}"
    if np.allclose(got, right, atol=1e-6):
        return
    wrong = [
        (
            _probabilities(scores, 1 / temperature, top_k),
            "scores are divided by the temperature, not multiplied",
        ),
        (_probabilities(scores, 1.0, top_k), "the temperature has no effect"),
        (_probabilities(scores, temperature, None), "top_k has no effect"),
    ]
    if top_k is not None:
        keep = right > 0
        full = _probabilities(scores, temperature, None)
        wrong.append((full * keep, "the probabilities that are kept have to sum to 1 again"))
        ranked = _probabilities(-scores, temperature, top_k) > 0
        if np.array_equal(got > 0, ranked) and not np.array_equal(ranked, keep):
            raise Hint(f"{case}: you kept the k smallest scores")
        fewer = (got > 0).sum()
        if fewer != keep.sum() and fewer < len(scores):
            raise Hint(f"{case}: {fewer} choices are left, not {top_k}")
    if not math.isclose(got.sum(), 1, abs_tol=1e-6) and not any(
        np.allclose(got, w, atol=1e-6) for w, _ in wrong
    ):
        raise Hint(f"{case}: your probabilities sum to {got.sum():.4f}, not to 1")
    for value, hint in wrong:
        if np.allclose(got, value, atol=1e-6) and not np.allclose(value, right, atol=1e-6):
            raise Hint(f"{case}: {hint}")
    raise Hint(
        f"{case}: the scores {scores.round(2).tolist()} give {right.round(3).tolist()}, not "
        f"{got.round(3).tolist()}"
    )


def _probabilities(scores: np.ndarray, temperature: float, top_k: int | None) -> np.ndarray:
    return sampling_probabilities(scores, temperature, top_k)


@exercise_10
def interpretation(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "G + C and 6-mers are met by DNA of a Markov model as well: that baseline is missing, and so is the distance "
        "between two real pieces of the same length",
        "codon usage and open frames are harder to meet, but still composition: not what a protein does",
        "not copied: next to the longest match that chance gives for that length, and searched on both strands",
        "functional is a measurement: expression in cells, beside controls such as shuffled codons; until then "
        "sequences with the statistics of genes",
    )
