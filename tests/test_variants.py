"""Variant scores: their definitions, their symmetries, and the input they refuse."""

from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gfm_lab import BPETokenizer, KmerTokenizer, NucleotideTokenizer, ReverseComplement, reverse_complement
from gfm_lab.evaluation import bits_per_base, masked_probabilities
from gfm_lab.model import (
    GenomicConfig,
    GenomicForCausalLM,
    GenomicForMaskedLM,
    GenomicForSequenceClassification,
)
from gfm_lab.sequence import open_fasta
from gfm_lab.variants import (
    CHUNK,
    METHODS,
    Variant,
    VariantError,
    read_variants,
    read_vcf,
    saturation,
    saturation_figure,
    score_stream,
    score_variants,
    variants_of,
)

TOKENIZER = NucleotideTokenizer(on_unknown="split")
DNA = "".join(np.random.default_rng(0).choice([*"ACGT"], 300))
WINDOW = 41


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny matrices: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small(kind, vocab_size=10, seed=0, **options):
    torch.manual_seed(seed)
    config = GenomicConfig(
        vocab_size=vocab_size, hidden_size=16, num_hidden_layers=2, intermediate_size=32, positions="none",
        max_position_embeddings=None, mixer="convolution", mixer_options={"kernel": 5},
        causal=kind is GenomicForCausalLM, initializer_range=0.5, **options,
    )  # fmt: skip
    return kind(config).eval()


MODELS = {
    "masked": small(GenomicForMaskedLM),
    "autoregressive": small(GenomicForCausalLM),
    "embedding": small(GenomicForMaskedLM),
    "head": small(GenomicForSequenceClassification, num_labels=2),
}
OPTIONS = {"window": WINDOW, "reach": 3}


