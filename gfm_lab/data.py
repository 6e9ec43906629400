"""The shipped tables: small, real, checked by checksum, each with where it comes from and how it was cut.

`load_data("ecoli-k12")` gives a `Genome`, `load_data("lac-mpra")` a `SequenceTable`,
`load_data("thousand-genomes-chr20")` a `VariantTable`. Nothing is downloaded.
`data/README.md` describes every table; `data/manifest.json` is what this module trusts, and
`tools/build_data.py` remakes both from public packages. Coordinates are 0-based and half-open throughout.
Introduced in notebook 01.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import json
import os
import textwrap
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import pandas as pd

from gfm_lab.sequence import read_fasta

__all__ = [
    "DataError",
    "Genome",
    "Provenance",
    "SequenceTable",
    "SourceFile",
    "VariantTable",
    "data_dir",
    "data_names",
    "load_data",
    "shipped_dir",
    "verify_all",
]

_PACKAGE_DATA = Path(__file__).parent / "_data"  # where the wheel carries the tables
_CLONE_DATA = Path(__file__).parent.parent / "data"  # where a clone does
# Name -> folder in a clone; the wheel carries what notebooks read of it as gfm_lab/_<name>.
_SHIPPED = {"results": "benchmarks/results", "recordings": "tests/fixtures"}


class DataError(RuntimeError):
    """A shipped data file is missing or is not what the manifest says; the message says how to get it back."""


@dataclass(frozen=True)
class SourceFile:
    """One raw file a table was made from: its package (pip or apt), and the file's digest there."""

    package: str
    version: str
    file: str
    sha256: str
    licence: str
    citation: str


@dataclass(frozen=True)
class Provenance:
    """Where a table comes from. `package`, `version` and `file` are those of its main (first) source."""

    accession: str
    how_cut: str
    licence: str
    citation: str
    caveats: tuple[str, ...]
    sources: tuple[SourceFile, ...]

    @property
    def package(self) -> str:
        return self.sources[0].package

    @property
    def version(self) -> str:
        return self.sources[0].version

    @property
    def file(self) -> str:
        return self.sources[0].file

    def __str__(self) -> str:
        made_of = [f"  from     {s.package} {s.version}: {s.file}" for s in self.sources]
        lines = [f"  is       {self.accession}", *made_of, f"  licence  {self.licence}"]
        lines += [f"  cut      {self.how_cut}", f"  cite     {self.citation}"]
        lines += [f"  mind     {caveat}" for caveat in self.caveats]
        wrap = textwrap.TextWrapper(width=100, subsequent_indent=" " * 11, break_long_words=False)
        return "\n".join(wrap.fill(line) for line in lines)


@dataclass(frozen=True, eq=False)
class Genome:
    """One stretch of a genome, its genes if there are any, and its contiguous splits.

    `sequence` is the forward strand; `splits` maps "train", "valid", "test" to (start, stop) in it; `offset` is
    where its first base lies in the chromosome (0 for a whole one). `genes` has `start`, `stop` in the
    coordinates of `sequence`, or is None.

    >>> ecoli = load_data("ecoli-k12")
    >>> ecoli.region(0, 10)
    'AGCTTTTCAT'
    >>> len(ecoli.split("test"))
    464166
    """

    name: str
    accession: str
    sequence: str
    genes: pd.DataFrame | None
    splits: dict[str, tuple[int, int]]
    offset: int
    columns: dict[str, str]
    provenance: Provenance

    def split(self, name: str) -> str:
        """The bases of one split, "train", "valid" or "test". Raises ValueError for another name."""
        _known(name, self.splits, "split", self.name)
        start, stop = self.splits[name]
        return self.sequence[start:stop]

    def region(self, start: int, stop: int) -> str:
        """Bases [start, stop) of the forward strand. Raises ValueError outside the sequence."""
        if not 0 <= start <= stop <= len(self.sequence):
            raise ValueError(
                f"region {start:,}..{stop:,} is not within 0..{len(self.sequence):,} of {self.name}"
            )
        return self.sequence[start:stop]

    def __len__(self) -> int:
        return len(self.sequence)

    def __repr__(self) -> str:
        parts = ", ".join(f"{k} {b - a:,}" for k, (a, b) in self.splits.items())
        genes = f"; {len(self.genes):,} genes" if self.genes is not None else ""
        return f"Genome({self.name!r}: {self.accession}, {len(self):,} bases; {parts}{genes})"

    def describe(self) -> str:
        """Several lines: what this is, the columns of the gene table, provenance and caveats."""
        return f"{self!r}\n{_columns_text(self.columns)}{self.provenance}"


