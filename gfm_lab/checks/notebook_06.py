"""The exercises of notebook 06, both strands."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from gfm_lab.checks import Hint, exercise, need, written

exercise_06 = exercise("06_both_strands")

NUCLEOTIDES = [0, 1, 2, 3, 4, 8, 7, 6, 5, 9]
CADUCEUS = [*range(7), 10, 9, 8, 7, *range(11, 16)]  # another table: ids must not be written down


def _tensor(got: Any, like: tuple[int, ...], what: str) -> Tensor:
    need(got, Tensor, what)
    if tuple(got.shape) != like:
        raise Hint(f"{what} should have the shape {like}, not {tuple(got.shape)}")
    return got


@exercise_06
def other_strand(answer: Any) -> str:
    """my_other_strand(ids (B, L), complement (V,)) -> (B, L)."""
    generator = torch.Generator().manual_seed(6)
    cases = [(NUCLEOTIDES, 5, 9), (CADUCEUS, 7, 11)]
    for table, first, last in cases:
        complement = torch.tensor(table)
        for rows, length in ((2, 9), (3, 3), (1, 1), (2, 0)):
            ids = torch.randint(first, last, (rows, length), generator=generator)
            given = ids.clone()
            got = _tensor(answer(given, complement), (rows, length), "the ids of the other strand")
            if not torch.equal(given, ids):
                raise Hint("your function changed the ids it was given: make new ones")
            right = complement[ids].flip(1)
            if torch.equal(got, right):
                continue
            for wrong, why in (
                (
                    complement[ids],
                    "the letters are exchanged, but not read from the other end: flip the positions",
                ),
                (
                    ids.flip(1),
                    "read backwards, but with the letters of this strand: exchange them by the table",
                ),
                (
                    complement[ids].flip(0),
                    "flip(0) exchanges the sequences of the batch; positions are axis 1",
                ),
                (
                    complement[ids].flip((0, 1)),
                    "only positions are flipped (axis 1), not the sequences of the batch",
                ),
            ):
                if torch.equal(got, wrong):
                    raise Hint(why)
            if table is CADUCEUS:
                raise Hint(
                    "right for the course's ids, but not for Caduceus' table: use `complement`, not numbers"
                )
            raise Hint(
                f"for the ids {ids[0].tolist()} the other strand is {right[0].tolist()}, not {got[0].tolist()}"
            )
    return "two tables of complements, batches, one base, no base; twice is nothing"


@exercise_06
def turned_back(answer: Any) -> str:
    """my_turned_back(back (B, L, V), complement (V,)) -> (B, L, V)."""
    for table in (NUCLEOTIDES, CADUCEUS):
        complement, size = torch.tensor(table), len(table)
        for rows, length in ((2, 7), (1, 1), (2, size)):
            back = torch.randn(rows, length, size, generator=torch.Generator().manual_seed(length))
            got = _tensor(answer(back.clone(), complement), (rows, length, size), "the scores")
            if torch.equal(got, back.flip(1)[..., complement]):
                continue
            for wrong, why in (
                (
                    back.flip(1),
                    "positions are turned, letters not: column A still holds the score of T's strand mate",
                ),
                (back[..., complement], "letters are turned, positions not: flip axis 1 as well"),
                (back.flip((1, 2)), "flipping the last axis reverses all ids; only complements change place"),
                (back, "nothing is turned: positions and letters both have to be"),
                (
                    back.flip(0)[..., complement],
                    "flip(0) exchanges the sequences of the batch; positions are axis 1",
                ),
            ):
                if torch.equal(got, wrong):
                    raise Hint(why)
            raise Hint(
                f"at one position the {size} scores should be those of the mirrored position in the order "
                f"{table}: back.flip(1)[..., complement]"
            )
    return "positions and letters, two vocabularies; turned twice it is what it was"


@exercise_06
def prediction(answer: Any) -> str:
    """The share of hidden bases at which the best guess of the two strands differs."""
    if isinstance(answer, bool) or not isinstance(answer, (int, float)):
        raise Hint("give one number, such as 0.1")
    if not 0 <= answer <= 1:
        raise Hint(f"a share lies between 0 and 1, not {answer}")
    if answer == 0:
        raise Hint(
            "never, you say: augmentation shows both strands, but nothing ties the two readings of one base together"
        )
    if answer > 0.75:
        raise Hint("two guesses at random differ in 0.75: the readings would have to avoid each other")
    near = "near what comes" if 0.1 <= answer <= 0.35 else "compare with what comes"
    return f"{answer:.0%}: {near}. What ties the two readings is only that both are near the truth"


class _Model(nn.Module):
    """A small model whose answer depends on position and direction, in the interface of a masked model."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.calls = size, []
        generator = torch.Generator().manual_seed(size)
        self.table = torch.randn(size, size, generator=generator)

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        self.calls.append(input_ids)
        scores = self.table[input_ids]
        return SimpleNamespace(logits=scores.cumsum(1) + 0.1 * scores.roll(1, 1))


@exercise_06
def average(answer: Any) -> str:
    """my_average(model, ids, complement) -> logits (B, L, V), the same for both strands."""
    for table, first, last in ((NUCLEOTIDES, 5, 9), (CADUCEUS, 7, 11)):
        model, complement = _Model(len(table)), torch.tensor(table)
        ids = torch.randint(first, last, (2, 11), generator=torch.Generator().manual_seed(2))
        shape = (*ids.shape, len(table))
        here = _tensor(answer(model, ids, complement), shape, "the average")
        read = model.calls[:]

        def run(x: Tensor, model: _Model = model) -> Tensor:
            return model(x).logits

        other = complement[ids].flip(1)
        there, back = run(ids), run(other).flip(1)[..., complement]
        right = (there + back) / 2
        if torch.allclose(here, right, atol=1e-5):
            continue
        if not any((x == other).all(1).any() for x in read if x.shape[1] == other.shape[1]):
            raise Hint("the model never read the other strand: it is complement[ids].flip(1)")
        if torch.allclose(here, there + back, atol=1e-5):
            raise Hint("that is the sum of both strands; the average is half of it")
        if torch.allclose(here, (there + run(other).flip(1)) / 2, atol=1e-5):
            raise Hint(
                "the positions are turned back, the letters not: [..., complement] is missing on the way out"
            )
        if torch.allclose(here, (there + run(other)[..., complement]) / 2, atol=1e-5):
            raise Hint("the letters are turned back, the positions not: .flip(1) is missing on the way out")
        raise Hint(
            "the right strand is read, but its answers are not about this strand's positions and letters"
        )
    return "one answer for both strands, for two vocabularies"


@exercise_06
def interpretation(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "equal cost is missing: an equivariant model reads each sequence twice, so the plain one should get as much "
        "computing (or be averaged over strands after training, which makes it just as equivariant)",
        "the usual baseline, augmentation (and averaging), is missing: the plain model never saw the other strand",
        "the size of the effect needs an interval and several seeds; one run each says little about 0.4 points",
        "equivariance itself needs no experiment: it holds by construction, and its worth depends on the task (it is "
        "wrong for strand-specific questions)",
    )
