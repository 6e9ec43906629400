"""Site 1: tokens, ids and offsets are what the definition says, what was published, and what transformers expects."""

import json
import os
import pickle
import random
import subprocess
import sys
import tracemalloc
from functools import cache
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoTokenizer,
    BertTokenizer,
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    EsmTokenizer,
)

import gfm_lab.tokenization as tokenization
from gfm_lab.sequence import reverse_complement
from gfm_lab.tokenization import BPETokenizer, KmerTokenizer, NucleotideTokenizer, kmers

DNA = st.text("ACGT", max_size=60)
DNA_N = st.text("ACGTACGTACGTN", max_size=60)
ANYTHING = st.text("ACGTACGTACGTACGTNnacgtRYU-é \n", max_size=60)
OPTIONS = st.fixed_dictionaries(
    {name: st.sampled_from(values) for name, values in tokenization.CHOICES.items()}
)
STEPS = st.integers(1, 5).flatmap(lambda k: st.tuples(st.just(k), st.integers(1, k)))

examples = settings(deadline=None, max_examples=60)


@cache
def _kmer(k, stride=1, **options):
    return KmerTokenizer(k, stride, **options)


@cache
def _bpe(**options):
    rng = np.random.default_rng(0)
    dna = "".join(rng.choice(list("ACGT"), 20_000, p=[0.4, 0.1, 0.1, 0.4]))
    return BPETokenizer.train([dna, dna[:5000].lower() + "NNN" + dna[5000:9000]], 120, **options)


@cache
def _published():
    return {
        "own-6": KmerTokenizer(6),
        "own-4-stride-3": KmerTokenizer(
            4, 3, on_unknown="split", tail="unk", lowercase="unknown", wrap="sep"
        ),
        "own-nucleotide": NucleotideTokenizer(wrap="cls"),
        **{f"dnabert-{k}": KmerTokenizer.dnabert(k) for k in (3, 4, 5, 6)},
        "nt-1": KmerTokenizer.nucleotide_transformer(1),
        "nt-2": KmerTokenizer.nucleotide_transformer(2),
        "hyenadna": NucleotideTokenizer.hyenadna(),
        "hyenadna-loader": NucleotideTokenizer.hyenadna(wrap="sep"),
        "caduceus": NucleotideTokenizer.caduceus(),
        "bpe": _bpe(wrap="cls_sep", on_unknown="split"),
    }


# ---- The definition ----


def test_the_lectures_example():
    assert kmers("ATGTGCGCT", 3) == ["ATG", "TGT", "GTG", "TGC", "GCG", "CGC", "GCT"]
    assert kmers("ATGTGCGCT", 3, 3) == ["ATG", "TGC", "GCT"]
    assert _kmer(3).tokenize("ATGTGCGCT") == kmers("ATGTGCGCT", 3)
    assert _kmer(3)("ACG")["input_ids"] == [5 + 16 * 0 + 4 * 1 + 2]
    assert NucleotideTokenizer()("ACGT")["input_ids"] == [5, 6, 7, 8]


@examples
@given(DNA, st.integers(1, 8))
def test_overlapping_kmers_number_l_minus_k_plus_1(seq, k):
    assert len(kmers(seq, k)) == max(0, len(seq) - k + 1)
    if len(seq) >= k:
        assert len(_kmer(k)(seq)["input_ids"]) == len(seq) - k + 1


@pytest.mark.parametrize("k", range(1, 9))
def test_the_courses_own_vocabulary_is_in_acgt_order_after_the_special_tokens(k):
    vocabulary = _kmer(k).get_vocab()
    words = ["".join(word) for word in product("ACGT", repeat=k)]
    assert sorted(words) == words == sorted(words, key=vocabulary.__getitem__)
    assert [vocabulary[word] for word in words] == list(range(5, 5 + 4**k))
    assert [vocabulary[t] for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 1, 2, 3, 4]
    assert sorted(vocabulary.values()) == list(range(len(_kmer(k))))


