"""What the shell commands read and write: sequences from FASTA, TSV or the shipped tables; files whole or absent."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from gfm_lab.data import Genome, SequenceTable, data_names, load_data
from gfm_lab.sequence import IUPAC, SequenceError, read_fasta

if TYPE_CHECKING:
    from gfm_lab.training import Stretch

PANEL = "species-panel"  # ten species at once, each window with a control token
NAMES = ("name", "id")  # columns that name the rows of a table
GROUPS = ("gene", "locus")  # columns of rows that belong together
_LETTERS = re.compile(f"[^{''.join(IUPAC)}{''.join(IUPAC).lower()}]")


class Record(NamedTuple):
    """A sequence in upper case, and what to call it."""

    name: str
    sequence: str


def read_records(
    *,
    fasta: str | None = None,
    table: str | None = None,
    data: str | None = None,
    split: str | None = None,
    where: Sequence[str] = (),
    limit: int | None = None,
) -> list[Record]:
    """The sequences of one source: a FASTA file, a TSV file, or a shipped table or genome.

    Raises:
        SequenceError: with file, record and position: not FASTA, a letter that is not DNA, a sequence of N alone.
        ValueError: an unknown table, column, value or split; no sequence is left.
    """
    if fasta is not None:
        if split or where:
            raise ValueError("a FASTA file has no columns: leave out --split and --where, or give a table")
        records = [Record(r.name, r.sequence) for r in read_fasta(fasta, case="upper")]
    elif data is not None and isinstance(loaded := _load(data), Genome):
        if where:
            raise ValueError(f"{data} is a genome and has no columns: leave out --where")
        start, stop = (0, len(loaded)) if split is None else (0, 0)
        if split is not None:
            loaded.split(split)  # explains an unknown one
            start, stop = loaded.splits[split]
        name = f"{loaded.accession}:{start + loaded.offset}-{stop + loaded.offset}"
        records = [Record(name, loaded.sequence[start:stop].upper())]
    else:
        frame, _ = read_table(table=table, data=data, where=where)
        if split is not None:
            frame = choose(frame, [f"split={split}"], table or data)
        records = [Record(*row) for row in zip(frame["name"], frame["sequence"], strict=True)]
    for record in records[:limit]:
        if not re.search("[ACGT]", record.sequence):
            raise SequenceError(
                f"all {len(record.sequence):,} letters are N or other codes, no base is known: take it out",
                file=fasta or table, record=record.name,
            )  # fmt: skip
    return records[:limit]


def _load(name: str) -> Any:
    if name not in data_names() and Path(name).exists():
        raise ValueError(
            f"{name} is a file: give it with --fasta or --table; --data takes a shipped table's name"
        )
    return load_data(name)


def read_table(
    *, table: str | None = None, data: str | None = None, where: Sequence[str] = ()
) -> tuple[pd.DataFrame, str | None]:
    """Rows with `sequence` (upper case) and `name`, and the name of the label's column if a shipped table knows it.

    Raises SequenceError for a letter that is not DNA, ValueError for a file that is no such table.
    """
    if data is not None:
        loaded = _load(data)
        if not isinstance(loaded, SequenceTable):
            kind = "a genome" if isinstance(loaded, Genome) else "a list of variants"
            raise ValueError(
                f"{data} is {kind}, not a table of sequences: choose one of {', '.join(_tables())}"
            )
        frame, label = loaded.frame.assign(sequence=loaded.frame["sequence"].str.upper()), loaded.label_column
    else:
        frame, label = _read_tsv(Path(table)), None
    named = next((column for column in NAMES if column in frame), None)
    if named is None:
        frame = frame.assign(name=[f"{data or Path(table).name}:{row}" for row in range(len(frame))])
    elif named != "name":
        frame = frame.rename(columns={named: "name"})
    return choose(frame, where, table or data), label


def _tables() -> list[str]:
    return [
        name for name in data_names() if name not in ("ecoli-k12", "human-chr20", "thousand-genomes-chr20")
    ]


def _read_tsv(path: Path) -> pd.DataFrame:
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the TSV file itself")
    try:
        frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=3, encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; the path is relative to where the command runs") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as fault:
        raise ValueError(f"{path} cannot be read as a table ({' '.join(str(fault).split())})") from None
    if "sequence" not in frame:
        hint = "; it has commas: save it with tabs" if "," in "".join(frame.columns) else ""
        raise ValueError(
            f"{path} has no column 'sequence': the first line has to name the columns, separated by tabs; "
            f"found {', '.join(frame.columns)[:80]}{hint}"
        )
    if frame.empty:
        raise ValueError(f"{path} has a header and no rows")
    for line, sequence in enumerate(frame["sequence"], start=2):
        if not sequence:
            raise SequenceError("the sequence is empty; remove the row", file=path, line=line)
        if wrong := _LETTERS.search(sequence):
            raise SequenceError(
                f"found {wrong[0]!r}, which is not DNA; remove it or write N",
                file=path, position=wrong.start() + 1, line=line,
            )  # fmt: skip
    return frame.assign(sequence=frame["sequence"].str.upper())


def choose(frame: pd.DataFrame, where: Sequence[str], source: Any) -> pd.DataFrame:
    """The rows that satisfy every COLUMN=VALUE[,VALUE...]. Raises ValueError for one that chooses nothing."""
    for condition in where:
        column, equals, values = condition.partition("=")
        if not equals:
            raise ValueError(f"--where {condition}: write COLUMN=VALUE, such as kind=donor,matched_decoy")
        if column not in frame:
            raise ValueError(
                f"{source} has no column {column!r}; it has {', '.join(map(str, frame.columns))}"
            )
        there = frame[column].astype(str)
        for value in values.split(","):
            if not (there == value).any():
                some = ", ".join(sorted(there.unique())[:12])
                raise ValueError(f"{source} has no row with {column}={value}; its values are {some}")
        frame = frame[there.isin(values.split(","))]
    return frame.reset_index(drop=True)


# ---- Files that are whole or absent ----


def refuse_existing(path: str | Path | None, force: bool) -> None:
    """Raise before the work is done, not after it, if `path` exists or cannot be written."""
    if path is None:
        return
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give a file to write")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists already: choose another --output, or replace it with --force")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path.parent} cannot be written to: choose another --output")


@contextmanager
def writing(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` that takes its name when all went well, and is removed otherwise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    number, half = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    options = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with os.fdopen(number, mode, **options) as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(half, 0o666 & ~umask)  # mkstemp's file is for its owner alone
        os.replace(half, path)
    except BaseException:
        Path(half).unlink(missing_ok=True)
        raise


def write_tsv(frame: pd.DataFrame, path: str | Path | IO[str], comments: Sequence[str] = ()) -> None:
    """A table with a header, after `comments`, each on a line that begins with #; into a file, or an open one."""
    if hasattr(path, "write"):
        path.write("".join(f"# {line}\n" for line in comments))
        frame.to_csv(path, sep="\t", index=False, float_format="%.6g", lineterminator="\n")
        path.flush()
        return
    with writing(path) as file:
        write_tsv(frame, file, comments)


