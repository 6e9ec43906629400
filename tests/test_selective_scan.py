"""selective_scan: every way to compute it gives the definition's numbers and gradients; bad input."""

import importlib.util
import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gfm_lab.mixers import mamba
from gfm_lab.mixers.mamba import scan_path, selective_scan, selective_scan_reference

torch.set_num_threads(1)
HAVE_NUMBA = importlib.util.find_spec("numba") is not None
PATHS = ["chunked", pytest.param("compiled", marks=pytest.mark.skipif(not HAVE_NUMBA, reason="no numba"))]


@pytest.fixture(params=PATHS)
def path(request, monkeypatch):
    if request.param == "chunked":
        monkeypatch.setattr(mamba, "_compiled", lambda: None)
    assert scan_path() == request.param
    return request.param


def numbers(rows=2, channels=3, length=11, states=4, dtype=torch.float64, seed=0):
    """u, delta, A, B, C, initial state; with gradients wanted."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    parts = [draw(rows, channels, length), F.softplus(draw(rows, channels, length) - 1)]
    parts += [-draw(channels, states).exp(), draw(rows, states, length), draw(rows, states, length)]
    return [x.to(dtype).requires_grad_() for x in (*parts, draw(rows, channels, states))]


def results(scan, inputs):
    """y, last state, and the gradients of a weighted sum of both."""
    y, last = scan(*inputs)
    random = torch.Generator().manual_seed(9)
    weights = [torch.randn(x.shape, generator=random, dtype=torch.float64) for x in (y, last)]
    loss = sum((x.double() * w).sum() for x, w in zip((y, last), weights, strict=True))
    return [y, last, *torch.autograd.grad(loss, inputs)]


def fast(u, delta, A, B, C, h=None, **more):
    return selective_scan(u, delta, A, B, C, return_last_state=True, initial_state=h, **more)


def assert_close(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert ((a - b).abs() <= tolerance * b.abs().amax().clamp_min(1e-30)).all() if a.numel() else True


def test_the_definition_by_hand():
    """One channel, one state: every number worked out with Python's own."""
    u, delta, a, b, c = [1.0, -2.0, 0.5], [0.1, 1.0, 2.0], -0.7, [3.0, 1.0, -1.0], [1.0, 2.0, 4.0]
    h, expected = 0.25, []
    for t in range(3):
        h = np.exp(delta[t] * a) * h + delta[t] * u[t] * b[t]
        expected.append(c[t] * h)
    one = [torch.tensor(x, dtype=torch.float64).reshape(1, 1, -1) for x in (u, delta, b, c)]
    y, last = selective_scan_reference(
        one[0],
        one[1],
        torch.tensor([[a]], dtype=torch.float64),
        one[2],
        one[3],
        torch.full((1, 1, 1), 0.25).double(),
    )
    np.testing.assert_allclose(y[0, 0], expected, rtol=1e-14)
    assert last.item() == pytest.approx(h, rel=1e-14)


def test_every_channel_and_state_by_einsum():
    """The closed form: h[t] is the sum of all that was written, each faded by exp of A times the delta since."""
    u, delta, A, B, C, _ = (x.detach() for x in numbers())
    since = delta.cumsum(2)
    fade = torch.exp(
        A[None, :, :, None, None] * (since[:, :, None, :, None] - since[:, :, None, None, :])
    ).tril()
    h = torch.einsum("bdnts,bds,bns->bdnt", fade, delta * u, B)
    y, last = selective_scan_reference(u, delta, A, B, C)
    torch.testing.assert_close(y, torch.einsum("bdnt,bnt->bdt", h, C))
    torch.testing.assert_close(last, h[..., -1])