@settings(deadline=None, max_examples=250)
@given(ANYTHING, STEPS, OPTIONS, st.booleans())
def test_the_fast_path_gives_the_ids_and_spans_of_the_definition(seq, step, options, tiny_blocks):
    tok = _kmer(*step, **options)
    try:
        walked = list(tok._walk(seq))
    except ValueError as slow:
        with pytest.raises(ValueError) as fast:
            tok.encode_array(seq)
        assert str(fast.value) == str(slow)
        return
    with pytest.MonkeyPatch.context() as patch:
        if tiny_blocks:  # so that runs cross the borders of blocks
            patch.setattr(tokenization, "BLOCK", 8)
        ids = tok.encode_array(seq)
    assert ids.tolist() == tok.convert_tokens_to_ids([token for token, _, _ in walked])
    assert tok.tokenize(seq) == [token for token, _, _ in walked]
    encoded = tok(seq, add_special_tokens=False, return_offsets_mapping=True)
    assert encoded["input_ids"] == ids.tolist()
    assert encoded["offset_mapping"] == [(start, stop) for _, start, stop in walked]


@pytest.mark.parametrize("k, stride", [(6, 1), (6, 6), (7, 3), (8, 1), (8, 8), (1, 1)])
def test_the_fast_path_on_long_words_and_many_blocks(k, stride):
    rng = np.random.default_rng(k * 10 + stride)
    letters = rng.choice(np.frombuffer(b"ACGTacgt", np.uint8), 140_001)
    letters[[5, 70_000, 70_001, 139_999]] = ord("N")
    seq = letters.tobytes().decode()
    for on_unknown in ("unk", "split"):
        tok = _kmer(k, stride, on_unknown=on_unknown)
        slow = np.array(tok.convert_tokens_to_ids(tok.tokenize(seq)))
        for given_as in (seq, seq.encode(), letters):
            assert np.array_equal(tok.encode_array(given_as), slow)


def test_the_arrays_type_is_the_smallest_that_fits():
    assert _kmer(7).encode_array("ACGT" * 4).dtype == np.int16
    assert _kmer(8).encode_array("TTTTTTTT").dtype == np.int32
    assert _kmer(8).encode_array("TTTTTTTT").tolist() == [5 + 4**8 - 1]
    ids = KmerTokenizer.dnabert(3).encode_array("ATGTG", add_special_tokens=True)
    assert ids.tolist() == KmerTokenizer.dnabert(3)("ATGTG")["input_ids"]


