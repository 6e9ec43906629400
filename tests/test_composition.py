"""Statistics of sequences, each against its definition or a case worked out by hand; copies against a plain search."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gfm_lab import evaluation
from gfm_lab.baselines import MarkovModel
from gfm_lab.composition import (
    CODONS,
    Match,
    Orf,
    TrainingIndex,
    codon_usage,
    compare_dna,
    dinucleotide_distance,
    dinucleotide_odds,
    expected_match,
    find_orfs,
    jensen_shannon,
    kmer_counts,
    markov_dna,
    mutual_information,
    spectrum_distance,
)
from gfm_lab.sequence import SequenceError, reverse_complement

dna = st.text("ACGT", min_size=1, max_size=60)
dna_n = st.text("ACGTN", min_size=1, max_size=60)


def drawn(length, seed=0, letters="ACGT", p=None):
    return "".join(np.random.default_rng(seed).choice([*letters], length, p=p))


# ---- Words ----


@given(sequences=st.lists(dna_n, min_size=1, max_size=3), k=st.integers(1, 4))
def test_kmer_counts_are_those_of_a_loop(sequences, k):
    words = [s[i : i + k] for s in sequences for i in range(len(s) - k + 1)]
    order = [""]
    for _ in range(k):
        order = [word + base for word in order for base in "ACGT"]
    assert kmer_counts(sequences, k).tolist() == [words.count(word) for word in order]
    other = kmer_counts([reverse_complement(s) for s in sequences], k)
    assert (kmer_counts(sequences, k, both_strands=True) == kmer_counts(sequences, k) + other).all()


def test_kmer_counts_refuse():
    for k in (0, 13, 2.0, True):
        with pytest.raises(ValueError, match="k is"):
            kmer_counts("ACGT", k)
    with pytest.raises(SequenceError, match="position 3"):
        kmer_counts("ACXT", 1)


def test_jensen_shannon_by_hand():
    assert jensen_shannon([3, 1], [6, 2]) == 0
    assert jensen_shannon([1, 0], [0, 5]) == 1
    # Halves of (1, 0) and (1/2, 1/2) meet in (3/4, 1/4).
    expected = 0.5 * np.log2(4 / 3) + 0.5 * (0.5 * np.log2(2 / 3) + 0.5 * np.log2(2))
    assert jensen_shannon([7, 0], [2, 2]) == pytest.approx(expected)
    for wrong in ([1, 2, 3], [-1, 2], [0, 0]):
        with pytest.raises(ValueError, match="counts of the same things"):
            jensen_shannon([1, 2], wrong)


@given(
    p=st.lists(st.integers(0, 9), min_size=4, max_size=4),
    q=st.lists(st.integers(0, 9), min_size=4, max_size=4),
)
def test_jensen_shannon_is_symmetric_and_between_0_and_1(p, q):
    if sum(p) and sum(q):
        found = jensen_shannon(p, q)
        assert found == pytest.approx(jensen_shannon(q, p)) and -1e-12 <= found <= 1 + 1e-12


def test_spectrum_distance_tells_sources_apart_and_length_lowers_the_floor():
    at_rich = [0.4, 0.1, 0.1, 0.4]
    near = spectrum_distance(drawn(20_000, 0), drawn(20_000, 1), 3)
    assert near < 0.002 < 0.1 < spectrum_distance(drawn(20_000, 0), drawn(20_000, 2, p=at_rich), 3)
    assert spectrum_distance(drawn(1_000, 0), drawn(1_000, 1), 3) > 5 * near
    s = drawn(500)
    assert (
        spectrum_distance(s, reverse_complement(s), 4, both_strands=True)
        == 0
        < spectrum_distance(s, reverse_complement(s), 4)
    )


@given(sequence=st.text("ACGT", min_size=20, max_size=60))
def test_dinucleotide_odds_by_definition(sequence):
    both = [sequence, reverse_complement(sequence)]
    pairs = [s[i : i + 2] for s in both for i in range(len(s) - 1)]
    first, second = [w[0] for w in pairs], [w[1] for w in pairs]
    odds = dinucleotide_odds(sequence)
    for word, value in odds.items():
        if word[0] in first and word[1] in second:
            f = pairs.count(word) / len(pairs)
            of = first.count(word[0]) * second.count(word[1]) / len(pairs) ** 2
            assert value == pytest.approx(f / of)
            assert value == pytest.approx(odds[reverse_complement(word)])
    assert (odds - dinucleotide_odds(reverse_complement(sequence))).abs().fillna(0).max() < 1e-9


def test_dinucleotide_odds_are_1_without_preference_and_see_a_missing_word():
    assert (dinucleotide_odds(drawn(100_000)) - 1).abs().max() < 0.02
    without = drawn(50_000)
    while "CG" in without:
        without = without.replace("CG", "")
    assert dinucleotide_odds(without)["CG"] == 0 and dinucleotide_odds(without)["GC"] > 0.8
    assert dinucleotide_distance(without, without) == 0 < 0.05 < dinucleotide_distance(without, drawn(50_000))


def test_mutual_information_by_hand():
    assert mutual_information("ACGT" * 50, [4])[0] == pytest.approx(
        2, abs=1e-3
    )  # each base tells the next but three
    assert mutual_information("ACGT" * 50, [1])[0] == pytest.approx(2, abs=1e-3)
    assert mutual_information(drawn(100_000), range(1, 5)).max() < 1e-3
    # A period: a third base that is always G says nothing at once, but at a distance of 3.
    periodic = "".join(a + b + "G" for a, b in zip(drawn(9_000, 1), drawn(9_000, 2), strict=True))
    bits = mutual_information(periodic, [7, 8, 9])
    assert bits[2] > 0.15 > 0.02 > abs(bits[0] - bits[1])


@given(
    sequences=st.lists(st.text("ACGTN", min_size=4, max_size=12), min_size=1, max_size=3),
    lag=st.integers(1, 3),
)
def test_no_pair_reaches_across_texts_or_n(sequences, lag):
    runs = [run for s in sequences for run in s.split("N")]
    pairs = [(run[i], run[i + lag]) for run in runs for i in range(len(run) - lag)]
    if pairs:
        p = pd.Series(pairs).value_counts(normalize=True)
        of = [pd.Series([pair[side] for pair in pairs]).value_counts(normalize=True) for side in (0, 1)]
        expected = sum(f * np.log2(f / (of[0][a] * of[1][b])) for (a, b), f in p.items())
        assert mutual_information(sequences, [lag])[0] == pytest.approx(expected, abs=1e-9)
    else:
        with pytest.raises(ValueError, match="no pair"):
            mutual_information(sequences, [lag])


# ---- Reading frames ----


def orfs_by_loop(sequence, min_length, starts, open_ends):
    """The definition, codon by codon."""
    found = []
    for strand, text in (("+", sequence), ("-", reverse_complement(sequence))):
        for frame in range(3):
            codons = [text[i : i + 3] for i in range(frame, len(text) - 2, 3)]
            begin, closed = None if starts and not open_ends else 0, False
            begin = 0 if (open_ends or not starts) else None
            for number, codon in enumerate([*codons, "end"]):
                stop = codon in ("TAA", "TAG", "TGA")
                ends = stop or codon == "end" or "N" in codon
                if begin is None and not ends and starts and codon in starts:
                    begin = number
                if ends:
                    whole = stop and (starts or closed)
                    last = number + 1 if stop else number
                    long = begin is not None and begin < number and 3 * (last - begin) >= min_length
                    if long and (whole or open_ends):
                        a, b = frame + 3 * begin, frame + 3 * last
                        found.append((a, b, "+") if strand == "+" else (len(text) - b, len(text) - a, "-"))
                    closed = stop
                    begin = number + 1 if (not starts or (open_ends and not stop)) else None
    return sorted(found)


@settings(max_examples=150, deadline=None)
@given(
    sequence=st.lists(
        st.sampled_from(["ATG", "GTG", "TAA", "TGA", "C", "ACG", "GCA", "T", "N"]), max_size=30
    ).map("".join),
    min_length=st.sampled_from([3, 9, 18]),
    starts=st.sampled_from([None, ("ATG",), ("ATG", "GTG", "TTG")]),
    open_ends=st.booleans(),
)
def test_orfs_are_those_of_a_loop(sequence, min_length, starts, open_ends):
    found = find_orfs(sequence, min_length, starts, open_ends)
    assert sorted(map(tuple, found)) == orfs_by_loop(sequence, min_length, starts, open_ends)
    assert [orf.length for orf in found] == sorted((orf.length for orf in found), reverse=True)


def test_orfs_by_hand():
    gene = "ATG" + "GCA" * 10 + "TAA"
    text = "CC" + gene + "C"
    assert find_orfs(text, 30, ("ATG",)) == [Orf(2, 38, "+")]
    assert find_orfs(reverse_complement(text), 30, ("ATG",)) == [Orf(1, 37, "-")]
    assert find_orfs(text, 37, ("ATG",)) == [] and find_orfs("", 3) == []
    assert Orf(2, 38, "+").length == 36
    with pytest.raises(ValueError, match="'AUG' is no codon"):
        find_orfs(text, starts=("AUG",))


def test_orfs_that_do_not_overlap():
    text = drawn(3_000, 5)
    kept = find_orfs(text, 30, overlapping=False)
    assert 1 < len(kept) < len(find_orfs(text, 30)) and kept[0] == find_orfs(text, 30)[0]
    taken = np.zeros(len(text), int)
    for orf in kept:
        assert taken[orf.start : orf.stop].mean() <= 0.1
        taken[orf.start : orf.stop] += 1


def test_codon_usage_is_that_of_the_gene_on_either_strand():
    inside = ["GCA"] * 60 + ["CTG"] * 30 + ["AAA"] * 20
    gene = "TTAATTAATTAA" + "ATG" + "".join(inside) + "TAATTAATTAATTAA"  # stops in all frames on either side
    for text in (gene, reverse_complement(gene)):
        usage = codon_usage(text)
        assert usage.sum() == 110 and usage[["GCA", "CTG", "AAA"]].tolist() == [60, 30, 20]
    assert [*usage.index] == CODONS and usage[["TAA", "TAG", "TGA"]].sum() == 0
    assert (codon_usage([gene, gene]) == 2 * codon_usage(gene)).all()


# ---- Copies ----


def longest_by_search(sequence, texts):
    best = 0
    for text in (sequence, reverse_complement(sequence)):
        for i in range(len(text)):
            while any(
                text[i : i + best + 1] in other.replace("N", "x") for other in texts
            ) and i + best < len(text):
                best += 1
    return best


def check_match(match, sequence, texts):
    part = sequence[match.start : match.start + match.length]
    there = texts[match.record][match.source : match.source + match.length]
    assert len(part) == match.length == len(there) and "N" not in part
    assert there == (part if match.strand == "+" else reverse_complement(part))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_longest_match_is_that_of_a_plain_search(data):
    """Short texts over few letters, so that long and short matches, ties, ends and Ns all occur."""
    letters = data.draw(st.sampled_from(["ACGT", "AC", "ACN"]))
    text = st.text(letters, min_size=1, max_size=40)
    texts = data.draw(st.lists(text, min_size=1, max_size=3))
    sequence = data.draw(text)
    if data.draw(st.booleans()):  # a copied piece, perhaps of the other strand
        piece = data.draw(st.sampled_from(texts))
        sequence += piece if data.draw(st.booleans()) else reverse_complement(piece)
    if set("".join(texts)) <= {"N"}:
        with pytest.raises(ValueError, match="holds no A, C, G or T"):
            TrainingIndex(texts)
        return
    match = TrainingIndex(texts).longest(sequence)
    assert match.length == longest_by_search(sequence, texts)
    if match.length:
        check_match(match, sequence, texts)


def test_a_copy_is_found_in_long_dna_and_chance_is_as_expected():
    train = [drawn(150_000, 1), drawn(150_000, 2)]
    index, new = TrainingIndex(train), drawn(20_000, 3)
    chance = index.longest(new)
    assert abs(chance.length - expected_match(20_000, 300_000)) < 4 and index.bases == 300_000
    check_match(chance, new, train)
    copied = new[:900] + reverse_complement(train[1][40_000:40_400]) + new[900:]
    match = index.longest(copied)
    # A letter more may agree by chance on either side.
    assert match.record == 1 and match.strand == "-" and 400 <= match.length < 408
    assert 40_000 - 8 < match.source <= 40_000 and 900 - 8 < match.start <= 900
    check_match(match, copied, train)
    assert index.longest("N" * 50) == Match(0, 0, 0, 0, "+") == index.longest("")
    assert index.longest("A" * 5_000).length < 14  # one letter alone: shorter words than the index holds


# ---- Markov DNA and the table ----


def test_markov_dna_has_the_models_bits_and_words():
    source = drawn(40_000, 4, p=[0.4, 0.1, 0.1, 0.4])
    source = source.replace("CG", "C")
    model = MarkovModel(2, strength=1.0).fit(source, both_strands=False)
    written = markov_dna(model, 3_000, 5, seed=1)
    assert {len(s) for s in written} == {3_000} and len(set(written)) == 5
    bits = np.mean([model.bits_per_base(s) for s in written])
    assert bits == pytest.approx(model.bits_per_base(source), abs=0.02)
    assert spectrum_distance(written, source, 3) < 0.003 < 0.05 < spectrum_distance(drawn(15_000), source, 3)
    longer = markov_dna(model, 3_100, 2, seed=1)
    assert [s[:3_000] for s in longer] == written[:2] and written != markov_dna(model, 3_000, 5, seed=2)
    for length, n in ((0, 1), (5, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            markov_dna(model, length, n)


@pytest.fixture(scope="module")
def table():
    """'Genome': genes of one codon bias. One sample is more of it, one is noise, one is copied."""

    def genome(genes, seed):
        rng, out = np.random.default_rng(seed), []
        codons = [c for c in CODONS if c not in ("TAA", "TAG", "TGA")]
        bias = rng.dirichlet(np.ones(len(codons)) * 0.4) if seed is None else BIAS
        for _ in range(genes):
            gene = "ATG" + "".join(rng.choice(codons, 150, p=bias)) + "TAA"
            out += [
                gene if rng.random() < 0.5 else reverse_complement(gene),
                drawn(60, int(rng.integers(1e9))),
            ]
        return "".join(out)

    BIAS = np.random.default_rng(9).dirichlet(np.ones(61) * 0.4)
    train, real, more = genome(120, 0), genome(60, 1), genome(12, 2)
    cut = lambda text: [text[i * 900 : (i + 1) * 900] for i in range(6)]  # noqa: E731
    samples = {"more": cut(more), "noise": cut(drawn(6_000, 8)), "copied": cut(train)}
    return compare_dna(samples, real, train, k=3, resamples=50), samples, real, train


def test_the_table_tells_real_from_noise_and_copies(table):
    value = table[0]["value"]
    for statistic in ("3-mer distance (bits)", "dinucleotide distance (x 1000)", "codon distance (bits)"):
        assert value[statistic, "noise"] > 2 * max(value[statistic, "real"], value[statistic, "more"])
    assert value["period 3 (mbit)", "noise"] < 2 < value["period 3 (mbit)", "more"]
    assert value["period 3 (mbit)", "Markov, order 6"] < 0.7 * value["period 3 (mbit)", "real"]
    assert value["longest ORF (bases)", "more"] > 1.3 * value["longest ORF (bases)", "noise"]
    matches = value["longest training match (bases)"]
    assert matches["copied"] == 900 and matches[["more", "noise", "Markov, order 6"]].max() < 40


def test_the_tables_form_and_intervals(table):
    frame, samples, real, train = table
    groups = ["real", "more", "noise", "copied", "Markov, order 6"]
    assert [*frame.index.get_level_values("group").unique()] == groups and [*frame] == [
        "value",
        "low",
        "high",
    ]
    inside = (frame["low"] <= frame["value"] + 1e-9) & (frame["value"] <= frame["high"] + 1e-9)
    assert inside.all()
    gc = frame.loc["G + C (%)"]
    assert gc.loc["noise", "value"] == pytest.approx(
        100 * np.mean([(s.count("G") + s.count("C")) / 900 for s in samples["noise"]])
    )
    assert gc.loc["noise", "low"] < gc.loc["noise", "value"] < gc.loc["noise", "high"]
    again = compare_dna({"noise": samples["noise"]}, real, train, k=3, resamples=50, copies=False)
    assert "longest training match (bases)" not in again.index
    pd.testing.assert_frame_equal(again, frame.loc[again.index])


def test_the_table_refuses():
    real, train = drawn(4_000), drawn(4_000, 1)
    for samples in ({}, {"a": ["ACGT"]}, {"a": ["ACGT", "ACG"]}, {"a": ["ACGT"] * 2, "b": ["ACGT"] * 3}):
        with pytest.raises(ValueError, match="must all have one length"):
            compare_dna(samples, real, train)
    with pytest.raises(ValueError, match=r"real has 4,000 bases: 3 pieces of 1,000 .* need 6,000"):
        compare_dna({"a": [drawn(1_000)] * 3}, real, train)
    with pytest.raises(ValueError, match="real names a row"):
        compare_dna({"real": [drawn(500)] * 2}, real, train)


def test_names_are_in_evaluation_too():
    assert evaluation.compare_dna is compare_dna and evaluation.spectrum_distance is spectrum_distance
    with pytest.raises(AttributeError, match="no attribute 'compare_rna'"):
        evaluation.compare_rna  # noqa: B018
