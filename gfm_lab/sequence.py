"""DNA as text: the alphabet, FASTA reading and writing, reverse complement, windows, one-hot.

Everything here is plain `str` and numpy; torch is not needed. Lower case is soft masking (repeats, in most
genome downloads): it is kept unless you ask for `case="upper"`. Introduced in notebook 01.
"""

from __future__ import annotations

import difflib
import gzip
import operator
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, NamedTuple

import numpy as np

NUCLEOTIDES = "ACGT"
#: IUPAC code -> the bases it stands for (Cornish-Bowden 1985, doi:10.1093/nar/13.9.3021).
IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T",
    "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip

Case = Literal["keep", "upper"]
Rna = Literal["error", "convert"]
Iupac = Literal["keep", "n", "error"]
Gaps = Literal["error", "remove"]

_AMBIGUOUS = "RYSWKMBDHV"  # every IUPAC code that is neither a base nor N
_DNA = ("".join(IUPAC) + "".join(IUPAC).lower()).encode()
_COMPLEMENT = bytes.maketrans(b"ACGTRYSWKMBDHVNacgtryswkmbdhvn", b"TGCAYRSWMKVHDBNtgcayrswmkvhdbn")
_COLUMN = np.full(256, 4, dtype=np.uint8)  # 4 is a row of zeros in _ROWS
for _i, _base in enumerate(NUCLEOTIDES):
    _COLUMN[[ord(_base), ord(_base.lower())]] = _i
_ROWS = np.eye(5, 4, dtype=np.float32)
_CHUNK = 1 << 20  # bytes read at a time
_HEAD = 512  # bytes looked at to tell what kind of file this is