@pytest.mark.parametrize(
    "tok",
    [
        KmerTokenizer(6),
        KmerTokenizer(8),
        KmerTokenizer.nucleotide_transformer(),
        NucleotideTokenizer.hyenadna(),
    ],
    ids=["6-mer", "8-mer", "nt", "hyenadna"],
)
def test_ten_megabases_peak_below_eight_bytes_a_base(tok):
    seq = np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(0).integers(0, 4, 10_000_000)].tobytes()
    if tok.on_unknown == "split":
        seq = seq[:4_000_000] + b"N" * 1_000_000 + seq[5_000_000:]
    text = seq.decode()
    tracemalloc.start()
    try:
        tok.encode_array(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / len(seq) < 8


# ---- Back to bases ----


@examples
@given(DNA, STEPS)
def test_decode_gives_the_sequence_back(seq, step):
    for tok in (_kmer(*step), _kmer(*step, wrap="cls_sep"), _kmer(*step, on_unknown="split")):
        assert tok.decode(tok(seq)["input_ids"], skip_special_tokens=True) == seq
    assert _kmer(*step).decode(_kmer(*step).encode(seq)) == seq


@examples
@given(DNA_N, STEPS)
def test_decode_gives_n_back_where_n_has_a_token(seq, step):
    for tok in (
        _kmer(*step, on_unknown="split"),
        *(_published()[n] for n in ("nt-1", "nt-2", "hyenadna", "bpe")),
    ):
        assert tok.decode(tok(seq)["input_ids"], skip_special_tokens=True) == seq


@examples
@given(DNA_N.filter(lambda s: len(s) >= 6))
def test_overlapping_words_tell_every_base_but_the_unknown_one(seq):
    tok = _published()["dnabert-6"]
    decoded = tok.decode(tok(seq)["input_ids"], skip_special_tokens=True)
    assert len(decoded) == len(seq)
    words = [(i, i + 6) for i in range(len(seq) - 5) if "N" not in seq[i : i + 6]]
    told = {base for start, stop in words for base in range(start, stop)}
    assert decoded == "".join(base if i in told else "N" for i, base in enumerate(seq))


def test_a_single_mask_among_overlapping_words_hides_nothing_and_k_in_a_row_hide_one_base():
    tok, seq = _kmer(3), "ACGTTGCAACG"
    ids = tok(seq)["input_ids"]
    one = [*ids[:4], tok.mask_token_id, *ids[5:]]
    three = [*ids[:4], *[tok.mask_token_id] * 3, *ids[7:]]
    assert tok.decode(one, skip_special_tokens=True) == seq
    assert tok.decode(three, skip_special_tokens=True) == seq[:6] + "N" + seq[7:]
    assert tok.decode(one) == seq[:6] + "[MASK]" + seq[5:]


def test_where_words_contradict_each_other_the_earlier_one_wins():
    tok = _kmer(3)
    assert tok.decode(tok.convert_tokens_to_ids(["AAA", "CCC", "GGG"])) == "AAACG"
    assert _kmer(3, 2).decode(_kmer(3, 2).convert_tokens_to_ids(["AAA", "CCG", "TAA"])) == "AAACGAA"


def test_tails():
    assert _kmer(3, 3).tokenize("ATGTG") == ["ATG", "T", "G"]
    assert _kmer(3, 3, tail="drop").tokenize("ATGTG") == ["ATG"]
    assert _kmer(3, 3, tail="unk").tokenize("ATGTG") == ["ATG", "[UNK]"]
    assert _kmer(3, 3, tail="unk").bases_of(1, "ATGTG") == range(3, 5)
    assert _kmer(4, 2).tokenize("ATGTGCG") == ["ATGT", "GTGC", "G"]
    for tail, expected in [("letters", ["A", "T"]), ("drop", []), ("unk", ["[UNK]"])]:  # shorter than k
        assert _kmer(3, tail=tail).tokenize("AT") == expected
        assert _kmer(3, tail=tail).tokenize("") == []


@examples
@given(DNA_N, STEPS, st.sampled_from(tokenization.CHOICES["tail"]))
def test_bases_of_and_token_at_are_each_others_inverse(seq, step, tail):
    tok = _kmer(*step, tail=tail, on_unknown="split")
    spans = [tok.bases_of(i, seq) for i in range(len(tok(seq)["input_ids"]))]
    for base in range(len(seq)):
        assert list(tok.token_at(base, seq)) == [i for i, span in enumerate(spans) if base in span]
    with pytest.raises(IndexError, match=f"{len(spans)} tokens"):
        tok.bases_of(len(spans), seq)
    with pytest.raises(IndexError, match=f"{len(seq)} bases"):
        tok.token_at(len(seq), seq)


@examples
@given(STEPS, st.integers(0, 30))
def test_without_a_sequence_the_maps_are_those_of_long_clean_dna(step, place):
    tok, seq = _kmer(*step), "ACGTT" * 40
    assert tok.bases_of(place) == tok.bases_of(place, seq)
    assert tok.token_at(place) == tok.token_at(place, seq)
    assert 1 <= len(tok.token_at(place)) <= tok.k


def test_bpe_maps_need_the_sequence():
    tok, seq = _bpe(), "ACGTATATTAAAGCGC"
    for i, (start, stop) in enumerate(tok(seq, return_offsets_mapping=True)["offset_mapping"]):
        assert tok.bases_of(i, seq) == range(start, stop)
        assert all(tok.token_at(base, seq) == range(i, i + 1) for base in range(start, stop))
    for ask in (tok.bases_of, tok.token_at):
        with pytest.raises(ValueError, match="no fixed length"):
            ask(3)
        with pytest.raises(IndexError):
            ask(100, seq)


# ---- The other strand ----


@examples
@given(DNA_N, st.integers(1, 5))
def test_reverse_complement_of_ids_with_stride_1(seq, k):
    for tok in (
        _kmer(k, on_unknown="split"),
        _kmer(k, on_unknown="unk", wrap="cls_sep"),
        _published()["caduceus"],
    ):
        ids = tok(seq)["input_ids"]
        turned = tok.reverse_complement_ids(ids)
        if len(seq) >= k or tok.on_unknown == "split":
            assert turned == tok(reverse_complement(seq))["input_ids"]
        assert tok.reverse_complement_ids(turned) == ids
        padded = tok(seq, padding="max_length", max_length=80, return_tensors="np")["input_ids"][0]
        other = tok(reverse_complement(seq), padding="max_length", max_length=80, return_tensors="np")
        if len(seq) >= k:
            assert np.array_equal(tok.reverse_complement_ids(padded), other["input_ids"][0])


@examples
@given(DNA, STEPS)
def test_reverse_complement_of_ids_with_longer_strides_is_exact_or_refused(seq, step):
    k, stride = step
    tok = _kmer(k, stride)
    if len(seq) < k or (len(seq) - k) % stride == 0:
        assert tok.reverse_complement_ids(tok(seq)["input_ids"]) == tok(reverse_complement(seq))["input_ids"]
    else:
        with pytest.raises(ValueError, match="cut at other places"):
            tok.reverse_complement_ids(tok(seq)["input_ids"])


def test_reverse_complement_of_ids_says_what_it_cannot_do():
    tok = KmerTokenizer.dnabert(3)
    with pytest.raises(ValueError, match="one sequence"):
        tok.reverse_complement_ids([[5, 6]])
    with pytest.raises(ValueError, match=r"0\.\.68"):
        tok.reverse_complement_ids([2, -100, 3])
    with pytest.raises(ValueError, match="inside the sequence"):
        tok.reverse_complement_ids(tok("ATGTG", "ATGTG")["input_ids"])
    with pytest.raises(ValueError, match="left to right"):
        _bpe().reverse_complement_ids([5, 6])
    assert NucleotideTokenizer.caduceus().complement_ids.tolist() == [0, 1, 2, 3, 4, 5, 6, 10, 9, 8, 7, 11]


# ---- Letters that are not A, C, G or T ----


@pytest.mark.parametrize("tok", [KmerTokenizer(3), KmerTokenizer(3, 3), NucleotideTokenizer(), _bpe()])
@pytest.mark.parametrize(
    "seq, letter, position", [("ACGTN", "N", 4), ("RACGT", "R", 0), ("ac-gtn", "-", 2), ("Aé", "é", 1)]
)
def test_an_unknown_letter_is_an_error_that_names_it_its_position_and_the_choices(tok, seq, letter, position):
    calls = [tok, tok.encode_array, tok.tokenize, lambda s: tok(["ACGT", s]), lambda s: tok.bases_of(0, s)]
    for call in calls:
        with pytest.raises(ValueError) as error:
            call(seq)
        for part in (repr(letter), f"position {position} ", "'error'", "'unk'", "'split'"):
            assert part in str(error.value)
    with pytest.raises(ValueError, match=f"position {position + 6} "):
        tok("[MASK]" + seq)


def test_what_unk_and_split_do():
    assert _kmer(3, on_unknown="unk").tokenize("ATGNCAT") == ["ATG", *["[UNK]"] * 3, "CAT"]
    assert _kmer(3, 3, on_unknown="unk").tokenize("ATGNCATT") == ["ATG", "[UNK]", "T", "T"]
    assert _kmer(3, on_unknown="split").tokenize("ATGTNCRCAT") == ["ATG", "TGT", "N", "C", "[UNK]", "CAT"]
    assert NucleotideTokenizer(on_unknown="unk").tokenize("ANR") == ["A", "[UNK]", "[UNK]"]
    assert NucleotideTokenizer(on_unknown="split").tokenize("ANR") == ["A", "N", "[UNK]"]
    assert _bpe(on_unknown="unk").tokenize("ANRA") == ["A", "[UNK]", "[UNK]", "A"]
    assert _bpe(on_unknown="split").tokenize("ANRA")[:2] == ["A", "N"]


def test_lower_case_is_folded_or_unknown_as_chosen():
    assert _kmer(3)("ATGtga")["input_ids"] == _kmer(3)("ATGTGA")["input_ids"]
    assert _kmer(3).decode(_kmer(3)("ATGtga")["input_ids"]) == "ATGTGA"
    with pytest.raises(ValueError, match=r"'t' at position 3 .*soft masking"):
        _kmer(3, lowercase="unknown")("ATGtga")
    split = _kmer(3, on_unknown="split", lowercase="unknown")
    assert split.tokenize("ATGn") == ["ATG", "[UNK]"]
    assert _bpe()("ATGtga")["input_ids"] == _bpe()("ATGTGA")["input_ids"]
    with pytest.raises(ValueError, match="'t' at position 3"):
        _bpe(lowercase="unknown")("ATGtga")


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: KmerTokenizer(9), "from 1 to 8"),
        (lambda: KmerTokenizer(0), "from 1 to 8"),
        (lambda: KmerTokenizer(3.0), "from 1 to 8"),
        (lambda: KmerTokenizer(3, 4), "from 1 to k = 3"),
        (lambda: KmerTokenizer(3, 0), "from 1 to k = 3"),
        (lambda: KmerTokenizer(3, tail="keep"), "'letters' or 'drop' or 'unk'"),
        (lambda: KmerTokenizer(3, on_unknown="skip"), "'error' or 'unk' or 'split'"),
        (lambda: KmerTokenizer(3, alphabet="ACGU"), "A, C, G, T"),
        (lambda: KmerTokenizer(3, letters="N"), "tail"),
        (lambda: KmerTokenizer.dnabert(7), "3, 4, 5 and 6"),
        (lambda: KmerTokenizer.nucleotide_transformer(3), "1 or 2"),
        (lambda: NucleotideTokenizer(k=2), "KmerTokenizer"),
        (lambda: BPETokenizer.train("ACGT", 10), "above 10"),
        (lambda: BPETokenizer.train("NNNN", 20), "nothing to merge"),
        (lambda: BPETokenizer.train("ACGT", 20, wrap="bos"), "'cls_sep'"),
    ],
)
def test_options_out_of_bounds_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_encode_array_refuses_what_is_not_a_sequence():
    for wrong in (["ACGT"], np.zeros(3), np.zeros((2, 2), np.uint8), None):
        with pytest.raises(TypeError, match="uint8"):
            _kmer(3).encode_array(wrong)


