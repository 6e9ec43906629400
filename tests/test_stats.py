"""What a run costs: FLOPs against sums by hand, the same by every path, and what run.json says."""

import json
import math

import pytest
import torch

from gfm_lab import stats
from gfm_lab.mixers import mamba as mamba_module
from gfm_lab.mixers import selective_scan
from gfm_lab.model import GenomicConfig, GenomicForCausalLM, GenomicForMaskedLM
from gfm_lab.stats import count_flops, matmul_speed, scan_flops, stats_of, stats_text
from gfm_lab.stretches import Stretch
from gfm_lab.tokenization import NucleotideTokenizer
from gfm_lab.training import pretrain

torch.set_num_threads(1)
WIDTH, LAYERS, ROWS, LENGTH, WORDS = 16, 2, 3, 40, 12


def model_with(mixer, options=None, causal=True, **fields):
    torch.manual_seed(0)
    config = GenomicConfig(
        vocab_size=WORDS, hidden_size=WIDTH, num_hidden_layers=LAYERS, mixer=mixer, mixer_options=options or {},
        positions="none", causal=causal, **fields,
    )  # fmt: skip
    return (GenomicForCausalLM if causal else GenomicForMaskedLM)(config)


def batch():
    ids = torch.randint(5, 9, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "labels": ids}


def in_linear_maps(model):
    """Weights that meet every token: each costs 2 FLOPs forward and 4 backward. The tied table is one, as LM head."""
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    return sum({id(m.weight): m.weight.numel() for m in linear}.values())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_attention_by_hand(precision):
    model = model_with("attention", {"heads": 2})
    found = count_flops(model, batch(), precision)
    scores = 4 * LENGTH * WIDTH * LAYERS  # q k and weights v: 2 each for every pair of tokens and channel
    assert found["products"] == 6 * in_linear_maps(model) + 3 * scores
    assert found["fft"] == found["scan"] == 0 and found["all"] == found["products"]
    assert all(p.grad is None for p in model.parameters())