@dataclass(frozen=True, eq=False)
class SequenceTable:
    """Labelled sequences: a DataFrame with `sequence`, a label column (`label` or `y`), `split` and more.

    `frame` is yours: changing it changes no other copy. Rows are chosen by column:

    >>> splice = load_data("human-splice-sites")
    >>> donors = splice.where(splice.frame["site"] == "donor")
    >>> train, test = donors.split("train"), donors.split("test")
    >>> hard = test.where(test.frame["kind"].isin(["donor", "matched_decoy"]))

    `load_data("splice-mpra").split("test", by="split_block")` uses a second way to split where there is one.
    """

    name: str
    frame: pd.DataFrame
    label_column: str
    columns: dict[str, str]
    provenance: Provenance

    @property
    def sequences(self) -> list[str]:
        """The sequences, in row order."""
        return self.frame["sequence"].tolist()

    @property
    def labels(self) -> np.ndarray:
        """(N,) the label column: class numbers (`label`) or measured values (`y`)."""
        return self.frame[self.label_column].to_numpy()

    def split(self, name: str, by: str = "split") -> SequenceTable:
        """The rows of one split. `by` is the column that holds the split. Raises ValueError for another name."""
        _known(by, [c for c in self.frame.columns if c.startswith("split")], "split column", self.name)
        _known(name, sorted(self.frame[by].unique()), f"split (column {by!r})", self.name)
        return self.where(self.frame[by] == name)

    def where(self, rows: pd.Series | np.ndarray) -> SequenceTable:
        """The rows for which the boolean mask `rows` is true, renumbered from 0."""
        return replace(self, frame=self.frame[np.asarray(rows, dtype=bool)].reset_index(drop=True))

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        lengths = self.frame["sequence"].str.len()
        bases = f"{lengths.min()}" if lengths.nunique() == 1 else f"{lengths.min()}-{lengths.max()}"
        parts = ", ".join(f"{k} {v:,}" for k, v in self.frame["split"].value_counts().sort_index().items())
        return f"SequenceTable({self.name!r}: {len(self):,} x {bases} bases; label {self.label_column!r}; {parts})"

    def describe(self) -> str:
        """Several lines: what this is, every column with its unit, provenance and caveats."""
        return f"{self!r}\n{_columns_text(self.columns)}{self.provenance}"


@dataclass(frozen=True, eq=False)
class VariantTable:
    """Variants and the stretch of reference they lie on.

    `frame` has one variant a row: `position` (0-based, on the chromosome), `start` (0-based, in `sequence`),
    `id`, `ref`, `alt` (forward strand; insertions and deletions keep their anchor base), `kind`, `af`, `ac`,
    `split`. `sequence` is the reference's forward strand and `offset` where its first base lies in `chrom`.

    >>> variants = load_data("thousand-genomes-chr20")
    >>> first = variants.frame.iloc[0]
    >>> variants.sequence[first.start] == first.ref
    True
    """

    name: str
    chrom: str
    frame: pd.DataFrame
    sequence: str
    offset: int
    label_column: str
    columns: dict[str, str]
    provenance: Provenance

    @property
    def labels(self) -> np.ndarray:
        """(N,) the label column: allele frequencies, 0 to 1."""
        return self.frame[self.label_column].to_numpy()

    def split(self, name: str, by: str = "split") -> VariantTable:
        """The variants of one split. Raises ValueError for another name."""
        _known(by, [c for c in self.frame.columns if c.startswith("split")], "split column", self.name)
        _known(name, sorted(self.frame[by].unique()), f"split (column {by!r})", self.name)
        return self.where(self.frame[by] == name)

    def where(self, rows: pd.Series | np.ndarray) -> VariantTable:
        """The variants for which the boolean mask `rows` is true, renumbered from 0."""
        return replace(self, frame=self.frame[np.asarray(rows, dtype=bool)].reset_index(drop=True))

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        parts = ", ".join(f"{k} {v:,}" for k, v in self.frame["split"].value_counts().sort_index().items())
        last = self.offset + len(self.sequence)
        return (
            f"VariantTable({self.name!r}: {len(self):,} variants on {self.chrom}:{self.offset:,}-{last:,}; "
            f"label {self.label_column!r}; {parts})"
        )

    def describe(self) -> str:
        """Several lines: what this is, every column with its unit, provenance and caveats."""
        return f"{self!r}\n{_columns_text(self.columns)}{self.provenance}"


