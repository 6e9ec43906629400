"""training.py and what it stands on (windows.py, trainer.py, runs.py): data, scores, and runs that survive."""

import copy
import errno
import gc
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from gfm_lab import runs, training
from gfm_lab.checkpoints import checkpoint_names, load_model
from gfm_lab.heads import token_loss
from gfm_lab.mixers import MIXERS
from gfm_lab.model import (
    GenomicConfig,
    GenomicForCausalLM,
    GenomicForMaskedLM,
    GenomicForSequenceClassification,
)
from gfm_lab.sequence import reverse_complement
from gfm_lab.tokenization import BPETokenizer, KmerTokenizer, NucleotideTokenizer
from gfm_lab.training import (
    DiskFull,
    RunError,
    Stretch,
    Windows,
    finetune,
    pretrain,
    read_stretches,
    stretches,
)

torch.set_num_threads(1)
TOKENIZER = NucleotideTokenizer()
TINY = dict(hidden_size=16, num_hidden_layers=1, mixer_options={"heads": 2}, positions="rotary")
QUICK = dict(steps=12, batch_size=4, window=32, valid_windows=8, save_every=4, evaluate_every=6, log_every=2)
QUICK |= dict(learning_rate=5e-3, seed=3, precision="float32", device="cpu", progress=False)