# ---- Published ids ----


@pytest.mark.parametrize("k, size", [(3, 69), (4, 261), (5, 1029), (6, 4101)])
def test_dnabert_sizes_and_ids(k, size):
    tok = _published()[f"dnabert-{k}"]
    assert len(tok) == tok.vocab_size == size
    first = ["A" * (k - 1) + letter for letter in "ATCG"]
    assert tok.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *first]) == list(range(9))
    assert tok.convert_tokens_to_ids("G" * k) == size - 1


@cache
def _bert(k):
    return BertTokenizer(vocab=_published()[f"dnabert-{k}"].get_vocab(), do_lower_case=False)


@examples
@given(DNA_N.filter(lambda s: len(s) >= 6), st.sampled_from([3, 4, 5, 6]))
def test_dnabert_agrees_with_bert_on_text_of_kmers(seq, k):
    theirs = _bert(k)(" ".join(kmers(seq, k)))
    ours = _published()[f"dnabert-{k}"](seq)
    assert ours["input_ids"] == theirs["input_ids"]
    assert ours["attention_mask"] == theirs["attention_mask"]


def test_nucleotide_transformer_ids_tails_and_n():
    one, two = _published()["nt-1"], _published()["nt-2"]
    assert (len(one), len(two)) == (4105, 4107)
    assert one.convert_tokens_to_ids(["<unk>", "<pad>", "<mask>", "<cls>", "AAAAAA", "AAAAAT"]) == list(
        range(6)
    )
    assert two.convert_tokens_to_ids(["<cls>", "<eos>", "<bos>", "AAAAAA"]) == [3, 4, 5, 6]
    assert one.convert_tokens_to_ids(list("ATCGN")) == [4100, 4101, 4102, 4103, 4104]
    assert two.convert_tokens_to_ids(list("ATCGN")) == [4102, 4103, 4104, 4105, 4106]
    assert one.tokenize("ATCGAATGGCGATG") == ["ATCGAA", "TGGCGA", "T", "G"]
    assert one.tokenize("ATCGAATNGGCGATGCAC") == ["ATCGAA", "T", "N", "GGCGAT", "G", "C", "A", "C"]
    assert one.tokenize("NNACGTAC") == ["N", "N", "ACGTAC"]
    assert one("AAAAAAN")["input_ids"] == [3, 4, 4104]
    assert one("AAAAAAR")["input_ids"] == [3, 4, 0]