@settings(max_examples=12, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 140), st.integers(1, 9)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_equal_the_definition(sizes, dtype, seed):
    """Of u, delta, A, B, C and the first state, through y and the last state; lengths around the chunks' 64."""
    inputs = numbers(*sizes, seed=seed)
    expected = results(selective_scan_reference, inputs)
    ours = [x.detach().to(dtype).requires_grad_() for x in inputs]
    tolerance = 1e-4 if dtype == torch.float32 else 1e-11
    with pytest.MonkeyPatch.context() as patch:
        for compiled in (True, False) if HAVE_NUMBA else (False,):
            if not compiled:
                patch.setattr(mamba, "_compiled", lambda: None)
            assert scan_path() == ("compiled" if compiled else "chunked")
            found = results(fast, ours)
            assert all(x.dtype == dtype for x in found)
            assert_close(found, expected, tolerance)


@pytest.mark.parametrize("length", [63, 64, 65, 128, 200])
def test_a_length_around_the_chunks(path, length):
    inputs = numbers(1, 17, length, 2)
    assert_close(results(fast, inputs), results(selective_scan_reference, inputs), 1e-11)


def test_gradcheck(path, monkeypatch):
    """Numerical derivatives, in float64; chunks of 3, so that some are cut off."""
    monkeypatch.setattr(mamba, "CHUNK", 3)
    assert torch.autograd.gradcheck(fast, numbers(2, 2, 7, 2))
    *five, _ = numbers(1, 3, 4, 2)
    random = torch.Generator().manual_seed(1)
    z, D, bias = (
        torch.randn(s, generator=random, dtype=torch.float64).requires_grad_() for s in ((1, 3, 4), 3, 3)
    )

    def block(*x):
        return selective_scan(*x, delta_softplus=True)

    assert torch.autograd.gradcheck(block, (*five, D, z, bias))


def test_what_surrounds_the_scan(path):
    """D, z, the bias and softplus of delta, in the order of state-spaces/mamba's arguments."""
    u, delta, A, B, C, _ = numbers()
    D, bias, z = torch.randn(3).double(), torch.randn(3).double(), torch.randn(2, 3, 11).double()
    step = F.softplus(delta + bias[:, None])
    expected = (selective_scan_reference(u, step, A, B, C)[0] + D[:, None] * u) * F.silu(z)
    y = selective_scan(u, delta, A, B, C, D, z, bias, True)
    torch.testing.assert_close(y, expected)
    both = selective_scan(u, delta, A, B, C, D, z, bias, True, True)
    assert torch.equal(both[0], y) and both[1].shape == (2, 3, 4)
    plain = selective_scan(u, delta, A, B, C, D)
    torch.testing.assert_close(plain, selective_scan_reference(u, delta, A, B, C)[0] + D[:, None] * u)


@settings(max_examples=10, deadline=None)
@given(cut=st.integers(0, 90), seed=st.integers(0, 9))
def test_in_two_pieces_it_is_the_same(cut, seed):
    u, delta, A, B, C, h = numbers(2, 5, 90, 3, seed=seed)
    y, last = fast(u, delta, A, B, C, h)
    first, state = fast(u[..., :cut], delta[..., :cut], A, B[..., :cut], C[..., :cut], h)
    second, end = fast(u[..., cut:], delta[..., cut:], A, B[..., cut:], C[..., cut:], state)
    torch.testing.assert_close(torch.cat([first, second], 2), y)
    torch.testing.assert_close(end, last)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (2, 3, 0, 4), (0, 3, 5, 2), (1, 300, 2, 1)])
def test_sizes_down_to_nothing(path, sizes):
    inputs = numbers(*sizes)
    found = results(fast, inputs)
    assert found[0].shape == (sizes[0], sizes[1], sizes[2]) and found[1].shape == (
        sizes[0],
        sizes[1],
        sizes[3],
    )
    if sizes[2] == 0:
        assert torch.equal(found[1], inputs[5])
        assert all((x == 0).all() for x in found[2:7])
    else:
        assert_close(found, results(selective_scan_reference, inputs), 1e-11)


