"""The contract of site 3, for every mixer: a new one adds its rows to OPTIONS and inherits all that stands here.

Most checks run in float64, so that "equal" can mean 1e-9 even for a mixer that works through a Fourier transform.
"""

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gfm_lab.mixers
from gfm_lab.mixers import MIXERS, build_mixer
from gfm_lab.model import GenomicConfig, GenomicForCausalLM, GenomicForMaskedLM, GenomicModel

torch.set_num_threads(1)
D, L = 16, 21
EXACT = dict(rtol=0, atol=1e-9)

# Mixer -> the settings under which it is tested. Each is built causal and not.
OPTIONS = {
    "attention": [
        {"heads": 2},
        {"heads": 2, "positions": "rotary"},
        {"heads": 4, "positions": "alibi", "qkv_bias": False, "out_bias": False},
    ],
    "sliding_window": [
        {"heads": 2, "radius": 3},
        {"heads": 2, "radius": 4, "global_projections": True},
        {"heads": 2, "radius": 1, "positions": "rotary"},
        {"heads": 2, "radius": 40, "positions": "alibi"},
    ],
    "convolution": [{}, {"kernel": 3, "dilation": 4, "expand": 1.5}],
    "hyena": [
        {"max_length": 64, "filter_width": 8},
        {"max_length": 40, "order": 3, "filter_width": 8, "filter_features": 3, "filter_inner": 0},
    ],
    "mamba": [{}, {"state_size": 3, "conv_kernel": 2, "expand": 1, "dt_rank": 2}],
}
HAVE_GLOBAL_TOKENS = {"sliding_window"}  # to the others a 2 in the mask is a 1

SETTINGS = [(name, options) for name, all_options in OPTIONS.items() for options in all_options]
ids = [f"{name}-{'-'.join(f'{k}_{v}' for k, v in options.items())}" for name, options in SETTINGS]
every_setting = pytest.mark.parametrize(("name", "options"), SETTINGS, ids=ids)
both_ways = pytest.mark.parametrize("causal", [False, True], ids=["both-sides", "causal"])