class SequenceError(ValueError):
    """A sequence or a sequence file that cannot be used, with the place and what to do about it.

    Attributes `file` (str), `record` (name), `position` (1-based, in the record) and `line` (1-based, in the
    file) are None where they are not known; those that are known also stand in the message.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | os.PathLike[str] | None = None,
        record: str | None = None,
        position: int | None = None,
        line: int | None = None,
    ) -> None:
        self.file = None if file is None else os.fspath(file)
        self.record, self.position, self.line = record, position, line
        place = [] if self.file is None else [self.file]
        place += [] if record is None else [f"record {record!r}"]
        place += [] if position is None else [f"position {position:,}"]
        place += [] if line is None else [f"line {line:,}"]
        super().__init__(f"{', '.join(place)}: {message}" if place else message)


class _NameAndSequence(NamedTuple):
    name: str
    sequence: str


class FastaRecord(_NameAndSequence):
    """One FASTA record; unpacks as `name, sequence`.

    `name` is the first word of the header and `description` (an attribute, not a field, and not compared)
    the rest of it.
    """

    description: str

    def __new__(cls, name: str, sequence: str, description: str = "") -> FastaRecord:
        record = super().__new__(cls, name, sequence)
        record.description = description
        return record


class _Rules(NamedTuple):
    """The reading options as bytes tables: what may occur, what it becomes, what is left out."""

    allowed: bytes
    table: bytes
    dropped: bytes

    @classmethod
    def of(cls, case: Case, rna: Rna, iupac: Iupac, gaps: Gaps) -> _Rules:
        for option, value, choices in (
            ("case", case, ("keep", "upper")),
            ("rna", rna, ("error", "convert")),
            ("iupac", iupac, ("keep", "n", "error")),
            ("gaps", gaps, ("error", "remove")),
        ):
            if value not in choices:
                raise ValueError(f"{option}={value!r} is not one of {', '.join(map(repr, choices))}")
        become = {base: base for base in "ACGTN"}
        if rna == "convert":
            become["U"] = "T"
        if iupac != "error":
            become.update((code, "N" if iupac == "n" else code) for code in _AMBIGUOUS)
        old = "".join(become) + "".join(become).lower()
        new = "".join(become.values()) + "".join(become.values()).lower()
        dropped = b"\n-." if gaps == "remove" else b"\n"
        table = bytes.maketrans(old.encode(), (new.upper() if case == "upper" else new).encode())
        return cls(old.encode() + dropped, table, dropped)


# ---------------------------------------------------------------------------------------------------------
# Reading, one pass


def read_fasta(
    path: str | os.PathLike[str],
    *,
    case: Case = "keep",
    rna: Rna = "error",
    iupac: Iupac = "keep",
    gaps: Gaps = "error",
) -> Iterator[FastaRecord]:
    """Stream the records of a FASTA file, plain or gzip, one whole record in memory at a time.

    `for name, sequence in read_fasta(path)` works; gzip (multi-member and BGZF too) is told by its first
    bytes, not by the file's name. Line ends may be those of Unix, Windows or old Macs; a UTF-8 byte order
    mark, blank lines and blanks at line ends are read as if they were not there.

    Parameters:
        case: "keep" soft masking, or fold to "upper" case.
        rna: U is an "error", or "convert" it to T.
        iupac: "keep" the codes RYSWKMBDHV, turn each into "n" (N, in the same case), or "error". N is kept.
        gaps: "-" and "." are an "error", or "remove" them.

    Raises:
        SequenceError: with file, record, position and line, on any other character, an empty record, a name
            used twice, a header without a name, text before the first header, an empty, missing, truncated or
            corrupt file, or a file that is not FASTA (it says what it looks like). Records before the fault
            have been yielded by then; the faulty one never is.
        ValueError: an unknown option.

    Introduced in notebook 01.
    """
    rules = _Rules.of(case, rna, iupac, gaps)
    path = Path(path)
    if path.is_dir():
        raise SequenceError("this is a directory; give the FASTA file itself", file=path)
    if not path.exists():
        raise SequenceError("no such file; check the path, it is relative to where Python runs", file=path)
    return _records(path, rules)


def _records(path: Path, rules: _Rules) -> Iterator[FastaRecord]:
    """The parser behind `read_fasta`: a state machine over large chunks; no line costs Python time."""
    first_line: dict[str, int] = {}  # record name -> line of its header
    name: str | None = None
    description = ""
    header: bytes | None = None  # the header being read, which may run over a chunk's end
    parts: list[bytes] = []
    seen = 0  # characters of this record so far, as they stand in the file
    line, line_start = 1, True

    def finish() -> FastaRecord:
        sequence = b"".join(parts).decode("ascii")
        if not sequence:
            raise SequenceError(
                "the record has no sequence; remove its header or add the sequence",
                file=path, record=name, line=first_line[name],
            )  # fmt: skip
        return FastaRecord(name, sequence, description)

    chunks = _chunks(path)
    while True:
        try:
            chunk = next(chunks, None)
        except EOFError:
            raise SequenceError(
                "the gzip data end too early (a truncated file); download or copy it again",
                file=path, record=name, position=seen if name else None, line=line,
            ) from None  # fmt: skip
        except (gzip.BadGzipFile, zlib.error) as fault:
            raise SequenceError(
                f"the gzip data are corrupt ({fault}); download or copy the file again",
                file=path, record=name, position=seen if name else None, line=line,
            ) from None  # fmt: skip
        if chunk is None:
            break
        at = 0
        while at < len(chunk):
            if header is not None:
                stop = chunk.find(b"\n", at)
                header += chunk[at:] if stop < 0 else chunk[at:stop]
                if stop < 0:
                    break
                name, description = _parse_header(header, path, line, first_line)
                header, parts, seen = None, [], 0
                at, line, line_start = stop + 1, line + 1, True
            elif line_start and chunk[at] == 0x3E:  # ">"
                if name is not None:
                    yield finish()
                header, line_start = b"", False
                at += 1
            else:
                stop = chunk.find(b"\n>", at)
                stop = len(chunk) if stop < 0 else stop + 1
                block = chunk[at:stop]
                if block.translate(None, rules.allowed):
                    block = _without_blanks_at_line_ends(block)
                    _check(block, rules, path, name, seen, line)
                elif name is None and block.strip():
                    _check(block, rules, path, name, seen, line)
                parts.append(block.translate(rules.table, rules.dropped))
                lines = block.count(b"\n")
                seen += len(block) - lines
                at, line, line_start = stop, line + lines, block.endswith(b"\n")
    if header is not None:  # the last line of the file is a header without a line end
        name, description = _parse_header(header, path, line, first_line)
        parts = []
    if name is None:
        raise SequenceError("the file is empty; a FASTA file starts with a line '>name'", file=path)
    yield finish()


def _chunks(path: Path) -> Iterator[bytes]:
    """The file's text, decompressed, line ends as LF; no chunk ends between CR and LF or in blanks."""
    try:
        raw = open(path, "rb")  # noqa: SIM115 (closed below; opening alone is what may fail here)
    except OSError as fault:
        raise SequenceError(f"cannot be opened ({fault.strerror})", file=path) from None
    with raw:
        magic = raw.read(2)
        raw.seek(0)
        # read1 hands over what one read gave, so that a truncated file still tells how far it went.
        file: IO[bytes] = gzip.GzipFile(fileobj=raw) if magic == b"\x1f\x8b" else raw
        head = b""
        while len(head) < _HEAD and (more := file.read1(_HEAD)):
            head += more
        if looks_like := _foreign(head):
            raise SequenceError(f"this is not FASTA: {looks_like}", file=path)
        chunk, held = head.removeprefix(b"\xef\xbb\xbf"), b""
        while chunk:
            chunk = held + chunk
            body = chunk.rstrip(b"\r \t")
            held = chunk[len(body) :]
            if body:
                yield _line_feeds(body)
            chunk = file.read1(_CHUNK)
        if held:
            yield _line_feeds(held)