@pytest.mark.skipif(not HAVE_NUMBA, reason="no numba")
@pytest.mark.parametrize(("rows", "channels"), [(5, 40), (2, 300), (1, 600), (1, 33)])
def test_threads_change_nothing(monkeypatch, rows, channels):
    """Rows are shared out, or channels; the sums to which several workers add are added at the end."""
    from gfm_lab.mixers import compiled

    monkeypatch.setattr(compiled, "WORTH_THREADS", 0)
    inputs = numbers(rows, channels, 70, 3)
    expected = results(fast, inputs)
    random = torch.Generator().manual_seed(2)
    x = torch.randn(rows, 70, channels, generator=random, dtype=torch.float64).requires_grad_()
    weight = torch.randn(channels, 4, generator=random, dtype=torch.float64).requires_grad_()
    bias = torch.randn(channels, generator=random, dtype=torch.float64).requires_grad_()
    convolved = mamba._short_convolution(x, weight, bias)
    grads = torch.autograd.grad(convolved.square().sum(), (x, weight, bias))
    for threads in (2, 3, 7):
        shares = compiled._share(rows, 70, channels, threads)
        covered = np.zeros((rows, channels), int)
        for blocks in shares:
            for r, d in blocks:
                covered[r, d] += 1
        assert (covered == 1).all() and len(shares) <= threads
        assert len(shares) > 1
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert_close(results(fast, inputs), expected, 1e-12)
        again = mamba._short_convolution(x, weight, bias)
        assert_close(torch.autograd.grad(again.square().sum(), (x, weight, bias)), grads, 1e-12)
        torch.testing.assert_close(again, convolved)


# ---- Numbers at the edge ----


def test_a_huge_delta_forgets_exactly_and_gives_finite_gradients(path):
    for dtype, huge in ((torch.float32, 1e6), (torch.float32, 3e37), (torch.float64, 1e6)):
        u, delta, A, B, C, h = (x.detach().to(dtype) for x in numbers(1, 20, 70, 3))
        delta[:, :, 30] = huge
        inputs = [x.requires_grad_() for x in (u, delta, A, B, C, h)]
        y, last = fast(*inputs)
        grads = torch.autograd.grad(y.div(huge).sum() + last.div(huge).sum(), inputs)
        assert all(torch.isfinite(x).all() for x in (y, last, *grads))
        # Nothing of what was before is left, to the last bit.
        other = [x.detach().clone() for x in inputs]
        other[0][..., :30] += 5.0
        other[5] += 100.0
        y2, last2 = fast(*other)
        assert torch.equal(y2[..., 30:], y[..., 30:]) and torch.equal(last2, last)
        assert not torch.equal(y2[..., :30], y[..., :30])


def test_delta_zero_leaves_the_state_to_the_last_bit(path):
    """This is how padding passes through."""
    for dtype in (torch.float32, torch.float64):
        u, _, A, B, C, h = (x.detach().to(dtype) for x in numbers(2, 19, 130, 3))
        _, last = fast(u, torch.zeros_like(u), A, B, C, h)
        assert torch.equal(last, h)


@pytest.mark.skipif(not HAVE_NUMBA, reason="no numba")
def test_decays_from_one_to_nothing():
    """The polynomial in place of exp: relative error below 2e-7 wherever the result is a normal number, then exactly 0;
    above 1 (an A that is not negative) it grows as it must, and overflows to infinity, not to nonsense."""
    exponents = torch.cat(
        [torch.linspace(-110, 90, 4001), torch.tensor([-1e30, -torch.inf, 95.0, 1e30, torch.inf])]
    )
    u, one = torch.zeros(1, len(exponents), 1), torch.ones(1, 1, 1)
    h = torch.ones(1, len(exponents), 1)
    found = fast(u, torch.ones_like(u), exponents[:, None].float(), one, one, h)[1].flatten()
    expected = exponents.double().exp()
    normal = (exponents > -87.3) & (exponents < 88.3)
    assert (
        (found[normal] - expected[normal]).abs() / expected[normal]
    ).max() < 8e-6  # 90 times float32's epsilon
    small = exponents.abs() < 1
    assert ((found[small] - expected[small]).abs() / expected[small]).max() < 3e-7
    assert (found[exponents < -87.4] == 0).all() and (found[exponents > 89] == torch.inf).all()