def write_npz(path: str | Path, **arrays: np.ndarray) -> None:
    """Named arrays in one compressed file, for numpy.load(path)."""
    with writing(path, "wb") as file:
        np.savez_compressed(file, **arrays)


# ---- Regions of a genome ----


def regions(
    *,
    data: str | None = None,
    fasta: str | None = None,
    valid_region: Sequence[str] | None = None,
    test_region: Sequence[str] | None = None,
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
) -> tuple[list[Stretch], list[Stretch], list[Stretch]]:
    """Training, validation and test stretches of a shipped genome or a FASTA file; no base is in two of them.

    A shipped genome comes with its splits, and so does the panel of species. Otherwise the test region is what
    `test_region` names (NAME:START-STOP, 0-based, half-open; NAME: a whole record), or the last `test_fraction` (0.1)
    of all bases; the validation region likewise, or the `valid_fraction` (0.05) before the test region; training gets
    the rest.

    Raises SequenceError for a bad FASTA, ValueError for a region that does not exist or overlaps another one.
    """
    from gfm_lab.training import Stretch, panel, read_stretches, stretches

    asked = valid_region or test_region or valid_fraction or test_fraction
    if fasta is None and data == PANEL:
        if asked:
            raise ValueError(f"{PANEL} comes with its splits: leave out the regions and fractions")
        return panel("train"), panel("valid"), panel("test")
    if fasta is None:
        genome = _load(data)
        if not isinstance(genome, Genome):
            raise ValueError(
                f"{data} is a table of labelled sequences; pretrain reads genomes: ecoli-k12, human-chr20, {PANEL}"
            )
        if not asked:
            return tuple(stretches(genome, split) for split in ("train", "valid", "test"))
        rest = [Stretch(genome.accession, genome.offset, genome.offset + len(genome), genome.sequence)]
    else:
        rest = read_stretches(fasta)
    rest = [stretch._replace(sequence=stretch.sequence.upper()) for stretch in rest]
    for stretch in rest:
        if not re.search("[ACGT]", stretch.sequence):
            raise SequenceError(
                f"all {len(stretch.sequence):,} letters are N or other codes: take the record out",
                file=fasta, record=stretch.source,
            )  # fmt: skip
    total = sum(len(stretch.sequence) for stretch in rest)
    everything = rest
    if test_region:
        test, rest = _take_regions(rest, test_region, everything)
        valid, rest = _take_regions(rest, valid_region, everything) if valid_region else ([], rest)
    else:  # regions named for validation are out before the last bases are counted
        valid, rest = _take_regions(rest, valid_region, everything) if valid_region else ([], rest)
        test, rest = _take_last(rest, round((test_fraction or 0.1) * total))
    if not valid_region:
        valid, rest = _take_last(rest, round((valid_fraction or 0.05) * total))
    for name, part in (("training", rest), ("validation", valid), ("test", test)):
        if not part:
            raise ValueError(
                f"no base is left for {name}: choose smaller regions or fractions for the others"
            )
    return rest, valid, test