def data_dir() -> Path:
    """The folder of the tables: $GFM_LAB_DATA if set, else inside the installed package, else the clone's data/.

    Raises:
        DataError: no such folder, or no manifest.json in it.
    """
    chosen = os.environ.get("GFM_LAB_DATA")
    for folder in [Path(chosen)] if chosen else [_PACKAGE_DATA, _CLONE_DATA]:
        if (folder / "manifest.json").is_file():
            return folder
    if chosen:
        raise DataError(
            f"GFM_LAB_DATA is set to {chosen}, but there is no manifest.json; unset it or correct it"
        )
    raise DataError(
        f"the course's data were found neither in {_PACKAGE_DATA} nor in {_CLONE_DATA}; "
        "reinstall the gfm-lab wheel, or run `git checkout -- data` in a clone"
    )


def shipped_dir(name: str) -> Path:
    """A folder that notebooks read: "results", what benchmarks/ measured; "recordings", runs of authors' own models.

    Inside the installed package, else in the clone.

    Raises:
        DataError: no such name, or the folder is missing.
    """
    if name not in _SHIPPED:
        raise DataError(f"there is no folder {name!r}; there are: {', '.join(_SHIPPED)}")
    inside, clone = Path(__file__).parent / f"_{name}", Path(__file__).parent.parent / _SHIPPED[name]
    for folder in (inside, clone):
        if folder.is_dir():
            return folder
    raise DataError(
        f"{name} were found neither in {inside} nor in {clone}; reinstall the gfm-lab wheel, or run "
        f"`git checkout -- {_SHIPPED[name]}` in a clone"
    )


def data_names() -> list[str]:
    """The names `load_data` knows, in the order of data/README.md."""
    return list(_manifest(data_dir())["tables"])


@overload
def load_data(name: Literal["ecoli-k12", "human-chr20"]) -> Genome: ...
@overload
def load_data(
    name: Literal[
        "species-panel",
        "human-splice-sites",
        "human-promoters",
        "fly-promoters",
        "lac-mpra",
        "splice-mpra",
        "arabidopsis-expression",
        "yeast-ars",
    ],
    *,
    cleaned: bool = True,
) -> SequenceTable: ...
@overload
def load_data(name: Literal["thousand-genomes-chr20"]) -> VariantTable: ...
@overload
def load_data(name: str, *, cleaned: bool = True) -> Genome | SequenceTable | VariantTable: ...
def load_data(name: str, *, cleaned: bool = True) -> Genome | SequenceTable | VariantTable:
    """Load one of the shipped tables.

    Parameters:
        name: one of `data_names()`; data/README.md says what each holds.
        cleaned: `fly-promoters` only. True: without the negatives that lie near another start, N and repeats.
            False: all rows, as they come, for seeing what cleaning changes. Tables that hold several kinds of
            negatives (`human-splice-sites`, `human-promoters`) or splits (`splice-mpra`, `yeast-ars`) keep
            them in columns: choose with `table.where(...)` and `table.split(name, by=...)`.

    Returns:
        A `Genome`, a `SequenceTable` or a `VariantTable`; all have `.split(name)`, `.provenance` and
        `.describe()`.

    Raises:
        DataError: a file is missing or altered; the message says which and how to get it back. Checksums are
            verified once per file and version.
        ValueError: an unknown name (the nearest known one is suggested).

    Introduced in notebook 01.
    """
    folder = data_dir()
    tables = _manifest(folder)["tables"]
    _known(name, tables, "table", "gfm_lab")
    about = tables[name]
    for file in about["files"]:
        _verify(folder, name, file)
    columns = {column: entry["about"] for column, entry in about["columns"].items()}
    if about["kind"] == "genome":
        if not cleaned:
            raise ValueError(f"{name} has no uncleaned form; leave out cleaned=False")
        ((_, sequence),) = read_fasta(folder / name / "genome.fa.gz")
        genes = folder / name / "genes.tsv.gz"
        return Genome(
            name=name,
            accession=about["accession"],
            sequence=sequence,
            genes=_read_table(genes, about["columns"]) if "genes.tsv.gz" in about["files"] else None,
            splits={part: (a, b) for part, (a, b) in about["splits"].items()},
            offset=about["offset"],
            columns=columns,
            provenance=_provenance(about),
        )
    frame = _read_table(folder / name / "table.tsv.gz", about["columns"])
    if about["kind"] == "variants":
        if not cleaned:
            raise ValueError(f"{name} has no uncleaned form; leave out cleaned=False")
        ((header, sequence),) = read_fasta(folder / name / "genome.fa.gz")
        return VariantTable(
            name=name,
            chrom=header.split()[0],
            frame=frame,
            sequence=sequence,
            offset=about["offset"],
            label_column=about["label"],
            columns=columns,
            provenance=_provenance(about),
        )
    table = SequenceTable(name, frame, about["label"], columns, _provenance(about))
    if "clean" in frame.columns:
        return table.where(frame["clean"] == 1) if cleaned else table
    if not cleaned:
        raise ValueError(f"{name} has no uncleaned form; leave out cleaned=False")
    return table