@pytest.fixture(scope="module")
def esm(tmp_path_factory):
    """transformers' own tokenizer of this model, on our vocabulary: it looks for the longest token at each place."""
    path = tmp_path_factory.mktemp("nt") / "vocab.txt"
    vocabulary = _published()["nt-1"].get_vocab()
    path.write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)))
    return EsmTokenizer(str(path), eos_token=None)


@examples
@given(seq=DNA_N)
def test_nucleotide_transformer_agrees_with_transformers_esm_tokenizer(esm, seq):
    assert _published()["nt-1"](seq)["input_ids"] == esm(seq)["input_ids"]


def test_hyenadna_and_caduceus_ids():
    hyena, caduceus = _published()["hyenadna"], _published()["caduceus"]
    assert hyena("ACGTN")["input_ids"] == [0, 7, 8, 9, 10, 11, 1]
    assert _published()["hyenadna-loader"]("ACGTN")["input_ids"] == [7, 8, 9, 10, 11, 1]
    assert caduceus("ACGTN")["input_ids"] == [7, 8, 9, 10, 11, 1]
    assert hyena("AR")["input_ids"] == [0, 7, 6, 1]
    assert hyena.convert_ids_to_tokens([2, 3, 4, 5, 6]) == ["[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]"]
    assert hyena(["ACG", "A"], padding=True)["input_ids"] == [[0, 7, 8, 9, 1], [4, 4, 0, 7, 1]]
    assert hyena.decode([7, 14, 8], skip_special_tokens=True) == "ANC"  # rows that pad the table 12 -> 16


