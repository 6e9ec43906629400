"""Variants in files: VCF and tables, read one at a time, with errors that name the line.

A variant says that `ref` stands at `position` of `chrom`, and that `alt` stands there in some genomes. Where counting
begins is the commonest mistake of all:

    VCF                    POS counts from 1        read_vcf subtracts 1
    a table of ours        position counts from 0   as everywhere in this package
    Variant.position       counts from 0
    str(variant)           "20:61098 C>T" counts from 1, as VCF, browsers and papers do

VCF spells an insertion or a deletion with a base that stays (REF A, ALT AT); the base is cut off where a variant is
scored (`Variant.trimmed`). Plain text needs neither torch nor numpy. Introduced in notebook 12.
"""

from __future__ import annotations

import csv
import gzip
import os
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

__all__ = ["Variant", "VariantError", "read_variants", "read_vcf"]

BASES = frozenset("ACGT")
COLUMNS = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")
LONGEST_LINE = 1 << 28  # characters: a line without end is no VCF, and must not fill the memory


class VariantError(ValueError):
    """A variant, or a file of variants, that cannot be used: what is wrong with which one, and what to do."""


class Variant(NamedTuple):
    """One change: `ref` at `position` (0-based, of its first base) of `chrom` becomes `alt`.

    An empty `ref` is an insertion before `position`, an empty `alt` a deletion. `info`: what else the file tells of
    it. Introduced in notebook 12.
    """

    chrom: str
    position: int
    ref: str
    alt: str
    id: str = ""
    info: dict[str, Any] | None = None

    def __str__(self) -> str:
        name = f"{self.id} " if self.id else ""
        return f"{name}{self.chrom or '?'}:{self.position + 1} {self.ref or '-'}>{self.alt or '-'}"

    @property
    def kind(self) -> str:
        """SNV, MNV (several bases for as many), insertion, deletion, indel (both at once) or none (ref is alt)."""
        _, ref, alt = self.trimmed
        if not ref and not alt:
            return "none"
        if len(ref) == len(alt):
            return "SNV" if len(ref) == 1 else "MNV"
        return "insertion" if not ref else "deletion" if not alt else "indel"

    @property
    def trimmed(self) -> tuple[int, str, str]:
        """(position, ref, alt) without the bases that both alleles begin or end with.

        >>> Variant("1", 10, "CA", "CAA").trimmed
        (11, '', 'A')

        The end is cut first, so an insertion into a repeat stands at its start, as left-aligned files have it.
        """
        position, ref, alt = self.position, self.ref, self.alt
        same = _shared(ref[::-1], alt[::-1])
        ref, alt = ref[: len(ref) - same], alt[: len(alt) - same]
        same = _shared(ref, alt)
        return position + same, ref[same:], alt[same:]


def read_vcf(
    path: str | os.PathLike[str], *, symbolic: str = "error", info: Sequence[str] = ()
) -> Iterator[Variant]:
    """The variants of a VCF file (VCF 4), plain or gzip, one by one: memory does not grow with the file.

    A row with several alternatives gives several variants, in the order of the row; `info` names INFO fields to keep
    (numbers become float; a field with one value an alternative is split with them). A row whose ALT is "." has no
    alternative and gives none. Genotypes are not looked at.

    symbolic: what to do with alleles that are no sequence (<DEL>, *, breakends, letters other than A, C, G, T):
        "error" (default), or "skip": leave them out and warn once, at the end, how many there were.

    Raises VariantError, with file and line, for what is no VCF (BCF, a table), missing fields, a POS that is no number
    from 1, a file cut off in the middle of a gzip block or of a line; ValueError for another `symbolic`.
    Introduced in notebook 12.
    """
    if symbolic not in ("error", "skip"):
        raise ValueError(f"symbolic is {symbolic!r}: choose 'error' or 'skip'")
    return _vcf(Path(path), symbolic, tuple(info))