@pytest.fixture(scope="module", autouse=True)
def quick_collection():
    """Each run collects garbage once: not among all that the test process has imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_figure(monkeypatch):
    """Only the run of the fixture `finished` draws its figure."""
    monkeypatch.setattr(runs, "plot_log", lambda *arguments: SimpleNamespace(savefig=lambda path: None))


def dna(length, seed=0, letters="ACGT", weights=(4, 1, 1, 4)):
    random = np.random.default_rng(seed)
    return "".join(random.choice([*letters], length, p=np.array(weights) / sum(weights)))


TRAIN, VALID = [Stretch("chr", 0, 4000, dna(4000, 1))], [Stretch("chr", 4000, 5000, dna(1000, 2))]


def masked_model(seed=0, **fields):
    torch.manual_seed(seed)
    return GenomicForMaskedLM(GenomicConfig(vocab_size=10, **(TINY | {"dropout": 0.1} | fields)))


def weights_of(folder):
    return load_file(folder / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ---- Windows ----

TOKENIZERS = {
    "nucleotides": TOKENIZER,
    "overlapping": KmerTokenizer(3),
    "side by side": KmerTokenizer(3, stride=3),
    "N alone": NucleotideTokenizer(on_unknown="split"),
    "words around N": KmerTokenizer(3, on_unknown="split"),
    "BPE": BPETokenizer.train([dna(3000)], 40),
}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), window=st.integers(3, 40), order=st.randoms(use_true_random=False))
def test_a_window_depends_on_seed_and_number_alone(name, seed, window, order):
    tokenizer = TOKENIZERS[name]
    parts = [Stretch("a", 0, 90, dna(90, 5)), Stretch("b", 10, 80, dna(70, 6).lower())]
    windows = Windows(parts, tokenizer, window, 10_000, seed)
    numbers = [0, 1, 4095, 4096, 9_999]
    first = [windows[i] for i in numbers]
    shuffled = order.sample(numbers, len(numbers))
    again = Windows(parts, tokenizer, window, 10_000, seed).__getitems__(shuffled)
    for item in again:
        assert np.array_equal(item["input_ids"], first[numbers.index(item["index"])]["input_ids"])
    for i, item in zip(numbers, first, strict=True):
        part, start, reverse = windows.place(i)
        bases = parts[part].sequence[start : start + window]
        assert len(bases) == window
        bases = reverse_complement(bases) if reverse else bases
        assert item["input_ids"].tolist() == tokenizer(bases, add_special_tokens=False)["input_ids"]


def test_every_start_and_both_strands_come_equally_often():
    windows = Windows(
        [Stretch("a", 0, 14, dna(14)), Stretch("b", 0, 12, dna(12, 1))], TOKENIZER, 10, 16_000, 1
    )
    places = [windows.place(i) for i in range(16_000)]
    counts = np.unique(places, axis=0, return_counts=True)[1]
    assert len(counts) == (5 + 3) * 2 and abs(counts - 1000).max() < 150  # 5 standard deviations
    assert not any(Windows(TRAIN, TOKENIZER, 10, 99, strands=False).place(i)[2] for i in range(99))


@settings(max_examples=40, deadline=None)
@given(
    text=st.text("ACGTN", min_size=12, max_size=60),
    window=st.integers(2, 12),
    share=st.sampled_from([0.0, 0.25, 0.5]),
)
def test_exactly_the_windows_with_few_unknown_letters_are_drawn(text, window, share):
    allowed = {
        start
        for start in range(len(text) - window + 1)
        if text[start : start + window].count("N") <= share * window
    }
    tokenizer = NucleotideTokenizer(on_unknown="split")
    make = lambda: Windows(  # noqa: E731
        [Stretch("x", 0, len(text), text)], tokenizer, window, 3000, max_unknown=share
    )
    if not allowed:
        with pytest.raises(
            ValueError, match=rf"no window of {window} bases .* x:0-{len(text)} is nearly all N"
        ):
            make()
        return
    windows = make()
    assert {windows.place(i)[1] for i in range(1000)} == allowed


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(0, 60), min_size=1, max_size=4), count=st.integers(1, 30))
def test_validation_windows_do_not_overlap(lengths, count):
    parts = [Stretch(f"s{i}", 0, n, dna(n, i)) for i, n in enumerate([20, *lengths])]
    with pytest.warns() if min(lengths) < 10 else _nothing():
        windows = Windows(parts, TOKENIZER, 10, 1)
    seen = []
    windows.item = lambda i, part, start, reverse: seen.append((part, start, reverse)) or {}
    windows.evenly(count)
    assert len(seen) == min(count, sum(n // 10 for n in [20, *lengths])) and not any(r for *_, r in seen)
    for (p, s, _), (q, t, _) in itertools.pairwise(seen):
        assert q > p or t >= s + 10


class _nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


def test_sequences_that_give_no_window():
    with pytest.raises(ValueError, match=r"x:5-25 is nearly all N"):
        Windows([Stretch("x", 5, 25, "N" * 20)], NucleotideTokenizer(on_unknown="split"), 10, 1)
    with pytest.raises(ValueError, match=r"shorter than a window of 32 bases; the longest is b:0-9 with 9"):
        Windows([Stretch("a", 0, 4, "ACGT"), Stretch("b", 0, 9, "ACGTACGTA")], TOKENIZER, 32, 1)
    with pytest.warns(UserWarning, match=r"1 of 2 stretches .* left out, among them a:0-4"):
        Windows([Stretch("a", 0, 4, "ACGT"), Stretch("b", 0, 9, "ACGTACGTA")], TOKENIZER, 6, 1)
    with pytest.raises(ValueError, match=r"x:100-108: character 'N' at position 4"):
        Windows([Stretch("x", 100, 108, "ACGTNACG")], TOKENIZER, 4, 1)
    with pytest.raises(ValueError, match="window of 2 bases is shorter than one 3-mer"):
        Windows(TRAIN, KmerTokenizer(3), 2, 1)
    with pytest.raises(ValueError, match="at least one stretch"):
        Windows([], TOKENIZER, 2, 1)


def test_stretches_keep_their_coordinates(tmp_path):
    genome = SimpleNamespace(
        accession="NC_1", offset=1000, splits={"valid": (20, 50)}, split=lambda name: dna(30)
    )
    assert stretches(genome, "valid") == [Stretch("NC_1", 1020, 1050, dna(30))]
    path = tmp_path / "some.fa"
    path.write_text(">chr20:101-108 part\nACGTACGT\n>whole\nACG\n>odd:1-99\nAC\n")
    assert [s.name for s in read_stretches(path)] == ["chr20:100-108", "whole:0-3", "odd:1-99:0-2"]


# ---- Training and validation are apart ----


@settings(max_examples=60, deadline=None)
@given(a=st.integers(0, 300), b=st.integers(0, 300), n=st.integers(20, 80), m=st.integers(20, 80))
def test_overlap_is_refused_with_its_coordinates(a, b, n, m):
    genome = dna(400, 9)
    train = [Stretch("c", a, a + n, genome[a : a + n])]
    valid = [Stretch("c", b, b + m, genome[b : b + m])]
    shared = sorted({*range(a, a + n)} & {*range(b, b + m)})
    if not shared:
        return training.check_apart(train, valid)
    place = f"in {len(shared)} bases: c:{shared[0]}-{shared[-1] + 1} "
    with pytest.raises(ValueError) as fault:
        training.check_apart(train, valid)
    assert place in str(fault.value) and f"c:{a}-{a + n}" in str(fault.value)
    assert f"c:{b}-{b + m}" in str(fault.value)


def test_the_same_bases_under_another_name_are_refused():
    inner = TRAIN[0].sequence[100:200]
    with pytest.raises(
        ValueError, match=r"copy:0-100 stands word for word in the training stretch chr:0-4,000"
    ):
        training.check_apart(TRAIN, [Stretch("copy", 0, 100, inner)])
    with pytest.raises(ValueError, match=r"\(as its reverse complement\)"):
        training.check_apart(TRAIN, [Stretch("copy", 0, 100, reverse_complement(inner))])
    with pytest.raises(ValueError, match=r"chr:0-50 .* different bases.*chr:1001-2000"):
        training.check_apart(TRAIN, [Stretch("chr", 0, 50, dna(50, 77))])
    with pytest.raises(ValueError, match=r"spans 10 bases, its sequence has 4"):
        training.check_apart([Stretch("x", 0, 10, "ACGT")], VALID)
    with pytest.raises(TypeError, match=r"train holds str.*stretches\(genome, 'train'\)"):
        training.check_apart(["ACGT"], VALID)


# ---- Model and tokenizer ----


def test_a_checkpoint_of_another_tokenizer_is_refused(tmp_path):
    masked_model().save_pretrained(tmp_path / "model")
    TOKENIZER.save_pretrained(tmp_path / "model")
    loaded = GenomicForMaskedLM.from_pretrained(tmp_path / "model")
    training.check_tokenizer(loaded, NucleotideTokenizer(), "pretrain")
    other = NucleotideTokenizer(alphabet="TGCA")
    with pytest.raises(ValueError, match=r"model.*NucleotideTokenizer of 10 .*'A' is 5 there and 8"):
        pretrain(loaded, other, TRAIN, VALID, tmp_path / "run", **QUICK)
    with pytest.raises(ValueError, match=r"KmerTokenizer with 74 entries.*model of 10"):
        pretrain(loaded, KmerTokenizer(3), TRAIN, VALID, tmp_path / "run", **QUICK)
    with pytest.raises(ValueError, match=r"mask_token_id 3, .* has 4"):
        pretrain(masked_model(mask_token_id=3), TOKENIZER, TRAIN, VALID, tmp_path / "run", **QUICK)
    odd = masked_model(kmer_sum=2, base_ids=(6, 5, 7, 8))
    with pytest.raises(ValueError, match=r"as ids \[6, 5, 7, 8\].*base_ids=\[5, 6, 7, 8\]"):
        pretrain(odd, TOKENIZER, TRAIN, VALID, tmp_path / "run", **QUICK)
    body = masked_model().body
    with pytest.raises(TypeError, match="GenomicModel has no language-model head"):
        pretrain(body, TOKENIZER, TRAIN, VALID, tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()


# ---- Bits per base ----


@pytest.mark.parametrize("objective", ["masked", "next token"])
@pytest.mark.parametrize("name", ["nucleotides", "side by side", "overlapping", "BPE"])
def test_chance_is_two_bits_a_base(objective, name):
    """Equal scores for all words: log2(4**k) bits for k bases; scores of special tokens change nothing."""
    tokenizer = TOKENIZERS[name]
    scorer = training.Scorer(tokenizer, objective)
    words = [t for t in tokenizer.get_vocab() if {*t} <= {*"ACGT"}]
    if name == "side by side":
        words = [t for t in words if len(t) == 3]
    ids = torch.tensor(tokenizer.convert_tokens_to_ids(words))[None]
    logits = torch.zeros(1, ids.shape[1], len(tokenizer))
    logits[..., tokenizer.all_special_ids] = 50.0
    logits[..., tokenizer.convert_tokens_to_ids("N")] = 70.0
    bits, bases, _, tokens = scorer.rows(logits, ids)[0].tolist()
    expected = ids.shape[1] - (objective == "next token")
    assert tokens == expected
    assert bits == pytest.approx(expected * math.log2(len(scorer.ids)), rel=1e-6)
    if name == "nucleotides":
        assert bits / bases == pytest.approx(2)
        assert scorer.unit == ("bits per masked base" if objective == "masked" else "bits per base")
    if name == "overlapping":  # a new word brings one new base; a masked one has no length of its own
        assert bases == expected and scorer.unit == (
            "bits per masked token" if objective == "masked" else "bits per base"
        )
    if name == "side by side":
        assert bases == 3 * expected


def test_bits_are_the_loss_where_only_bases_have_scores():
    torch.manual_seed(0)
    ids = torch.randint(5, 9, (3, 20))
    labels = ids.masked_fill(torch.rand(3, 20) < 0.7, -100)
    logits = torch.randn(3, 20, 10)
    logits[..., [0, 1, 2, 3, 4, 9]] = -math.inf
    for objective, loss in (
        ("masked", token_loss(logits, labels)),
        ("next token", token_loss(logits[:, :-1], labels[:, 1:])),
    ):
        scorer = training.Scorer(TOKENIZER, objective)
        rows = scorer.rows((logits, None), labels)
        found = scorer.total(SimpleNamespace(predictions=rows.numpy()))
        assert found["bits"] == pytest.approx(loss.item() / math.log(2), rel=1e-5)
        best = (
            logits.argmax(-1) == labels
            if objective == "masked"
            else logits[:, :-1].argmax(-1) == labels[:, 1:]
        )
        count = (labels >= 0).sum() if objective == "masked" else (labels[:, 1:] >= 0).sum()
        assert found["accuracy"] == pytest.approx((best.sum() / count).item())


# ---- A run from beginning to end ----


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return pretrain(masked_model(), TOKENIZER, TRAIN, VALID, folder, **QUICK)


def test_a_run_leaves_model_log_and_figure(finished, monkeypatch):
    monkeypatch.undo()
    names = {file.name for file in finished.output.iterdir()}
    assert names == {
        *("model.safetensors", "config.json", "tokenizer_config.json", "log.jsonl", "run.json", "loss.png")
    }
    again = GenomicForMaskedLM.from_pretrained(finished.output)
    assert same(again.state_dict(), finished.model.state_dict()) and not finished.model.training
    assert again.config.to_dict().keys() == masked_model().config.to_dict().keys()
    facts = json.loads((finished.output / "run.json").read_text())
    assert facts["finished"] and facts["about"]["settings"]["seed"] == 3
    assert facts["about"]["train"][0].startswith("chr:0-4,000 sha256")
    assert finished.tokens_per_second > 0 and finished.peak_memory_mib > 10 and finished.seconds > 0
    assert [line["step"] for line in finished.log] == [0, 2, 4, 6, 8, 10, 12]
    assert [line["step"] for line in finished.log if "valid_bits" in line] == [0, 6, 12]
    assert finished.log[-1]["tokens"] == 12 * 4 * 32
    assert finished.frame().shape[0] == 7 and "valid bits" in repr(finished)
    axes = finished.plot({"Markov": 1.9}).axes[0]
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {
        *("training", "validation", "Markov 1.900")
    }
    assert axes.get_ylabel() == "bits per masked base"


def test_it_learns_and_validation_is_what_the_model_says(finished):
    first, *_, last = (line["valid_bits"] for line in finished.log if "valid_bits" in line)
    assert last < first and finished.metrics["bits"] == last
    windows = Windows(VALID, TOKENIZER, 32, 1, 3, False)
    bits = []
    hide = training.MaskedLMCollator(TOKENIZER, replace=(1, 0, 0), seed=4)
    for example in windows.evenly(8):
        batch = hide([example])
        labels = batch["labels"][0]
        assert (batch["input_ids"][0][labels >= 0] == TOKENIZER.mask_token_id).all()
        with torch.no_grad():
            scores = finished.model(batch["input_ids"]).logits[0, :, 5:9].log_softmax(-1)
        bits += [-scores[i, labels[i] - 5].item() / math.log(2) for i in range(32) if labels[i] >= 0]
    assert last == pytest.approx(np.mean(bits), abs=1e-5)


def test_the_learning_rate_climbs_and_falls_to_one_percent(finished):
    rates = [line["learning_rate"] for line in finished.log[1:]]
    assert max(rates) <= 5e-3 and rates[-1] == pytest.approx(5e-5) and rates == sorted(rates, reverse=True)


def test_the_same_seed_gives_the_same_weights(finished, tmp_path):
    other = pretrain(masked_model(), TOKENIZER, TRAIN, VALID, tmp_path / "a", **QUICK)
    assert same(weights_of(other.output), weights_of(finished.output))
    other = pretrain(masked_model(), TOKENIZER, TRAIN, VALID, tmp_path / "b", **(QUICK | {"seed": 4}))
    assert not same(weights_of(other.output), weights_of(finished.output))


def test_accumulating_gradients_changes_nothing(finished, tmp_path):
    options = QUICK | {"steps": 4}
    whole = pretrain(masked_model(dropout=0.0), TOKENIZER, TRAIN, VALID, tmp_path / "a", **options)
    parts = pretrain(
        masked_model(dropout=0.0), TOKENIZER, TRAIN, VALID, tmp_path / "b", accumulate=2, **options
    )
    for a, b in zip(whole.log, parts.log, strict=True):
        assert a.get("train_bits", 0) == pytest.approx(b.get("train_bits", 0), abs=1e-5)


@pytest.mark.parametrize("name", ["overlapping", "BPE"])
def test_next_token_with_other_tokenizers(name, tmp_path):
    torch.manual_seed(0)
    model = GenomicForCausalLM(GenomicConfig(vocab_size=len(TOKENIZERS[name]), causal=True, **TINY))
    run = pretrain(model, TOKENIZERS[name], TRAIN, VALID, tmp_path / "run", **(QUICK | {"steps": 4}))
    assert run.settings["objective"] == "next token" and run.settings["unit"] == "bits per base"
    assert "rate" not in run.settings and math.isfinite(run.metrics["bits"])
    bases = 4 * 4 * 32
    assert bases / 4 < run.log[-1]["tokens"] <= bases


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_weights(tmp_path):
    seen = set()
    model = masked_model()
    model.body.layers[0].ffn.up.register_forward_hook(lambda module, args, out: seen.add(out.dtype))
    options = QUICK | {"steps": 2, "precision": "bfloat16"}
    run = pretrain(model, TOKENIZER, TRAIN, VALID, tmp_path / "run", **options)
    assert seen == {torch.bfloat16} and run.settings["precision"] == "bfloat16"
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}


def test_weight_decay_spares_norms_biases_and_embeddings():
    model = masked_model(kmer_sum=2, positions="learned", lm_bias=True)
    decayed = training.train_in_folder.__globals__["GuardedTrainer"].get_decay_parameter_names(None, model)
    assert {name.split(".", 3)[-1] for name in decayed} == {
        *("mixer.qkv.weight", "mixer.out.weight", "ffn.up.weight", "ffn.down.weight")
    }


class Marked(torch.nn.Module):
    """A mixer with a matrix that must not decay, as Mamba's A_log."""

    def __init__(self, dim, causal=True):
        super().__init__()
        self.free, self.held = (torch.nn.Parameter(torch.ones(dim, 2)) for _ in "12")
        self.held._no_weight_decay = True

    def forward(self, x, mask=None, state=None):
        return x * self.free.sum(1) * self.held.sum(1)


