"""Control tokens from the tokenizer through windows, objectives and training to scores; the species panel."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from gfm_lab.evaluation import bits_per_base, causal_probabilities
from gfm_lab.model import GenomicConfig, GenomicForCausalLM
from gfm_lab.objectives import MaskedLMCollator, NextTokenCollator
from gfm_lab.sequence import reverse_complement
from gfm_lab.stretches import SPECIES, Stretch, Windows, check_apart, panel
from gfm_lab.tokenization import BPETokenizer, NucleotideTokenizer
from gfm_lab.training import RunError, Scorer, pretrain

torch.set_num_threads(1)
PLAIN = NucleotideTokenizer(on_unknown="split")
TOKENIZER = NucleotideTokenizer(on_unknown="split", controls=("ecoli", "human"))
dna = st.text("ACGTN", min_size=1, max_size=60)


# ---- Tokenizer ----


def test_control_tokens_come_after_all_others_which_keep_their_ids():
    assert TOKENIZER.get_vocab() == PLAIN.get_vocab() | {"[ecoli]": 10, "[human]": 11}
    assert len(TOKENIZER) == TOKENIZER.vocab_size == 12
    assert TOKENIZER.controls == ("ecoli", "human") and PLAIN.controls == ()
    assert [TOKENIZER.control_id(name) for name in TOKENIZER.controls] == [10, 11]
    assert TOKENIZER.complement_ids.tolist() == [*PLAIN.complement_ids.tolist(), 10, 11]


@given(dna)
def test_dna_never_gives_a_control_token(text):
    assert TOKENIZER.encode_array(text).tolist() == PLAIN(text)["input_ids"] == TOKENIZER(text)["input_ids"]
    ids = [11, *TOKENIZER(text)["input_ids"]]
    assert TOKENIZER(f"[human]{text}")["input_ids"] == ids
    assert TOKENIZER.decode(ids) == f"[human]{text}"
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == text
    assert TOKENIZER.reverse_complement_ids(ids) == [11, *TOKENIZER(reverse_complement(text))["input_ids"]]


def test_save_and_load_twice(tmp_path):
    TOKENIZER.save_pretrained(tmp_path / "a")
    AutoTokenizer.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    again = AutoTokenizer.from_pretrained(tmp_path / "b")
    assert again.get_vocab() == TOKENIZER.get_vocab() and again.controls == TOKENIZER.controls
    assert again.control_id("human") == 11 and again("[human]AC")["input_ids"] == [11, 5, 6]
    assert sorted(again.all_special_ids) == [0, 1, 2, 3, 4, 10, 11]
    PLAIN.save_pretrained(tmp_path / "c")  # without controls the file is what it was
    assert "controls" not in json.loads((tmp_path / "c" / "tokenizer_config.json").read_text())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("ecoli", r"write \('ecoli',\)"),
        (("a", "a"), r"\[a\] stands in the vocabulary already"),
        (("MASK",), r"\[MASK\] stands in the vocabulary already"),
        (("E. coli",), "'E. coli'"),
        (("",), "''"),
        ((3,), "3"),
    ],
)
def test_names_that_cannot_be_tokens(names, message):
    with pytest.raises(ValueError, match=message):
        NucleotideTokenizer(controls=names)


def test_an_unknown_control_is_named():
    with pytest.raises(ValueError, match="'yeast': it has ecoli, human"):
        TOKENIZER.control_id("yeast")
    with pytest.raises(ValueError, match="it has none"):
        PLAIN.control_id("yeast")


# ---- Windows ----


def random_dna(length, seed=0):
    return "".join(np.random.default_rng(seed).choice([*"ACGT"], length))


def test_each_control_has_the_same_chance_whatever_its_length():
    parts = [("a", 1_000, "human"), ("b", 40, "ecoli"), ("c", 30, "human"), ("d", 35, "ecoli")]
    parts = [Stretch(name, 0, n, random_dna(n, i), control) for i, (name, n, control) in enumerate(parts)]
    windows = Windows(parts, TOKENIZER, 30, 8_000, strands=False)
    drawn = Counter(windows.place(i)[:2] for i in range(8_000))
    assert (
        len({place for place in drawn if place[0] in (1, 2, 3)}) == 11 + 1 + 6
    )  # every start of the short ones
    per_stretch = np.array([sum(n for place, n in drawn.items() if place[0] == i) for i in range(4)])
    assert abs(per_stretch[[1, 3]].sum() - 4_000) < 5 * 45  # 45: one standard deviation
    assert abs(per_stretch[1] - 4_000 * 11 / 17) < 5 * 31  # within a control, every start alike


@given(st.integers(0, 99), st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_control_stands_before_either_strand_and_is_no_base_of_the_window(i, strands):
    parts = [Stretch("a", 0, 90, random_dna(90), "human"), Stretch("b", 0, 50, random_dna(50, 1), "ecoli")]
    windows = Windows(parts, TOKENIZER, 20, 100, strands=strands)
    stretch, start, reverse = windows.place(i)
    bases = parts[stretch].sequence[start : start + 20]
    bases = reverse_complement(bases) if reverse else bases
    expected = [10 if stretch else 11, *TOKENIZER(bases)["input_ids"]]
    assert windows[i]["input_ids"].tolist() == expected
    assert windows.tokens == 20


def test_without_controls_windows_are_those_they_were():
    """The draws of a version without controls: a checkpoint's run can be repeated."""
    windows = Windows([Stretch("a", 0, 500, random_dna(500))], PLAIN, 30, 100, seed=7)
    draws = np.random.default_rng([7, 0]).random((4096, 2))
    for i in range(100):
        assert windows.place(i) == (0, int(draws[i, 0] * 471), bool(draws[i, 1] < 0.5))