def make(name, options, causal, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    mixer = build_mixer(name, D, causal=causal, **options).to(dtype).eval()
    with torch.no_grad():  # larger weights than those a mixer starts from: small ones hide mistakes
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return mixer


def inputs(rows=2, length=L, seed=1, dtype=torch.float64):
    return torch.randn(rows, length, D, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def padded(lengths, sides, total):
    """A mask with a run of ones in each row, and the slice where it stands."""
    mask = torch.zeros(len(lengths), total, dtype=torch.long)
    where = []
    for row, (length, side) in enumerate(zip(lengths, sides, strict=True)):
        start = {"left": total - length, "right": 0, "both": (total - length) // 2}[side]
        where.append(slice(start, start + length))
        mask[row, where[-1]] = 1
    return mask, where


def test_every_mixer_is_tested_here():
    assert set(OPTIONS) == set(MIXERS)


@every_setting
@both_ways
def test_shapes_down_to_nothing(name, options, causal):
    mixer = make(name, options, causal)
    for rows, length in ((2, L), (1, 1), (3, 1), (2, 0), (0, 5)):
        x = inputs(rows, length)
        y = mixer(x)
        assert y.shape == x.shape and torch.isfinite(y).all()
        assert mixer(x, torch.ones(rows, length, dtype=torch.long)).shape == x.shape
    # A single token mixes with nobody, but what is done to it is the same in a longer sequence if it is causal.
    if causal:
        x = inputs()
        torch.testing.assert_close(mixer(x)[:, :1], mixer(x[:, :1]), **EXACT)


@every_setting
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_causal_mixer_does_not_see_the_future(name, options, data):
    """What stands at a random position and after it is changed: nothing before it moves, and what follows does."""
    mixer = make(name, options, True)
    length = data.draw(st.integers(2, 36))
    cut = data.draw(st.integers(1, length - 1))
    x, other = inputs(length=length), inputs(length=length)
    other[:, cut:] = inputs(length=length, seed=2)[:, cut:] * 10
    y, changed = mixer(x), mixer(other)
    torch.testing.assert_close(changed[:, :cut], y[:, :cut], **EXACT)
    assert not torch.allclose(changed[:, cut:], y[:, cut:], atol=1e-3)


@every_setting
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_no_bidirectional_mixer_is_causal(name, options, data):
    """The same change, right after a position within reach, moves what stands before it."""
    mixer = make(name, options, False)
    step = options.get("dilation", 1)
    length = data.draw(st.integers(step + 1, 36))
    cut = data.draw(st.integers(step, length - 1))
    x, other = inputs(length=length), inputs(length=length)
    other[:, cut:] = inputs(length=length, seed=2)[:, cut:] * 10
    assert not torch.allclose(mixer(other)[:, cut - step], mixer(x)[:, cut - step], atol=1e-6)


@every_setting
def test_one_that_is_not_causal_sees_both_sides(name, options):
    mixer = make(name, options, False)
    x, middle = inputs(), L // 2
    other = x.clone()
    other[:, middle] = 10 * inputs(seed=2)[:, middle]
    difference, step = (mixer(other) - mixer(x)).abs().amax(-1), options.get("dilation", 1)
    assert (difference[:, middle - step] > 1e-6).all() and (difference[:, middle + step] > 1e-6).all()


@every_setting
@both_ways
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_padding_moves_nothing(name, options, causal, data):
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=3))
    sides = [data.draw(st.sampled_from(["left", "right", "both"])) for _ in lengths]
    total = max(lengths) + data.draw(st.integers(0, 5))
    mixer = make(name, options, causal)
    x = inputs(len(lengths), total)
    mask, where = padded(lengths, sides, total)
    x = torch.where(mask[..., None] > 0, x, 100 * x)  # what stands at padding must not matter
    y = mixer(x, mask)
    assert torch.isfinite(y).all()
    for row, part in enumerate(where):
        torch.testing.assert_close(y[row : row + 1, part], mixer(x[row : row + 1, part]), **EXACT)


@every_setting
@both_ways
def test_a_mask_of_ones_is_no_mask_and_rows_do_not_meet(name, options, causal):
    mixer = make(name, options, causal)
    x = inputs(3)
    y = mixer(x)
    torch.testing.assert_close(mixer(x, torch.ones(3, L, dtype=torch.long)), y, **EXACT)
    for row in range(3):
        torch.testing.assert_close(mixer(x[row : row + 1]), y[row : row + 1], **EXACT)


@every_setting
@both_ways
def test_global_tokens_or_none(name, options, causal):
    mixer = make(name, options, causal)
    x, mask = inputs(), torch.ones(2, L, dtype=torch.long)
    mask[:, 0] = 2
    same = torch.allclose(mixer(x, mask), mixer(x), atol=1e-9)
    # With a radius that spans all, a global token without projections of its own changes nothing.
    special = name in HAVE_GLOBAL_TOKENS and (options["radius"] < L or options.get("global_projections"))
    assert same == (not special)


@every_setting
@both_ways
def test_a_row_of_padding_alone_is_finite_and_so_are_its_gradients(name, options, causal):
    mixer = make(name, options, causal)
    x = inputs().requires_grad_()
    mask, _ = padded([0, L], ["right", "right"], L)
    y = mixer(x, mask)
    assert torch.isfinite(y).all()
    y.square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in mixer.parameters() if p.grad is not None)
    torch.testing.assert_close(y[1:], mixer(x[1:]), **EXACT)


@every_setting
@both_ways
def test_no_gradient_flows_from_tokens_to_padding(name, options, causal):
    mixer = make(name, options, causal)
    x = inputs().requires_grad_()
    mask, where = padded([9, 14], ["left", "both"], L)
    y = mixer(x, mask)
    sum(y[row, part].square().sum() for row, part in enumerate(where)).backward()
    assert (x.grad[mask == 0] == 0).all() and (x.grad[mask == 1].abs().amax(-1) > 0).all()