def some(count=12, seed=1, indels=True):
    """Variants of every kind, all over DNA."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        at = int(random.integers(3, len(DNA) - 8))
        base = DNA[at]
        other = str(random.choice([b for b in "ACGT" if b != base]))
        kinds = [
            (base, other),
            (DNA[at : at + 3], other + DNA[at + 1] + reverse_complement(DNA[at + 2])),
        ]
        if indels:
            kinds += [
                (base, base + "ACT"[: 1 + number % 3]),
                (DNA[at : at + 4], base),
                (DNA[at : at + 2], "GTCA"),
            ]
        ref, alt = kinds[number % len(kinds)]
        found.append(Variant("chr1", at, ref, alt, f"v{number}"))
    return found


def scores_of(method, variants, sequence=DNA, model=None, tokenizer=TOKENIZER, **options):
    table = score_variants(
        model or MODELS[method], tokenizer, variants, sequence, method, **{**OPTIONS, **options}
    )
    return table["score"].to_numpy()


# ---- Definitions ----


def test_masked_is_the_ratio_by_hand():
    model, at = MODELS["masked"], 100
    window = DNA[at - 20 : at + 21]
    ids = torch.tensor([TOKENIZER(window)["input_ids"]])
    ids[0, 20] = TOKENIZER.mask_token_id
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, 20]
    for alt in set("ACGT") - {DNA[at]}:
        expected = float(logits[5 + "ACGT".index(alt)] - logits[5 + "ACGT".index(DNA[at])])
        assert scores_of("masked", [("", at, DNA[at], alt)])[0] == pytest.approx(expected, abs=1e-5)
    p = masked_probabilities(model, TOKENIZER, window, positions=[20])[20]
    row = saturation(model, TOKENIZER, DNA, at, at + 1, window=WINDOW)[[*"ACGT"]].to_numpy()[0]
    np.testing.assert_allclose(np.exp(row) / np.exp(row).sum(), p, atol=1e-6)


def test_masked_hides_all_changed_bases_together():
    model, at = MODELS["masked"], 60
    alt = "".join("CGTA"["ACGT".index(base)] if i != 1 else base for i, base in enumerate(DNA[at : at + 3]))
    hidden = np.zeros(41, dtype=bool)
    hidden[[19, 21]] = True  # the first and the last of three; the one between them stays visible
    window = DNA[at + 1 - 20 : at + 1 + 21]
    p = np.log(masked_probabilities(model, TOKENIZER, window, masked=hidden))
    expected = sum(p[j, "ACGT".index(a)] - p[j, "ACGT".index(r)] for j, r, a in
                   ((19, DNA[at], alt[0]), (21, DNA[at + 2], alt[2])))  # fmt: skip
    assert scores_of("masked", [("", at, DNA[at : at + 3], alt)])[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("strands", ["forward", "both"])
def test_autoregressive_is_the_likelihood_ratio_by_hand(strands):
    model, at, alt = MODELS["autoregressive"], 100, "CGTA"["ACGT".index(DNA[100])]
    ref = DNA[at - 20 : at + 21]
    pairs = [(ref, ref[:20] + alt + ref[21:])]
    if strands == "both":
        pairs.append(tuple(map(reverse_complement, pairs[0])))
    nats = [
        [-bits_per_base(model, TOKENIZER, text).bits.sum() * np.log(2) for text in pair] for pair in pairs
    ]
    expected = np.mean([b - a for a, b in nats])
    found = scores_of("autoregressive", [("", at, DNA[at], alt)], strands=strands)[0]
    assert found == pytest.approx(expected, abs=1e-4)


def test_indels_are_compared_per_base():
    model, at = MODELS["autoregressive"], 100
    left, right = DNA[81:101], DNA[101:121]
    mean = {}
    for text in (left + right, left + "G" + right):
        score = bits_per_base(model, TOKENIZER, text)
        mean[text] = -score.value * np.log(2)
    expected = 40 * (mean[left + "G" + right] - mean[left + right])  # 41 bases, the first of them not scored
    inserted = Variant("", at, DNA[at], DNA[at] + "G")
    assert inserted.trimmed[1:] == ("", "G")
    assert scores_of("autoregressive", [inserted], strands="forward")[0] == pytest.approx(expected, abs=1e-4)


def test_masked_indels_are_pseudo_likelihoods():
    model = MODELS["masked"]
    left, right, gone = DNA[80:99], DNA[102:121], DNA[99:102]
    found = scores_of("masked", [("", 99, gone, "")], reach=4)[0]
    mean = []
    for text, stop in ((left + gone + right, 26), (left + right, 23)):
        p = masked_probabilities(model, TOKENIZER, text, positions=range(15, stop))
        places = np.arange(15, stop)
        mean.append(np.log(p[places, ["ACGT".index(text[j]) for j in places]]).mean())
    assert found == pytest.approx(11 * (mean[1] - mean[0]), abs=1e-4)
    assert found != scores_of("masked", [("", 99, gone, "")], reach=None)[0]


def test_embedding_is_the_distance_of_means():
    model, at, alt = MODELS["embedding"], 100, "CGTA"["ACGT".index(DNA[100])]
    ref = DNA[at - 20 : at + 21]
    with torch.no_grad():
        a, b = (
            model.body(input_ids=torch.tensor([TOKENIZER(text)["input_ids"]])).last_hidden_state[0].mean(0)
            for text in (ref, ref[:20] + alt + ref[21:])
        )
    variant = [("", at, DNA[at], alt)]
    assert scores_of("embedding", variant, distance="euclidean")[0] == pytest.approx(
        float((a - b).norm()), rel=1e-4
    )
    cosine = 1 - float(torch.cosine_similarity(a.double(), b.double(), dim=0))
    assert scores_of("embedding", variant)[0] == pytest.approx(cosine, rel=1e-3)


def test_head_is_the_difference_of_predictions():
    def count(sequences):
        return np.array([sequence.count("G") for sequence in sequences])

    at = DNA.index("G", 50)
    assert scores_of("head", [("", at, "G", "A")], model=count, tokenizer=None)[0] == -1

    class Probabilities:
        def predict(self, sequences):
            p = np.array([0.9 if sequence.count("G") % 2 else 0.2 for sequence in sequences])
            return np.stack([1 - p, p], axis=1)

    values = {odd: np.log(p / (1 - p)) for odd, p in ((1, 0.9), (0, 0.2))}
    found = scores_of("head", [("", at, "G", "A")], model=Probabilities(), tokenizer=None)[0]
    assert abs(found) == pytest.approx(values[1] - values[0])
    both = scores_of("head", [("", at, "G", "A")], model=Probabilities(), tokenizer=None, target=0)[0]
    assert both == pytest.approx(-found)


def test_a_head_for_one_length_gets_that_length():
    seen = set()

    def predict(sequences):
        seen.update(map(len, sequences))
        return np.zeros(len(sequences))

    everywhere = [("", at, DNA[at], "CGTA"["ACGT".index(DNA[at])]) for at in (0, 3, 150, 297, 299)]
    indels = [("", 150, DNA[150], DNA[150] + "ACG"), ("", 20, DNA[20:25], DNA[20])]
    scores_of("head", [*everywhere, *indels], model=predict, tokenizer=None, window=40)
    assert seen == {40}


def test_a_trained_classifier_gives_log_odds():
    model, at, alt = MODELS["head"], 100, "CGTA"["ACGT".index(DNA[100])]
    start = at - 20
    texts = [DNA[start : start + 41], DNA[start:at] + alt + DNA[at + 1 : start + 41]]
    with torch.no_grad():
        logits = [model(input_ids=torch.tensor([TOKENIZER(t)["input_ids"]])).logits[0] for t in texts]
    odds = [float(x[1] - x[0]) for x in logits]
    assert scores_of("head", [("", at, DNA[at], alt)])[0] == pytest.approx(odds[1] - odds[0], abs=1e-5)


# ---- Properties ----


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_one_by_one_in_any_order(method):
    variants = some(10)
    together = scores_of(method, variants)
    assert len(set(together.round(6))) > 6
    alone = [scores_of(method, [variant])[0] for variant in variants]
    np.testing.assert_allclose(together, alone, atol=2e-5)
    np.testing.assert_allclose(scores_of(method, variants[::-1], batch_size=1)[::-1], together, atol=2e-5)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_changed_scores_nothing(method):
    assert scores_of(method, [("", 50, DNA[50:53], DNA[50:53])])[0] == 0


@settings(max_examples=10, deadline=None)
@given(at=st.integers(30, 260), length=st.integers(1, 4), word=st.text("ACGT", max_size=4))
def test_antisymmetry(at, length, word):
    """Back again costs what it gave: the flanks are the same, so that only the sign turns."""
    ref = DNA[at : at + length]
    there = Variant("", at, ref, word)
    other = DNA[:at] + word + DNA[at + length :]
    back = Variant("", at, word, ref)
    if there.trimmed[1:] != back.trimmed[1:][::-1]:
        return
    for method in ("masked", "autoregressive", "embedding"):
        a, b = scores_of(method, [there])[0], scores_of(method, [back], other)[0]
        assert a == pytest.approx(b if method == "embedding" else -b, abs=1e-4)


@pytest.mark.parametrize("method", ["masked", "autoregressive", "embedding"])
def test_strands(method):
    """With both strands averaged, a variant and its reverse complement on the other strand score alike."""
    turned_dna = reverse_complement(DNA)
    for variant in some(10):
        at, ref, alt = variant.trimmed
        back = Variant("", len(DNA) - at - len(ref), reverse_complement(ref), reverse_complement(alt))
        if len(back.trimmed[1]) != len(ref) or back.trimmed[0] != back.position:
            continue
        a, b = (
            scores_of(method, [variant], strands="both"),
            scores_of(method, [back], turned_dna, strands="both"),
        )
        assert a[0] == pytest.approx(b[0], abs=1e-4)
    variant = some(1)[0]
    assert scores_of(method, [variant])[0] != scores_of(
        method, [variant], strands="forward" if method == "autoregressive" else "both"
    )


def test_both_strands_of_a_masked_model_are_its_post_hoc_average():
    """The mean of two log ratios is the log ratio of averaged logits: the normaliser cancels."""
    snvs = some(12, indels=False)
    wrapped = ReverseComplement(MODELS["masked"], TOKENIZER)
    np.testing.assert_allclose(
        scores_of("masked", snvs, model=wrapped), scores_of("masked", snvs, strands="both"), atol=1e-4
    )


def test_a_vcf_is_scored_row_by_row(tmp_path):
    """From a compressed file to scores without a list in between, on a chromosome with another prefix."""
    rows = [row("20", str(v.position + 1), v.id, v.ref, v.alt) for v in some(40)]
    path = tmp_path / "a.vcf.gz"
    path.write_bytes(gzip.compress((HEADER + "".join(rows)).encode()))
    stream = score_stream(
        MODELS["autoregressive"], TOKENIZER, read_vcf(path), {"chr20": DNA}, "autoregressive", **OPTIONS
    )
    found = [*stream]
    assert [scored.variant.id for scored in found] == [f"v{n}" for n in range(40)]
    np.testing.assert_allclose(
        [scored.score for scored in found], scores_of("autoregressive", some(40)), atol=2e-5
    )


def test_all_alternatives_come_from_one_pass():
    model, seen = small(GenomicForMaskedLM), []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    saturation(model, TOKENIZER, DNA, 100, 120, window=WINDOW)
    assert sum(seen) == 20
    seen.clear()
    model = small(GenomicForCausalLM)
    model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    saturation(model, TOKENIZER, DNA, 100, 120, method="autoregressive", window=WINDOW)
    assert sum(seen) == 2 * 20 * (1 + 3)


def test_saturation_is_every_single_change():
    table = saturation(MODELS["masked"], TOKENIZER, DNA.lower(), 10, 30, window=WINDOW)
    assert "".join(table["ref"]) == DNA[10:30]
    for position, ref, *row in table.itertuples(index=False):
        for base, score in zip("ACGT", row, strict=True):
            expected = 0 if base == ref else scores_of("masked", [("", position, ref, base)])[0]
            assert score == pytest.approx(expected, abs=1e-5)
    figure = saturation_figure(table, first=-5)
    above, below = figure.axes[:2]
    assert len(above.patches) == 20 and below.get_xlim() == (-5.6, 14.6)
    heights = [patch.get_window_extent().height for patch in above.patches]
    assert np.argmax(heights) == np.argmax(np.abs(table[[*"ACGT"]].to_numpy().sum(1)))


# ---- Tokens of several bases ----


@pytest.mark.parametrize(("k", "stride"), [(3, 1), (3, 3)])
def test_words_that_cover_the_base(k, stride):
    """Overlapping words: the mean of their ratios. Words side by side: that of the one that changes."""
    tokenizer = KmerTokenizer(k, stride)
    model, at, alt = small(GenomicForMaskedLM, len(tokenizer)), 100, "CGTA"["ACGT".index(DNA[100])]
    window = DNA[at - 20 : at + 21]
    ids = [torch.tensor(tokenizer(t)["input_ids"]) for t in (window, window[:20] + alt + window[21:])]
    changed = (ids[0] != ids[1]).nonzero()[:, 0]
    assert len(changed) == (k if stride == 1 else 1)
    hidden = ids[0].clone()
    hidden[changed] = tokenizer.mask_token_id
    with torch.no_grad():
        log_p = model(input_ids=hidden[None]).logits[0].log_softmax(-1)
    expected = np.mean([float(log_p[c, ids[1][c]] - log_p[c, ids[0][c]]) for c in changed])
    found = scores_of("masked", [("", at, DNA[at], alt)], model=model, tokenizer=tokenizer)[0]
    assert found == pytest.approx(expected, abs=1e-4)
    with pytest.raises(VariantError, match="changes the length"):
        scores_of("masked", [("", at, DNA[at], "")], model=model, tokenizer=tokenizer)


def test_bpe_has_no_masked_score_but_others():
    tokenizer = BPETokenizer.train([DNA * 3], 60)
    snvs = [v for v in some(12, indels=False) if v.kind == "SNV"]
    with pytest.raises(VariantError, match=r"variant v\d+ chr1:.*different tokens.*autoregressive"):
        scores_of("masked", snvs, model=small(GenomicForMaskedLM, 60), tokenizer=tokenizer)
    found = scores_of("autoregressive", snvs, model=small(GenomicForCausalLM, 60), tokenizer=tokenizer)
    assert np.isfinite(found).all()
    assert np.isfinite(
        scores_of("embedding", snvs, model=small(GenomicForCausalLM, 60), tokenizer=tokenizer)
    ).all()


def test_control_token_stands_in_front():
    tokenizer = NucleotideTokenizer(controls=("fly", "human"), on_unknown="split")
    model = small(GenomicForCausalLM, len(tokenizer))
    variants = some(6)
    fly, human = (
        scores_of("autoregressive", variants, model=model, tokenizer=tokenizer, control=name)
        for name in ("fly", "human")
    )
    assert np.abs(fly - human).max() > 1e-3
    expected = bits_per_base(model, tokenizer, DNA[80:121], control="fly").bits.sum()
    changed = bits_per_base(model, tokenizer, DNA[80:100] + "A" + DNA[101:121], control="fly").bits.sum()
    found = scores_of(
        "autoregressive",
        [("", 100, DNA[100], "A")],
        model=model,
        tokenizer=tokenizer,
        control="fly",
        strands="forward",
    )
    assert found[0] == pytest.approx((expected - changed) * np.log(2), abs=1e-4)
    with pytest.raises(ValueError, match="no control token 'worm'"):
        scores_of("autoregressive", variants, model=model, tokenizer=tokenizer, control="worm")


# ---- The reference ----


def test_references_of_every_kind(tmp_path):
    variants = some(4)
    expected = scores_of("masked", variants)
    path = tmp_path / "genome.fa"
    path.write_text(f">2\nACGT\n>1\n{DNA}\n")
    with open_fasta(path) as fasta:
        np.testing.assert_allclose(scores_of("masked", variants, fasta), expected, atol=1e-6)
    np.testing.assert_allclose(scores_of("masked", variants, {"2": "AC", "1": DNA}), expected, atol=1e-6)
    bare = [v._replace(chrom="1") for v in variants]
    np.testing.assert_allclose(scores_of("masked", bare, {"chr1": DNA}), expected, atol=1e-6)
    moved = [v._replace(position=v.position + 1000) for v in variants]
    np.testing.assert_allclose(scores_of("masked", moved, DNA, offset=1000), expected, atol=1e-6)
    with pytest.raises(VariantError, match=r"no 'chr1'; it has 2, X"):
        scores_of("masked", variants, {"2": DNA, "X": DNA})
    with pytest.raises(VariantError, match="another chromosome"):
        scores_of("masked", [*bare, ("2", 1, DNA[1], "A")])


def test_windows_end_where_the_sequence_does():
    for at in (0, 1, 298, 299):
        assert np.isfinite(scores_of("masked", [("", at, DNA[at], "CGTA"["ACGT".index(DNA[at])])]))[0]
    assert np.isfinite(scores_of("masked", [("", 0, "A", "C")], "A"))[0]
    # An N beside a variant is read and not scored.
    with_n = DNA[:95] + "N" + DNA[96:]
    for method in METHODS:
        assert np.isfinite(scores_of(method, [("", 100, DNA[100], "CGTA"["ACGT".index(DNA[100])])], with_n))[
            0
        ]


@pytest.mark.parametrize(
    ("variant", "says"),
    [
        (("", 300, "A", "C"), "lies outside the sequence, which has positions 1 to 300"),
        (("", -1, "A", "C"), "lies outside"),
        (("", 299, DNA[299] + "A", "C"), "lies outside"),
        (("7", 99, "CGTA"["ACGT".index(DNA[99])], DNA[99]), r"7:100 .*REF is .*the sequence has"),
        (("", 99, DNA[99], "R"), "letters other than"),
        (("", 99, DNA[99], "<DEL>"), "symbolic"),
        (("", 99, DNA[99], "*"), "overlapping deletion"),
        (("", 99, DNA[99]), "variant 0 is"),
        (("", 9.5, DNA[9], "A"), "variant 0 is"),
        (("", 99, DNA[99], 3), "variant 0 is"),
        (("", 99, DNA[99], DNA[99] + "A" * 50), "changes 50 bases: choose a window"),
    ],
)  # fmt: skip
def test_variants_that_cannot_be_scored(variant, says):
    with pytest.raises(VariantError, match=says):
        scores_of("masked", [variant])


def test_the_one_that_fails_is_named_or_left_out():
    good = some(4)
    bad = good[2]._replace(ref="CGTA"["ACGT".index(good[2].ref[0])] + good[2].ref[1:])
    mixed = [*good[:2], bad, good[3]]
    with pytest.raises(VariantError, match=r"v2 chr1:\d+ .*Another assembly"):
        scores_of("masked", mixed)
    table = score_variants(MODELS["masked"], TOKENIZER, mixed, DNA, on_error="nan", **OPTIONS)
    assert table["score"].isna().tolist() == [False, False, True, False]
    assert "Another assembly" in table["problem"][2] and not table["problem"][0]
    strict = NucleotideTokenizer()  # knows no N
    with_n = DNA[:95] + "N" + DNA[96:]
    far = next(v for v in some(12) if abs(v.position - 95) > 60)
    with pytest.raises(VariantError, match=r"near .*:101 .*tokenizer refuses"):
        near = Variant("", 100, DNA[100], "CGTA"["ACGT".index(DNA[100])], "near")
        scores_of("masked", [far._replace(chrom=""), near], with_n, tokenizer=strict)


@pytest.mark.parametrize(
    ("method", "model", "says"),
    [
        ("masked", "autoregressive", "next-token model: score it with method 'autoregressive'"),
        ("autoregressive", "masked", "masked language model: score it with method 'masked'"),
        ("head", "masked", "method 'head' needs a trained head: gfm_lab.finetune"),
        ("masked", "head", "a trained head: score it with method 'head'"),
    ],
)
def test_the_wrong_objective_says_which_is_right(method, model, says):
    with pytest.raises(ValueError, match=says):
        scores_of(method, some(1), model=MODELS[model])


def test_options_that_do_not_exist():
    for options, says in (
        ({"strands": "reverse"}, "strands is 'reverse'"),
        ({"distance": "l2"}, "distance is 'l2'"),
        ({"on_error": "skip"}, "on_error is 'skip'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"window": 0}, "window is 0"),
        ({"control": "human"}, "no control token"),
    ):
        with pytest.raises(ValueError, match=says):
            scores_of("masked", some(1), **options)
    with pytest.raises(ValueError, match="no method 'mask': choose one of masked, auto"):
        scores_of("mask", some(1), model=MODELS["masked"])
    with pytest.raises(ValueError, match="give the tokenizer"):
        scores_of("masked", some(1), tokenizer=None)
    with pytest.raises(ValueError, match="target is 5"):
        scores_of("head", some(1), target=5)
    with pytest.raises(ValueError, match="the sequence is a list"):
        scores_of("masked", some(1), [DNA])
    with pytest.raises(ValueError, match="predict gave shape"):
        scores_of("head", some(1), model=lambda sequences: np.zeros(1), tokenizer=None)
    broken = small(GenomicForMaskedLM)
    with torch.no_grad():
        broken.head.decoder.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        scores_of("masked", some(1), model=broken)
    for start, stop in ((-1, 5), (5, 5), (0, 301)):
        with pytest.raises(VariantError, match="is empty or reaches outside"):
            saturation(MODELS["masked"], TOKENIZER, DNA, start, stop)
    with pytest.raises(VariantError, match="base 3 is 'N'"):
        saturation(MODELS["masked"], TOKENIZER, "ACGNAC")


# ---- Tables, libraries and streams ----


def test_table_in_table_out():
    variants = some(6)
    frame = pd.DataFrame({"af": np.arange(6) / 10, "position": [v.position for v in variants],
                          "ref": [v.ref.lower() for v in variants], "alt": [v.alt for v in variants]},
                         index=range(10, 16))  # fmt: skip
    table = score_variants(MODELS["masked"], TOKENIZER, frame, DNA, **OPTIONS)
    assert list(table.columns) == ["af", "position", "ref", "alt", "kind", "score"]
    assert list(table.index) == [*range(10, 16)] and "score" not in frame
    np.testing.assert_allclose(table["score"], scores_of("masked", variants), atol=1e-6)
    assert table["kind"].tolist() == [v.kind for v in variants]
    with pytest.raises(VariantError, match="no column alt"):
        score_variants(MODELS["masked"], TOKENIZER, frame.drop(columns="alt"), DNA)
    empty = score_variants(MODELS["masked"], TOKENIZER, [], DNA)
    assert len(empty) == 0 and "score" in empty


def test_a_library_is_variants_of_its_wild_type():
    wild_type, library = DNA[100:120], [DNA[100:120], "A" * 20]
    variants = variants_of(wild_type, library, "lac")
    assert [v.kind for v in variants] == ["none", "MNV"]
    assert scores_of("masked", variants, wild_type)[0] == 0
    with pytest.raises(VariantError, match="sequence 1 has 3 bases"):
        variants_of("ACGT", ["ACGA", "ACG"])


def test_a_stream_needs_bounded_memory():
    """25,000 variants, of which no more than a chunk is read before scores come out."""
    count, read = 25_000, 0

    def variants():
        nonlocal read
        for number in range(count):
            read += 1
            at = number % 280
            yield Variant("", at, DNA[at], "CGTA"["ACGT".index(DNA[at])], f"v{number}")

    def predict(sequences):
        return np.zeros(len(sequences))

    stream = score_stream(predict, None, variants(), DNA, "head", window=31)
    next(stream)
    assert read == CHUNK
    tracemalloc.start()
    try:
        total = sum(1 for _ in stream)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == count - 1
    assert peak < 3e6  # a list of them all takes ten


# ---- Files ----

HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


def row(chrom="20", pos="101", name="rs1", ref="A", alt="C", info="."):
    return "\t".join([chrom, pos, name, ref, alt, ".", "PASS", info]) + "\n"


def vcf(path, *rows, header=HEADER):
    path.write_text(header + "".join(rows))
    return path


def test_vcf_counts_from_one_and_a_table_from_zero(tmp_path):
    (variant,) = read_vcf(vcf(tmp_path / "a.vcf", row(ref="a", alt="c")))
    assert variant == Variant("20", 100, "A", "C", "rs1") and str(variant) == "rs1 20:101 A>C"
    table = tmp_path / "a.tsv"
    table.write_text("chrom\tposition\tref\talt\tid\taf\n20\t100\tA\tC\trs1\t0.5\n20\t7\t-\tGG\t\t\n")
    first, second = read_variants(table)
    assert first[:5] == variant[:5] and first.info == {"af": "0.5"}
    assert (second.ref, second.alt, second.kind) == ("", "GG", "insertion")
    table.write_text("position,ref,alt\n101,A,C\n")
    assert [v.position for v in read_variants(table, one_based=True)] == [100]


def test_vcf_rows_with_several_alternatives_are_split_in_order(tmp_path):
    path = vcf(
        tmp_path / "a.vcf", row(alt="C,AT,G", info="AC=5,6,7;AF=0.1,.,0.3;DB;NS=3"), row(alt="."), row()
    )
    found = [*read_vcf(path, info=("AF", "DB", "NS", "XX"))]
    assert [v.alt for v in found] == ["C", "AT", "G", "C"]
    assert [v.info["AF"] for v in found[:3]] == [0.1, None, 0.3]
    assert found[0].info == {"AF": 0.1, "DB": True, "NS": 3.0, "XX": None}


@pytest.mark.parametrize("alt", ["<DEL>", "*", "A[2:321681[", ".TC", "R", "A-"])
def test_alleles_that_are_no_sequence(tmp_path, alt):
    path = vcf(tmp_path / "a.vcf", row(pos="7"), row(alt=f"C,{alt}"), row(pos="9"))
    with pytest.raises(VariantError, match=r"line 4, 20:101 .*symbolic='skip'"):
        [*read_vcf(path)]
    with pytest.warns(UserWarning, match="left out 1 alleles"):
        assert [v.position for v in read_vcf(path, symbolic="skip")] == [6, 100, 8]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("chrom\tposition\tref\talt\n", "does not begin with ##fileformat=VCF.*read_variants"),
        ("##fileformat=VCFv4.2\n", "ends before the line that begins with #CHROM"),
        ("##fileformat=VCFv4.2\n" + row(), "line 2: the line that begins with #CHROM is missing"),
        ("##fileformat=VCFv4.2\n#CHROM POS\n", "line 2: the header should read"),
        (HEADER + "20\t101\trs1\tA\tC\n", "line 3 has 5 fields, the header 8.*cut off"),
        (HEADER + row().replace("\t", " "), "separated by tabs"),
        (HEADER + row(pos="0"), "counts positions from 1"),
        (HEADER + row(pos="1e3"), "20:1e3 is no place"),
        (HEADER + row(ref="."), "breakend|letters other"),
        (HEADER + row(alt=""), "an allele is empty"),
    ],
)
def test_vcf_that_cannot_be_read(tmp_path, text, says):
    path = tmp_path / "a.vcf"
    path.write_text(text)
    with pytest.raises(VariantError, match=says):
        [*read_vcf(path)]


def test_gzip_cut_off_and_binary(tmp_path):
    path = tmp_path / "a.vcf.gz"
    whole = gzip.compress((HEADER + "".join(row(pos=str(n)) for n in range(1, 5000))).encode())
    path.write_bytes(whole)
    assert sum(1 for _ in read_vcf(path)) == 4999
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VariantError, match="cut off or damaged after line"):
        [*read_vcf(path)]
    path.write_bytes(b"BCF\x02\x02")
    with pytest.raises(VariantError, match="bcftools view"):
        [*read_vcf(path)]
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VariantError, match="is not text"):
        [*read_vcf(path)]
    for missing, says in ((tmp_path / "b.vcf", "no such file"), (tmp_path, "is a folder")):
        with pytest.raises(VariantError, match=says):
            [*read_vcf(missing)]
    with pytest.raises(ValueError, match="symbolic is 'keep'"):
        read_vcf(path, symbolic="keep")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEADER, "is a VCF file: read it with read_vcf"),
        ("chrom\tpos\tref\talt\n", "rename 'pos' to position, and pass one_based=True"),
        ("position\tref\talt\n1\tA\n", "line 2 has 2 fields, the header 3"),
        ("position\tref\talt\n-1\tA\tC\n", "position '-1'"),
        ("position\tref\talt\n1\tA\t<DEL>\n", "line 2: .*symbolic"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, text, says):
    path = tmp_path / "a.tsv"
    path.write_text(text)
    with pytest.raises(VariantError, match=says):
        [*read_variants(path)]


@settings(max_examples=40, deadline=None)
@given(
    st.text("ACGT", max_size=6),
    st.text("ACGT", max_size=6),
    st.text("ACGT", max_size=3),
    st.text("ACGT", max_size=3),
)
def test_trimming_keeps_the_change(ref, alt, before, after):
    text = "GATTACA" + before + ref + after + "TTAGGA"
    full = Variant("", 7, before + ref + after, before + alt + after)
    at, short_ref, short_alt = full.trimmed
    assert text[at : at + len(short_ref)] == short_ref
    assert text[:at] + short_alt + text[at + len(short_ref) :] == "GATTACA" + before + alt + after + "TTAGGA"
    assert not short_ref or not short_alt or (short_ref[0] != short_alt[0] and short_ref[-1] != short_alt[-1])