def _vcf(path: Path, symbolic: str, keys: tuple[str, ...]) -> Iterator[Variant]:
    columns, skipped = 0, 0  # columns: how many the header names, genotypes included
    for number, line in _lines(path):
        where = f"{path}, line {number:,}"
        if number == 1 and not line.startswith("##fileformat=VCF"):
            raise VariantError(
                f"{path} does not begin with ##fileformat=VCF: it is no VCF file; a table with columns position, ref "
                f"and alt is for read_variants"
            )
        if line.startswith("##") or not line:
            continue
        fields = line.split("\t", 8)
        if line.startswith("#"):
            if tuple(fields[:8]) != COLUMNS:
                raise VariantError(f"{where}: the header should read {' '.join(COLUMNS)}, separated by tabs")
            columns = line.count("\t") + 1
            continue
        if not columns:
            raise VariantError(f"{where}: the line that begins with #CHROM is missing")
        if line.count("\t") + 1 != columns:
            hint = "; they have to be separated by tabs" if len(line.split()) >= columns else ""
            raise VariantError(
                f"{where} has {line.count(chr(9)) + 1} fields, the header {columns}{hint} (a file cut off while it "
                f"was copied ends so too)"
            )
        chrom, pos, name, ref, alts, _, _, details = fields[:8]
        if not chrom or not (pos.isascii() and pos.isdigit()) or int(pos) < 1:
            raise VariantError(f"{where}: {chrom}:{pos} is no place; VCF counts positions from 1")
        ref, name = ref.upper(), "" if name == "." else name
        alternatives = [] if alts == "." else alts.split(",")
        for index, alt in enumerate(alternatives):
            alt = alt.upper()
            problem = _no_sequence(ref) or _no_sequence(alt)
            if problem:
                if symbolic == "skip":
                    skipped += 1
                    continue
                raise VariantError(
                    f"{where}, {chrom}:{pos} {ref[:20]}>{alt[:20]}: {problem}; leave such rows out with symbolic='skip'"
                )
            kept = {key: _info(details, key, index, len(alternatives)) for key in keys} or None
            yield Variant(chrom, int(pos) - 1, ref, alt, name, kept)
    if not columns:
        raise VariantError(f"{path} ends before the line that begins with #CHROM")
    if skipped:
        warnings.warn(
            f"{path}: left out {skipped:,} alleles that are no sequence of A, C, G, T", stacklevel=2
        )


def read_variants(path: str | os.PathLike[str], *, one_based: bool = False) -> Iterator[Variant]:
    """The variants of a table, plain or gzip, tab or comma separated, one by one.

    The first line names the columns: `position`, `ref`, `alt`, and if there are any `chrom` and `id`; all others are
    kept in `info`. An empty allele or "-" is one of length 0. `position` counts from 0, unless `one_based`.

    Raises VariantError, with file and line, for missing columns or fields, positions that are no numbers and alleles
    that are no sequence of A, C, G, T. Introduced in notebook 12.
    """
    return _table(Path(path), one_based)


def _table(path: Path, one_based: bool) -> Iterator[Variant]:
    lines = _lines(path)
    _, first = next(lines, (0, ""))
    if first.startswith("##fileformat=VCF"):
        raise VariantError(f"{path} is a VCF file: read it with read_vcf")
    separator = "\t" if "\t" in first else ","
    names = [name.strip() for name in first.split(separator)]
    missing = [name for name in ("position", "ref", "alt") if name not in names]
    if missing:
        pos = next((name for name in names if name.lower() in ("pos", "start")), None)
        hint = f"; rename {pos!r} to position, and pass one_based=True if it counts from 1" if pos else ""
        raise VariantError(
            f"{path} has no column {' and no column '.join(missing)}: the first line names the columns, found "
            f"{', '.join(names)[:80]}{hint}"
        )
    for number, line in lines:
        if not line:
            continue
        fields = next(csv.reader([line], delimiter=separator))
        where = f"{path}, line {number:,}"
        if len(fields) != len(names):
            raise VariantError(f"{where} has {len(fields)} fields, the header {len(names)}")
        row = dict(zip(names, fields, strict=True))
        position, ref, alt = row.pop("position").strip(), row.pop("ref"), row.pop("alt")
        if not (position.isascii() and position.isdigit()) or int(position) < one_based:
            raise VariantError(f"{where}: position {position!r} is no whole number from {int(one_based)}")
        ref, alt = ("" if allele.strip() in ("-", "") else allele.strip().upper() for allele in (ref, alt))
        problem = _no_sequence(ref, empty=True) or _no_sequence(alt, empty=True)
        if problem:
            raise VariantError(f"{where}: {problem}")
        chrom, name = row.pop("chrom", ""), row.pop("id", "")
        yield Variant(chrom, int(position) - one_based, ref, alt, name, row or None)