def test_attention_counts_the_same_when_torch_takes_another_kernel():
    """With a mask, and with plain matrix products instead of a kernel."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    model, data = model_with("attention", {"heads": 2}, causal=False), batch()
    expected = count_flops(model, data)
    data["attention_mask"] = torch.ones_like(data["input_ids"])
    data["attention_mask"][0, -3:] = 0
    assert count_flops(model, data) == expected
    with sdpa_kernel(SDPBackend.MATH):
        assert count_flops(model, data)["products"] == pytest.approx(expected["products"], rel=1e-6)


@pytest.mark.parametrize(("rows", "n"), [(1, 64), (6, 360)])
def test_an_fft_of_n_real_numbers(rows, n):
    counter = stats.FlopCounterMode(display=False, custom_mapping=stats.FORMULAS)
    x = torch.randn(rows, n)
    with counter:
        spectrum = torch.fft.rfft(x)
    assert counter.get_total_flops() == int(2.5 * rows * n * math.log2(n))
    with counter:  # entering starts from zero
        torch.fft.irfft(spectrum, n=n)
    assert counter.get_total_flops() == int(2.5 * rows * n * math.log2(n))
    with counter:
        torch.fft.fft(x.to(torch.complex64))
    assert counter.get_total_flops() == int(5 * rows * n * math.log2(n))


def test_hyena_has_products_and_ffts_which_grow_with_the_logarithm():
    model = model_with("hyena", {"max_length": 4096})
    found = {}
    for length in (256, 1024):
        ids = torch.randint(5, 9, (8, length))
        found[length] = count_flops(model, {"input_ids": ids, "labels": ids})
    # Of 2 L numbers a channel and layer: one there and one back, forward and backward, besides those of the filter.
    least = 4 * WIDTH * LAYERS * 2.5 * 2 * math.log2(2 * 256)
    assert least <= found[256]["fft"] <= 1.5 * least
    assert 1 < found[1024]["fft"] / found[256]["fft"] < 1.5
    network = (
        in_linear_maps(model.body.layers[0].mixer.filter) * LAYERS
    )  # meets each position once, not each row
    assert found[256]["products"] == pytest.approx(
        6 * (in_linear_maps(model) - network * (1 - 1 / 8)), rel=0.02
    )


def test_mamba_counts_the_same_whatever_computes_its_scan(monkeypatch):
    model = model_with("mamba", {"state_size": 4})
    monkeypatch.setattr(mamba_module, "_compiled", lambda: None)
    assert stats.scan_path("cpu") == "chunked"
    found = count_flops(model, batch())
    assert found["scan"] == LAYERS * scan_flops(2 * WIDTH, 4) == LAYERS * 27 * 2 * WIDTH * 4
    assert found["products"] == pytest.approx(6 * in_linear_maps(model), rel=1e-9)
    monkeypatch.undo()
    if stats.scan_path("cpu") == "compiled":
        assert count_flops(model, batch()) == pytest.approx(found)


def test_a_scan_costs_what_its_definition_says():
    """The operations of one step, counted in the definition itself: 9 a number, without what falls on a channel."""
    counted = {
        "mul": 2,
        "exp": 1,
        "add": 2,
        "read": 2,
        "write": 2,
    }  # delta A, A's exp, decay h + ..., C h, delta u B
    assert scan_flops(1, 1) == 3 * sum(counted.values())
    assert selective_scan(
        *(torch.ones(1, 1, 3),) * 2, -torch.ones(1, 1), *(torch.ones(1, 1, 3),) * 2
    ).shape == (1, 1, 3)


def test_matmul_speed_is_that_of_the_best_product(monkeypatch):
    #        until  first    second   third    fourth   enough?
    times = iter([0, 0, 9.0, 10, 14.0, 20, 21.0, 30, 33.0, 40])
    monkeypatch.setattr(stats.time, "perf_counter", lambda: next(times))
    # The first product, which is not counted, and then 4, 1 and 3 seconds.
    assert matmul_speed("cpu", torch.float32, size=32, seconds=5.0) == 2 * 32**3 / 1.0
    monkeypatch.undo()
    assert matmul_speed("cpu", torch.bfloat16, size=64, seconds=0.0) > 0


def test_the_fraction_is_arithmetic_done_over_arithmetic_possible():
    flops = {"products": 3e6, "fft": 1e6, "scan": 0.0, "all": 4e6}
    found = stats_of(flops, 1e10, 500.0, 123.4, processes=2)
    assert found["fraction_of_matmul_speed"] == 0.1
    text = stats_text(found)
    for part in (
        "500 tokens/s",
        "123 MiB",
        "4 MFLOPs a token",
        "3 M in matrix products",
        "1 M in FFTs",
        "10.0%",
    ):
        assert part in text
    assert "scan" not in text and "10 GFLOPs/s" in text
    assert "not known" in stats_text(found | {"peak_memory_mib": None})


def test_a_run_with_stats_writes_and_prints_them(tmp_path, capsys):
    tokenizer = NucleotideTokenizer()
    text = "ACGTTGCA" * 100
    train, valid = [Stretch("a", 0, 800, text)], [Stretch("b", 0, 300, "ACCTTGAACA" * 30)]
    options = dict(steps=3, batch_size=4, window=32, precision="float32", device="cpu", progress=False)
    model = model_with("convolution", {"kernel": 3}, causal=False)
    run = pretrain(model, tokenizer, train, valid, tmp_path / "run", stats=True, **options)
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run.stats == facts["stats"] and "stats" not in facts["about"]["settings"]
    assert facts["stats"]["tokens_per_second"] == facts["tokens_per_second"]
    assert facts["stats"]["flops_per_token"]["all"] >= 6 * in_linear_maps(model)
    per_second = facts["stats"]["flops_per_token"]["all"] * facts["tokens_per_second"]
    fraction = per_second / facts["stats"]["matmul_flops_per_second"]
    assert facts["stats"]["fraction_of_matmul_speed"] == pytest.approx(fraction, abs=1e-3)
    assert stats_text(run.stats) in capsys.readouterr().out

    without = pretrain(
        model_with("convolution", {"kernel": 3}, causal=False),
        tokenizer,
        train,
        valid,
        tmp_path / "plain",
        **options,
    )
    assert without.stats is None and "stats" not in json.loads((tmp_path / "plain" / "run.json").read_text())
    for a, b in zip(run.model.parameters(), without.model.parameters(), strict=True):
        assert torch.equal(a, b)  # measuring changes nothing
