"""sequence.py: FASTA in every condition, random access equal to streaming, DNA operations."""

import copy
import gzip
import io
import math
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gfm_lab import sequence
from gfm_lab.sequence import (
    IUPAC,
    NUCLEOTIDES,
    FastaRecord,
    SequenceError,
    gc_content,
    one_hot,
    open_fasta,
    read_fasta,
    reverse_complement,
    windows,
    write_fasta,
)

IUPAC_BOTH_CASES = "".join(IUPAC) + "".join(IUPAC).lower()
dna = st.text(alphabet=IUPAC_BOTH_CASES, min_size=1, max_size=120)
names = st.text(
    alphabet=st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_categories=["Zs", "Cc", "Cs"]),
    min_size=1,
    max_size=12,
)
record_lists = st.dictionaries(names, dna, min_size=1, max_size=5).map(lambda d: list(d.items()))


def put(folder, content, name="x.fa"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(folder, content, name="x.fa", **options):
    return [tuple(r) for r in read_fasta(put(folder, content, name), **options)]


def fault(folder, content, name="x.fa", **options):
    """The SequenceError that reading `content` ends in."""
    with pytest.raises(SequenceError) as caught:
        read(folder, content, name, **options)
    return caught.value


def wrap(records, draw, ends=("\n",)):
    """The records as FASTA text with line ends, line lengths, blanks and blank lines drawn at random."""
    text = []
    blanks = draw(st.sampled_from([[""], ["", " ", "\t "]]))
    most_line_ends = draw(st.integers(1, 2))
    for name, seq in records:
        text.append(f">{name}{draw(st.sampled_from(ends))}")
        at = 0
        while at < len(seq):
            width = draw(st.integers(1, 40))
            text.append(seq[at : at + width] + draw(st.sampled_from(blanks)))
            text.append(draw(st.sampled_from(ends)) * draw(st.integers(1, most_line_ends)))
            at += width
    return "".join(text)


# --- what is read


def test_plain_file_and_record_fields(tmp_path):
    path = put(tmp_path, ">chr1 a first  one\nACGT\nacgtNN\n>chr2\nTT\n")
    first, second = read_fasta(path)
    assert first == ("chr1", "ACGTacgtNN") and second == ("chr2", "TT")
    assert (first.name, first.sequence, first.description) == ("chr1", "ACGTacgtNN", "a first  one")
    assert second.description == "" and len(first) == 2
    assert dict(read_fasta(path)) == {"chr1": "ACGTacgtNN", "chr2": "TT"}


def test_record_survives_pickle_and_copy():
    record = FastaRecord("a", "ACGT", "note")
    for again in (pickle.loads(pickle.dumps(record)), copy.copy(record), copy.deepcopy(record)):
        assert again == record and again.description == "note"


def test_soft_masking_is_kept_or_folded(tmp_path):
    assert read(tmp_path, ">a\nACgtNn\n") == [("a", "ACgtNn")]
    assert read(tmp_path, ">a\nACgtNn\n", case="upper") == [("a", "ACGTNN")]


def test_rna(tmp_path):
    error = fault(tmp_path, ">a\nACGT\nGGU\n")
    assert (error.record, error.position, error.line) == ("a", 7, 3)
    assert error.file == str(tmp_path / "x.fa") and "rna='convert'" in str(error)
    assert read(tmp_path, ">a\nACGUu\n", rna="convert") == [("a", "ACGTt")]


def test_iupac_codes(tmp_path):
    text = ">a\nACRYSWKMBDHVNryswkmbdhvn\n"
    assert read(tmp_path, text) == [("a", "ACRYSWKMBDHVNryswkmbdhvn")]
    assert read(tmp_path, text, iupac="n") == [("a", "AC" + "N" * 11 + "n" * 11)]
    error = fault(tmp_path, text, iupac="error")
    assert (error.position, error.line) == (3, 2) and "'R'" in str(error) and "A/G" in str(error)
    assert read(tmp_path, ">a\nACNn\n", iupac="error") == [("a", "ACNn")]


def test_gaps(tmp_path):
    text = ">a\nAC-GT\n..A\n"
    error = fault(tmp_path, text)
    assert (error.position, error.line) == (3, 2) and "gaps='remove'" in str(error)
    assert read(tmp_path, text, gaps="remove") == [("a", "ACGTA")]
    # The position of a later fault still counts the file's own characters, gaps included.
    error = fault(tmp_path, ">a\nAC-GT\n..A!\n", gaps="remove")
    assert (error.position, error.line) == (9, 3)
    assert "no sequence" in str(fault(tmp_path, ">a\n---\n", gaps="remove"))


def test_all_options_together(tmp_path):
    read_options = dict(case="upper", rna="convert", iupac="n", gaps="remove")
    assert read(tmp_path, ">a\nau-.RgcN\n", **read_options) == [("a", "ATNGCN")]


@pytest.mark.parametrize(
    "character, says",
    [
        ("7", "digit"),
        ("*", "protein"),
        ("E", "protein"),
        (" ", "blanks between"),
        ("\t", "blanks between"),
        (">", "own line"),
        ("\x00", "zero byte"),
        ("!", "not a nucleotide"),
        ("é", "0xC3"),
        ("\x0b", "0x0B"),
    ],
)
def test_characters_that_are_never_dna(tmp_path, character, says):
    text = f">a\nAAAA\n>b\nACGT\nAC{character}GT\n"
    error = fault(tmp_path, text)
    assert (error.record, error.position, error.line) == ("b", 7, 5)
    assert says in str(error) and "record 'b', position 7, line 5" in str(error)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_line_ends_bom_blank_lines_and_trailing_blanks(tmp_path, end, bom):
    text = end.join(["", "  ", ">a  note ", "", "ACGT \t", " ", "GG", "", ">b", "TTT"])
    for ending in ("", end, end * 3, "  "):
        assert read(tmp_path, bom + (text + ending).encode()) == [("a", "ACGTGG"), ("b", "TTT")]
    assert next(read_fasta(put(tmp_path, text))).description == "note"


def test_header_forms(tmp_path):
    assert read(tmp_path, "> chr1 x\nAC\n") == [("chr1", "AC")]
    assert read(tmp_path, ">>odd\nAC\n") == [(">odd", "AC")]
    assert read(tmp_path, ">naïve\nAC\n") == [("naïve", "AC")]
    (latin,) = read_fasta(put(tmp_path, ">a na\xefve\nAC\n".encode("latin-1")))
    assert latin.description == "na\xefve"


def test_empty_record(tmp_path):
    for text, line in (
        (">a\n>b\nAC\n", 1),
        (">z\nA\n>a\n\n\n>b\nAC\n", 3),
        (">z\nA\n>a\n", 3),
        (">z\nA\n>a", 3),
    ):
        error = fault(tmp_path, text)
        assert (error.record, error.line) == ("a", line) and "no sequence" in str(error)


def test_duplicate_name_and_missing_name(tmp_path):
    error = fault(tmp_path, ">a one\nAC\n>b\nAC\n>a two\nGG\n")
    assert (error.record, error.line) == ("a", 5) and "line 1" in str(error)
    error = fault(tmp_path, ">a\nAC\n>  \nGG\n")
    assert error.line == 3 and "without a name" in str(error)


def test_records_before_a_fault_are_yielded(tmp_path):
    stream = read_fasta(put(tmp_path, ">a\nACGT\n>b\nAC1T\n"))
    assert next(stream) == ("a", "ACGT")
    with pytest.raises(SequenceError):
        next(stream)


# --- what is not FASTA


def test_text_before_the_first_header(tmp_path):
    error = fault(tmp_path, "\n\nACGTACGT\n>a\nAC\n")
    assert error.line == 3 and error.record is None and "ACGTACGT" in str(error)
    assert fault(tmp_path, "; an old comment\n>a\nAC\n").line == 1


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n", gzip.compress(b"")])
def test_empty_file(tmp_path, content):
    assert "empty" in str(fault(tmp_path, content))


def zip_bytes():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x.fa", ">a\nACGT\n")
    return out.getvalue()


@pytest.mark.parametrize(
    "content, says",
    [
        (b"@read1\nACGT\n+\nIIII\n", "FASTQ"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "PNG"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (zip_bytes(), "zip"),
        (struct.pack("<IIII", 0x1A412743, 0, 1, 0), "2bit"),
        (struct.pack(">IIII", 0x1A412743, 0, 1, 0), "2bit"),
        (b"\n <!DOCTYPE html><html>", "HTML"),
        (">a\nACGT\n".encode("utf-16"), "UTF-16"),
        (">a\nACGT\n".encode("utf-16-le"), "UTF-16"),
        (">a\nACGT\n".encode("utf-16-be"), "UTF-16"),
        (b"BZh91AY&SY", "bzip2"),
        (b"LOCUS       U00096", "GenBank"),
        (b"##gff-version 3\n", "GFF"),
        (gzip.compress(b">a\nACGT\n"), "gzip inside gzip"),
    ],
)
def test_other_formats_are_named(tmp_path, content, says):
    packed = gzip.compress(content)
    for data in (packed,) if says.startswith("gzip") else (content, packed):
        error = fault(tmp_path, data)
        assert says in str(error) and error.file == str(tmp_path / "x.fa")


def test_missing_file_and_directory_fail_at_the_call(tmp_path):
    with pytest.raises(SequenceError, match="no such file"):
        read_fasta(tmp_path / "none.fa")
    with pytest.raises(SequenceError, match="directory"):
        read_fasta(tmp_path)
    with pytest.raises(SequenceError, match="no such file"):
        open_fasta(tmp_path / "none.fa")
    with pytest.raises(SequenceError, match="directory"):
        open_fasta(tmp_path)


@pytest.mark.parametrize("option", ["case", "rna", "iupac", "gaps"])
def test_unknown_option_names_the_choices(tmp_path, option):
    path = put(tmp_path, ">a\nAC\n")
    for reader in (read_fasta, open_fasta):
        with pytest.raises(ValueError, match=f"{option}='maybe'.*'"):
            reader(path, **{option: "maybe"})


# --- gzip


def test_gzip_is_told_by_its_bytes_not_its_name(tmp_path):
    text = b">a\nACGT\n>b\nGG\n"
    expected = [("a", "ACGT"), ("b", "GG")]
    assert read(tmp_path, gzip.compress(text), "x.fa") == expected
    assert read(tmp_path, text, "x.fa.gz") == expected
    members = (
        gzip.compress(text[:5]) + gzip.compress(text[5:11]) + gzip.compress(text[11:]) + gzip.compress(b"")
    )
    assert read(tmp_path, members) == expected


def long_text():
    rng = np.random.default_rng(1)
    letters = rng.choice(list("ACGT"), 400_000)
    return "".join(f">r{i}\n{''.join(letters[i * 100_000 : (i + 1) * 100_000])}\n" for i in range(4)).encode()


def test_truncated_gzip_says_where(tmp_path):
    packed = gzip.compress(long_text())
    for keep in (5, 12, len(packed) // 2, len(packed) - 1):
        error = fault(tmp_path, packed[:keep])
        assert "truncated" in str(error) and error.file and error.line
        if keep == len(packed) // 2:
            # About half of the text has been read by then, and the error says so.
            assert error.record in ("r1", "r2") and 0 <= error.position <= 100_000


def test_corrupt_gzip(tmp_path):
    packed = gzip.compress(long_text())
    flipped = bytearray(packed)
    flipped[-8] ^= 1  # the checksum
    middle = bytearray(packed)
    middle[len(middle) // 2 : len(middle) // 2 + 64] = bytes(64)
    for data in (bytes(flipped), bytes(middle), packed + b"trailing", b"\x1f\x8b" + b"A" * 50):
        error = fault(tmp_path, data)
        assert "corrupt" in str(error) or "truncated" in str(error)


# --- chunk borders: tiny chunks must change nothing


@pytest.fixture
def tiny_chunks(monkeypatch):
    monkeypatch.setattr(sequence, "_CHUNK", 3)
    monkeypatch.setattr(sequence, "_HEAD", 1)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), records=record_lists)
def test_any_wrapping_and_line_end_reads_back(tmp_path_factory, data, records):
    folder = tmp_path_factory.mktemp("wrap")
    text = wrap(records, data.draw, data.draw(st.sampled_from([("\n",), ("\r\n",), ("\r",), ("\n", "\r\n")])))
    path = put(folder, gzip.compress(text.encode()) if data.draw(st.booleans()) else text)
    chunk, head = sequence._CHUNK, sequence._HEAD
    try:
        sequence._CHUNK, sequence._HEAD = data.draw(st.sampled_from([(1, 1), (2, 1), (7, 4), (chunk, head)]))
        assert [tuple(r) for r in read_fasta(path)] == records
    finally:
        sequence._CHUNK, sequence._HEAD = chunk, head


def test_fault_position_does_not_depend_on_chunks(tmp_path, tiny_chunks):
    for end in ("\n", "\r\n", "\r"):
        text = end.join([">a", "ACGTACGT", ">b  note", "", "ACG  ", "TTTTT", "GG1GG", ""])
        error = fault(tmp_path, text)
        assert (error.record, error.position, error.line) == ("b", 11, 7)
    assert fault(tmp_path, ">a\nAC GT\n").position == 3


def outcome(path, **options):
    """What reading gives: the records, then the error if there is one."""
    result = []
    try:
        for record in read_fasta(path, **options):
            result.append((*record, record.description))
    except SequenceError as error:
        # A quoted piece of the text may be cut by a chunk's end: compare the rest of the message.
        message = re.sub(r"first header: .*;", "first header;", str(error))
        result.append((message, error.record, error.position, error.line))
    return result


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_bytes_give_records_or_a_sequence_error_whatever_the_chunks(tmp_path_factory, data):
    pieces = st.sampled_from(
        [b">", b"\n", b"\r", b"\r\n", b"ACGT", b"n", b" ", b"\t", b"U", b"-", b"R", b"1", b"\xff"]
    )
    content = data.draw(st.sampled_from([b"", b">a\n", b">a b\r\nAC\r\n"])) + b"".join(
        data.draw(st.lists(pieces))
    )
    if data.draw(st.booleans()):
        content = gzip.compress(content, mtime=0)
        content = content[: data.draw(st.integers(2, len(content)))] if data.draw(st.booleans()) else content
    options = data.draw(
        st.sampled_from([{}, {"rna": "convert", "gaps": "remove"}, {"iupac": "error", "case": "upper"}])
    )
    path = put(tmp_path_factory.getbasetemp(), content, "any.fa")
    whole = outcome(path, **options)
    assert whole, "neither a record nor an error"
    chunk, head = sequence._CHUNK, sequence._HEAD
    try:
        sequence._CHUNK, sequence._HEAD = data.draw(st.sampled_from([(1, 1), (2, 3), (5, 2)]))
        pieced = outcome(path, **options)
    finally:
        sequence._CHUNK, sequence._HEAD = chunk, head
    truncated = any("gzip" in str(item[0]) or "not FASTA" in str(item[0]) for item in (whole[-1], pieced[-1]))
    # Where a broken gzip stream is noticed depends on the size of a read; nothing else may.
    assert pieced == whole or truncated


# --- writing


@settings(max_examples=60, deadline=None)
@given(records=record_lists, width=st.integers(1, 70), suffix=st.sampled_from([".fa", ".fa.gz", ".GZ"]))
def test_write_read_round_trip(tmp_path_factory, records, width, suffix):
    path = tmp_path_factory.mktemp("round") / f"x{suffix}"
    write_fasta(path, records, width)
    assert [tuple(r) for r in read_fasta(path)] == records
    data = path.read_bytes()
    assert (data[:2] == b"\x1f\x8b") == (suffix != ".fa")
    write_fasta(path, iter(records), width)
    assert path.read_bytes() == data
    text = (gzip.decompress(data) if suffix != ".fa" else data).decode().splitlines()
    assert max((len(line) for line in text if not line.startswith(">")), default=0) <= width


def test_write_keeps_descriptions_and_no_time_stamp(tmp_path):
    path = tmp_path / "x.fa.gz"
    write_fasta(path, [FastaRecord("a", "ACGT", "two  words")])
    assert next(read_fasta(path)).description == "two  words"
    assert path.read_bytes()[4:8] == bytes(4)


@pytest.mark.parametrize(
    "records, says",
    [
        ([("a b", "AC")], "one word"),
        ([("", "AC")], "one word"),
        ([("a\n", "AC")], "one word"),
        ([("a", "AC"), ("a", "GG")], "twice"),
        ([("a", "")], "no sequence"),
        ([("a", "ACU")], "position 3"),
        ([("a", "AC-")], "position 3"),
        ([("a", "AC\n>b\nGG")], "position 3"),
        ([FastaRecord("a", "AC", "x\n>b")], "one line"),
    ],
)
def test_write_refuses_what_would_not_read_back_and_leaves_the_old_file(tmp_path, records, says):
    path = put(tmp_path, ">old\nAC\n")
    with pytest.raises(SequenceError, match=says):
        write_fasta(path, [("ok", "ACGT"), *records])
    assert path.read_text() == ">old\nAC\n"
    assert os.listdir(tmp_path) == ["x.fa"]
    with pytest.raises(ValueError, match="width=0"):
        write_fasta(path, [("a", "AC")], width=0)


# --- random access


@settings(max_examples=150, deadline=None)
@given(data=st.data(), records=record_lists)
def test_fetch_equals_slices_of_the_streamed_records(tmp_path_factory, data, records):
    folder = tmp_path_factory.mktemp("fetch")
    if data.draw(st.booleans()):
        path = folder / data.draw(st.sampled_from(["x.fa", "x.fa.gz"]))
        write_fasta(path, records, data.draw(st.integers(1, 50)))
    else:  # uneven lines, blank lines and any line end: nothing a plain index can describe
        path = put(folder, wrap(records, data.draw, data.draw(st.sampled_from([("\n",), ("\n", "\r\n")]))))
    options = {
        "case": data.draw(st.sampled_from(["keep", "upper"])),
        "iupac": data.draw(st.sampled_from(["keep", "n"])),
    }
    streamed = dict(read_fasta(path, **options))
    with open_fasta(path, **options) as fasta:
        assert fasta.names == list(fasta) == list(streamed) and len(fasta) == len(streamed)
        assert fasta.lengths == {name: len(seq) for name, seq in streamed.items()}
        for name, seq in streamed.items():
            assert name in fasta and fasta.fetch(name) == seq
            for _ in range(5):
                start = data.draw(st.integers(0, len(seq)))
                stop = data.draw(st.integers(start, len(seq)))
                assert fasta.fetch(name, start, stop) == seq[start:stop]


def test_fetch_applies_the_reading_options(tmp_path):
    path = put(tmp_path, ">a\nACGU-acr\nRYNN\n")
    with open_fasta(path, rna="convert", gaps="remove", iupac="n", case="upper") as fasta:
        assert fasta.fetch("a") == "ACGTACNNNNN" and fasta.fetch("a", 3, 8) == "TACNN"
    with pytest.raises(SequenceError) as caught:
        open_fasta(path)
    assert (caught.value.record, caught.value.position, caught.value.line) == ("a", 4, 2)


def test_mixed_line_ends_of_equal_line_size_do_not_mislead_the_index(tmp_path):
    # 5 bases + LF and 4 bases + CRLF both take six bytes: an index by bytes alone would seek wrongly.
    path = put(tmp_path, ">a\nAACCG\nTTGG\r\nCATGC\nAC\n")
    with open_fasta(path) as fasta:
        whole = "AACCGTTGGCATGCAC"
        assert [fasta.fetch("a", i, i + 3) for i in range(14)] == [whole[i : i + 3] for i in range(14)]


@pytest.mark.parametrize(
    "lines, sought",
    [
        (["ACGG", "TCAA", "GA"], True),
        (["ACGG", "TCAA", "GA", "", ""], True),
        (["ACGG", "TCAAGATTACA"], False),  # the last line is the longest
        (["ACGG", "TC", "AAGA"], False),
        (["ACGG", "", "TCAA"], False),
        (["", "ACGG", "TCAA"], False),
        (["ACGG ", "TCAA "], False),
    ],
)
def test_uneven_lines_are_copied_even_ones_are_sought(tmp_path, lines, sought):
    whole = "".join(lines).replace(" ", "")
    path = put(tmp_path, "\n".join([">x", *lines, ">y", "GATTACA"]))
    with open_fasta(path) as fasta:
        assert (fasta._target == path) == sought
        for start in range(len(whole) + 1):
            for stop in range(start, len(whole) + 1):
                assert fasta.fetch("x", start, stop) == whole[start:stop]
        assert fasta.fetch("y") == "GATTACA"


def test_unknown_names_and_ranges_are_explained(tmp_path):
    path = put(tmp_path, ">chr20\nACGTACGT\n>chr21\nAC\n")
    with open_fasta(path) as fasta:
        with pytest.raises(SequenceError, match=r"'20'.*chr20"):
            fasta.fetch("20", 0, 1)
        with pytest.raises(SequenceError, match=r"2 to 9,.*0 to 8"):
            fasta.fetch("chr20", 2, 9)
        for start, stop in ((-1, 3), (5, 4), (0, 100), (9, 9)):
            with pytest.raises(SequenceError, match="'chr20'"):
                fasta.fetch("chr20", start, stop)
        assert fasta.fetch("chr20", 8, 8) == "" and "chr2" not in fasta
        with pytest.raises(TypeError):
            fasta.fetch("chr20", 0.5, 2)
    with pytest.raises(SequenceError, match="closed"):
        fasta.fetch("chr20", 0, 1)


def test_duplicates_are_an_error_for_random_access(tmp_path):
    with pytest.raises(SequenceError, match="twice"):
        open_fasta(put(tmp_path, ">a\nAC\n>a\nAC\n"))


def test_index_is_never_stale_and_never_beside_the_file(tmp_path):
    path = put(tmp_path, ">a\nACGTACGT\n>b\nGGCC\n")
    (tmp_path / "x.fa.fai").write_text(
        "a\t999\t7\t5\t6\n"
    )  # an index of another file, and newer than this one
    os.utime(path, (1, 1))
    before = (tmp_path / "x.fa.fai").read_text()
    with open_fasta(path) as fasta:
        assert fasta.lengths == {"a": 8, "b": 4} and fasta.fetch("b", 1, 3) == "GC"
        put(tmp_path, ">a\nTTTTTTTTTT\n>b\nGGCC\n")
        with pytest.raises(SequenceError, match="changed"):
            fasta.fetch("a", 0, 2)
    with open_fasta(path) as fasta:
        assert fasta.fetch("a") == "T" * 10
    assert sorted(os.listdir(tmp_path)) == ["x.fa", "x.fa.fai"]
    assert (tmp_path / "x.fa.fai").read_text() == before


def test_temporary_folder_goes_with_the_object(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    path = tmp_path / "x.fa.gz"
    write_fasta(path, [("a", "ACGT" * 100)])
    with open_fasta(path) as fasta:
        assert len(os.listdir(tmp_path / "tmp")) == 1 and fasta.fetch("a", 398, 400) == "GT"
    assert os.listdir(tmp_path / "tmp") == []
    with pytest.raises(SequenceError):
        open_fasta(put(tmp_path, ">a\nA1\n", "bad.fa"))
    assert os.listdir(tmp_path / "tmp") == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked on Unix only")
def test_forked_workers_do_not_disturb_each_other(tmp_path):
    rng = np.random.default_rng(0)
    whole = "".join(rng.choice(list("ACGT"), 50_000))
    path = tmp_path / "x.fa"
    write_fasta(path, [("a", whole)])
    # In a process of its own: the test process may run threads, which fork does not carry over.
    program = (
        "import os, sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'transformers')))  # not needed, and slow to import\n"
        "from gfm_lab.sequence import open_fasta, read_fasta\n"
        f"path = {str(path)!r}\n"
        "whole = next(read_fasta(path)).sequence\n"
        "fasta = open_fasta(path)\n"
        "child = os.fork()\n"
        "ok = all(fasta.fetch('a', i, i + 200) == whole[i:i + 200] for i in range(0, 49_000, 17))\n"
        "if child == 0:\n"
        "    os._exit(0 if ok else 1)\n"
        "status = os.waitpid(child, 0)[1]\n"
        "sys.exit(0 if ok and status == 0 else 1)\n"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", program]).returncode == 0


# --- operations


@given(dna)
def test_reverse_complement_is_an_involution_that_keeps_case(seq):
    other = reverse_complement(seq)
    assert reverse_complement(other) == seq
    assert [c.isupper() for c in other] == [c.isupper() for c in reversed(seq)]
    for code, partner in zip(seq.upper(), reversed(other.upper()), strict=True):
        # A code's complement stands for exactly the complements of its bases.
        assert set(IUPAC[partner]) == {"ACGT"["TGCA".index(base)] for base in IUPAC[code]}


def test_reverse_complement_names_the_character():
    assert reverse_complement("AACG") == "CGTT" and reverse_complement("") == ""
    for seq, position in (("ACGU", 4), ("AC-GT", 3), ("é", 1), ("ACGT\n", 5), ("A😀C", 2)):
        with pytest.raises(SequenceError, match=f"position {position}") as caught:
            reverse_complement(seq)
        assert caught.value.position == position and caught.value.file is None


@given(st.text(alphabet="ACGTNacgtnRY", max_size=60))
def test_one_hot_columns_and_strands(seq):
    encoded = one_hot(seq)
    assert encoded.shape == (len(seq), 4) and encoded.dtype == np.float32
    for row, letter in zip(encoded, seq.upper(), strict=True):
        expected = [float(letter == base) for base in NUCLEOTIDES]
        assert row.tolist() == expected
    np.testing.assert_array_equal(one_hot(reverse_complement(seq)), encoded[::-1, ::-1])


def test_one_hot_gives_zeros_for_anything_else():
    assert one_hot("U-é*\x00").tolist() == [[0.0] * 4] * 5
    assert one_hot("ACGT").tolist() == np.eye(4).tolist()


@given(st.text(alphabet="ACGT", max_size=50), st.integers(1, 12), st.integers(1, 12))
def test_windows(seq, size, step):
    full = list(windows(seq, size, step))
    assert full == [(i, seq[i : i + size]) for i in range(0, len(seq) - size + 1, step)]
    both = list(windows(seq, size, step, partial=True))
    assert both[: len(full)] == full and len(both) - len(full) in (0, 1)
    assert all(seq[i : i + len(part)] == part and part for i, part in both)
    if step <= size:  # then every base is covered, and the last window is needed for it
        covered = {p for i, part in both for p in range(i, i + len(part))}
        assert covered == set(range(len(seq)))
        assert len(both) == len(full) or len({p for i, w in full for p in range(i, i + size)}) < len(seq)


def test_windows_refuses_zero_at_the_call():
    for size, step in ((0, 1), (1, 0), (-3, 1)):
        with pytest.raises(ValueError, match="at least 1"):
            windows("ACGT", size, step)


@given(dna)
def test_gc_content(seq):
    bases = [c for c in seq.upper() if c in "ACGT"]
    if bases:
        assert gc_content(seq) == pytest.approx(sum(c in "GC" for c in bases) / len(bases))
    else:
        assert math.isnan(gc_content(seq))


def test_gc_content_leaves_n_out_and_counts_u():
    assert gc_content("GCNNNNNN") == 1.0 and gc_content("gcAT") == 0.5 and gc_content("GU") == 0.5
    assert math.isnan(gc_content("")) and math.isnan(gc_content("NNé"))


def test_sequence_error_carries_its_place_through_pickle():
    error = SequenceError("do this", file="x.fa", record="a", position=1234, line=5)
    assert str(error) == "x.fa, record 'a', position 1,234, line 5: do this" and isinstance(error, ValueError)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and (again.file, again.record, again.position, again.line) == (
        "x.fa", "a", 1234, 5,
    )  # fmt: skip
    bare = SequenceError("do this")
    assert str(bare) == "do this" and (bare.file, bare.record, bare.position, bare.line) == (None,) * 4


def test_sequences_splits_and_doctor_load_without_the_heavy_libraries():
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'transformers', 'tokenizers', 'pyfaidx')))  # None: no import\n"
        "import gfm_lab.sequence, gfm_lab.splits, gfm_lab.device, gfm_lab.cli\n"
        "sys.exit(gfm_lab.sequence.reverse_complement('AACG') != 'CGTT')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
