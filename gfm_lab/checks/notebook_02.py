"""The exercises of notebook 02, embeddings."""

from __future__ import annotations

import math
import random
from typing import Any

import torch
from torch import Tensor

from gfm_lab.checks import Hint, exercise, need, random_dna, written

exercise_02 = exercise("02_embeddings")


def _matrix(got: Any, call: str) -> Tensor:
    """What a learner returned, as a float tensor; lists and numpy arrays are as good as tensors."""
    if got is None:
        raise Hint("your function returned None; is a `return` missing?")
    try:
        return torch.as_tensor(got).float()
    except (TypeError, ValueError, RuntimeError):
        raise Hint(f"{call} should return a tensor or an array, not a {type(got).__name__}") from None


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, atol=2e-3)


@exercise_02
def one_hot(answer: Any) -> str:
    """`answer(ids, size) -> (len(ids), size)`: a 1 in column ids[i] of row i, zeros elsewhere."""
    generator = torch.Generator().manual_seed(1)
    sizes = [(6, 4), (1, 7), (32, 64), (64, 5), (5, 5)]
    for length, size in sizes:
        ids = torch.randint(0, size, (length,), generator=generator)
        ids[0], ids[-1] = 0, size - 1  # both ends of the table are asked for
        table = torch.randn(size, 6, generator=generator)
        call = f"my_one_hot({ids.tolist()[:4]}..., {size})"
        got = _matrix(answer(ids.clone(), size), call)
        expected = torch.zeros(length, size)
        expected[torch.arange(length), ids] = 1.0
        if _same(got, expected):
            assert torch.equal(got @ table, table[ids])
            continue
        if tuple(got.shape) == (size, length) and size != length:
            raise Hint(
                f"{call} has shape {tuple(got.shape)}: one row for each id, one column for each table row"
            )
        if tuple(got.shape) != (length, size):
            raise Hint(f"{call} should have shape ({length}, {size}), not {tuple(got.shape)}")
        if _same(got, expected.roll(1, 1)) or _same(got, expected.roll(-1, 1)):
            raise Hint(f"{call}: the ones stand one column beside their place; ids count from 0")
        if not torch.equal(got.sum(1), torch.ones(length)):
            row = int((got.sum(1) != 1).nonzero()[0])
            raise Hint(f"{call}: row {row} sums to {got[row].sum():g}; each row holds exactly one 1")
        row = int((got != expected).any(1).nonzero()[0])
        raise Hint(f"{call}: row {row} has its 1 in another column than {int(ids[row])}")
    return f"{len(sizes)} lists of ids, repeated ones and both ends of the table: times a table, each is a lookup"