@pytest.mark.parametrize("how", ["new", "copied", "loaded"])
def test_what_is_marked_does_not_decay_even_in_a_copy(how, monkeypatch, tmp_path):
    """torch's copies and transformers' loading make new parameters without the mark."""
    monkeypatch.setitem(MIXERS, "marked", Marked)
    model = masked_model(mixer="marked", mixer_options={}, positions="none")
    if how == "copied":
        model = copy.deepcopy(model)
    if how == "loaded":
        model.save_pretrained(tmp_path)
        model = GenomicForMaskedLM.from_pretrained(tmp_path)
    decayed = training.train_in_folder.__globals__["GuardedTrainer"].get_decay_parameter_names(None, model)
    assert {name.split(".", 3)[-1] for name in decayed} == {"mixer.free", "ffn.up.weight", "ffn.down.weight"}


def test_only_weight_decay_moves_what_has_no_gradient(monkeypatch, tmp_path):
    """Through a whole run: a matrix without gradient shrinks, unless it is marked."""
    monkeypatch.setitem(MIXERS, "marked", Marked)
    model = masked_model(mixer="marked", mixer_options={}, positions="none")
    monkeypatch.setattr(
        Marked, "forward", lambda self, x, mask=None, state=None: x + 0 * (self.free + self.held).sum()
    )
    pretrain(model, TOKENIZER, TRAIN, VALID, tmp_path / "run", **QUICK | {"weight_decay": 1.0})
    mixer = model.body.layers[0].mixer
    assert (mixer.held == 1).all() and (mixer.free < 0.99).all()