# ---- Lines and fields ----


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text without its end) of each line."""
    if path.is_dir():
        raise VariantError(f"{path} is a folder: give the file itself")
    number = 0
    try:
        with open(path, "rb") as raw:
            head = raw.read(2)
        opened: IO[bytes] = gzip.open(path, "rb") if head == b"\x1f\x8b" else open(path, "rb")  # noqa: SIM115
        with opened as file:
            while line := file.readline(LONGEST_LINE):
                number += 1
                if number == 1 and line[:3] in (b"BCF", b"\xef\xbb\xbf"):
                    if line[:3] == b"BCF":
                        raise VariantError(f"{path} is BCF, binary: `bcftools view` makes a VCF of it")
                    line = line[3:]  # a byte-order mark
                if len(line) >= LONGEST_LINE:
                    raise VariantError(f"{path}, line {number:,} does not end: this is no file of variants")
                yield number, line.decode("utf-8").rstrip("\r\n")
    except FileNotFoundError:
        raise VariantError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise VariantError(f"{path}, line {number:,} is not text: this is no file of variants") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise VariantError(
            f"{path} is cut off or damaged after line {number:,} ({fault}): copy it again; what was read before it is "
            f"only a part"
        ) from None
    if number == 0:
        raise VariantError(f"{path} is empty")


def _shared(a: str, b: str) -> int:
    """How many letters a and b begin with in common."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _no_sequence(allele: str, empty: bool = False) -> str | None:
    """What is wrong with an allele, or None."""
    if BASES.issuperset(allele) and (allele or empty):
        return None
    if not allele:
        return "an allele is empty; VCF writes an indel with the base before it"
    if allele.startswith("<"):
        return f"the allele {allele[:20]} is symbolic: it names a kind of variant, not its sequence"
    if allele == "*":
        return "the allele * says that an overlapping deletion took this base: there is no sequence to score"
    if "[" in allele or "]" in allele or allele.startswith(".") or allele.endswith("."):
        return f"the allele {allele[:20]} is a breakend: its sequence lies elsewhere"
    return f"the allele {allele[:20]!r} has letters other than A, C, G and T"


def _info(details: str, key: str, index: int, alternatives: int) -> Any:
    """INFO field `key` of one alternative: float where it is a number, True for a flag, None where it is missing."""
    for entry in details.split(";"):
        name, equals, value = entry.partition("=")
        if name == key:
            values = value.split(",")
            value = values[index] if len(values) == alternatives else value
            if not equals:
                return True
            try:
                return float(value)
            except ValueError:
                return None if value == "." else value
    return None


def as_variants(rows: Iterable[Any]) -> Iterator[Variant]:
    """Variants, tuples (chrom, position, ref, alt) or a DataFrame -> Variants, alleles in upper case and checked.

    Raises VariantError for anything else, with its place in the list. Introduced in notebook 12.
    """
    if hasattr(rows, "columns"):
        missing = [name for name in ("position", "ref", "alt") if name not in rows.columns]
        if missing:
            raise VariantError(
                f"the table has no column {', '.join(missing)}; needed: position (0-based), ref and alt; chrom and id "
                f"if there are any"
            )
        columns = [
            rows[name].tolist() if name in rows.columns else [""] * len(rows)
            for name in ("chrom", "position", "ref", "alt", "id")
        ]
        rows = zip(*columns, strict=True)
    for number, row in enumerate(rows):
        try:
            chrom, position, ref, alt, name, info = (*row, *("", None)[len(row) - 4 :])
            variant = Variant(str(chrom), position.__index__(), ref.upper(), alt.upper(), str(name), info)
        except (TypeError, ValueError, AttributeError):
            raise VariantError(
                f"variant {number} is {row!r}: give a Variant, or (chrom, position, ref, alt) with a whole number as "
                f"position, counted from 0"
            ) from None
        if variant.ref == "-" or variant.alt == "-":
            variant = variant._replace(ref=variant.ref.strip("-"), alt=variant.alt.strip("-"))
        problem = _no_sequence(variant.ref, empty=True) or _no_sequence(variant.alt, empty=True)
        if problem:
            raise VariantError(f"variant {number}, {variant}: {problem}")
        yield variant