# ---- What every transformers tokenizer does ----


@pytest.mark.parametrize("name", _published())
@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_padding_truncation_masks_and_offsets(name, side):
    tok = _published()[name]
    seqs = ["ACGTTGCAACGGTACGGTTGCAATCGTACG", "ACGTTGCAACG", "TTTTTTTTGGAACCT"]
    batch = tok(
        seqs,
        padding="max_length",
        max_length=20,
        truncation=True,
        padding_side=side,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_tensors="pt",
    )
    assert {key: tuple(value.shape) for key, value in batch.items()} == {
        "input_ids": (3, 20),
        "attention_mask": (3, 20),
        "special_tokens_mask": (3, 20),
        "offset_mapping": (3, 20, 2),
    }
    for row, seq in enumerate(seqs):
        alone = tok(
            seq, truncation=True, max_length=20, return_offsets_mapping=True, return_special_tokens_mask=True
        )
        real = batch["attention_mask"][row].bool()
        assert batch["input_ids"][row][real].tolist() == alone["input_ids"]
        assert (batch["input_ids"][row][~real] == tok.pad_token_id).all()
        assert real.tolist() == sorted(real.tolist(), reverse=side == "right")
        assert [tuple(span) for span in batch["offset_mapping"][row][real].tolist()] == alone[
            "offset_mapping"
        ]
        assert not batch["offset_mapping"][row][~real].any()
        tokens = tok.convert_ids_to_tokens(alone["input_ids"])
        for token, (start, stop), special in zip(
            tokens, alone["offset_mapping"], alone["special_tokens_mask"], strict=True
        ):
            assert (start, stop) == (0, 0) if special else token in (seq[start:stop], tok.unk_token)
        content = [i for i, m in zip(alone["input_ids"], alone["special_tokens_mask"], strict=True) if not m]
        assert content == tok.encode_array(seq).tolist()[: len(content)]
        assert len(alone["input_ids"]) - len(content) == tok.num_special_tokens_to_add()


