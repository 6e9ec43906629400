"""Checks of notebook 13: correct solutions pass in any style, usual mistakes get their hint, nothing raises."""

import numpy as np
import pytest
import torch

from gfm_lab import checks

RIGHT = {"real labels": ("higher", "less"), "shuffled labels": ("lower", "less")}
LETTER = "The score was climbed by the search itself. " * 5


@pytest.fixture
def check():
    return checks.start("13_practical_design")


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


# --- the prediction -------------------------------------------------------------------------------------------------


def test_the_right_prediction_passes(check, capsys):
    assert run(check, "prediction", RIGHT, capsys)[0] == "ok"
    assert run(check, "prediction", {k: list(v) for k, v in RIGHT.items()}, capsys)[0] == "ok"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (3, "give a dict"),
        ({"real labels": ("higher", "less")}, "give a dict with the keys"),
        (RIGHT | {"real labels": "higher"}, "real labels: give two words"),
        (RIGHT | {"real labels": ("up", "less")}, "'up' is not one of 'higher' and 'lower'"),
        (RIGHT | {"real labels": ("lower", "less")}, "predicts test variants well"),
        (RIGHT | {"real labels": ("higher", "more")}, "errors point upwards"),
        (RIGHT | {"shuffled labels": ("higher", "less")}, "chosen by nonsense"),
        (RIGHT | {"shuffled labels": ("lower", "more")}, "of which the judge knows nothing"),
    ],
)
def test_a_wrong_prediction_gets_its_hint(check, capsys, answer, hint):
    status, text = run(check, "prediction", answer, capsys)
    assert status == "hint" and hint in text


# --- substitution scores --------------------------------------------------------------------------------------------


def slope_of(forward, hot):
    x = hot.clone().requires_grad_()
    return torch.autograd.grad(forward(x).sum(), x)[0]


def by_grad(forward, hot):
    slope = slope_of(forward, hot)
    return slope - (slope * hot).sum(-1, keepdim=True)


def by_backward_row_by_row(forward, hot):
    rows = []
    for row in hot:
        x = row[None].clone().requires_grad_()
        forward(x)[0].backward()
        letter = row.argmax(-1)
        rows.append(x.grad[0] - x.grad[0].gather(1, letter[:, None]))
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("answer", [by_grad, by_backward_row_by_row])
def test_right_scores_pass(check, capsys, answer):
    assert run(check, "my_scores", answer, capsys)[0] == "ok"


def differences(forward, hot):
    """True changes, not first-order ones: the oracle is curved."""
    out = torch.zeros_like(hot)
    for n, i, b in np.ndindex(*hot.shape):
        changed = hot[n : n + 1].clone()
        changed[0, i] = torch.eye(4)[b]
        out[n, i, b] = (forward(changed) - forward(hot[n : n + 1]))[0]
    return out


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (slope_of, "bare slope"),
        (lambda f, h: -by_grad(f, h), "sign is turned round"),
        (lambda f, h: slope_of(f, h) * h, "at the letters that stand"),
        (lambda f, h: slope_of(f, h) - slope_of(f, h).mean(-1, keepdim=True), "not the mean of four"),
        (lambda f, h: by_grad(f, h) / len(h), "averaged over the rows"),
        (lambda f, h: by_grad(f, h)[0], "should give scores"),
        (lambda f, h: by_grad(f, h) + 1, "its score must be 0"),
        (differences, "not the slope at each letter"),
        (lambda f, h: by_grad(f, h.mul_(1.0).add_(0.1)), "changed the letters"),
        (lambda f, h: (f(h), None)[1], "return"),
    ],
)
def test_wrong_scores_get_their_hint(check, capsys, answer, hint):
    status, text = run(check, "my_scores", answer, capsys)
    assert status == "hint" and hint in text


# --- Metropolis -----------------------------------------------------------------------------------------------------


def by_logarithm(now, then, temperature, chance):
    return np.log(chance) * temperature < then - now


def by_minimum(now, then, temperature, chance):
    return chance < np.minimum(1, np.exp(np.minimum(0, (then - now) / temperature)))


def by_loop(now, then, temperature, chance):
    taken = []
    for a, b, c in zip(now, then, chance, strict=True):
        taken.append(bool(b >= a or c < np.exp((b - a) / temperature)))
    return taken


@pytest.mark.parametrize("answer", [by_logarithm, by_minimum, by_loop])
def test_right_rules_pass(check, capsys, answer):
    assert run(check, "my_accept", answer, capsys)[0] == "ok"


def test_the_notebooks_own_rule_passes(check, capsys):
    with np.errstate(over="ignore"):
        assert run(check, "my_accept", lambda a, b, t, c: c < np.exp((b - a) / t), capsys)[0] == "ok"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda a, b, t, c: b > a, "you climb"),
        (lambda a, b, t, c: c < np.exp((a - b) / t), "sign is turned round"),
        (lambda a, b, t, c: c >= np.exp((b - a) / t), "chains that stay"),
        (lambda a, b, t, c: c < np.exp(b - a), "temperature has no effect"),
        (lambda a, b, t, c: c < np.exp((b - a) * t), "divide by the temperature"),
        (lambda a, b, t, c: c < 1 / (1 + np.exp(-(b - a) / t)), "always taken"),
        (lambda a, b, t, c: np.exp((b - a) / t), "True or False"),
        (lambda a, b, t, c: True, "answers, not an array of shape"),
        (lambda a, b, t, c: (c < np.exp((b - a) / t)) | (c < 0.5), "take the step where chance is below"),
    ],
)
def test_wrong_rules_get_their_hint(check, capsys, answer, hint):
    status, text = run(check, "my_accept", answer, capsys)
    assert status == "hint" and hint in text


# --- the report -----------------------------------------------------------------------------------------------------


def by_sorting_pairs(oracle, judge, n):
    ranked = sorted(zip(oracle, judge, strict=True), reverse=True)
    return sum(score for _, score in ranked[:n]) / n


@pytest.mark.parametrize("answer", [lambda o, j, n: j[np.argsort(-o)[:n]].mean(), by_sorting_pairs])
def test_right_reports_pass(check, capsys, answer):
    assert run(check, "my_report", answer, capsys)[0] == "ok"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda o, j, n: j[np.argsort(-j)[:n]].mean(), "the judge still chooses"),
        (lambda o, j, n: o[np.argsort(-j)[:n]].mean(), "roles exchanged"),
        (lambda o, j, n: o[np.argsort(-o)[:n]].mean(), "the climbed number"),
        (lambda o, j, n: j[np.argsort(-(o + j))[:n]].mean(), "has a say"),
        (lambda o, j, n: j[np.argsort(o)[:n]].mean(), "worst designs"),
        (lambda o, j, n: j[np.argsort(-o)[:n]].max(), "report the mean"),
        (lambda o, j, n: j.mean(), "choose n first"),
        (lambda o, j, n: 99.0, "not 99.0000"),
        (lambda o, j, n: j[np.argsort(-o)[:n]], "should be"),
        (lambda o, j, n: (o.sort(), j.mean())[1], "changed the scores"),
    ],
)
def test_wrong_reports_get_their_hint(check, capsys, answer, hint):
    status, text = run(check, "my_report", answer, capsys)
    assert status == "hint" and hint in text


def test_the_letter_shows_its_rubric(check, capsys):
    status, text = run(check, "interpretation", LETTER, capsys)
    assert status == "ok" and "ends at 9" in text
    assert run(check, "interpretation", "too short", capsys)[0] == "hint"