def test_controls_that_do_not_fit_are_refused():
    with_one, without = Stretch("a", 0, 50, "ACGTG" * 10, "ecoli"), Stretch("b", 0, 50, "ACCTG" * 10)
    with pytest.raises(ValueError, match="b:0-50 has no control token"):
        Windows([with_one, without], TOKENIZER, 20, 5)
    with pytest.raises(
        ValueError, match=r"BPETokenizer has none: use NucleotideTokenizer\(controls=\('ecoli'"
    ):
        Windows([with_one], BPETokenizer.train(["ACGTG" * 40], 20), 20, 5)
    with pytest.raises(ValueError, match="no control token 'fly'"):
        Windows([with_one._replace(control="fly")], TOKENIZER, 20, 5)


# ---- Objectives ----


@given(dna, st.floats(0.05, 1.0))
@settings(max_examples=40, deadline=None)
def test_a_control_is_never_masked_never_a_target_and_predicts_the_first_base(text, rate):
    ids = np.array([10, *TOKENIZER(text)["input_ids"]])
    masked = MaskedLMCollator(TOKENIZER, rate=rate, replace=(0.5, 0.5, 0.0))([{"input_ids": ids, "index": 3}])
    assert masked["input_ids"][0, 0] == 10 and masked["labels"][0, 0] == -100
    assert not torch.isin(masked["input_ids"][0, 1:], torch.tensor([10, 11])).any()
    labels = NextTokenCollator(TOKENIZER)([{"input_ids": ids}])["labels"][0]
    assert labels[0] == -100
    assert labels[1:].tolist() == [i if i != 9 else -100 for i in ids[1:].tolist()]
    scorer = Scorer(TOKENIZER, "next token")
    bits, bases, _, _ = scorer.rows(torch.zeros(1, len(ids), 12), labels[None])[0].tolist()
    assert bases == len(text.replace("N", ""))  # the first one too
    assert bits == pytest.approx(2 * bases)


# ---- Training and scores ----


def small(causal=True, tokenizer=TOKENIZER):
    torch.manual_seed(0)
    config = GenomicConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, mixer_options={"heads": 2},
        positions="rotary", causal=causal, pad_token_id=0, mask_token_id=4,
    )  # fmt: skip
    return GenomicForCausalLM(config)


QUICK = dict(steps=40, batch_size=16, window=24, valid_windows=20, learning_rate=2e-2, precision="float32")
QUICK |= dict(device="cpu", progress=False, save_every=20)


def two_kinds():
    """Two kinds of DNA that only their composition tells apart: ecoli is A and C, human G and T."""
    rng = np.random.default_rng(0)
    train, valid = [], []
    for name, letters, length in (("ecoli", "AC", 3_000), ("human", "GT", 600)):
        for split, n in ((train, length), (valid, 400)):
            split.append(Stretch(f"{name} {len(split)} {n}", 0, n, "".join(rng.choice([*letters], n)), name))
    return train, valid


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls") / "run"
    run = pretrain(small(), TOKENIZER, *two_kinds(), folder, reverse_complement=False, **QUICK)
    return run, folder