def _take_last(parts: list[Stretch], count: int) -> tuple[list[Stretch], list[Stretch]]:
    """The last `count` bases, and what comes before them."""
    taken, rest = [], [*parts]
    while rest and count > 0:
        last = rest.pop()
        keep = max(0, len(last.sequence) - count)
        if keep:
            rest.append(_piece(last, last.start, last.start + keep))
        taken.insert(0, _piece(last, last.start + keep, last.stop))
        count -= len(last.sequence) - keep
    return taken, rest


def _take_regions(
    parts: list[Stretch], wanted: Sequence[str], everything: list[Stretch]
) -> tuple[list[Stretch], list[Stretch]]:
    taken, rest = [], [*parts]
    for text in wanted:
        source, start, stop = _parse_region(text, everything)
        at = next(
            (i for i, p in enumerate(rest) if p.source == source and p.start <= start and stop <= p.stop),
            None,
        )
        if at is None:
            raise ValueError(
                f"region {source}:{start:,}-{stop:,} overlaps another validation or test region: a base can be in one"
            )
        part = rest[at]
        sides = [_piece(part, part.start, start), _piece(part, stop, part.stop)]
        rest[at : at + 1] = [side for side in sides if side.sequence]
        taken.append(_piece(part, start, stop))
    return taken, rest


def _parse_region(text: str, everything: list[Stretch]) -> tuple[str, int, int]:
    whole = next((part for part in everything if part.source == text), None)
    if whole is not None:
        return whole.source, whole.start, whole.stop
    found = re.fullmatch(r"(.+):([\d,]+)-([\d,]+)", text)
    if not found:
        raise ValueError(
            f"region {text!r}: there is no such record; write NAME:START-STOP. {_known_records(everything)}"
        )
    source, start, stop = found[1], *(int(n.replace(",", "")) for n in found.groups()[1:])
    parts = [part for part in everything if part.source == source]
    if not parts:
        raise ValueError(f"region {text!r}: there is no record {source!r}. {_known_records(everything)}")
    if start >= stop or not any(part.start <= start and stop <= part.stop for part in parts):
        there = ", ".join(part.name for part in parts)
        raise ValueError(
            f"region {text!r} is empty or reaches outside: there is {there} (0-based, half-open)"
        )
    return source, start, stop


def _known_records(everything: list[Stretch]) -> str:
    names = [part.source for part in everything]
    return f"Records: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"


def _piece(part: Stretch, start: int, stop: int) -> Stretch:
    return part._replace(
        start=start, stop=stop, sequence=part.sequence[start - part.start : stop - part.start]
    )
