"""The exercises of notebook 00, anatomy."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gfm_lab.checks import Hint, exercise, random_dna, written
from gfm_lab.tokenization import NucleotideTokenizer

exercise_00 = exercise("00_anatomy")

LENGTH, WIDTH, VOCABULARY = 88, 128, 10


@exercise_00
def shapes(answer: Any) -> str:
    """What leaves the embedding, the last layer and the head for one sequence of 88 tokens."""
    if not isinstance(answer, (list, tuple)) or len(answer) != 3:
        raise Hint("give a list of three shapes, such as [(2, 3), (2, 3), (2, 3)]")
    names = ("the embedding", "the last layer", "the head")
    expected = ((1, LENGTH, WIDTH), (1, LENGTH, WIDTH), (1, LENGTH, VOCABULARY))
    for name, got, right in zip(names, answer, expected, strict=True):
        if got is Ellipsis:
            raise Hint(f"the shape after {name} is still open")
        whole = isinstance(got, (list, tuple)) and all(isinstance(n, int) for n in got)
        if not whole:
            raise Hint(f"the shape after {name} should be a tuple of whole numbers, not {got!r}")
        _same_shape(name, tuple(got), right)
    return "one vector of 128 numbers for each of 88 tokens, all the way through the layers; ten scores at the end"


def _same_shape(name: str, got: tuple[int, ...], right: tuple[int, ...]) -> None:
    """Raise the hint that fits unless the shapes agree."""
    if got == right:
        return
    if got == right[1:]:
        raise Hint(
            f"after {name}: almost. Models take batches, and ours holds one sequence: the first axis is 1"
        )
    if len(got) == 3 and got == (right[0], right[2], right[1]):
        raise Hint(
            f"after {name}: the right numbers, but positions come before channels: (batch, length, width)"
        )
    if len(got) == 2:
        raise Hint(f"after {name}: one vector for the whole sequence? Every position keeps its own")
    if name == "the head" and got[-1] == 4:
        raise Hint(
            "after the head: there are more tokens than A, C, G and T. How many did the cell above print?"
        )
    if name == "the head" and got[-1] == WIDTH:
        raise Hint("after the head: the head turns each vector into scores, one for each token that exists")
    if got[-1] == VOCABULARY:
        raise Hint(
            f"after {name}: one score for each token is what the head makes; before it, a position has a vector"
        )
    raise Hint(
        f"after {name} the shape is {right}: (sequences, positions, numbers at each position); not {got}"
    )


@exercise_00
def information(answer: Any) -> str:
    """`answer(p) -> (positions,)`: 2 bits minus the entropy of each row of p, (positions, 4)."""
    rng = np.random.default_rng(5)
    drawn = rng.dirichlet(np.full(4, 0.6), size=7)
    sure = np.array([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4, [0, 0, 0.1, 0.9]])
    for p, what in ((drawn, "seven random guesses"), (sure, "rows with zeros, such as (1, 0, 0, 0)")):
        given = p.copy()
        with np.errstate(all="ignore"):
            got = answer(given)
        if not np.array_equal(given, p):
            raise Hint("your function changed the probabilities it was given: work on a copy")
        _same_information(got, p, what)
    return "random rows, blind and certain ones, and rows with zeros: 0 bits to 2 bits, as it should be"


def _same_information(got: Any, p: np.ndarray, what: str) -> None:
    """Raise the hint that fits unless `got` is the information of each row."""
    if got is None:
        raise Hint("your function returned None; is a `return` missing?")
    try:
        got = np.asarray(got, dtype=float)
    except (TypeError, ValueError):
        raise Hint(f"return an array of numbers, not a {type(got).__name__}") from None
    logs = np.log2(p, out=np.zeros_like(p), where=p > 0)
    right = 2 + (p * logs).sum(axis=1)
    if got.shape == () or got.shape == (1,):
        raise Hint(f"for {what} you return a single number: one for each position is asked, {right.shape}")
    if got.shape == (4,) and len(p) != 4:
        raise Hint("you summed over the positions: sum over the four bases, the last axis")
    if got.shape != right.shape:
        raise Hint(f"for {what} the result should have the shape {right.shape}, not {got.shape}")
    if np.isnan(got).any():
        raise Hint(
            f"for {what} you get nan: 0 times log(0) is not a number for the computer. Replace zeros inside the "
            "logarithm by 1"
        )
    if np.allclose(got, right, atol=1e-6):
        return
    ln = 2 + (p * logs).sum(axis=1) * math.log(2)
    if np.allclose(got, ln, atol=1e-6) or np.allclose(got, right * math.log(2), atol=1e-6):
        raise Hint("that is with the natural logarithm, in nats: bits need log2")
    if np.allclose(got, 2 - right, atol=1e-6):
        raise Hint("that is the entropy, the doubt that is left; information is 2 bits minus it")
    if np.allclose(got, 4 - right, atol=1e-6):
        raise Hint("more than 2 bits? The logarithms are negative already: mind the sign")
    if p.shape == (4, 4) and np.allclose(got, 2 + (p * logs).sum(axis=0), atol=1e-6):
        raise Hint("you summed over the positions: sum over the four bases, the last axis")
    row = int(np.abs(got - right).argmax())
    raise Hint(
        f"p = {p[row].round(2).tolist()} holds {right[row]:.2f} bits of information, you return {got[row]:.2f}"
    )


class _Copycat(nn.Module):
    """A stand-in for a model: it repeats a visible token, and guesses a hidden one from its two neighbours."""

    def __init__(self) -> None:
        super().__init__()
        tables = torch.randn(2, 10, 10, 10, generator=torch.Generator().manual_seed(3))
        self.register_buffer("hidden", tables[0])
        self.register_buffer("visible", tables[1])

    def forward(self, input_ids: Tensor, **ignored: Any) -> SimpleNamespace:
        padded = nn.functional.pad(input_ids, (1, 1))
        left, right = padded[:, :-2], padded[:, 2:]
        seen = self.visible[left, right] + 6 * nn.functional.one_hot(input_ids, 10)  # (B, L, 10)
        logits = torch.where((input_ids == 4)[..., None], self.hidden[left, right], seen)
        return SimpleNamespace(logits=logits)


@exercise_00
def score(answer: Any) -> str:
    """`answer(model, tokenizer, sequence, i, base)`: log2 of the ratio of new to old at a hidden position."""
    rng, model, tokenizer = random.Random(8), _Copycat().eval(), NucleotideTokenizer()
    cases = 0
    for length in (5, 20, 88):
        sequence = random_dna(rng, length)
        ids = torch.tensor([tokenizer(sequence)["input_ids"]])
        for i in (0, length - 1, *rng.sample(range(1, length - 1), 3)):
            base = rng.choice([b for b in "ACGT" if b != sequence[i]])
            got = answer(model, tokenizer, sequence, i, base)
            _same_score(got, model, ids, i, 5 + "ACGT".index(base), f"position {i} of {length}")
            cases += 1
    return f"{cases} mutations of three sequences, at both ends and in between: hidden, compared, in bits"


def _same_score(got: Any, model: nn.Module, ids: Tensor, i: int, new: int, where: str) -> None:
    """Raise the hint that fits unless `got` is the score of the mutation to token `new`."""
    if got is None:
        raise Hint("your function returned None; is a `return` missing?")
    try:
        got = float(got)
    except (TypeError, ValueError, RuntimeError):
        raise Hint(f"return one number, not a {type(got).__name__}") from None
    old = int(ids[0, i])

    def ratio(change: list[int], token: int = 4) -> float:
        """The score if the tokens at `change` are replaced by `token` before the model is asked."""
        shown = ids.clone()
        shown[0, change] = token
        logits = model(input_ids=shown).logits[0, i]
        return float(logits[new] - logits[old]) / math.log(2)

    right = ratio([i])
    same = lambda value: math.isclose(got, value, rel_tol=1e-4, abs_tol=1e-4)  # noqa: E731
    if same(right):
        return
    if same(ratio([])):
        raise Hint(f"{where}: the base is still visible, and the model repeats what it sees. Hide it first")
    if same(ratio([i], 0)):
        raise Hint(f"{where}: token 0 is [PAD]; the hidden base is tokenizer.mask_token_id")
    if same(ratio([i], new)):
        raise Hint(
            f"{where}: you put the new base in and asked about it; then the model sees the answer again"
        )
    if same(-right):
        raise Hint(f"{where}: the sign is turned round: new minus old, so that a bad mutation is negative")
    if same(right * math.log(2)):
        raise Hint(f"{where}: right, but in nats: divide by ln 2, as the colleague does")
    if same(ratio(list(range(ids.shape[1])))):
        raise Hint(f"{where}: you hid the whole sequence: only position i is asked about")
    if same(2**right):
        raise Hint(f"{where}: that is the ratio itself: the score is its logarithm, log2")
    raise Hint(f"{where}: the score is {right:+.2f}, you return {got:+.2f}")


@exercise_00
def interpretation(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "a group shows that something differs between the kinds, not what: windows before genes hold no codons and "
        "more A and T",
        "the baseline: counts of three-letter words, which know no promoter, tell the same windows apart too",
        "knowing promoters was tested by breaking their words, with the same words inside genes as the control",
        "what that test showed for this model, with its interval",
    )