def _sinusoid(length: int, dim: int, exponent: float = 2.0, first: int = 0) -> Tensor:
    position = torch.arange(first, first + length)[:, None].double()
    angle = position / 10000.0 ** (exponent * torch.arange(dim // 2) / dim)
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1).float()


@exercise_02
def sinusoidal(answer: Any) -> str:
    """`answer(length, dim) -> (length, dim)`: sin and cos of p / 10000^(2i/dim) in channels 2i and 2i + 1."""
    cases = [(5, 4), (1, 8), (50, 16), (33, 128), (600, 64)]
    for length, dim in cases:
        call = f"my_sinusoidal({length}, {dim})"
        got, right = _matrix(answer(length, dim), call), _sinusoid(length, dim)
        if _same(got, right):
            continue
        if got.shape != right.shape:
            raise Hint(f"{call} should have shape ({length}, {dim}), not {tuple(got.shape)}")
        sines, cosines = right[:, 0::2], right[:, 1::2]
        if _same(got, torch.cat((sines, cosines), 1)):
            raise Hint(
                "the numbers are right, their order is not: sine and cosine take turns, channel by channel"
            )
        if _same(got, torch.stack((cosines, sines), -1).flatten(1)):
            raise Hint("sine and cosine have changed places: the even channels hold the sine")
        if _same(got, _sinusoid(length, dim, first=1)):
            raise Hint("your positions start at 1: the first token stands at position 0")
        if length > 1 and _same(got, _sinusoid(length, dim, exponent=1.0)):
            raise Hint("the exponent is 2i / dim, where i counts the pairs: 0, 1, ..., dim/2 - 1")
        if length > 1 and _same(got[:, 0], torch.arange(length).mul(math.pi / 180).sin()):
            raise Hint("sine and cosine take radians, not degrees: use the angle as it is")
        if _same(got[:, :2], right[:, :2]):
            raise Hint(
                f"{call}: the first pair of channels is right, the slower ones are not: check 2i / dim"
            )
        raise Hint(f"{call}: row 0 should read 0, 1, 0, 1 ...; row 1 should start with {math.sin(1):.3f}")
    return f"{len(cases)} sizes, up to 600 positions: each value right to 0.002"


@exercise_02
def shift(answer: Any) -> str:
    """The set of position schemes under which every attention score survives a shift of the sequence."""
    need(answer, (set, frozenset, list, tuple), "the answer")
    known = ("none", "learned", "sinusoidal", "rotary", "alibi")
    given = {str(name).strip().lower() for name in answer}
    if unknown := given - set(known):
        raise Hint(f"there is no scheme {', '.join(sorted(unknown))!r}; they are {', '.join(known)}")
    if "learned" in given:
        raise Hint("row 3 and row 13 of a learned table are two unrelated vectors: what moves a score then?")
    if "sinusoidal" in given:
        raise Hint(
            "sinusoidal: p_i . p_j depends on the distance alone, but the vectors are x_i + p_i: multiply it out"
        )
    if "none" not in given:
        raise Hint("one scheme does not look at positions at all: what could a shift change?")
    if missing := {"rotary", "alibi"} - given:
        reasons = {
            "rotary": "turning a query by 13 a and a key by 10 a: by how much does their angle differ?",
            "alibi": "a penalty for the distance |i - j|: is it another one when i and j both grow by 10?",
        }
        raise Hint(reasons[min(missing)])
    return "three of five: none, rotary and ALiBi; the next cells measure it"


@exercise_02
def positions(answer: Any) -> str:
    """`answer(mask) -> (B, L)`: the position of each real token, counted over real tokens."""
    masks = [
        [[1, 1, 1, 1]],
        [[1, 1, 1, 0, 0]],
        [[0, 0, 1, 1, 1]],
        [[0, 0, 0, 1], [1, 1, 1, 1], [0, 1, 1, 0]],
        [[0, 0, 0], [0, 1, 1]],
    ]
    rng = random.Random(4)
    for _ in range(10):
        lengths = [rng.randint(0, 12) for _ in range(4)]
        lefts = [rng.randint(0, 12 - n) for n in lengths]
        masks.append([[int(a <= i < a + n) for i in range(12)] for a, n in zip(lefts, lengths, strict=True)])
    for rows in masks:
        mask = torch.tensor(rows)
        got = _matrix(answer(mask.clone()), "my_positions(mask)")
        if got.shape != mask.shape:
            raise Hint(
                f"my_positions of a {tuple(mask.shape)} mask should have that shape, not {tuple(got.shape)}"
            )
        counted = mask.cumsum(1) - 1
        real = mask.bool()
        shown = " ".join(map(str, rows[0]))
        if not torch.equal(got[real], counted[real].float()):
            if torch.equal(got[real], counted[real].float() + 1):
                raise Hint("close: your first real token stands at 1; positions start at 0")
            columns = torch.arange(mask.shape[1]).expand_as(mask)
            if torch.equal(got[real], columns[real].float()):
                raise Hint(
                    "these are the column numbers: left padding still moves every token. Count the ones in the mask"
                )
            row = int(((got != counted) & real).any(1).nonzero()[0])
            raise Hint(
                f"mask {rows[row]}: the real tokens should stand at {counted[row][real[row]].tolist()}, "
                f"yours at {got[row][real[row]].int().tolist()}"
            )
        if got.min() < 0 or got.max() >= mask.shape[1]:
            raise Hint(
                f"mask {shown}: padding got position {int(got.min() if got.min() < 0 else got.max())}, which is no "
                f"row of the table; any row from 0 to {mask.shape[1] - 1} will do, nobody reads it"
            )
    return f"{len(masks)} masks, padded left, right, on both sides, and with rows of nothing but padding"


@exercise_02
def neighbours(answer: Any) -> str:
    """`answer(word, words, table, count) -> list[str]`: the other words, by falling cosine."""
    rng = random.Random(5)
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        words = sorted({random_dna(rng, 3) for _ in range(40)})
        table = torch.randn(len(words), 5, generator=generator)
        table *= torch.rand(len(words), 1, generator=generator) * 5 + 0.1  # vectors of very different length
        word, count = words[seed], 5
        got = answer(word, list(words), table.clone(), count)
        need(got, (list, tuple), "the result")
        unit = table / table.norm(dim=1, keepdim=True)
        lists = {
            "right": unit @ unit[seed],
            "dot": table @ table[seed],
            "far": -(unit @ unit[seed]),
            "euclid": -(table - table[seed]).norm(dim=1),
        }
        order = {name: [words[i] for i in score.argsort(descending=True)] for name, score in lists.items()}
        right = [other for other in order["right"] if other != word][:count]
        if list(got) == right:
            continue
        if word in got:
            raise Hint(
                f"{word} itself is in your list: every word is its own nearest neighbour, so leave it out"
            )
        if not all(isinstance(other, str) for other in got):
            raise Hint("return the words, not their row numbers or cosines")
        if len(got) != count:
            raise Hint(f"asked for {count} neighbours, you returned {len(got)}")
        if list(got) == [other for other in order["dot"] if other != word][:count]:
            raise Hint(
                "these are the largest dot products: long vectors win. Divide each vector by its length first"
            )
        if list(got) == order["far"][:count]:
            raise Hint("these are the farthest words: sort by falling cosine")
        if list(got) == [other for other in order["euclid"] if other != word][:count]:
            raise Hint(
                "these are nearest by distance, which depends on length too; the cosine only asks for direction"
            )
        raise Hint(f"for {word} the nearest should be {right[:3]} ..., you returned {list(got)[:3]} ...")
    return "6 random tables with vectors of very different length"


@exercise_02
def interpretation(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "the three words differ in one letter, and all such pairs are close",
        "random DNA with the same 3-mers gives nearly the same neighbours, and it has no genes",
        "so the list cannot count as evidence for start codons, though it does not refute it",
        "a test would ask whether ATG, GTG and TTG are closer than the same first letters before other "
        "endings, with a null and a correction for the many lists one could have looked at",
    )