# ---- Folders ----


def test_a_folder_with_another_run_is_refused(finished, tmp_path):
    with pytest.raises(RunError, match=r"holds a finished run with the same settings.*resume=True"):
        pretrain(masked_model(), TOKENIZER, TRAIN, VALID, finished.output, **QUICK)
    with pytest.raises(RunError, match=r"other settings \(steps was 12, now 20\): choose a new folder$"):
        pretrain(masked_model(), TOKENIZER, TRAIN, VALID, finished.output, **(QUICK | {"steps": 20}))
    with pytest.raises(RunError, match=r"learning_rate was 0.005, now 0.1; seed was 3, now 9"):
        changed = QUICK | {"learning_rate": 0.1, "seed": 9, "resume": True}
        pretrain(masked_model(), TOKENIZER, TRAIN, VALID, finished.output, **changed)
    with pytest.raises(RunError, match=r"model.hidden_size was 16, now 8.*train was .*chr:0-4,000"):
        cut = [Stretch("chr", 0, 3000, TRAIN[0].sequence[:3000])]
        pretrain(masked_model(hidden_size=8), TOKENIZER, cut, VALID, finished.output, **QUICK, resume=True)
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(RunError, match=r"holds no run \(thesis.doc\)"):
        pretrain(masked_model(), TOKENIZER, TRAIN, VALID, tmp_path, **QUICK)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.doc"]
    before = (finished.output / "run.json").read_bytes()
    model = masked_model(seed=5)
    again = pretrain(model, TOKENIZER, TRAIN, VALID, finished.output, **QUICK, resume=True)
    assert same(again.model.state_dict(), finished.model.state_dict())
    assert again.log == finished.log and (finished.output / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"batch_size": 3, "accumulate": 2}, "batch_size 3 cannot be shared evenly .* multiple of 2"),
        ({"precision": "float16"}, "float16"),
        ({"pattern": "odd"}, "pattern"),
    ],
)
def test_settings_out_of_range(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        pretrain(masked_model(), TOKENIZER, TRAIN, VALID, tmp_path / "run", **(QUICK | change))
    assert not (tmp_path / "run").exists()


# ---- Runs that are cut off ----


def during_step(model, number, act):
    """Call `act(output)` in the forward pass of training step `number`; validation does not count."""
    count = 0

    def hook(module, args, output):
        nonlocal count
        count += module.training
        return act(output) if module.training and count == number else None

    model.head.register_forward_hook(hook)
    return model


def test_ctrl_c_saves_and_the_run_goes_on(finished, tmp_path):
    folder = tmp_path / "run"
    before = signal.getsignal(signal.SIGINT)
    model = during_step(masked_model(), 6, lambda output: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match=r"stopped at step 6 of 12; .*checkpoint-6\. .*resume=True"):
        pretrain(model, TOKENIZER, TRAIN, VALID, folder, **QUICK)
    assert signal.getsignal(signal.SIGINT) is before
    assert [path.name for path in runs.checkpoints(folder / "checkpoints")] == [
        "checkpoint-4",
        "checkpoint-6",
    ]
    with pytest.raises(RunError, match="interrupted with the same settings"):
        pretrain(masked_model(), TOKENIZER, TRAIN, VALID, folder, **QUICK)
    run = pretrain(masked_model(seed=8), TOKENIZER, TRAIN, VALID, folder, **QUICK, resume=True)
    assert same(weights_of(folder), weights_of(finished.output))
    assert scores(run.log) == scores(finished.log)


def scores(log):
    """A log without what depends on the clock."""
    return [{n: v for n, v in line.items() if n not in ("seconds", "tokens_per_second")} for line in log]


def test_nan_stops_with_step_and_learning_rate_and_keeps_the_last_checkpoint(tmp_path):
    model = during_step(masked_model(), 7, lambda output: output * math.nan)
    with pytest.raises(FloatingPointError, match=r"step 7: loss nan.*learning rate 0\.00\d+.*checkpoint-4"):
        pretrain(model, TOKENIZER, TRAIN, VALID, tmp_path / "run", **QUICK)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    kept = tmp_path / "run" / "checkpoints" / "checkpoint-4"
    again = GenomicForMaskedLM.from_pretrained(kept)
    assert all(torch.isfinite(p).all() for p in again.parameters())
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_loss_that_explodes_by_itself_is_caught(tmp_path):
    wild = QUICK | {"learning_rate": 1e38, "clip": 1e30}
    with pytest.raises(FloatingPointError, match=r"step \d+: loss .*, learning rate \d.*no checkpoint"):
        pretrain(masked_model(), TOKENIZER, TRAIN, VALID, tmp_path / "run", **wild)


def full_after(monkeypatch, checkpoints):
    """The disk reports no free byte once so many checkpoints are whole."""
    real = shutil.disk_usage

    def usage(path):
        full = len(runs.checkpoints(runs.Path(path))) >= checkpoints
        return SimpleNamespace(free=1000) if full else real(path)

    monkeypatch.setattr(runs.shutil, "disk_usage", usage)


def test_a_full_disk_is_reported_before_anything_is_lost(finished, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        full_after(patch, 0)
        with pytest.raises(DiskFull, match=r"no room for checkpoints .* MB are free. Free at least") as fault:
            pretrain(masked_model(), TOKENIZER, TRAIN, VALID, folder, **QUICK)
        assert fault.value.errno == errno.ENOSPC
    with monkeypatch.context() as patch:
        full_after(patch, 1)
        with (
            pytest.warns(UserWarning, match="is filling up: 0.0 MB are free, the next checkpoint needs"),
            pytest.raises(DiskFull, match=r"checkpoint of step 8: .*checkpoint-4 is whole: .*resume=True"),
        ):
            pretrain(masked_model(), TOKENIZER, TRAIN, VALID, folder, **QUICK)
    pretrain(masked_model(), TOKENIZER, TRAIN, VALID, folder, **QUICK, resume=True)
    assert same(weights_of(folder), weights_of(finished.output))


@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOSPC, "No space"), RuntimeError("write: No space left on device")]
)
def test_a_disk_that_fills_up_while_a_checkpoint_is_written(fault, finished, tmp_path, monkeypatch):
    folder, real = tmp_path / "run", torch.save

    def save(content, path, *arguments, **options):
        if "checkpoint-8" in str(path):
            runs.Path(path).write_bytes(b"half of it")
            raise fault
        real(content, path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save)
        with pytest.raises(DiskFull, match=r"checkpoint of step 8.*checkpoint-4 is whole"):
            pretrain(masked_model(), TOKENIZER, TRAIN, VALID, folder, **QUICK)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["checkpoint-4"]
    pretrain(masked_model(), TOKENIZER, TRAIN, VALID, folder, **QUICK, resume=True)
    assert same(weights_of(folder), weights_of(finished.output))