def verify_all() -> dict[str, str | None]:
    """Check every shipped file: table name -> None when all is well, else the problem in one sentence.

    Raises:
        DataError: there is no data folder at all.
    """
    folder = data_dir()
    result: dict[str, str | None] = {}
    for name, about in _manifest(folder)["tables"].items():
        result[name] = None
        for file in about["files"]:
            try:
                _verify(folder, name, file)
            except DataError as fault:
                result[name] = str(fault)
    return result


# ---------------------------------------------------------------------------------------------------------
# How it is done


def _known(name: str, known: Any, what: str, where: str) -> None:
    """Raise a ValueError that lists the known names, the nearest first, unless `name` is one of them."""
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{where} has no {what} {name!r}{hint} Known: {', '.join(names)}")


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    return _read_manifest(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read_manifest(path: Path, mtime_ns: int) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise DataError(f"{path} is not readable as JSON ({fault}); {_cure(path)}") from None


def _verify(folder: Path, name: str, file: str) -> None:
    """Raise DataError unless the file is the one the manifest describes; remembered until the file changes."""
    expected = _manifest(folder)["tables"][name]["files"][file]
    path = folder / name / file
    try:
        stat = path.stat()
    except OSError:
        raise DataError(f"{path} is missing; {_cure(path)}") from None
    _verified(path, stat.st_size, stat.st_mtime_ns, expected["sha256"], expected["content_sha256"])


@lru_cache(maxsize=256)
def _verified(path: Path, size: int, mtime_ns: int, sha256: str, content_sha256: str) -> None:
    """The check itself. An error is not remembered by lru_cache, so a repaired file is seen at once."""
    data = path.read_bytes()
    actual = hashlib.sha256(data).hexdigest()
    if actual == sha256:
        return
    # Another zlib compresses the same text to other bytes: what counts is the text.
    try:
        if hashlib.sha256(gzip.decompress(data)).hexdigest() == content_sha256:
            return
        fault = "has been altered"
    except (OSError, EOFError, zlib.error) as error:
        fault = f"is damaged ({error})"
    raise DataError(f"{path} {fault}: sha256 {actual}, expected {sha256}; {_cure(path)}")


def _cure(path: Path) -> str:
    """How to get a file of the data folder back."""
    folder = data_dir()
    if folder == _PACKAGE_DATA:
        return "reinstall the wheel: pip install --force-reinstall --no-deps gfm_lab-*.whl"
    place = path.relative_to(folder).as_posix()
    if folder == _CLONE_DATA:
        return f"get it back with `git checkout -- data/{place}`, or remake it with `make data`"
    return f"copy {place} again from the course's data/ folder, or unset GFM_LAB_DATA to use that one"


def _read_table(path: Path, columns: dict[str, dict[str, str]]) -> pd.DataFrame:
    """Read a table with the types the manifest states; only empty numbers are missing values."""
    types = {name: entry["type"] for name, entry in columns.items()}
    numbers = [name for name, kind in types.items() if kind == "float"]
    return pd.read_csv(
        path,
        sep="\t",
        compression="gzip",
        dtype={
            name: {"str": str, "int": np.int64, "float": np.float64}[kind] for name, kind in types.items()
        },
        keep_default_na=False,
        na_values={name: [""] for name in numbers},
        quoting=3,  # a quotation mark is a character like any other
    )


def _provenance(about: dict[str, Any]) -> Provenance:
    return Provenance(
        accession=about["accession"],
        how_cut=about["how_cut"],
        licence=about["licence"],
        citation=about["citation"],
        caveats=tuple(about["caveats"]),
        sources=tuple(
            SourceFile(s["package"], s["version"], s["file"], s["sha256"], s["licence"], s["citation"])
            for s in about["sources"]
        ),
    )


def _columns_text(columns: dict[str, str]) -> str:
    if not columns:
        return ""
    wide = max(map(len, columns))
    wrap = textwrap.TextWrapper(width=100, subsequent_indent=" " * (wide + 4))
    return "\n".join(wrap.fill(f"  {name:<{wide}}  {about}") for name, about in columns.items()) + "\n"