@pytest.mark.parametrize("name", _published())
def test_single_texts_pairs_and_written_special_tokens(name):
    tok = _published()[name]
    seq = "ACGTTGCAACGGTACGGTTG"
    assert tok(seq, return_tensors="np")["input_ids"].shape == (1, len(tok(seq)["input_ids"]))
    assert tok.convert_tokens_to_ids(tok.tokenize(seq)) == tok(seq, add_special_tokens=False)["input_ids"]
    assert tok.decode(tok([seq, seq])["input_ids"], skip_special_tokens=True)[1] == tok.decode(
        tok(seq)["input_ids"], skip_special_tokens=True
    )
    masked = tok(f"ACGTTGCA{tok.mask_token}ACGTTGCA", add_special_tokens=False, return_offsets_mapping=True)
    at = masked["input_ids"].index(tok.mask_token_id)
    assert masked["offset_mapping"][at] == (8, 8 + len(tok.mask_token))
    assert masked["input_ids"][:at] == tok("ACGTTGCA", add_special_tokens=False)["input_ids"]
    assert masked["offset_mapping"][at + 1][0] == 8 + len(tok.mask_token)
    pair = tok(seq, "ACGTTGCAAC", return_offsets_mapping=True, return_special_tokens_mask=True)
    assert len({len(value) for value in pair.values()}) == 1
    first, second = (tok(s, add_special_tokens=False)["input_ids"] for s in (seq, "ACGTTGCAAC"))
    content = [i for i, m in zip(pair["input_ids"], pair["special_tokens_mask"], strict=True) if not m]
    assert content == first + second
    cut = tok(seq, "ACGTTGCAAC", truncation="only_first", max_length=14, return_offsets_mapping=True)
    assert len(cut["input_ids"]) == len(cut["offset_mapping"]) <= 14 + len(second)
    assert tok("")["input_ids"] == tok.encode_array("", add_special_tokens=True).tolist()


def test_truncation_from_the_left_keeps_the_offsets_of_the_right():
    tok = KmerTokenizer(3, 3, wrap="cls_sep", truncation_side="left")
    cut = tok("AAACCCGGGTTT", truncation=True, max_length=4, return_offsets_mapping=True)
    assert tok.convert_ids_to_tokens(cut["input_ids"]) == ["[CLS]", "GGG", "TTT", "[SEP]"]
    assert cut["offset_mapping"] == [(0, 0), (6, 9), (9, 12), (0, 0)]


@pytest.mark.parametrize("name", _published())
def test_the_collators_of_the_trainer(name):
    tok = _published()[name]
    examples = [tok("ACGTTGCAACGGTACGGTTGCAATCGTACG" * 20), tok("ACGTTGCAACGG" * 20)]
    padded = DataCollatorWithPadding(tok)([dict(e) for e in examples])
    assert padded["attention_mask"].sum(1).tolist() == [len(e["input_ids"]) for e in examples]
    collator = DataCollatorForLanguageModeling(tok, mlm_probability=0.3, seed=0)
    masked = collator([dict(e) for e in examples])
    chosen = masked["labels"] != -100
    assert chosen.any() and (masked["input_ids"] == tok.mask_token_id).any()
    special = np.isin(padded["input_ids"].numpy(), tok.all_special_ids)
    assert not chosen.numpy()[special].any()
    assert (masked["labels"][chosen] == padded["input_ids"][chosen]).all()


def test_pickled_for_the_workers_of_a_data_loader():
    for tok in _published().values():
        again = pickle.loads(pickle.dumps(tok))
        assert again("ACGTTGCAACG")["input_ids"] == tok("ACGTTGCAACG")["input_ids"]


def test_added_tokens_are_kept_and_saved(tmp_path):
    tok = KmerTokenizer(3)
    assert tok.add_tokens(["<gene>"]) == 1
    ids = tok("ACG<gene>ACGT")["input_ids"]
    assert tok.decode(ids) == tok.decode(ids, skip_special_tokens=True) == "ACG<gene>ACGT"
    tok.save_pretrained(tmp_path)
    assert KmerTokenizer.from_pretrained(tmp_path)("ACG<gene>ACGT")["input_ids"] == ids


