"""Exercise checks of notebook 02: correct solutions pass, whatever their form; usual mistakes get their hint."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gfm_lab import checks
from gfm_lab.embeddings import position_ids, sinusoidal_positions


@pytest.fixture
def check():
    return checks.start("02_embeddings")


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


def one_hot_by_numpy(ids, size):
    return np.eye(size)[ids.numpy()]


def one_hot_by_comparison(ids, size):
    return ids[:, None] == torch.arange(size)


def sinusoidal_by_loop(length, dim):
    return [
        [(np.cos if c % 2 else np.sin)(p / 10000 ** ((c - c % 2) / dim)) for c in range(dim)]
        for p in range(length)
    ]


def sinusoidal(length, dim, first=0, exponent=2.0, scale=1.0):
    p = np.arange(first, first + length)[:, None]
    angle = scale * p / 10000 ** (exponent * np.arange(dim // 2) / dim)
    return np.stack((np.sin(angle), np.cos(angle)), -1).reshape(length, dim)


def positions_by_loop(mask):
    out = torch.zeros_like(mask)
    for row in range(mask.shape[0]):
        seen = 0
        for column in range(mask.shape[1]):
            if mask[row, column]:
                out[row, column] = seen
                seen += 1
    return out


def neighbours_by_torch(word, words, table, count):
    similarity = F.cosine_similarity(table, table[words.index(word)][None], dim=1)
    similarity[words.index(word)] = -2
    return [words[i] for i in similarity.topk(count).indices]


def neighbours_by_sorting(word, words, table, count):
    here = table[words.index(word)].numpy()
    rest = [w for w in words if w != word]

    def cosine(other):
        there = table[words.index(other)].numpy()
        return here @ there / np.linalg.norm(there)

    return tuple(sorted(rest, key=cosine, reverse=True)[:count])


RIGHT = [
    ("one_hot", F.one_hot),
    ("one_hot", one_hot_by_numpy),
    ("one_hot", one_hot_by_comparison),
    ("sinusoidal", sinusoidal_positions),
    ("sinusoidal", sinusoidal_by_loop),
    ("sinusoidal", sinusoidal),
    ("shift", {"none", "rotary", "alibi"}),
    ("shift", ["ALiBi", "none", "Rotary"]),
    ("positions", position_ids),
    ("positions", positions_by_loop),
    ("positions", lambda mask: (mask.cumsum(1) - 1) * mask),
    ("neighbours", neighbours_by_torch),
    ("neighbours", neighbours_by_sorting),
    ("interpretation", "word " * 30),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_every_correct_answer_passes(check, capsys, name, answer):
    status, text = run(check, name, answer, capsys)
    assert status == checks.OK, text
    assert text.startswith("[ok]")


def forgets_return(ids, size):
    _ = F.one_hot(ids, size)


def halves(length, dim):
    table = sinusoidal(length, dim)
    return np.concatenate((table[:, 0::2], table[:, 1::2]), 1)


def swapped(length, dim):
    return sinusoidal(length, dim).reshape(length, -1, 2)[..., ::-1].reshape(length, dim).copy()


def by_dot(word, words, table, count):
    order = (table @ table[words.index(word)]).argsort(descending=True)
    return [words[i] for i in order if words[i] != word][:count]


def by_distance(word, words, table, count):
    order = (table - table[words.index(word)]).norm(dim=1).argsort()
    return [words[i] for i in order if words[i] != word][:count]


def by_cosine(word, words, table, *, falling=True):
    unit = F.normalize(table)
    return [words[i] for i in (unit @ unit[words.index(word)]).argsort(descending=falling)]


WRONG = [
    ("one_hot", lambda ids, size: F.one_hot(ids, size).T, "one row for each id"),
    ("one_hot", lambda ids, size: F.one_hot(ids, size + 1)[:, 1:], "exactly one 1"),
    ("one_hot", lambda ids, size: F.one_hot(ids, size).roll(1, 1), "count from 0"),
    ("one_hot", lambda ids, size: F.one_hot(ids, size).flip(1), "another column"),
    ("one_hot", lambda ids, size: torch.randn(size, 6)[ids], "should have shape"),
    ("one_hot", forgets_return, "`return` missing"),
    ("one_hot", lambda ids, size: "ATG", "a tensor or an array"),
    ("one_hot", lambda ids: ids, "TypeError"),
    ("sinusoidal", halves, "take turns"),
    ("sinusoidal", swapped, "changed places"),
    ("sinusoidal", lambda n, d: sinusoidal(n, d, first=1), "start at 1"),
    ("sinusoidal", lambda n, d: sinusoidal(n, d, exponent=1.0), "counts the pairs"),
    ("sinusoidal", lambda n, d: sinusoidal(n, d, scale=np.pi / 180), "radians"),
    ("sinusoidal", lambda n, d: sinusoidal(n, d, exponent=4.0), "the first pair"),
    ("sinusoidal", lambda n, d: sinusoidal(n, d, exponent=-2.0), "the first pair"),
    ("sinusoidal", lambda n, d: sinusoidal(n, d).T, "should have shape"),
    ("sinusoidal", lambda n, d: np.zeros((n, d)), "row 0 should read"),
    ("shift", {"none", "learned", "rotary", "alibi"}, "unrelated vectors"),
    ("shift", {"none", "sinusoidal", "rotary", "alibi"}, "multiply it out"),
    ("shift", {"rotary", "alibi"}, "does not look at positions"),
    ("shift", {"none", "alibi"}, "turning a query"),
    ("shift", {"none", "rotary"}, "penalty"),
    ("shift", {"none", "rope"}, "no scheme"),
    ("shift", 3, "not a int"),
    ("positions", lambda mask: torch.arange(mask.shape[1]).expand_as(mask), "column numbers"),
    ("positions", lambda mask: mask.cumsum(1), "start at 0"),
    ("positions", lambda mask: mask.cumsum(1) - 1, "no row of the table"),
    ("positions", lambda mask: mask.cumsum(1)[0] - 1, "should have that shape"),
    ("positions", lambda mask: mask.flip(1).cumsum(1).flip(1) - 1, "should stand at"),
    ("neighbours", by_dot, "largest dot products"),
    ("neighbours", by_distance, "by distance"),
    ("neighbours", lambda w, ws, t, n: by_cosine(w, ws, t)[:n], "leave it out"),
    ("neighbours", lambda w, ws, t, n: by_cosine(w, ws, t, falling=False)[:n], "farthest"),
    ("neighbours", lambda w, ws, t, n: by_cosine(w, ws, t)[1:], "asked for 5"),
    ("neighbours", lambda w, ws, t, n: [1, 2, 3, 4, 5], "not their row numbers"),
    ("neighbours", lambda w, ws, t, n: by_cosine(w, ws, t)[2 : n + 2], "nearest should be"),
    ("interpretation", "they are start codons", "sentences"),
]


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_usual_mistakes_get_their_hint(check, capsys, name, answer, hint):
    status, text = run(check, name, answer, capsys)
    assert status == checks.HINT
    assert text.startswith("[hint]")
    assert hint in text, text


def test_stubs_are_not_wrong_answers(check, capsys):
    def stub(ids, size):
        """Docstring."""
        ...

    for name in check.results:
        status, text = run(check, name, ... if name in ("shift", "interpretation") else stub, capsys)
        assert status == checks.TODO
        assert text.startswith("[not attempted yet]")