def test_a_model_learns_what_its_control_says(trained):
    run, _ = trained
    assert run.metrics["bits"] < 1.1  # 1 bit is all there is to know; without control the first base costs 2
    p = causal_probabilities(run.model, TOKENIZER, "AC" * 10, control="ecoli")
    other = causal_probabilities(run.model, TOKENIZER, "GT" * 10, control="human")
    assert p[0, :2].sum() > 0.9 and other[0, 2:].sum() > 0.9  # the very first base, from the control alone
    right = bits_per_base(run.model, TOKENIZER, "ACCA" * 10, control="ecoli")
    wrong = bits_per_base(run.model, TOKENIZER, "ACCA" * 10, control="human")
    assert right.value < wrong.value and len(right.bits) == 40
    assert right.settings["control"] == "ecoli"
    assert (
        len(bits_per_base(run.model, TOKENIZER, "ACCA" * 10).bits) == 39
    )  # without: nothing before the first


def test_the_tokens_of_a_run_are_its_bases(trained):
    _, folder = trained
    facts = json.loads((folder / "run.json").read_text())
    assert facts["tokens"] == 40 * 16 * 24
    assert all("control" in line for line in facts["about"]["train"])
    train, valid = two_kinds()
    swapped = [train[0]._replace(control="human"), train[1]._replace(control="ecoli")]
    with pytest.raises(RunError, match="train was"):
        pretrain(small(), TOKENIZER, swapped, valid, folder, reverse_complement=False, resume=True, **QUICK)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_control_stands_before_every_window_of_a_score(trained, batch_size):
    """Against the model called by hand, window by window."""
    model = trained[0].model
    sequence = random_dna(50)
    p = causal_probabilities(
        model, TOKENIZER, sequence, window=20, stride=15, control="human", batch_size=batch_size
    )
    ids = TOKENIZER(sequence)["input_ids"]
    with torch.no_grad():
        for start, first, stop in ((0, 0, 20), (15, 20, 35), (30, 35, 50)):
            logits = model(torch.tensor([[11, *ids[start : start + 20]]])).logits[0, :-1, 5:9]
            by_hand = logits.double().softmax(-1).numpy()[first - start : stop - start]
            np.testing.assert_allclose(p[first:stop], by_hand, atol=1e-6)


def test_scores_with_a_control_that_is_not_there():
    with pytest.raises(ValueError, match="no control token 'yeast'"):
        bits_per_base(small(), TOKENIZER, "ACGT" * 10, control="yeast")


# ---- The species panel ----


@pytest.fixture(scope="module")
def splits():
    return {name: panel(name) for name in ("train", "valid", "test")}


def test_the_panel_has_ten_species_in_every_split(splits):
    for name, bases in (("valid", 51_200), ("test", 102_400)):
        count = Counter()
        for stretch in splits[name]:
            count[stretch.control] += len(stretch.sequence)
        assert count == dict.fromkeys(SPECIES.values(), bases)
    assert {stretch.control for stretch in splits["train"]} == {*SPECIES.values()}
    longest = {
        stretch.control: len(stretch.sequence) for stretch in sorted(splits["train"], key=lambda s: len(s[3]))
    }
    assert longest["human"] == 8_500_000 and longest["ecoli"] == 3_249_156 and longest["fly"] == 512
    with pytest.raises(ValueError, match="no split 'dev'"):
        panel("dev")


def test_no_split_of_the_panel_holds_bases_of_another(splits):
    check_apart(splits["train"], [*splits["valid"], *splits["test"]])
    check_apart(splits["valid"], splits["test"])
    leaky = [*splits["valid"][:3], splits["train"][20]._replace(source="elsewhere")]
    with pytest.raises(ValueError, match=r"elsewhere.* stands word for word in the training stretch"):
        check_apart(splits["train"][1:100], leaky)


def test_the_fly_is_validated_and_tested_on_chromosomes_it_is_not_trained_on(splits):
    chromosomes = {name: {s.source for s in part if s.control == "fly"} for name, part in splits.items()}
    assert chromosomes["train"] == {"fly chr2L", "fly chr2R", "fly chr3L"}
    assert chromosomes["valid"] == {"fly chr3R"} and chromosomes["test"] == {"fly chrX"}


@given(st.integers(0, 600), st.integers(1, 80), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_stretch_inside_another_is_found_wherever_it_lies(start, length, reverse, single):
    """Short ones and long ones, on either strand, in one stretch or among many."""
    train = [Stretch(f"t{i}", 0, 700, random_dna(700, i)) for i in range(1 if single else 3)]
    bases = train[-1].sequence[start : start + length]
    valid = Stretch("v", 0, len(bases), reverse_complement(bases) if reverse else bases)
    with pytest.raises(ValueError, match="word for word"):
        check_apart(train, [valid])
    strange = random_dna(200, 99)[: max(length, 20)]
    strange = Stretch("v", 0, len(strange), strange)
    if not any(s.sequence in t.sequence for t in train for s in (strange,)):
        check_apart(train, [strange])