def test_saved_tokenizers_load_in_a_fresh_process_by_class_without_network_or_remote_code(tmp_path):
    seq = "ACGTTGCAACGGTACGGTTGCAATCGTAC"
    expected = {}
    for name, tok in _published().items():
        tok.save_pretrained(tmp_path / name)
        settings_of = {
            key: getattr(tok, key, None) for key in ("k", "stride", "tail", "lowercase", "on_unknown", "wrap")
        }
        expected[name] = [type(tok).__name__, tok(seq)["input_ids"], len(tok), tok.padding_side, settings_of]
        assert not list((tmp_path / name).glob("*.py"))
        assert str(tmp_path) not in (tmp_path / name / "tokenizer_config.json").read_text()
    script = (
        "import json, pathlib, sys\n"
        "import gfm_lab\n"
        "from transformers import AutoTokenizer\n"
        "found = {}\n"
        "for path in pathlib.Path(sys.argv[1]).iterdir():\n"
        "    t = AutoTokenizer.from_pretrained(path)\n"
        "    of = {k: getattr(t, k, None) for k in ('k', 'stride', 'tail', 'lowercase', 'on_unknown', 'wrap')}\n"
        "    found[path.name] = [type(t).__name__, t(sys.argv[2])['input_ids'], len(t), t.padding_side, of]\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), seq],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


# ---- BPE ----


def test_bpe_learns_the_same_twice_and_never_crosses_n():
    rng = np.random.default_rng(1)
    seqs = ["".join(rng.choice(list("ACGTN"), 3000, p=[0.3, 0.2, 0.2, 0.29, 0.01])) for _ in range(4)]
    one, two = (BPETokenizer.train(iter(seqs), 200, on_unknown="split") for _ in range(2))
    assert one.get_vocab() == two.get_vocab() and len(one) == 200
    assert one(seqs[0])["input_ids"] == two(seqs[0])["input_ids"]
    words = set(one.get_vocab()) - set(tokenization.SPECIALS)
    assert "N" in words and all("N" not in word for word in words - {"N"})
    assert all(token == "N" or "N" not in token for token in one.tokenize(seqs[1]))
    assert one.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"ACGNT"]) == list(
        range(10)
    )


def test_bpe_merges_the_most_frequent_pair_first_and_reads_one_string_as_one_sequence():
    tok = BPETokenizer.train("ATATATATGC" * 3, 11)
    assert tok.convert_ids_to_tokens(10) == "AT"
    assert tok.tokenize("GATATC") == ["G", "AT", "AT", "C"]


def test_bpe_training_ends_on_one_long_repeat_and_one_long_string():
    tok = BPETokenizer.train("A" * 300_000 + "ACGTTGCA" * 50_000, 64, max_token_length=16)
    assert max(len(word) for word in tok.get_vocab() if word not in tokenization.SPECIALS) <= 16


@examples
@given(DNA)
def test_bpe_decode_gives_the_sequence_back(seq):
    tok = _bpe()
    assert tok.decode(tok.encode(seq)) == seq
    assert tok.encode_array(seq).tolist() == tok(seq)["input_ids"]


def test_auto_tokenizer_finds_the_three_classes(tmp_path):
    for tok in (KmerTokenizer(4, 2), NucleotideTokenizer(), _bpe()):
        tok.save_pretrained(tmp_path)
        assert type(AutoTokenizer.from_pretrained(tmp_path)) is type(tok)


@pytest.mark.parametrize("size", [11, 64, 300, 512])
def test_bpe_shrink_equals_training_a_smaller_vocabulary(size):
    dna = "".join(random.Random(4).choices(["ATG", "GC", "TATA", "C", "GGA"], k=8000))
    large = BPETokenizer.train([dna], 512)
    small, trained = large.shrink(size), BPETokenizer.train([dna], size)
    assert small.backend_tokenizer.to_str() == trained.backend_tokenizer.to_str()
    assert small.get_vocab() == trained.get_vocab()
    assert small.encode_array(dna[:999]).tolist() == trained.encode_array(dna[:999]).tolist()
    assert len(large) == 512
    for bad in (10, 513):
        with pytest.raises(ValueError, match="at most 512"):
            large.shrink(bad)


@given(st.lists(st.sampled_from(["A", "C", "AC", "G"]), max_size=30))
def test_merge_pair_keeps_the_bases_and_leaves_no_pair_behind(tokens):
    merged = tokenization.merge_pair(tokens, ("A", "C"))
    assert "".join(merged) == "".join(tokens)
    assert all(pair != ("A", "C") for pair in pairwise(merged))
    assert len(tokens) - len(merged) == sum(pair == ("A", "C") for pair in pairwise(tokens))
