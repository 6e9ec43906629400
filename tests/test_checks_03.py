"""Checks of notebook 03: correct solutions pass in any style, usual mistakes get their hint, nothing raises."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gfm_lab import checks


@pytest.fixture
def check():
    return checks.start("03_attention")


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


# --- right answers, written in different ways -----------------------------------------------------------------------


def attention_plain(q, k, v):
    weights = (q @ k.T / math.sqrt(q.shape[-1])).softmax(-1)
    return weights @ v, weights


def attention_by_loops(q, k, v):
    weights = torch.zeros(len(q), len(k))
    for i in range(len(q)):
        scores = torch.stack([(q[i] * k[j]).sum() for j in range(len(k))]) * q.shape[1] ** -0.5
        e = torch.exp(scores - scores.max())
        weights[i] = e / e.sum()
    return [torch.einsum("ls,sd->ld", weights, v), weights]


def attention_by_torch(q, k, v):
    weights = F.softmax(torch.einsum("ld,sd->ls", q, k) / q.shape[-1] ** 0.5, dim=1)
    return F.scaled_dot_product_attention(q[None], k[None], v[None])[0], weights


def causal_by_fill(scores):
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -math.inf).softmax(-1)


def causal_by_adding(scores):
    return (scores + torch.full_like(scores, -1e9).triu(1)).softmax(-1)


def causal_by_rows(scores):
    return torch.stack(
        [F.pad(row[: i + 1].softmax(0), (0, len(scores) - i - 1)) for i, row in enumerate(scores)]
    )


def causal_by_renormalising(scores):
    weights = scores.softmax(-1).tril()
    return weights / weights.sum(-1, keepdim=True)


def repaired_plain(q, k, v, mask):
    scores = q @ k.T / math.sqrt(q.shape[-1])
    return scores.masked_fill(mask == 0, -math.inf).softmax(-1) @ v


def repaired_by_cutting(q, k, v, mask):
    k, v = k[mask.bool()], v[mask.bool()]
    return (q @ k.T / math.sqrt(q.shape[-1])).softmax(-1) @ v


def repaired_with_zero_rows(q, k, v, mask):
    return repaired_plain(q, k, v, mask) * mask[:, None]


def online_plain(largest, total, result, scores, values):
    new = torch.maximum(largest, scores.max())
    weights, rescale = torch.exp(scores - new), torch.exp(largest - new)
    return new, total * rescale + weights.sum(), result * rescale + weights @ values


def online_in_numpy(largest, total, result, scores, values):
    new = max(float(largest), float(scores.max()))
    weights, rescale = np.exp(scores.numpy() - new), math.exp(float(largest) - new)
    return new, float(total) * rescale + weights.sum(), result.numpy() * rescale + weights @ values.numpy()


RIGHT = [
    ("attention", attention_plain),
    ("attention", attention_by_loops),
    ("attention", attention_by_torch),
    ("causal_weights", causal_by_fill),
    ("causal_weights", causal_by_adding),
    ("causal_weights", causal_by_rows),
    ("causal_weights", causal_by_renormalising),
    ("repaired", repaired_plain),
    ("repaired", repaired_by_cutting),
    ("repaired", repaired_with_zero_rows),
    ("online_step", online_plain),
    ("online_step", online_in_numpy),
    ("prediction", (4, 4, 4, 2, 2, 2)),
    ("prediction", [(4, 4), (4, 2), (2, 2)]),
    ("interpretation", "word " * 30),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_every_correct_answer_passes(check, capsys, name, answer):
    status, text = run(check, name, answer, capsys)
    assert status == checks.OK, text
    assert text.startswith("[ok]")


# --- usual mistakes -------------------------------------------------------------------------------------------------


def scores_of(q, k):
    return q @ k.T / math.sqrt(q.shape[-1])


def with_weights(make):
    def answer(q, k, v):
        weights = make(q, k)
        return weights @ v, weights

    return answer


def in_place(scores):
    return scores.masked_fill_(torch.ones_like(scores, dtype=torch.bool).triu(1), -math.inf).softmax(-1)


def hides_the_diagonal(scores):
    return scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(0), -math.inf).softmax(-1)


def hides_the_past(scores):
    return scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).tril(-1), -math.inf).softmax(-1)


def step(new, rescale_total=True, rescale_result=True, keep=True, divide=False):
    def answer(largest, total, result, scores, values):
        now = new(largest, scores)
        weights, rescale = torch.exp(scores - now), torch.exp(largest - now)
        total = (total * (rescale if rescale_total else 1) if keep else 0) + weights.sum()
        result = result * (rescale if rescale_result else 1) + weights @ values
        return now, total, result / total if divide else result

    return answer


def larger(largest, scores):
    return torch.maximum(largest, scores.max())


WRONG = [
    ("attention", with_weights(lambda q, k: (q @ k.T).softmax(-1)), "square root of"),
    (
        "attention",
        with_weights(lambda q, k: (q @ k.T / q.shape[-1]).softmax(-1)),
        "divide by its square root",
    ),
    ("attention", with_weights(lambda q, k: (q @ k.T * q.shape[-1] ** 0.5).softmax(-1)), "multiplied"),
    ("attention", with_weights(lambda q, k: scores_of(q, k).softmax(0)), "Which axis"),
    ("attention", with_weights(scores_of), "softmax is missing"),
    ("attention", lambda q, k, v: scores_of(q, k).softmax(-1) @ v, "two things"),
    ("attention", lambda q, k, v: attention_plain(q, k, v)[::-1], "output comes first"),
    (
        "attention",
        lambda q, k, v: (attention_plain(q, k, v)[1] @ k, attention_plain(q, k, v)[1]),
        "of the values",
    ),
    ("attention", lambda q, k, v: print(end=""), "returned None"),
    ("attention", lambda q, k, v: q @ k @ v, "your code raised RuntimeError"),
    ("causal_weights", lambda s: s.softmax(-1).tril(), "after the softmax"),
    ("causal_weights", lambda s: s.tril().softmax(-1), "exp(0) is 1"),
    ("causal_weights", hides_the_diagonal, "diagonal stays visible"),
    ("causal_weights", hides_the_past, "wrong half"),
    ("causal_weights", lambda s: s.softmax(-1), "its future"),
    ("causal_weights", in_place, "changed the scores"),
    ("causal_weights", lambda s: s.tril() / s.tril().sum(-1, keepdim=True) * 2, "do not sum to 1"),
    ("repaired", lambda q, k, v, m: scores_of(q, k).softmax(0) * m @ v, "both bugs"),
    ("repaired", lambda q, k, v, m: scores_of(q, k).softmax(-1) * m @ v, "what did padding get"),
    (
        "repaired",
        lambda q, k, v, m: scores_of(q, k).masked_fill(m == 0, -1e9).softmax(0) @ v,
        "along which axis",
    ),
    ("repaired", lambda q, k, v, m: (scores_of(q, k) * m).softmax(-1) @ v, "hide with -inf"),
    ("repaired", lambda q, k, v, m: scores_of(q, k).softmax(-1) @ v, "not hidden at all"),
    ("online_step", step(larger, rescale_total=False), "multiply it by exp"),
    ("online_step", step(larger, rescale_result=False), "the result is not"),
    ("online_step", step(larger, divide=True), "do not divide"),
    ("online_step", step(larger, keep=False), "is lost"),
    ("online_step", step(lambda largest, s: s.max()), "a larger one came before"),
    ("online_step", step(lambda largest, s: torch.tensor(0.0)), "largest"),
    ("online_step", lambda largest, total, result, s, v: (largest, total), "three things"),
    ("prediction", (2, 4, 4, 2, 2, 2), "how many query-key pairs"),
    ("prediction", (4, 4, 2, 2, 2, 2), "visits every pair too"),
    ("prediction", (4, 4, 4, 4, 2, 2), "and no pairs"),
    ("prediction", (4, 4, 4, 2, 4, 4), "whatever L is"),
    ("prediction", 4, "give six numbers"),
    ("interpretation", "it looks there", "3 words so far"),
    ("interpretation", 7, "should be a str"),
]


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_usual_mistakes_get_their_hint(check, capsys, name, answer, hint):
    status, text = run(check, name, answer, capsys)
    assert status == checks.HINT, text
    assert hint in text


@pytest.mark.parametrize(
    "name", ["attention", "causal_weights", "repaired", "interpretation", "online_step", "prediction"]
)
def test_stubs_are_not_attempted(check, capsys, name):
    assert run(check, name, ..., capsys)[0] == checks.TODO


def test_progress_counts_exercises_and_quiz(check, capsys):
    done = {name: answer for name, answer in RIGHT} | {"quiz": "baacdb"}
    texts = [run(check, name, answer, capsys)[1] for name, answer in done.items()]
    assert texts[-1].rstrip().endswith("■■■■■■■  7 of 7")