@pytest.mark.parametrize("where", ["u", "delta", "B", "C"])
def test_nan_stays_where_it_is_and_behind(path, where):
    for dtype in (torch.float32, torch.float64):
        inputs = [x.detach().to(dtype) for x in numbers(3, 20, 140, 4)]
        clean, clean_last = fast(*inputs)
        which = ["u", "delta", "A", "B", "C"].index(where)
        inputs[which][1, 2, 70] = torch.nan
        y, last = fast(*inputs)
        bad = torch.zeros_like(y, dtype=torch.bool)
        channels = slice(2, 3) if where in ("u", "delta") else slice(None)
        bad[1, channels, 70 : 71 if where == "C" else None] = True
        assert torch.equal(y.isnan(), bad)
        torch.testing.assert_close(y[~bad], clean[~bad])
        assert last.isnan().any() == (where != "C")
        assert not last[[0, 2]].isnan().any()
        torch.testing.assert_close(last[[0, 2]], clean_last[[0, 2]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(path, dtype):
    inputs = [x.detach().to(dtype) for x in numbers(2, 3, 200, 4)]
    expected, last = fast(*(x.float() for x in inputs))
    y, state = fast(*inputs)
    assert y.dtype == dtype and state.dtype == torch.float32
    assert torch.equal(y, expected.to(dtype)) and torch.equal(state, last)


def test_autocast_changes_nothing(path):
    inputs = numbers(dtype=torch.float32)
    expected = results(fast, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = results(fast, inputs)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("delta", (2, 3, 10)), ("A", (4, 3)), ("B", (2, 4)), ("C", (2, 11, 4)), ("D", (4,)), ("z", (2, 3, 1)),
     ("delta_bias", (1,)), ("initial_state", (2, 4, 3))],
)  # fmt: skip
def test_shapes_are_checked_by_name(name, shape):
    names = ["u", "delta", "A", "B", "C", "initial_state"]
    inputs = dict(zip(names, (x.detach() for x in numbers()), strict=True))
    inputs[name] = torch.zeros(shape)
    with pytest.raises(
        ValueError, match=rf"^{name} has shape .*goes with u \(2, 3, 11\)" if name != "A" else "A"
    ):
        selective_scan(**inputs)
    inputs = dict(zip(names, (x.detach() for x in numbers()), strict=True))
    with pytest.raises(ValueError, match="u must be"):
        selective_scan(**{**inputs, "u": inputs["u"][0]})
    with pytest.raises(ValueError, match="A must hold real numbers"):
        selective_scan(**{**inputs, "A": inputs["A"].to(torch.complex64)})


# ---- Which code runs ----


def test_parallel_form_for_gpus(monkeypatch):
    """The doubling that a GPU takes in place of single steps, forward and backward, on a stand-in for its tensors."""

    class Elsewhere(torch.Tensor):
        device = types.SimpleNamespace(type="elsewhere")

    for length in (1, 2, 3, 7, 64):
        random = torch.Generator().manual_seed(length)
        decay, x = (torch.rand(length, 2, 3, 2, generator=random, dtype=torch.float64) for _ in "ax")
        for backward in (False, True):
            step, doubled = x.clone(), x.clone().as_subclass(Elsewhere)
            kept = decay.clone()
            mamba._recur(decay, step, backward)
            mamba._recur(decay, doubled, backward)
            torch.testing.assert_close(doubled.as_subclass(torch.Tensor), step)
            assert torch.equal(decay, kept)


def fake_kernels(monkeypatch, function):
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.selective_scan_interface"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["mamba_ssm.ops.selective_scan_interface"].selective_scan_fn = function
    real = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda x, *a, **k: x if a == ("cuda",) else real(x, *a, **k))
    mamba._kernels_run.cache_clear()


