"""splits.py: every kind of split holds out what it says; planted near copies are found, unrelated DNA is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gfm_lab.sequence import SequenceError, reverse_complement
from gfm_lab.splits import (
    KINDS,
    duplicates,
    homology_groups,
    leaks,
    loci,
    near_leaks,
    near_pairs,
    shared_kmer_fraction,
    shared_kmer_mask,
    split_by,
)

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


# ---- Making a split ----


def random_dna(rng, count, length):
    return ["".join(row) for row in np.array(list("ACGT"))[rng.integers(0, 4, (count, length))]]


def mutate(rng, sequence, rate):
    """Exactly round(rate * length) substitutions, each to another base."""
    letters = list(sequence)
    for i in rng.choice(len(letters), round(rate * len(letters)), replace=False):
        letters[i] = rng.choice([base for base in "ACGT" if base != letters[i]])
    return "".join(letters)


sizes = st.lists(st.integers(1, 6), min_size=8, max_size=40)


@settings(max_examples=100, deadline=None)
@given(sizes, st.integers(0, 5))
def test_groups_stay_whole_and_shares_are_met_within_a_group(sizes, seed):
    groups = [f"g{i}" for i, n in enumerate(sizes) for _ in range(n)]
    fractions = {"train": 0.6, "valid": 0.2, "test": 0.2}
    try:
        parts = split_by("group", groups, fractions=fractions, seed=seed)
    except ValueError as error:
        assert "nothing is left for" in str(error) or "holds" in str(error)
        return
    assert parts.tolist() == split_by("group", groups, fractions=fractions, seed=seed).tolist()
    of = {}
    for group, part in zip(groups, parts, strict=True):
        assert of.setdefault(group, part) == part
    for name, fraction in fractions.items():
        assert abs((parts == name).sum() - fraction * len(groups)) <= max(sizes) + 1


def test_seeds_change_a_split_and_folds_are_equal():
    genes = [f"gene {i // 3}" for i in range(300)]
    a, b = (split_by("group", genes, seed=seed) for seed in (0, 1))
    assert (a != b).any()
    folds = split_by("group", genes, fractions=5)
    assert {name: int((folds == name).sum()) for name in set(folds)} == dict.fromkeys("01234", 60)


def test_random_split_keeps_equal_dna_together():
    rng = np.random.default_rng(0)
    ones = random_dna(rng, 100, 30)
    sequences = ones + [reverse_complement(s) for s in ones] + [s.lower() for s in ones]
    parts = split_by("random", sequences)
    assert leaks(sequences, parts.tolist()).empty
    assert (parts == "test").sum() == 30 and (parts == "valid").sum() == 30
    assert len(set(split_by("random", range(50)))) == 3  # numbers and names are items as well


def test_regions_are_contiguous_and_apart():
    rng = np.random.default_rng(1)
    start = rng.integers(0, 100_000, 2_000)
    spans = np.stack([start, start + 300], axis=1)
    parts = split_by("region", spans, gap=500)
    last = -np.inf
    for name in ("train", "valid", "test"):
        mine = spans[parts == name]
        assert mine[:, 0].min() > last
        last = mine[:, 1].max() + 500 - 1
    assert 0 < (parts == "out").sum() < 60
    assert (parts == "train").mean() == pytest.approx(0.8, abs=0.02)
    whole = split_by("region", start, fractions={"test": 0.5, "train": 0.5})
    assert start[whole == "test"].max() < start[whole == "train"].min()


def test_chromosomes_are_chosen_by_name_or_by_lot():
    names = ["chr2L", "chr2R", "chr3L", "chr3R", "chrX"] * 20
    held = {"test": ["chrX"], "valid": "chr3R"}
    parts = split_by("chromosome", names, held=held)
    assert {n: p for n, p in zip(names, parts, strict=True)} == {
        "chr2L": "train", "chr2R": "train", "chr3L": "train", "chr3R": "valid", "chrX": "test",
    }  # fmt: skip
    lot = split_by("chromosome", names, fractions=5)
    assert len({(n, p) for n, p in zip(names, lot, strict=True)}) == 5
    with pytest.raises(ValueError, match="'chrY' is held out for test but does not occur"):
        split_by("chromosome", names, held={"test": ["chrY"]})
    with pytest.raises(ValueError, match="'chrX' is held out for test and for valid"):
        split_by("chromosome", names, held={"test": ["chrX"], "valid": ["chrX"]})


def test_block_holds_out_the_bases_at_its_places():
    sequences = random_dna(np.random.default_rng(2), 400, 9)
    parts = split_by("block", sequences, places=[2, 7], held={"test": ["GG"], "valid": ["AG"]})
    pair = np.array([s[2] + s[7] for s in sequences])
    assert ((pair == "GG") == (parts == "test")).all() and ((pair == "AG") == (parts == "valid")).all()
    lot = split_by("block", sequences, places=[2, 7])
    assert all(len(set(lot[pair == p])) == 1 for p in set(pair))
    with pytest.raises(ValueError, match="needs places"):
        split_by("block", sequences)
    with pytest.raises(ValueError, match="do not all lie in 0 to 8"):
        split_by("block", sequences, places=[9])


def test_homology_split_leaves_no_near_copy_across():
    rng = np.random.default_rng(3)
    founders = random_dna(rng, 60, 200)
    sequences, family = [], []
    for number, founder in enumerate(founders):
        member = founder
        for _ in range(1 + number % 4):  # a chain: each a mutant of the one before, on alternating strands
            sequences.append(member)
            family.append(number)
            member = reverse_complement(mutate(rng, member, 0.03))
    groups = homology_groups(sequences)
    assert len(set(groups)) == 60 == len(set(zip(groups, family, strict=True)))
    parts = split_by("homology", sequences)
    assert near_leaks(sequences, parts.tolist(), identity=0.91).empty
    careless = split_by("random", sequences)
    assert len(near_leaks(sequences, careless.tolist(), identity=0.91)) > 20


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("XY"), st.integers(0, 60), st.integers(1, 15)), min_size=1, max_size=12
    ),
    st.integers(0, 5),
)
def test_loci_are_chains_of_near_intervals_of_one_chromosome(rows, gap):
    chrom = np.array([row[0] for row in rows])
    start = np.array([row[1] for row in rows])
    stop = start + np.array([row[2] for row in rows])
    found = loci(chrom, start, stop, gap=gap)
    near = (start[:, None] <= stop + gap) & (start <= stop[:, None] + gap) & (chrom[:, None] == chrom)
    for _ in rows:
        near = (near.astype(int) @ near.astype(int)) > 0
    assert ((found[:, None] == found) == near).all()
    assert set(found) == set(range(found.max() + 1))


def test_loci_name_bad_intervals():
    with pytest.raises(ValueError, match="row 1: stop 2 lies before start 3"):
        loci("XX", [1, 3], [2, 2])
    with pytest.raises(ValueError, match="1 chromosomes, 2 starts"):
        loci("X", [1, 3], [2, 4])


def test_splits_that_cannot_be_made_say_why():
    with pytest.raises(ValueError, match="2 items cannot fill 3 splits"):
        split_by("random", ["A", "C"])
    with pytest.raises(ValueError, match="2 groups cannot fill 5 splits"):
        split_by("group", ["a", "b"] * 10, fractions=5)
    with pytest.raises(ValueError, match="group 'big' holds 90 of 100 items, more than the largest"):
        split_by("group", ["big"] * 90 + list("abcdefghij"))
    with pytest.raises(ValueError, match="class 1 does not occur in test"):
        split_by("chromosome", [*"aabbc"], held={"valid": "b", "test": "c"}, labels=[0, 1, 0, 1, 0])
    with pytest.raises(ValueError, match="class 0 does not occur in valid"):
        split_by("chromosome", [*"aabcc"], held={"valid": "b", "test": "c"}, labels=[0, 1, 1, 0, 1])
    with pytest.raises(ValueError, match="no kind of split 'gene'"):
        split_by("gene", ["a"])
    with pytest.raises(ValueError, match="add up to 1"):
        split_by("random", range(9), fractions={"train": 0.9, "test": 0.2})
    with pytest.raises(ValueError, match="3 labels but 40 items"):
        split_by("random", range(40), labels=[0, 1, 0])
    with pytest.raises(ValueError, match="nothing is left for valid"):
        split_by("chromosome", [*"aabb"], held={"test": ["b"]})
    assert len(KINDS) == 6


# ---- Near duplicates ----


def test_planted_near_copies_are_found_and_unrelated_dna_is_not():
    rng = np.random.default_rng(4)
    sequences = random_dna(rng, 1_600, 300)
    splits = ["train"] * 1_200 + ["test"] * 400
    rates = [0.0, 0.01, 0.02, 0.03, 0.04, 0.05]
    for i in range(240):
        copy = mutate(rng, sequences[i * 5], rates[i % 6])
        sequences[1_200 + i] = reverse_complement(copy) if i % 2 else copy
    found = near_leaks(sequences, splits)
    found = found[found["split"] == "test"]
    assert set(found["row"]) == set(range(1_200, 1_440))  # all that were planted, and nothing else
    assert (found["match"] == [(row - 1_200) * 5 for row in found["row"]]).all()
    assert (found["strand"] == ["-" if row % 2 else "+" for row in found["row"]]).all()
    true = 1 - np.array([rates[(row - 1_200) % 6] for row in found["row"]])
    assert np.abs(found["identity"] - true).max() < 0.04 and np.abs(found["identity"] - true).mean() < 0.01
    back = near_leaks(sequences, splits)
    assert set(back.loc[back["split"] == "train", "row"]) == {i * 5 for i in range(240)}


def test_a_shared_stretch_is_found_with_its_share():
    rng = np.random.default_rng(5)
    genome = random_dna(rng, 1, 3_000)[0]
    sequences = [genome[i : i + 300] for i in range(0, 2_400, 300)] + [genome[150:450], genome[2_500:2_800]]
    found = near_leaks(sequences, ["train"] * 8 + ["test"] * 2)
    mine = found[found["split"] == "test"]
    assert mine["row"].tolist() == [8]  # the other test window overlaps nothing
    assert mine["containment"].item() == pytest.approx(135 / 285) and mine["match"].item() in (0, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.text("AC", min_size=12, max_size=12), st.sampled_from("ab")), min_size=2, max_size=15
    ),
    st.sampled_from([0.7, 0.9, 1.0]),
)
def test_aligned_near_copies_are_those_of_the_definition(pairs, identity):
    sequences, splits = [p[0] for p in pairs], [p[1] for p in pairs]
    found = near_leaks(sequences, splits, identity=identity, aligned=True)
    for row, (mine, split) in enumerate(pairs):
        scores = [
            np.mean([x == y for x, y in zip(mine, other, strict=True)])
            for other, its in pairs
            if its != split
        ]
        lines = found[found["row"] == row]
        if scores and max(scores) >= identity - 1e-9:
            assert lines["identity"].item() == pytest.approx(max(scores))
            assert splits[lines["match"].item()] == lines["match_split"].item() != split
        else:
            assert lines.empty


def test_many_copies_of_one_repeat_are_found_in_bounded_work():
    # A repeat in every row proposes no more than `most` partners a k-mer, and each row still finds one.
    rng = np.random.default_rng(6)
    repeat = random_dna(rng, 1, 100)[0]
    sequences = [a + repeat + b for a, b in zip(*(random_dna(rng, 400, 50) for _ in range(2)), strict=True)]
    splits = ["train"] * 300 + ["test"] * 100
    found = near_leaks(sequences, splits)
    assert set(found["row"]) == set(range(400))
    assert len(near_pairs(sequences)) < 400 * 399 / 4
    assert len(set(homology_groups(sequences))) == 1


def test_near_leaks_refuses_what_cannot_be_compared():
    with pytest.raises(ValueError, match="2 sequences but 1 splits"):
        near_leaks(["A", "C"], ["train"])
    with pytest.raises(ValueError, match="lengths run from 1 to 2"):
        near_leaks(["A", "CC"], ["train", "test"], aligned=True)
    with pytest.raises(ValueError, match="k=40"):
        near_pairs(["A"], k=40)
    assert near_leaks(["ACGT", "ACGT"], ["train", "test"]).empty  # shorter than k: nothing to compare
    assert near_leaks([], []).empty
    assert near_leaks(["N" * 40, "N" * 40], ["train", "test"]).empty
