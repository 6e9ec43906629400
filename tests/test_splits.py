"""splits.py: shared k-mers against a set of strings, leaks and duplicates against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gfm_lab.sequence import SequenceError, reverse_complement
from gfm_lab.splits import duplicates, leaks, shared_kmer_fraction, shared_kmer_mask

dna = st.text(alphabet="ACGTacgtN", max_size=60)


def mask_by_strings(test, trains, k, both_strands):
    """The definition, with a Python set of k-mers."""

    def kmers(seq):
        seq = seq.upper()
        return [seq[i : i + k] for i in range(len(seq) - k + 1)]

    seen = {kmer for train in trains for kmer in kmers(train) if set(kmer) <= set("ACGT")}
    if both_strands:
        seen |= {reverse_complement(kmer) for kmer in seen}
    mask = [False] * len(test)
    for start, kmer in enumerate(kmers(test)):
        if kmer in seen:
            mask[start : start + k] = [True] * k
    return mask


@settings(max_examples=150, deadline=None)
@given(test=dna, trains=st.lists(dna, max_size=3), k=st.integers(1, 8), both=st.booleans())
def test_equals_a_set_of_strings(test, trains, k, both):
    expected = mask_by_strings(test, trains, k, both)
    mask = shared_kmer_mask(test, trains, k, both_strands=both)
    assert mask.dtype == bool and mask.tolist() == expected
    if test:
        assert shared_kmer_fraction(test, trains, k, both) == pytest.approx(np.mean(expected))
    if len(trains) == 1:
        assert shared_kmer_mask(test, trains[0], k, both_strands=both).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(data=st.data(), k=st.sampled_from([15, 16, 29, 30, 31]), both=st.booleans())
def test_long_kmers_planted_on_either_strand(data, k, both):
    # Random stretches share no long k-mer by chance, so what is shared is what was planted.
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    test, train = ("".join(rng.choice(list("ACGT"), 300)) for _ in range(2))
    at = data.draw(st.integers(0, 300 - k))
    length = data.draw(st.integers(k - 2, min(k + 20, 300 - at)))
    planted = test[at : at + length]
    if data.draw(st.booleans()):
        planted = reverse_complement(planted)
    train = train[:100] + planted + train[100:]
    mask = shared_kmer_mask(test, train, k, both_strands=both)
    assert mask.tolist() == mask_by_strings(test, [train], k, both)


def test_known_cases():
    repeat = "ACGTTGCAAGGCTTAACCGGATATCCGTGAC"  # 31 bases
    assert len(repeat) == 31
    assert shared_kmer_fraction("A" * 31 + repeat, "T" + repeat + "C") == 0.5
    assert shared_kmer_fraction("A" * 31 + repeat, ["G", repeat.lower()]) == 0.5
    assert shared_kmer_fraction(repeat, reverse_complement(repeat)) == 1.0
    assert shared_kmer_fraction(repeat, reverse_complement(repeat), both_strands=False) == 0.0
    assert shared_kmer_fraction(repeat[:30], repeat) == 0.0  # shorter than k
    assert shared_kmer_fraction("N" * 40, "N" * 40) == 0.0
    assert shared_kmer_fraction("T" * 31, "T" * 31, both_strands=False) == 1.0  # the largest packed number


def test_refuses_what_has_no_answer():
    for k in (0, 32, -1):
        with pytest.raises(ValueError, match=f"k={k} "):
            shared_kmer_fraction("ACGT", "ACGT", k)
    with pytest.raises(ValueError, match="empty"):
        shared_kmer_fraction("", "ACGT")
    assert shared_kmer_mask("", "ACGT", 2).tolist() == []


short = st.text(alphabet="ACGTa", min_size=1, max_size=3)


@given(st.lists(st.tuples(short, st.sampled_from(["train", "val", "test"])), max_size=25))
def test_leaks_are_exactly_the_sequences_in_two_splits(pairs):
    sequences, splits = [p[0] for p in pairs], [p[1] for p in pairs]
    frame = leaks(sequences, splits)
    assert list(frame.columns) == ["group", "row", "split", "strand", "sequence"]

    def same(a, b):
        return b.upper() in (a.upper(), reverse_complement(a.upper()))

    expected = {
        i
        for i, (a, s) in enumerate(pairs)
        if any(same(a, b) and s != t for b, t in pairs)
        or any(same(a, b) and same(a, c) and t != u for b, t in pairs for c, u in pairs)
    }
    assert set(frame["row"]) == expected and len(frame) == len(expected)
    assert [sequences[i] for i in frame["row"]] == list(frame["sequence"])
    assert [splits[i] for i in frame["row"]] == list(frame["split"])
    for _, group in frame.groupby("group"):
        first = group["sequence"].iloc[0].upper()
        assert group["split"].nunique() > 1
        for strand, sequence in zip(group["strand"], group["sequence"], strict=True):
            other = sequence.upper() if strand == "+" else reverse_complement(sequence.upper())
            assert other == first
    assert frame["group"].nunique() == len(
        {min(s.upper(), reverse_complement(s.upper())) for s in frame["sequence"]}
    )


def test_leaks_finds_the_other_strand_and_names_bad_input():
    frame = leaks(["AACG", "GGGA", "cgtt", "GGGA"], ["train", "train", "test", "train"])
    assert frame["row"].tolist() == [0, 2] and frame["strand"].tolist() == ["+", "-"]
    assert leaks(["AACG", "CGTA"], ["train", "test"]).empty
    with pytest.raises(ValueError, match="2 sequences but 1 splits"):
        leaks(["A", "C"], ["train"])
    with pytest.raises(SequenceError, match="position 2"):
        leaks(["AX"], ["train"])


@given(st.lists(short, max_size=25))
def test_duplicates_are_exactly_the_repeated_ones(sequences):
    upper = [s.upper() for s in sequences]
    frame = duplicates(sequences)
    assert sorted(frame["row"]) == [i for i, s in enumerate(upper) if upper.count(s) > 1]
    assert [sequences[i] for i in frame["row"]] == list(frame["sequence"])
    assert all(group["sequence"].str.upper().nunique() == 1 for _, group in frame.groupby("group"))
    assert frame["group"].nunique() == len({s for s in upper if upper.count(s) > 1})


def test_duplicates_do_not_count_the_other_strand():
    assert duplicates(["AACG", "CGTT"]).empty
    assert duplicates(["AACG", "CGTT", "aacg"])["row"].tolist() == [0, 2]