def right(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, return_last_state=False):
    y, last = selective_scan_reference(u, delta, A, B, C)
    return (y, last) if return_last_state else y


def broken(*args):
    raise RuntimeError("CUDA error: no kernel image is available for execution on the device")


@pytest.mark.parametrize(
    ("function", "used"),
    [(right, True), (broken, False), (lambda *x: right(*x) * 1.01, False),
     (lambda *x: right(*x).detach() + 0 * x[0], False), (lambda *x: right(*x) * torch.nan, False)],
    ids=["right", "fails", "other numbers", "other gradients", "nan"],
)  # fmt: skip
def test_mamba_ssm_is_used_only_if_it_computes_right(monkeypatch, function, used):
    """The CPU stands in for a GPU: what is tested is the guard, not the kernels."""
    fake_kernels(monkeypatch, function)
    try:
        assert scan_path("cuda") == ("mamba-ssm" if used else "chunked")
        assert scan_path("cuda", torch.float64) == "chunked"
    finally:
        mamba._kernels_run.cache_clear()


def test_mamba_ssm_is_called_where_it_can_be(monkeypatch):
    calls = []

    def recorded(*args):
        calls.append([x.dtype for x in args[:5]])
        return right(*args)

    fake_kernels(monkeypatch, recorded)
    monkeypatch.setattr(mamba, "scan_path", lambda *_: "mamba-ssm")
    *five, h = (x.to(torch.bfloat16) for x in numbers())
    expected = selective_scan_reference(*(x.float() for x in five))[0]
    torch.testing.assert_close(selective_scan(*five), expected.bfloat16())
    assert calls == [[torch.float32] * 5]
    with torch.no_grad():
        assert fast(*five)[1].shape == (2, 3, 4)  # a prefill
    assert len(calls) == 2
    fast(*five)  # a gradient through the state, which its kernels do not give
    fast(*five, h)  # a state to begin with, which they do not take
    selective_scan(*(x[..., :0] for x in five[:2]), five[2], *(x[..., :0] for x in five[3:]))
    assert len(calls) == 2


def test_without_numba_and_outside_its_package(monkeypatch):
    """The file by itself, as if copied into another project, computes in plain torch; so it does without numba."""
    spec = importlib.util.spec_from_file_location("copied", mamba.__file__)
    copied = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copied)
    assert copied.scan_path() == "chunked"
    copied.Mamba(8)(torch.randn(2, 70, 8)).sum().backward()
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "gfm_lab.mixers.compiled", raising=False)
    mamba._compiled.cache_clear()
    try:
        assert scan_path() == "chunked"
    finally:
        mamba._compiled.cache_clear()


@pytest.mark.skipif(not HAVE_NUMBA, reason="no numba")
def test_numba_that_loads_but_computes_wrong_is_not_used(monkeypatch):
    from gfm_lab.mixers import compiled

    def wrong(*args):
        return right_forward(*args)[0] * 1.001, *right_forward(*args)[1:]

    right_forward = compiled.scan_forward
    for other in (wrong, broken):
        monkeypatch.setattr(compiled, "scan_forward", other)
        mamba._compiled.cache_clear()
        try:
            assert scan_path() == "chunked"
        finally:
            mamba._compiled.cache_clear()


@pytest.mark.skipif(not HAVE_NUMBA, reason="no numba")
def test_compiled_code_without_a_folder_to_be_kept_in(monkeypatch):
    """numba refuses to cache where it can write neither beside the file nor in the user's cache."""
    import numba

    from gfm_lab.mixers import compiled

    real = numba.njit

    def nowhere(**options):
        if options.get("cache"):
            raise RuntimeError(
                "cannot cache function '_forward': no locator available for file 'compiled.py'"
            )
        return real(**options)

    monkeypatch.setattr(numba, "njit", nowhere)
    assert compiled._jit()(lambda x: x + 1)(2) == 3
