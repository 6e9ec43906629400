"""Checks of notebook 04: correct solutions pass in any style, usual mistakes get their hint, nothing raises."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gfm_lab import checks
from gfm_lab.checks.notebook_04 import SIZES, _layers, direct
from gfm_lab.mixers import fft_convolution


@pytest.fixture
def check():
    return checks.start("04_convolution_and_hyena")


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


# --- right answers, written in different ways -----------------------------------------------------------------------


def by_loops(u, k):
    return [float(sum(k[s] * u[t - s] for s in range(len(k)) if s <= t)) for t in range(len(u))]


def by_shifts(u, k):
    y = torch.zeros_like(u)
    for s in range(min(len(k), len(u))):
        y[s:] += k[s] * u[: len(u) - s]
    return y


def by_conv1d(u, k):
    padded = F.pad(u, (len(k) - 1, 0))
    return F.conv1d(padded[None, None], k.flip(0)[None, None])[0, 0]


def by_numpy(u, k):
    return torch.tensor(np.convolve(u.numpy(), k.numpy())[: len(u)])


def by_matrix(u, k):
    lag = torch.arange(len(u))[:, None] - torch.arange(len(u))
    taps = F.pad(k, (0, max(0, len(u) - len(k))))
    return torch.where(lag >= 0, taps[lag.clamp(min=0)], torch.zeros(())) @ u


def fft(n_of, cut=lambda y, length, taps: y[:length], back=True):
    def answer(u, k):
        n = n_of(len(u), len(k))
        spectrum = torch.fft.rfft(u, n=n) * torch.fft.rfft(k, n=n)
        y = torch.fft.irfft(spectrum, n=n) if back else torch.fft.irfft(spectrum)
        return cut(y, len(u), len(k))

    return answer


def fft_complex(u, k):
    n = 4 * max(len(u), len(k))
    return torch.fft.ifft(torch.fft.fft(u, n=n) * torch.fft.fft(k, n=n)).real[: len(u)]


def causal_by_changing(layer, length):
    u = torch.randn(length, dtype=torch.double)
    for t in range(1, length):
        changed = u.clone()
        changed[t:] = torch.randn(length - t, dtype=torch.double)
        if not torch.allclose(layer(changed)[:t], layer(u)[:t], atol=1e-9):
            return False
    return True


def causal_by_gradient(layer, length):
    u = torch.randn(length, dtype=torch.double)
    jacobian = torch.autograd.functional.jacobian(layer, u)
    return bool((jacobian.triu(1).abs() < 1e-9).all())


def causal_by_single_bases(layer, length):
    u = torch.randn(length, dtype=torch.double)
    leaks = []
    for t in range(1, length):
        changed = u.clone()
        changed[t] += 1
        leaks.append((layer(changed) - layer(u))[:t].abs().max())
    return torch.stack(leaks).max() < 1e-9


RIGHT = [
    ("prediction", (4, 2, 2, 1)),
    ("prediction", [4.0, 2.2, 2, 1]),
    ("causal_convolution", by_loops),
    ("causal_convolution", by_shifts),
    ("causal_convolution", by_conv1d),
    ("causal_convolution", by_numpy),
    ("causal_convolution", by_matrix),
    ("causal_convolution", fft_convolution),
    ("fft_repaired", fft(lambda length, taps: length + taps - 1)),
    ("fft_repaired", fft(lambda length, taps: 2 * (length + taps), back=False)),
    ("fft_repaired", fft_complex),
    ("fft_repaired", fft_convolution),
    ("causality_test", causal_by_changing),
    ("causality_test", causal_by_gradient),
    ("causality_test", causal_by_single_bases),
    ("interpretation", "word " * 30),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_every_correct_answer_passes(check, capsys, name, answer):
    status, text = run(check, name, answer, capsys)
    assert status == checks.OK, text
    assert text.startswith("[ok]")


@pytest.mark.parametrize(("length", "taps"), SIZES)
def test_the_definition_equals_numpy(length, taps):
    u, k = torch.randn(length, dtype=torch.double), torch.randn(taps, dtype=torch.double)
    torch.testing.assert_close(direct(u, k), by_numpy(u, k))


@pytest.mark.parametrize("length", [6, 17])
def test_the_layers_to_be_judged_are_what_they_are_called(length):
    for what, causal, layer in _layers(length):
        u = torch.randn(length, dtype=torch.double)
        jacobian = torch.autograd.functional.jacobian(layer, u)
        assert bool((jacobian.triu(1).abs() < 1e-10).all()) == causal, what


# --- usual mistakes -------------------------------------------------------------------------------------------------


def whole(u, k):
    return torch.tensor(np.convolve(u.numpy(), k.numpy()))


def negative_indices(u, k):
    y = torch.zeros_like(u)
    for t in range(len(u)):
        for s in range(min(len(k), len(u))):
            y[t] += k[s] * u[t - s]
    return y


def skips_the_first(u, k):
    return torch.cat([torch.zeros(1), by_shifts(u, k)[1:]])


def in_place(u, k):
    u[:] = by_shifts(u, k)
    return u


def leak(**how):
    def answer(layer, length):
        u = how.get("start", torch.randn)(length, dtype=torch.double)
        for t in how.get("places", range(1, length)):
            changed = u.clone()
            changed[t:] = torch.randn(length - t, dtype=torch.double)
            before, after = layer(u)[:t], layer(changed)[:t]
            if how.get("exact"):
                same = torch.equal(before, after)
            else:
                same = torch.allclose(before, after, atol=how.get("atol", 1e-9), rtol=0)
            if not same:
                return False
        return True

    return answer


def strict(layer, length):
    u = torch.randn(length, dtype=torch.double)
    jacobian = torch.autograd.functional.jacobian(layer, u)
    return bool((jacobian.triu(0).abs() < 1e-9).all())


WRONG = [
    ("prediction", (2, 2, 2, 1), "up to L products"),
    ("prediction", (4, 4, 2, 1), "logarithm"),
    ("prediction", (4, 2, 1, 1), "one number for each place"),
    ("prediction", (4, 2, 2, 2), "does the network know"),
    ("prediction", 4, "give four numbers"),
    ("prediction", ("4", 2, 2, 1), "up to L products"),
    ("causal_convolution", whole, "the first 8"),
    ("causal_convolution", lambda u, k: by_shifts(u, k.flip(0)), "turned round"),
    ("causal_convolution", lambda u, k: by_shifts(u.flip(0), k).flip(0), "looked ahead"),
    ("causal_convolution", lambda u, k: whole(u, k)[len(k) // 2 :][: len(u)], "not centred"),
    ("causal_convolution", negative_indices, "counts from the end"),
    ("causal_convolution", skips_the_first, "y[0] should be"),
    ("causal_convolution", in_place, "changed its inputs"),
    ("causal_convolution", lambda u, k: by_shifts(u, k)[:-1], "one for each sample"),
    ("causal_convolution", lambda u, k: by_shifts(u, k)[None], "shape (8,)"),
    ("causal_convolution", lambda u, k: 2 * by_shifts(u, k), "largest difference"),
    ("causal_convolution", lambda u, k: print(end=""), "returned None"),
    ("causal_convolution", lambda u, k: u * k, "your code raised RuntimeError"),
    ("fft_repaired", fft(max), "n = ?"),
    ("fft_repaired", fft(lambda length, taps: length + taps - 2), "first places are wrong"),
    ("fft_repaired", fft(lambda n, k: n + k - 1, cut=lambda y, n, k: y), "keep the first 8"),
    ("fft_repaired", fft(lambda n, k: n + k - 1, cut=lambda y, n, k: y[-n:]), "wrong end"),
    ("fft_repaired", lambda u, k: torch.fft.ifft(torch.fft.fft(u, 99)), "complex"),
    ("fft_repaired", lambda u, k: by_shifts(u, k)[:3], "not 8"),
    ("causality_test", lambda layer, length: True, "does look ahead"),
    ("causality_test", lambda layer, length: False, "is causal"),
    ("causality_test", lambda layer, length: print(end=""), "returned None"),
    ("causality_test", lambda layer, length: "yes", "return True or False"),
    ("causality_test", leak(exact=True), "rounding noise"),
    ("causality_test", leak(atol=0.05), "tolerance is too wide"),
    ("causality_test", leak(places=[3]), "look"),
    ("causality_test", leak(places=range(1, 5)), "last"),
    ("causality_test", strict, "that one included"),
    ("interpretation", "it reads it", "3 words so far"),
]


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_usual_mistakes_get_their_hint(check, capsys, name, answer, hint):
    status, text = run(check, name, answer, capsys)
    assert status == checks.HINT, text
    assert hint in text


def test_zeros_hide_a_leak_that_multiplies(check, capsys):
    def from_zeros(layer, length):
        for t in range(1, length):
            changed = torch.zeros(length, dtype=torch.double)
            changed[t] = 1
            if (layer(changed) - layer(torch.zeros(length, dtype=torch.double)))[:t].abs().max() > 1e-9:
                return False
        return True

    assert "start from random values" in run(check, "causality_test", from_zeros, capsys)[1]


@pytest.mark.parametrize("name", ["prediction", "causal_convolution", "fft_repaired", "causality_test"])
def test_stubs_are_not_attempted(check, capsys, name):
    assert run(check, name, ..., capsys)[0] == checks.TODO


def test_progress_counts_exercises_and_quiz(check, capsys):
    done = {name: answer for name, answer in RIGHT} | {"quiz": "cdcbdcb"}
    texts = [run(check, name, answer, capsys)[1] for name, answer in done.items()]
    assert texts[-1].rstrip().endswith("■■■■■■  6 of 6")
