"""Checks of notebook 05: correct solutions pass in any style, usual mistakes get their hint, nothing raises."""

import numpy as np
import pytest
import torch

from gfm_lab import checks


@pytest.fixture
def check():
    return checks.start("05_state_spaces_and_mamba")


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


# --- combining two steps --------------------------------------------------------------------------------------------


def combine_plainly(first, second):
    (a1, b1), (a2, b2) = first, second
    return a2 * a1, a2 * b1 + b2


def combine_by_trying(first, second):
    """From what the two steps do to 0 and to 1."""

    def both(h):
        return second[0] * (first[0] * h + first[1]) + second[1]

    return [both(1.0) - both(0.0), both(0.0)]


@pytest.mark.parametrize("answer", [combine_plainly, combine_by_trying])
def test_right_combinations_pass(check, capsys, answer):
    status, text = run(check, "combine", answer, capsys)
    assert status == "ok" and "brackets" in text


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda f, s: print(end=""), "returned None"),
        (lambda f, s: s[0] * f[0], "two things"),
        (lambda f, s: combine_plainly(s, f), "`first` acts first"),
        (lambda f, s: (f[0] + s[0], s[0] * f[1] + s[1]), "Factors multiply"),
        (lambda f, s: (f[0], s[0] * f[1] + s[1]), "what multiplies h"),
        (lambda f, s: (s[0] * f[0], f[1] + s[1]), "multiplies everything it finds"),
        (lambda f, s: (s[0] * f[0], s[0] * f[1]), "own b2 is missing"),
        (lambda f, s: (s[0] * f[0], s[0] * f[0] * f[1] + s[1]), "after a1 has acted"),
        (lambda f, s: (s[0] * f[0], 0 * s[1]), "when h is 0"),
        (lambda f, s: (s[0] * f[0], s[0] * f[0] * (f[1] / f[0]) + s[1]), "raised|a of zero"),
    ],
)
def test_usual_mistakes_of_combining_get_their_hint(check, capsys, answer, hint):
    status, text = run(check, "combine", answer, capsys)
    assert status == "hint"
    assert any(part in text for part in hint.split("|")), text


# --- the repaired scan ----------------------------------------------------------------------------------------------


def scan_by_a_loop(u, delta, A_log, B, C, mask):
    A, delta = -torch.exp(A_log), delta * mask[:, None]
    h, y = torch.zeros_like(A), []
    for t in range(len(u)):
        h = torch.exp(delta[t, :, None] * A) * h + (delta[t] * u[t])[:, None] * B[t]
        y.append((h * C[t]).sum(-1))
    return torch.stack(y), h


def scan_that_skips_padding(u, delta, A_log, B, C, mask):
    h, y = torch.zeros(A_log.shape), torch.full_like(u, torch.nan)
    for t in np.flatnonzero(mask.numpy()):
        h = torch.exp(-delta[t, :, None] * A_log.exp()) * h + torch.outer(delta[t] * u[t], B[t])
        y[t] = h @ C[t]
    return [y, h]


def scan_by_powers(u, delta, A_log, B, C, mask):
    """All pairs of steps at once: what is left at t of what entered at s."""
    delta = torch.where(mask.bool()[:, None], delta, 0.0)
    time = delta.cumsum(0)  # (L, D)
    gone = (time[:, None] - time[None])[..., None]  # (t, s, D, 1)
    causal = torch.ones(len(u), len(u)).tril().bool()[..., None, None]
    left = torch.exp(torch.where(causal, -gone * A_log.exp(), -torch.inf))
    states = torch.einsum("tsdn,sd,sn->tdn", left, delta * u, B)
    return torch.einsum("tdn,tn->td", states, C), states[-1]


@pytest.mark.parametrize("answer", [scan_by_a_loop, scan_that_skips_padding, scan_by_powers])
def test_right_scans_pass(check, capsys, answer):
    status, text = run(check, "repaired_scan", answer, capsys)
    assert status == "ok" and "the state fades" in text, text


def wrong_scan(sign=-1, on_input=False, on_delta=True, rate=torch.exp):
    def answer(u, delta, A_log, B, C, mask):
        A = sign * rate(A_log)
        delta = delta * mask[:, None] if on_delta else delta
        u = u * mask[:, None] if on_input else u
        h, y = torch.zeros_like(A), []
        for t in range(len(u)):
            h = torch.exp(delta[t, :, None] * A) * h + (delta[t] * u[t])[:, None] * B[t]
            y.append((h * C[t]).sum(-1))
        return torch.stack(y), h

    return answer


def before_the_step(u, delta, A_log, B, C, mask):
    """Reads the state before the input enters it."""
    y, h = scan_by_a_loop(u, delta, A_log, B, C, mask)
    return torch.cat([torch.zeros_like(y[:1]), y[:-1]]) + 1, h


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda *a: print(end=""), "returned None"),
        (lambda *a: scan_by_a_loop(*a)[0], "two things"),
        (lambda *a: scan_by_a_loop(*a)[::-1], "y comes first"),
        (lambda *a: (scan_by_a_loop(*a)[0].T, scan_by_a_loop(*a)[1]), "shape"),
        (wrong_scan(+1, on_input=True, on_delta=False), "fade|both bugs|growing"),
        (wrong_scan(+1), "exp(delta A) below 1"),
        (wrong_scan(on_input=True, on_delta=False), "delta is not zero there"),
        (wrong_scan(on_delta=False), "mask is not used"),
        (wrong_scan(rate=lambda x: x), "not its negative"),
        (wrong_scan(+1, rate=lambda x: x), "take its exponential"),
        (before_the_step, "y is not"),
    ],
)
def test_usual_mistakes_of_the_scan_get_their_hint(check, capsys, answer, hint):
    status, text = run(check, "repaired_scan", answer, capsys)
    assert status == "hint"
    assert any(part in text for part in hint.split("|")), text


def test_the_mask_alone_is_noticed_where_there_is_padding(check, capsys):
    """Without padding the scan without a mask is right: the check has to try sequences that have some."""
    status, text = run(check, "repaired_scan", wrong_scan(on_input=True, on_delta=False), capsys)
    assert status == "hint" and "padding behind" in text


# --- the prediction and the written answer --------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [(4, 2, 2, 1), [4.0, 2.0, 2.0, 1.0]])
def test_right_predictions_pass(check, capsys, answer):
    assert run(check, "prediction", answer, capsys)[0] == "ok"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((2, 2, 2, 1), "mostly zeros"),
        ((4, 4, 2, 1), "once, at the end"),
        ((4, 2, 1, 1), "every token read"),
        ((4, 2, 2, 2), "does L occur"),
        ((4, 2, 2), "four numbers"),
        (4, "four numbers"),
    ],
)
def test_wrong_predictions_get_their_hint(check, capsys, answer, hint):
    status, text = run(check, "prediction", answer, capsys)
    assert status == "hint" and hint in text


def test_interpretation_needs_sentences_and_shows_the_rubric(check, capsys):
    assert run(check, "interpretation", "A control is missing.", capsys)[0] == "hint"
    status, text = run(check, "interpretation", "word " * 40, capsys)
    assert status == "ok" and "(4)" in text and "control" in text


@pytest.mark.parametrize("name", ["combine", "repaired_scan", "prediction", "interpretation"])
@pytest.mark.parametrize("answer", [None, 7, "no", {}, lambda *a: {}, lambda: 1])
def test_nonsense_never_raises_and_never_passes(check, capsys, name, answer):
    assert run(check, name, answer, capsys)[0] == "hint"