@every_setting
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_step_by_step_equals_all_at_once(name, options, data):
    """One state, filled by a prefill and by pieces of any size, with and without padding on the left."""
    mixer = make(name, options, True)
    x = inputs(3)
    mask = None
    if data.draw(st.booleans()):
        mask, _ = padded([data.draw(st.integers(1, L)) for _ in range(3)], ["left"] * 3, L)
    whole = mixer(x, mask)
    cuts = sorted(data.draw(st.sets(st.integers(1, L - 1), max_size=8)))
    state, pieces = {}, []
    for start, stop in zip([0, *cuts], [*cuts, L], strict=True):
        pieces.append(mixer(x[:, start:stop], None if mask is None else mask[:, start:stop], state))
    real = torch.ones(3, L, dtype=torch.bool) if mask is None else mask > 0
    torch.testing.assert_close(torch.cat(pieces, 1)[real], whole[real], **EXACT)
    # Beam search and the batch rely on it: everything that is kept has the batch first.
    assert all(value.shape[0] == 3 for value in state.values() if isinstance(value, torch.Tensor))


@every_setting
def test_a_state_can_be_reordered(name, options):
    """What beam search does: row i goes on as what row order[i] was."""
    mixer = make(name, options, True)
    x, order = inputs(3), torch.tensor([2, 0, 0])
    state = {}
    mixer(x[:, :8], None, state)
    state = {k: v.index_select(0, order) if isinstance(v, torch.Tensor) else v for k, v in state.items()}
    again = torch.cat([x[order, :8], x[:, 8:9]], 1)
    torch.testing.assert_close(mixer(x[:, 8:9], None, state), mixer(again)[:, 8:9], **EXACT)


@every_setting
@both_ways
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.15), (torch.float16, 0.02)], ids=str
)
def test_dtypes(name, options, causal, dtype, tolerance):
    """Computed in its own dtype and near the float64 result; float16 works on a CPU too."""
    mixer = make(name, options, causal).to(dtype)
    reference = copy.deepcopy(
        mixer
    ).double()  # of the same, rounded weights: Hyena's filters magnify rounding
    x = inputs()
    mask, _ = padded([L, L - 4], ["left", "left"], L)
    y, expected = mixer(x.to(dtype), mask), reference(x, mask)
    assert y.dtype == dtype and torch.isfinite(y).all()
    assert (y.double() - expected).abs().max() < tolerance * expected.abs().max()


@every_setting
@both_ways
def test_every_parameter_learns(name, options, causal):
    mixer = make(name, options, causal).train()
    mask = torch.ones(2, L, dtype=torch.long)
    mask[:, 3] = 2
    mixer(inputs(), mask).square().sum().backward()
    still = [n for n, p in mixer.named_parameters() if p.grad is None or not (p.grad != 0).any()]
    assert not still


ALONE = {
    "attention": "SlidingWindowAttention(8, 2, 3)",
    "convolution": "Convolution(8)",
    "hyena": "Hyena(8, 16)",
    "mamba": "Mamba(8)",
}