def _line_feeds(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text


def _without_blanks_at_line_ends(block: bytes) -> bytes:
    return b"\n".join(line.rstrip(b" \t") for line in block.split(b"\n"))


def _parse_header(header: bytes, path: Path, line: int, first_line: dict[str, int]) -> tuple[str, str]:
    try:
        text = header.decode("utf-8")
    except UnicodeDecodeError:
        text = header.decode("latin-1")  # every byte means something there, so nothing is lost
    words = text.split(None, 1)
    if not words:
        raise SequenceError("a header without a name; write '>name' on this line", file=path, line=line)
    name, description = words[0], words[1].strip() if len(words) > 1 else ""
    if name in first_line:
        raise SequenceError(
            f"this name is used twice (first on line {first_line[name]:,}); rename one of the records",
            file=path, record=name, line=line,
        )  # fmt: skip
    first_line[name] = line
    return name, description


def _check(block: bytes, rules: _Rules, path: Path, name: str | None, seen: int, line: int) -> None:
    """Raise the error for the first character of `block` that the rules do not allow, if there is one."""
    if name is None:
        text = block.lstrip()
        if not text:
            return
        line += block[: len(block) - len(text)].count(b"\n")
        shown = text.split(b"\n", 1)[0][:30].decode("latin-1")
        raise SequenceError(
            f"text before the first header: {shown!r}; a FASTA file starts with a line '>name'",
            file=path, line=line,
        )  # fmt: skip
    rest = block.lstrip(rules.allowed)
    if not rest:
        return
    before = block[: len(block) - len(rest)]
    lines = before.count(b"\n")
    raise SequenceError(
        _explain(rest[0]),
        file=path, record=name, position=seen + len(before) - lines + 1, line=line + lines,
    )  # fmt: skip


def _explain(byte: int) -> str:
    """What an unexpected byte of a sequence probably is, and what to do."""
    character = chr(byte)
    if character in "Uu":
        return f"found {character!r}, which is RNA; read it as T with rna='convert'"
    if character in "-.":
        return f"found {character!r}, a gap; drop gaps with gaps='remove', or use unaligned sequences"
    if character.upper() in _AMBIGUOUS:
        bases = "/".join(IUPAC[character.upper()])
        return f"found {character!r}, the IUPAC code for {bases}; allow it with iupac='keep' or iupac='n'"
    if character.isascii() and character.isdigit():
        return f"found the digit {character!r}; remove numbering from the sequence (GenBank style?)"
    if character in " \t":
        return f"found {character!r} inside a line of sequence; remove blanks between bases"
    if character == ">":
        return "found '>' inside a line of sequence; a header must start its own line"
    if character in "*EFIJLOPQXZefijlopqxz":
        return f"found {character!r}, which is not DNA (a protein file?); give a nucleotide FASTA"
    if byte == 0:
        return "found a zero byte; the file is binary or UTF-16, save it as plain text"
    if byte > 126 or byte < 32:
        return f"found the byte 0x{byte:02X}, which is no letter of DNA; save the file as plain ASCII text"
    return f"found {character!r}, which is not a nucleotide; remove it or write N"


_FOREIGN = (
    (b"\x1f\x8b", "it is gzip inside gzip; decompress it once"),
    (b"\xff\xfe", "it is UTF-16 text; save it as UTF-8 or ASCII"),
    (b"\xfe\xff", "it is UTF-16 text; save it as UTF-8 or ASCII"),
    (b">\0", "it is UTF-16 text; save it as UTF-8 or ASCII"),
    (b"\0>", "it is UTF-16 text; save it as UTF-8 or ASCII"),
    (b"\x89PNG", "it is a PNG image; give the sequence file"),
    (b"%PDF", "it is a PDF document; save the sequence as plain text"),
    (b"PK\x03\x04", "it is a zip archive (or an Office document); unpack it and give the FASTA file inside"),
    (b"\x1a\x41\x27\x43", "it is a UCSC 2bit file; convert it with twoBitToFa"),
    (b"\x43\x27\x41\x1a", "it is a UCSC 2bit file; convert it with twoBitToFa"),
    (b"BAM\x01", "it is a BAM file; convert it with `samtools fasta`"),
    (b"CRAM", "it is a CRAM file; convert it with `samtools fasta`"),
    (b"BZh", "it is bzip2; decompress it with bunzip2"),
    (b"\xfd7zXZ", "it is xz; decompress it with unxz"),
    (b"\x28\xb5\x2f\xfd", "it is zstd; decompress it with unzstd"),
    (b"LOCUS ", "it is a GenBank file; convert it to FASTA"),
    (b"##", "it is a GFF or VCF file; give the sequence file"),
    (b"version https://git-lfs", "it is a Git LFS pointer; fetch the file itself with `git lfs pull`"),
    (b"@", "it starts with '@' as FASTQ does; convert it to FASTA (`seqtk seq -A`)"),
    (b"<", "it starts with '<' as HTML does (a saved web page?); download the file itself"),
)


def _foreign(head: bytes) -> str | None:
    """What a file looks like by its first bytes when it is clearly not FASTA."""
    if head[257:262] == b"ustar":
        return "it is a tar archive; unpack it and give the FASTA file inside"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for start, meaning in _FOREIGN:
        if head.startswith(start) or text.startswith(start):
            return meaning
    return None


# ---------------------------------------------------------------------------------------------------------
# Reading, random access


def open_fasta(
    path: str | os.PathLike[str],
    *,
    case: Case = "keep",
    rna: Rna = "error",
    iupac: Iupac = "keep",
    gaps: Gaps = "error",
) -> IndexedFasta:
    """Open a FASTA file for random access: `fasta.fetch(name, start, stop)`.

    The options, the files accepted and the errors are those of `read_fasta`: the whole file is read and
    checked once here (about a second per 100 Mb), so that what `fetch` returns equals the slice of the
    streamed record. Use as a context manager, or call `close()`. Introduced in notebook 01.
    """
    return IndexedFasta(path, case=case, rna=rna, iupac=iupac, gaps=gaps)


class IndexedFasta:
    """Random access to the records of a FASTA file; made by `open_fasta`.

    pyfaidx does the seeking. The index lives in a temporary folder, never beside the FASTA file: a read-only
    folder is no obstacle and an old index is never used. A file that cannot be sought (gzip, BGZF: pyfaidx
    would need Biopython for it) or indexed (uneven lines, Windows line ends, gaps to remove) is written once
    to that folder in plain form, which takes as many bytes of disk as it has bases. `close()` removes it.

    `names` (list), `lengths` (dict, in bases), `len(fasta)` (records), `name in fasta`, iteration over names.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, case: Case, rna: Rna, iupac: Iupac, gaps: Gaps
    ) -> None:
        self.path = Path(path)
        self._file = self.path.absolute()  # a later change of directory must not matter
        self._options = {"case": case, "rna": rna, "iupac": iupac, "gaps": gaps}
        self._rules = _Rules.of(case, rna, iupac, gaps)
        self._folder = tempfile.TemporaryDirectory(prefix="gfm-lab-", ignore_cleanup_errors=True)
        self._faidx = None
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        stamp = self._stamp() if self._file.exists() else None
        lengths = {name: len(sequence) for name, sequence in read_fasta(self.path, **self._options)}
        index = self._plain_index(self._file)
        # Same number of records, same lengths: nothing was left out or turned into something else on the way.
        if index is not None and [entry[0] for entry in index] == list(lengths.values()):
            self._target, self._expected = self._file, stamp
        else:
            self._target, self._expected = Path(self._folder.name) / "copy.fa", None
            with open(self._target, "wb") as copy:
                for _, sequence in read_fasta(self.path, **self._options):
                    copy.write(b">\n%b\n" % sequence.encode("ascii"))
            index = self._plain_index(self._target)
        # Records go by number in the index, so that no name can upset its format.
        lines = ["\t".join(map(str, (number, *entry))) for number, entry in enumerate(index)]
        self._index = Path(self._folder.name) / "index.fai"
        self._index.write_text("\n".join([*lines, ""]))
        self._number = {name: str(number) for number, name in enumerate(lengths)}
        self.lengths: dict[str, int] = lengths
        self._seek_with_pyfaidx()

    @staticmethod
    def _plain_index(path: Path) -> list[tuple[int, int, int, int]] | None:
        """Per record (bases, offset, bases a line, bytes a line) as in a .fai file, or None if the file cannot
        be sought: compressed, CR in it, or lines of a record that differ in length (the last may be shorter).

        pyfaidx could make the index, but it accepts a longer last line, and then seeks to the wrong base.
        """
        if path.suffix.lower() in (".gz", ".bgz", ".bz2", ".zip"):  # pyfaidx goes by the name
            return None
        entries: list[tuple[int, int, int, int]] = []
        bases = start = width = offset = 0
        ended = False  # after a line shorter than the first only blank lines may follow
        with open(path, "rb") as file:
            for line in file:
                offset += len(line)
                if b"\r" in line or (not line.startswith(b">") and not start):
                    return None
                if line.startswith(b">"):
                    if start:
                        entries.append((bases, start, width, width + 1))
                    bases, start, width, ended = 0, offset, 0, False
                    continue
                size = len(line) - line.endswith(b"\n")
                width = width or size
                if size > width or (ended and size) or not width:
                    return None
                ended = size < width
                bases += size
        return [*entries, (bases, start, width, width + 1)]

    def _seek_with_pyfaidx(self) -> None:
        import pyfaidx

        self._process = os.getpid()
        self._faidx = pyfaidx.Faidx(
            str(self._target), indexname=str(self._index), as_raw=True, build_index=False
        )

    def _stamp(self) -> tuple[int, int]:
        status = os.stat(self._file)
        return status.st_mtime_ns, status.st_size

    @property
    def names(self) -> list[str]:
        """Record names, in file order."""
        return list(self.lengths)

    def fetch(self, name: str, start: int = 0, stop: int | None = None) -> str:
        """Bases `start` to `stop` (default: the end) of record `name`, 0-based and half-open like a slice.

        Raises:
            SequenceError: an unknown name (the nearest are listed), a range that is not within the record
                (nothing is clipped), a closed object, or a file that changed since it was opened.
        """
        if name not in self.lengths:
            near = difflib.get_close_matches(str(name), self.lengths, n=3, cutoff=0.5)
            hint = f"nearest: {', '.join(near)}" if near else f"it starts with {', '.join(self.names[:3])}"
            raise SequenceError(f"no record named {name!r} among {len(self):,}; {hint}", file=self.path)
        length = self.lengths[name]
        start, stop = operator.index(start), length if stop is None else operator.index(stop)
        if not 0 <= start <= stop <= length:
            raise SequenceError(
                f"asked for bases {start:,} to {stop:,}, but the record has 0 to {length:,}; "
                "positions are 0-based and `stop` is not included",
                file=self.path, record=name,
            )  # fmt: skip
        if self._faidx is None:
            raise SequenceError("already closed; open it again with open_fasta", file=self.path)
        if self._expected is not None and self._stamp() != self._expected:
            raise SequenceError("the file changed since it was opened; open it again", file=self.path)
        if self._process != os.getpid():
            # A forked worker shares the file position with its parent, so it needs a handle of its own.
            self._seek_with_pyfaidx()
        if start == stop:
            return ""
        text = self._faidx.fetch(self._number[name], start + 1, stop)
        return text.encode("ascii").translate(self._rules.table).decode("ascii")

    def close(self) -> None:
        """Close the file and remove the temporary index (and copy, if one was made)."""
        if self._faidx is not None:
            self._faidx.close()
            self._faidx = None
        self._folder.cleanup()

    def __len__(self) -> int:
        return len(self.lengths)

    def __contains__(self, name: object) -> bool:
        return name in self.lengths

    def __iter__(self) -> Iterator[str]:
        return iter(self.lengths)

    def __enter__(self) -> IndexedFasta:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# ---------------------------------------------------------------------------------------------------------
# Writing


def write_fasta(
    path: str | os.PathLike[str], records: Iterable[tuple[str, str] | FastaRecord], width: int = 60
) -> None:
    """Write (name, sequence) pairs or `FastaRecord`s as FASTA, `width` bases a line; gzip if named `*.gz`.

    The same records give the same bytes (no time stamp in the gzip header). The file appears under its name
    only when it is complete. `read_fasta` gives the records back unchanged.

    Raises:
        SequenceError: what would not read back: a name that is empty, used twice or has blanks in it, a
            description of several lines, an empty sequence, a letter that is not an IUPAC code of DNA.
    """
    if width < 1:
        raise ValueError(f"width={width} must be at least 1")
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent or ".")
    try:
        with os.fdopen(handle, "wb") as raw:
            if path.suffix.lower() == ".gz":
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                    _write_records(packed, records, width)
            else:
                _write_records(raw, records, width)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes it private; a data file is not
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write_records(out: IO[bytes], records: Iterable[tuple[str, str]], width: int) -> None:
    used: set[str] = set()
    for record in records:
        name, sequence = record
        description = getattr(record, "description", "")
        if name.split() != [name]:
            raise SequenceError("a record's name must be one word without blanks", record=name)
        if name in used:
            raise SequenceError("this name is used twice; rename one of the records", record=name)
        used.add(name)
        if description != description.strip() or len(description.splitlines()) > 1:
            raise SequenceError(f"the description must be one line, got {description!r}", record=name)
        if not sequence:
            raise SequenceError("the record has no sequence", record=name)
        data = _encode(sequence, record=name)
        header = f">{name} {description}" if description else f">{name}"
        lines = [data[at : at + width] for at in range(0, len(data), width)]
        out.write(b"\n".join([header.encode("utf-8"), *lines, b""]))


# ---------------------------------------------------------------------------------------------------------
# Operations on sequences


def _encode(seq: str, record: str | None = None) -> bytes:
    """`seq` as ASCII bytes; SequenceError names the first character that is not an IUPAC code."""
    data = seq.encode("ascii", "replace")  # one "?" for each character outside ASCII
    if data.translate(None, _DNA):
        at = len(data) - len(data.lstrip(_DNA))
        reason = (
            _explain(ord(seq[at])) if seq[at].isascii() else f"found {seq[at]!r}, which is not a nucleotide"
        )
        raise SequenceError(reason, record=record, position=at + 1)
    return data


def reverse_complement(seq: str) -> str:
    """The other strand, read in its own direction: `reverse_complement("AACG") == "CGTT"`.

    Keeps case (soft masking) and knows all IUPAC codes (R <-> Y, K <-> M, B <-> V, D <-> H; S, W, N stay).

    Raises:
        SequenceError: any other character (U too), with its 1-based position.

    Introduced in notebook 01.
    """
    return _encode(seq).translate(_COMPLEMENT)[::-1].decode("ascii")


def windows(seq: str, size: int, step: int, *, partial: bool = False) -> Iterator[tuple[int, str]]:
    """Iterate over (start, subsequence): `size` bases from 0, `step`, 2 `step`, ... as far as they fit.

    With `partial=True` one shorter window follows if bases at the end have not been covered.

    Raises:
        ValueError: `size` or `step` below 1.
    """
    if size < 1 or step < 1:
        raise ValueError(f"size={size} and step={step} must both be at least 1")

    def generate() -> Iterator[tuple[int, str]]:
        start = covered = 0
        while start + size <= len(seq):
            covered = start + size
            yield start, seq[start:covered]
            start += step
        if partial and covered < len(seq) and start < len(seq):
            yield start, seq[start:]

    return generate()


def one_hot(seq: str) -> np.ndarray:
    """(L,) letters -> (L, 4) float32 with columns A, C, G, T.

    Upper and lower case give the same row. N and every other character give a row of zeros, so check
    sequences of unknown origin first (`read_fasta` does). `one_hot(reverse_complement(s))` is
    `one_hot(s)[::-1, ::-1]`: the column order makes complementing a flip. Introduced in notebook 01.
    """
    letters = np.frombuffer(seq.encode("ascii", "replace"), dtype=np.uint8)  # (L,)
    return _ROWS[_COLUMN[letters]]  # (L,) -> (L, 4)


def gc_content(seq: str) -> float:
    """Share of G and C among A, C, G, T (and U) of either case; N and other codes do not count.

    nan when there is no such base.
    """
    counts = np.bincount(np.frombuffer(seq.encode("ascii", "replace"), dtype=np.uint8), minlength=128)
    strong, weak = (int(counts[[ord(c) for c in letters]].sum()) for letters in ("GCgc", "ATUatu"))
    return strong / (strong + weak) if strong + weak else float("nan")