def test_other_errors_while_saving_are_not_called_a_full_disk(tmp_path, monkeypatch):
    def save(*arguments, **options):
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="the disk is broken") as fault:
        pretrain(masked_model(), TOKENIZER, TRAIN, VALID, tmp_path / "run", **QUICK)
    assert not isinstance(fault.value, DiskFull)


def test_half_written_checkpoints_and_lines_are_ignored(finished, tmp_path):
    folder = tmp_path / "run"
    model = during_step(masked_model(), 10, lambda output: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        pretrain(model, TOKENIZER, TRAIN, VALID, folder, **QUICK)
    newest = folder / "checkpoints" / "checkpoint-10"
    (newest / "optimizer.pt").write_bytes((newest / "optimizer.pt").read_bytes()[:100])
    (folder / "checkpoints" / "checkpoint-11").mkdir()
    with open(folder / "log.jsonl", "a") as file:
        file.write('{"step": 11, "tok')
    assert [path.name for path in runs.checkpoints(folder / "checkpoints")] == ["checkpoint-8"]
    run = pretrain(masked_model(seed=1), TOKENIZER, TRAIN, VALID, folder, **QUICK, resume=True)
    assert same(weights_of(folder), weights_of(finished.output)) and scores(run.log) == scores(finished.log)


def test_a_run_killed_after_its_last_step_is_finished(finished, tmp_path, monkeypatch):
    folder = tmp_path / "run"

    def killed(*arguments):
        raise SystemExit(9)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(runs, "move_into", killed)
        pretrain(masked_model(), TOKENIZER, TRAIN, VALID, folder, **QUICK)
    run = pretrain(masked_model(seed=2), TOKENIZER, TRAIN, VALID, folder, **QUICK, resume=True)
    assert same(weights_of(folder), weights_of(finished.output)) and scores(run.log) == scores(finished.log)


WORKER = """
import json, signal, sys
from pathlib import Path
import torch
from gfm_lab.model import GenomicConfig, GenomicForMaskedLM
from gfm_lab.tokenization import NucleotideTokenizer
from gfm_lab.training import Stretch, pretrain

torch.set_num_threads(1)
given = json.loads(sys.argv[1])
train, valid = ([Stretch(*s) for s in given[name]] for name in ("train", "valid"))

def run(folder, stop_at=None, **options):
    torch.manual_seed(0)
    model, seen = GenomicForMaskedLM(GenomicConfig(**given["model"])), []

    def hook(module, *_):
        seen.append(module.training)
        if sum(seen) == stop_at:
            print("ready to be killed", flush=True)
            signal.pause()

    model.head.register_forward_hook(hook)
    pretrain(model, NucleotideTokenizer(), train, valid, Path(folder), **given["options"], **options)
"""


def worker(tmp_path, calls, dropout):
    """A script of its own that trains as the tests here do, and its argument."""
    path = tmp_path / "worker.py"
    path.write_text(WORKER + calls)
    model = dict(vocab_size=10, dropout=dropout, **TINY)
    return [str(path), json.dumps(dict(train=TRAIN, valid=VALID, model=model, options=QUICK))]


@pytest.mark.slow
def test_kill_9_and_resume_give_the_weights_of_an_uninterrupted_run(tmp_path):
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    script = worker(tmp_path, f"run({str(cut)!r}, stop_at=7)", dropout=0.1)
    with subprocess.Popen([sys.executable, *script], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready to be killed\n"
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in runs.checkpoints(cut / "checkpoints")] == ["checkpoint-4"]
    assert not (cut / "model.safetensors").exists() and runs.read_log(cut / "log.jsonl")[-1]["step"] == 6
    script = worker(tmp_path, f"run({str(cut)!r}, resume=True)\nrun({str(whole)!r})", dropout=0.1)
    subprocess.run([sys.executable, *script], check=True)
    assert same(weights_of(cut), weights_of(whole))
    assert scores(runs.read_log(cut / "log.jsonl")) == scores(runs.read_log(whole / "log.jsonl"))


@pytest.mark.slow
def test_two_processes_reach_the_loss_of_one(tmp_path):
    """torchrun, gloo on the CPU, the same global batch: every logged loss agrees."""
    script = worker(tmp_path, f"run({str(tmp_path / 'two')!r})", dropout=0.0)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *script]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one = pretrain(masked_model(dropout=0.0), TOKENIZER, TRAIN, VALID, tmp_path / "one", **QUICK)
    two = runs.read_log(tmp_path / "two" / "log.jsonl")
    assert [line["step"] for line in one.log] == [line["step"] for line in two]
    for a, b in zip(one.log, two, strict=True):
        for name in ("train_bits", "valid_bits", "tokens"):
            assert a.get(name, 0) == pytest.approx(b.get(name, 0), abs=1e-5)
    assert json.loads((tmp_path / "two" / "run.json").read_text())["machine"]["processes"] == 2