@pytest.mark.parametrize("file", ALONE)
def test_a_mixer_s_file_can_be_copied_into_another_project(file, tmp_path):
    """It needs torch and nothing of ours; attention takes rotary positions and ALiBi from embeddings.py."""
    shutil.copy(Path(gfm_lab.mixers.__file__).parent / f"{file}.py", tmp_path / f"my_{file}.py")
    program = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        ours = name.startswith("gfm_lab.") and name != "gfm_lab.embeddings"
        if ours or name == "gfm_lab" and {file != "attention"} or name.split(".")[0] in ("transformers", "tokenizers"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import torch
from my_{file} import *
print({ALONE[file]}(torch.zeros(1, 5, 8)).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert "torch.Size([1, 5, 8])" in done.stdout, done.stderr


@pytest.mark.parametrize("name", MIXERS)
def test_options_are_checked(name):
    options = OPTIONS[name][0]
    with pytest.raises(ValueError, match=r"colour.*options are"):
        build_mixer(name, D, **options, colour="blue")
    with pytest.raises(ValueError, match="did you mean"):
        build_mixer(name[:-1], D, **options)


# ---- The same mixers inside the body ----

COMPLEMENT = [0, 1, 2, 3, 4, 8, 7, 6, 5, 9]  # five special tokens, A C G T, N


def config(name, options, **fields):
    options = dict(options)
    positions = options.pop("positions", "none")
    base = dict(vocab_size=10, hidden_size=D, num_hidden_layers=2, mixer=name, mixer_options=options)
    return GenomicConfig(**{**base, "positions": positions, "initializer_range": 0.3, **fields})


def tokens(rows=2, length=17, seed=0):
    return torch.randint(5, 10, (rows, length), generator=torch.Generator().manual_seed(seed))


@every_setting
@pytest.mark.parametrize("strands", ["shared", "averaged"])
def test_both_strands_get_one_answer(name, options, strands):
    """The logits of the reverse complement are those of the sequence, reversed, with complements exchanged."""
    torch.manual_seed(0)
    model = GenomicForMaskedLM(config(name, options, strands=strands, complement=COMPLEMENT)).eval()
    x, complement = tokens(), torch.tensor(COMPLEMENT)
    mask, _ = padded([17, 12], ["right", "right"], 17)
    x = x * mask
    there = model(x, mask).logits
    back = model(complement[x].flip(1), mask.flip(1)).logits.flip(1)[..., complement]
    torch.testing.assert_close(there, back, rtol=0, atol=1e-5)
    plain = GenomicForMaskedLM(config(name, options)).eval()
    plain.load_state_dict(model.state_dict())
    difference = plain(x).logits - plain(complement[x].flip(1)).logits.flip(1)[..., complement]
    assert difference.abs().max() > 1e-2  # the same weights, read once, do not


@every_setting
@both_ways
def test_saved_and_loaded_it_is_the_same(name, options, causal, tmp_path):
    """Also for what no file holds: a buffer that is made on construction must be made again."""
    torch.manual_seed(0)
    model = GenomicModel(config(name, options, causal=causal)).eval()
    model.save_pretrained(tmp_path)
    again = GenomicModel.from_pretrained(tmp_path).eval()
    x = tokens()
    assert torch.equal(again(x).last_hidden_state, model(x).last_hidden_state)


@every_setting
@both_ways
@pytest.mark.filterwarnings(
    "ignore:.*gradient_checkpointing_enable. is deprecated"
)  # the new name is too new
def test_gradient_checkpointing_changes_no_gradient(name, options, causal):
    torch.manual_seed(0)
    model = GenomicModel(config(name, options, causal=causal)).train()
    grads = []
    for checkpointed in (False, True):
        model.zero_grad()
        if checkpointed:
            model.gradient_checkpointing_enable()
        model(tokens(), use_cache=True).last_hidden_state.square().sum().backward()
        grads.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert len(grads[0]) > 10
    torch.testing.assert_close(grads[0], grads[1])


@every_setting
@pytest.mark.parametrize("beams", [1, 3])
def test_generating_with_and_without_a_state(name, options, beams):
    torch.manual_seed(0)
    model = GenomicForCausalLM(config(name, options, causal=True)).eval()
    x = tokens(length=6)
    mask, _ = padded([6, 4], ["left", "left"], 6)
    x = x * mask
    # No pair of tokens twice: random weights say one token again and again, which would hide mistakes.
    how = dict(max_new_tokens=9, num_beams=beams, do_sample=False, pad_token_id=0)
    how |= dict(no_repeat_ngram_size=2, suppress_tokens=[0])
    with_state = model.generate(x, attention_mask=mask, use_cache=True, **how)
    assert torch.equal(with_state, model.generate(x, attention_mask=mask, use_cache=False, **how))
    assert len(with_state[:, 6:].unique()) > 2
    alone = model.generate(x[1:, 2:], **how)
    assert torch.equal(with_state[1:, 2:], alone)