# ---- Fine-tuning ----


def labelled(count, seed):
    """Sequences rich in A and T (1) or in C and G (0), of 20 to 30 bases."""
    random = np.random.default_rng(seed)
    labels = (random.random(count) < 0.4).astype(int)
    rows = [
        dna(int(random.integers(20, 30)), [seed, i], weights=(4, 1, 1, 4) if y else (1, 2, 2, 1))
        for i, y in enumerate(labels)
    ]
    return rows, labels


FT = dict(epochs=3, batch_size=16, precision="float32", device="cpu", progress=False)
FT_TRAIN, FT_VALID = labelled(96, 1), labelled(40, 2)


def predict(model, sequences):
    batch = TOKENIZER(sequences, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


@pytest.mark.parametrize("method", ["full", "probe", "lora"])
def test_finetuning_learns_and_saves_what_it_predicts(method, tmp_path):
    model = masked_model()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    run = finetune(
        model, TOKENIZER, FT_TRAIN, FT_VALID, tmp_path / "run",
        task="classification", method=method, learning_rate=1e-2, **FT,
    )  # fmt: skip
    assert run.metrics["auroc"] > 0.9 and run.metrics["loss"] < run.log[0]["valid_loss"]
    assert same(before, model.state_dict())
    again = GenomicForSequenceClassification.from_pretrained(tmp_path / "run")
    np.testing.assert_allclose(predict(again, FT_VALID[0]).softmax(-1), run.predictions, atol=1e-5)
    kept = [torch.equal(p, before[f"body.{name}"]) for name, p in again.body.state_dict().items()]
    assert all(kept) == (method == "probe")
    if method == "lora":  # its matrices were added to the linear maps: what is no linear map did not move
        assert torch.equal(again.body.embeddings.token.weight, before["body.embeddings.token.weight"])
    best = min((line["valid_loss"], line["step"]) for line in run.log[1:] if "valid_loss" in line)
    assert run.kept_step == best[1] and run.metrics["loss"] == best[0]


@pytest.mark.parametrize("name", checkpoint_names())
def test_every_shipped_checkpoint_takes_every_method(name, tmp_path):
    model, tokenizer = load_model(name)
    before = {key: p.clone() for key, p in model.body.state_dict().items()}
    rows = [(part[0][:8], [0, 1] * 4) for part in (FT_TRAIN, FT_VALID)]
    options = FT | {"epochs": 1, "batch_size": 8, "learning_rate": 1e-2, "warmup": 0}
    for method in ("probe", "lora", "full"):
        run = finetune(
            model, tokenizer, *rows, tmp_path / method, task="classification", method=method, **options
        )
        assert run.predictions.shape == (8, 2) and np.isfinite(run.predictions).all()
        again, _ = load_model(tmp_path / method)  # LoRA's matrices were added: an ordinary model
        changed = {key for key, p in again.body.state_dict().items() if not torch.equal(p, before[key])}
        assert bool(changed) == (method != "probe")
        if method == "lora":  # thin matrices stand beside linear maps alone
            linear = {
                f"{key}.weight" for key, m in again.body.named_modules() if isinstance(m, torch.nn.Linear)
            }
            assert changed <= linear
    assert same(before, model.body.state_dict())


def test_regression_answers_in_the_units_of_the_labels(tmp_path):
    def rows(part):
        return part[0], [300 + 20 * sequence.count("A") / len(sequence) for sequence in part[0]]

    run = finetune(
        masked_model(), TOKENIZER, rows(FT_TRAIN), rows(FT_VALID), tmp_path / "run",
        task="regression", learning_rate=1e-2, **FT,
    )  # fmt: skip
    again = GenomicForSequenceClassification.from_pretrained(tmp_path / "run")
    np.testing.assert_allclose(predict(again, FT_VALID[0]), run.predictions, rtol=1e-5)
    truth = np.array(rows(FT_VALID)[1])
    assert 1 - ((run.predictions[:, 0] - truth) ** 2).mean() / truth.var() == pytest.approx(
        run.metrics["r2"], abs=1e-4
    )
    assert run.metrics["r2"] > 0.2 and run.metrics["spearman"] > 0.4


def test_several_labels_at_once(tmp_path):
    rows = [(s, np.stack([y, 1 - y, y], 1)) for s, y in (FT_TRAIN, FT_VALID)]
    run = finetune(
        masked_model(), TOKENIZER, *rows, tmp_path / "run", task="multilabel", learning_rate=1e-2, **FT
    )
    assert run.predictions.shape == (40, 3) and run.metrics["auroc"] > 0.9


def test_a_model_of_transformers_can_be_tuned(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=10, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    model = BertForSequenceClassification(config)
    run = finetune(
        model, TOKENIZER, FT_TRAIN, FT_VALID, tmp_path / "run", task="classification", method="lora",
        learning_rate=1e-2, **(FT | {"epochs": 1}),
    )  # fmt: skip
    again = BertForSequenceClassification.from_pretrained(tmp_path / "run")
    np.testing.assert_allclose(predict(again, FT_VALID[0]).softmax(-1), run.predictions, atol=1e-5)


def test_training_stops_when_validation_has_stopped_falling(tmp_path):
    """With labels that mean nothing in valid, more epochs only make it worse."""
    noise = (FT_VALID[0], 1 - FT_VALID[1])
    options = FT | {"epochs": 12, "patience": 2}
    run = finetune(
        masked_model(), TOKENIZER, FT_TRAIN, noise, tmp_path / "run",
        task="classification", learning_rate=2e-2, **options,
    )  # fmt: skip
    epochs = [line for line in run.log[1:] if "valid_loss" in line]
    assert len(epochs) < 12 and run.kept_step == epochs[-3]["step"]


def test_class_weights_make_both_classes_count_the_same():
    labels = np.array([0] * 90 + [1] * 10)
    weights = training._class_weights("balanced", labels, 2)
    assert weights[0] * 90 == pytest.approx((weights[1] * 10).item()) and weights[
        labels
    ].mean() == pytest.approx(1)
    logits = torch.randn(100, 2)
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(labels), weights)
    found = training._loss("classification", logits, torch.tensor(labels), weights)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("train", "valid", "options", "message"),
    [
        ((["ACGT"], [0.5]), FT_VALID, {}, "one whole number from 0 .*task='regression'"),
        ((["ACGT", "AC"], ["enhancer", "none"]), FT_VALID, {}, "enhancer.*number the classes from 0"),
        ((["ACGT"], [math.nan]), FT_VALID, {"task": "regression"}, "row 0 of train is nan"),
        ((["ACGT"], [0, 1]), FT_VALID, {}, "1 sequences and 2 labels"),
        (FT_TRAIN, (["ACG"], [2]), {}, r"train has the classes \[0, 1\], valid also \[2\]"),
        (
            FT_TRAIN,
            (FT_TRAIN[0][5:7], [0, 1]),
            {},
            "2 sequences stand in train and in valid, such as row 0 of valid",
        ),
        (FT_TRAIN, (["ACGX"], [1]), {}, "row 0 of valid: character 'X' at position 3"),
        (FT_TRAIN, (["", "ACG"], [1, 0]), {}, "row 0 of valid gives no token"),
        (FT_TRAIN, FT_VALID, {"task": "ranking"}, "no task 'ranking': choose one of classification"),
        (FT_TRAIN, FT_VALID, {"method": "prefix"}, "no method 'prefix': choose one of full, probe, lora"),
        (FT_TRAIN, FT_VALID, {"class_weights": [1, 2, 3]}, "3 numbers for 2 classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(train, valid, options, message, tmp_path):
    options = {"task": "classification"} | FT | options
    with pytest.raises(ValueError, match=message):
        finetune(masked_model(), TOKENIZER, train, valid, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
