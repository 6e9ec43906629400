"""The tables cut from whole genomes: ecoli-k12, human-chr20, species-panel; and what all cuts share.

Each `cut_*` function takes the raw files and returns one `Built`: the text of its files and everything the
manifest says about them. Coordinates are 0-based and half-open from here on (GenBank, GFF and the splice
table are 1-based and closed).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from data_sources import Sources

from gfm_lab.sequence import reverse_complement
from gfm_lab.splits import shared_kmer_fraction

# chr20, shared by every human table: training below 45 Mb, testing from 55 Mb on, whatever the task. The
# pre-training slice lies wholly below 45 Mb, so no model has read a validation or test window of any task.
CHR20_VALID, CHR20_TEST = 45_000_000, 55_000_000
CHR20_SLICE = (35_000_000, 45_000_000)


@dataclass
class Built:
    """One table, not yet written: `files` maps a file name to its text, `about` goes into the manifest."""

    name: str
    files: dict[str, str]
    sources: list[str]
    about: dict[str, Any] = field(default_factory=dict)


def fasta_text(name: str, description: str, sequence: str, width: int = 80) -> str:
    """A FASTA file of one record."""
    lines = [sequence[i : i + width] for i in range(0, len(sequence), width)]
    return f">{name} {description}\n" + "\n".join(lines) + "\n"


def tsv_text(frame: pd.DataFrame) -> str:
    """`frame` as tab-separated text; floats with six significant digits, so that bytes do not drift."""
    columns = []
    for name in frame.columns:
        values = frame[name]
        if pd.api.types.is_float_dtype(values):
            columns.append(["" if np.isnan(v) else f"{v:.6g}" for v in values])
        else:
            columns.append([str(v) for v in values])
    for column in columns:
        assert not any("\t" in v or "\n" in v for v in column)
    lines = ["\t".join(frame.columns), *("\t".join(row) for row in zip(*columns, strict=True))]
    return "\n".join(lines) + "\n"


def counts(frame: pd.DataFrame, by: str, split: str = "split") -> dict[str, dict[str, int]]:
    """{split: {class: rows}} for the manifest."""
    table = frame.groupby([split, by]).size()
    result: dict[str, dict[str, int]] = {}
    for (part, label), n in table.items():
        result.setdefault(str(part), {})[str(label)] = int(n)
    return result


def oriented(sequence: str, start: int, stop: int, strand: str) -> str:
    """Bases [start, stop) of `sequence` as read on `strand`, in upper case."""
    piece = sequence[start:stop].upper()
    return piece if strand == "+" else reverse_complement(piece)


def is_plain(sequence: str) -> bool:
    """Only A, C, G and T?"""
    return not sequence.strip("ACGT") and re.fullmatch("[ACGT]+", sequence) is not None


def drop_repeats(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the first of all rows with the same sequence or its reverse complement."""
    key = [min(s, reverse_complement(s)) for s in frame["sequence"]]
    return frame[~pd.Series(key, index=frame.index).duplicated()]


def clusters(start: np.ndarray, stop: np.ndarray, gap: int = 0) -> np.ndarray:
    """Number the groups of intervals that overlap or lie within `gap` bases of each other (chained)."""
    order = np.lexsort((stop, start))
    group = np.empty(len(start), dtype=np.int64)
    reach, number = None, -1
    for i in order:
        if reach is None or start[i] > reach + gap:
            number += 1
            reach = stop[i]
        reach = max(reach, stop[i])
        group[i] = number
    return group


# ---------------------------------------------------------------------------------------------------------
# E. coli


def parse_genbank_genes(text: str) -> pd.DataFrame:
    """Genes of a GenBank flat file: one row per `gene` feature, with what its CDS or RNA feature adds."""
    features = text[text.index("\nFEATURES") : text.index("\nORIGIN")].split("\n")
    parsed: list[tuple[str, str, dict[str, str]]] = []
    qualifier = None
    for line in features[2:]:
        if line[5:6].strip():
            parsed.append((line[5:21].strip(), line[21:].strip(), {}))
            qualifier = None
        elif line[21:22] == "/":
            name, _, value = line[22:].partition("=")
            qualifier = name if name not in parsed[-1][2] else None  # keep the first of several
            if qualifier:
                parsed[-1][2][qualifier] = value.strip()
        elif qualifier:
            parsed[-1][2][qualifier] += " " + line.strip()
        elif not parsed[-1][2]:
            # A location may run over several lines, before the first qualifier.
            kind, location, rest = parsed[-1]
            parsed[-1] = (kind, location + line.strip(), rest)
    product: dict[str, tuple[str, str]] = {}
    for kind, _, values in parsed:
        tag = values.get("locus_tag", "").strip('"')
        if kind in ("CDS", "tRNA", "rRNA", "ncRNA") and tag:
            product.setdefault(tag, (kind, values.get("product", "").strip('"')))
    rows = []
    for kind, location, values in parsed:
        if kind != "gene":
            continue
        tag = values["locus_tag"].strip('"')
        ends = [int(n) for n in re.findall(r"\d+", location)]
        what, text_ = product.get(tag, ("", ""))
        biotype = "pseudogene" if "pseudo" in values or "pseudogene" in values else (what or "other")
        rows.append(
            {
                "locus_tag": tag,
                "gene": values.get("gene", "").strip('"'),
                "start": min(ends) - 1,
                "stop": max(ends),
                "strand": "-" if location.startswith("complement") else "+",
                "biotype": biotype,
                "product": re.sub(r"\s+", " ", text_),
            }
        )
    return pd.DataFrame(rows).sort_values(["start", "stop", "locus_tag"], ignore_index=True)


def cut_ecoli(sources: Sources) -> Built:
    """`ecoli-k12`: the whole chromosome, its genes, and three contiguous regions."""
    text = sources.text("ecoli-gb")
    ((_, sequence),) = sources.fasta("ecoli-fasta")
    origin = re.sub(r"[^a-z]", "", text[text.index("\nORIGIN") + 7 :]).upper()
    assert origin == sequence, "the GenBank and FASTA files disagree"
    genes = parse_genbank_genes(text)
    n = len(sequence)
    train, valid = n * 85 // 100, n * 90 // 100
    splits = {"train": [0, train], "valid": [train, valid], "test": [valid, n]}
    middle = (genes["start"] + genes["stop"]) // 2
    genes["split"] = np.select([middle < train, middle < valid], ["train", "valid"], "test")
    shared = {
        part: round(shared_kmer_fraction(sequence[a:b], sequence[:train]), 4)
        for part, (a, b) in splits.items()
        if part != "train"
    }
    return Built(
        "ecoli-k12",
        {
            "genome.fa.gz": fasta_text("U00096.3", "Escherichia coli K-12 MG1655, complete genome", sequence),
            "genes.tsv.gz": tsv_text(genes),
        },
        ["ecoli-fasta", "ecoli-gb"],
        {
            "kind": "genome",
            "title": "E. coli K-12 MG1655, the whole chromosome and its gene table",
            "accession": "U00096.3",
            "record": "U00096.3",
            "offset": 0,
            "how_cut": "Whole chromosome, unchanged. Three contiguous regions: train the first 85 %, valid the "
            "next 5 %, test the last 10 %. A gene belongs to the region its middle lies in.",
            "splits": splits,
            "shared_31mers": shared,
            "soft_masking": "none: the source is all upper case",
            "columns": {
                "locus_tag": "systematic name (b-number)",
                "gene": "gene name",
                "start": "first base on the forward strand, 0-based",
                "stop": "one past the last base, 0-based",
                "strand": "+ or -",
                "biotype": "CDS, tRNA, rRNA, ncRNA, pseudogene or other",
                "product": "what the gene makes, as annotated; empty where the source says nothing",
                "split": "train, valid or test: the region that holds the gene's middle",
            },
            "counts": counts(genes, "biotype"),
            "counts_of": "genes by biotype",
            "caveats": [
                "The chromosome is a circle: the test region ends where the training region starts.",
                f"{shared['test']:.1%} of test bases lie in 31-mers of the training region, on either strand "
                "(rRNA operons, insertion elements): report bits per base with and without them.",
                "Another E. coli strain is no test set: it is a near copy.",
                "The wild type of lac-mpra lies in the training region (near 366.4 kb, reverse strand).",
            ],
            "citation": "Blattner et al. 1997, Science 277:1453, doi:10.1126/science.277.5331.1453",
        },
    )


def cut_human(sources: Sources) -> Built:
    """`human-chr20`: ten megabases without gaps, away from the 1-4 Mb where the course's variants lie."""
    ((_, chromosome),) = sources.fasta("human20")
    start, stop = CHR20_SLICE
    sequence = chromosome[start:stop]
    assert is_plain(sequence), "the slice must have no N"
    n = len(sequence)
    train, valid = n * 85 // 100, n * 90 // 100
    splits = {"train": [0, train], "valid": [train, valid], "test": [valid, n]}
    shared = {
        part: round(shared_kmer_fraction(sequence[a:b], sequence[:train]), 4)
        for part, (a, b) in splits.items()
        if part != "train"
    }
    description = f"Homo sapiens chromosome 20, GRCh37, bases {start + 1}-{stop} (1-based)"
    return Built(
        "human-chr20",
        {"genome.fa.gz": fasta_text("chr20", description, sequence)},
        ["human20"],
        {
            "kind": "genome",
            "title": "Human chromosome 20, ten megabases for pre-training",
            "accession": "GRCh37 chr20 (CM000682.1 / NC_000020.10)",
            "record": "chr20",
            "offset": start,
            "how_cut": f"Bases {start:,} to {stop:,} (0-based, half-open) of chr20: no N, nothing of 1-4 Mb "
            "(where the course's variants lie), nothing from 45 Mb on (where the human tables validate and "
            "test). Train the first 85 %, valid the next 5 %, test the last 10 % of the slice.",
            "splits": splits,
            "shared_31mers": shared,
            "soft_masking": "none: the source is all upper case, so repeats are not marked",
            "columns": {},
            "caveats": [
                f"{shared['test']:.1%} of test bases lie in 31-mers of the training region (Alu, LINE-1 and "
                "other repeats): report bits per base with and without them.",
            ],
            "citation": "International Human Genome Sequencing Consortium 2004, Nature 431:931, "
            "doi:10.1038/nature03001",
        },
    )


# ---------------------------------------------------------------------------------------------------------
# Ten species

# species, raw file, accession; what else there is to know. Plasmids and the second H. pylori strain are left out.
SPECIES = [
    ("Escherichia coli", "ecoli-fasta", "U00096.3"),
    ("Klebsiella pneumoniae", "kpneumoniae", "CP000647.1"),
    ("Helicobacter pylori", "hpylori", "NC_017366.1"),
    ("Staphylococcus aureus", "saureus", "CP024649.1"),
    ("Bacteroides thetaiotaomicron", "btheta", "NZ_JAGURL010000000 (contigs)"),
    ("Plasmodium falciparum", "plasmodium", "chromosomes MAL1-MAL14, as named in the source"),
    ("Arabidopsis thaliana", "arabidopsis-fasta", "NC_003070.9"),
    ("Caenorhabditis elegans", "worm", "UCSC ce2 chrX"),
    ("Drosophila melanogaster", "fly", "UCSC dm3, 2 kb upstream of annotated starts"),
    ("Homo sapiens", "humanX", "GRCh37 chrX (NC_000023.10), first 70 Mb"),
]
PANEL_SIZE = {"train": 700, "valid": 100, "test": 200}
PANEL_WINDOW = 512
PANEL_GAP = 5_000  # bases between any two windows of different splits
_FLY_SPLIT = {"chr2L": "train", "chr2R": "train", "chr3L": "train", "chr3R": "valid", "chrX": "test"}


def panel_records(species: str, key: str, sources: Sources) -> list[tuple[str, int, str]]:
    """(record, offset of its first base, sequence) to cut windows from, in the order of the genome."""
    if species == "Drosophila melanogaster":
        return [(r.chrom, r.start, r.sequence) for r in fly_records(sources).itertuples()]
    records = [(header.split()[0], 0, seq.upper()) for header, seq in sources.fasta(key)]
    if species in ("Klebsiella pneumoniae", "Helicobacter pylori"):
        records = records[:1]
    return [(name.split("|")[3] if "|" in name else name, a, s) for name, a, s in records if len(s) >= 1000]


def fly_records(sources: Sources) -> pd.DataFrame:
    """The distinct 2-kb records of the fly file: forward-strand coordinates and the sequence as given.

    Records are oriented: their last base is the one before the annotated start, on either strand.
    """
    rows = []
    for header, sequence in sources.fasta("fly"):
        match = re.fullmatch(r"(\S+?)_up_2000_(\S+)_-?\d+_([fr]) (\S+):(-?\d+)-(\d+)", header)
        assert match, header
        name, _, direction, chrom, first, last = match.groups()
        rows.append(
            (name, chrom, int(first) - 1, int(last), "+" if direction == "f" else "-", sequence.upper())
        )
    frame = pd.DataFrame(rows, columns=["transcript", "chrom", "start", "stop", "strand", "sequence"])
    frame["records"] = frame.groupby("sequence")["transcript"].transform("size")
    frame = frame.drop_duplicates("sequence")
    frame = frame[frame["sequence"].str.len() == 2000]
    return frame.sort_values(["chrom", "start", "strand", "transcript"], ignore_index=True)


def panel_windows(species: str, key: str, sources: Sources, rng: np.random.Generator) -> pd.DataFrame:
    """1,000 windows of 512 bp of one species, disjoint, no window of one split near one of another."""
    rows = []
    reach: dict[str, int] = {}
    position = 0  # running coordinate over all records, to cut regions
    for record, offset, sequence in panel_records(species, key, sources):
        for at in range(0, len(sequence) - PANEL_WINDOW + 1, PANEL_WINDOW):
            start = offset + at
            piece = sequence[at : at + PANEL_WINDOW]
            # The fly's 2-kb records overlap each other: go on after the last window that was taken.
            if start < reach.get(record, 0) or not is_plain(piece):
                continue
            rows.append((record, start, start + PANEL_WINDOW, position + at, piece))
            reach[record] = start + PANEL_WINDOW
        position += len(sequence)
    frame = drop_repeats(pd.DataFrame(rows, columns=["record", "start", "stop", "at", "sequence"]))
    if species == "Drosophila melanogaster":
        split = frame["record"].map(_FLY_SPLIT).fillna("none").to_numpy()
    else:
        cut = [int(position * 0.7), int(position * 0.8)]
        middle = frame["at"].to_numpy() + PANEL_WINDOW // 2
        split = np.select([middle < cut[0], middle < cut[1]], ["train", "valid"], "test").astype(object)
        near = np.abs(middle[:, None] - np.array([0, *cut, position])).min(axis=1)
        # Windows by a border are left out; the ends count as borders too because some genomes are circles.
        split[near < PANEL_GAP] = "none"
    chosen = []
    for part, size in PANEL_SIZE.items():
        pool = np.flatnonzero(split == part)
        chosen.append(np.sort(rng.choice(pool, size, replace=False)))
    frame = frame.assign(split=split).iloc[np.concatenate(chosen)]
    return frame.assign(species=species)


def cut_species(sources: Sources) -> Built:
    """`species-panel`: which of ten species is this stretch of DNA from?"""
    rng = np.random.default_rng(20)
    frame = pd.concat([panel_windows(s, key, sources, rng) for s, key, _ in SPECIES], ignore_index=True)
    assert len(drop_repeats(frame)) == len(frame)
    frame["label"] = frame["species"].map({s: i for i, (s, _, _) in enumerate(SPECIES)})
    frame = frame[["species", "label", "record", "start", "stop", "split", "sequence"]]
    return Built(
        "species-panel",
        {"table.tsv.gz": tsv_text(frame)},
        [key for _, key, _ in SPECIES],
        {
            "kind": "table",
            "title": "Ten species, 1,000 windows of 512 bp each",
            "accession": "; ".join(f"{s}: {a}" for s, _, a in SPECIES),
            "how_cut": "Disjoint 512-bp windows with no letter but A, C, G, T, drawn at random (seed 20): 700 "
            "train from the first 70 % of each genome, 100 valid from the next 10 %, 200 test from the last "
            f"20 %; at least {PANEL_GAP:,} bp between windows of different splits. The fly has no genome in "
            "the packages: its windows come from the 2 kb upstream of annotated starts, train 2L/2R/3L, valid "
            "3R, test X.",
            "label": "label",
            "columns": {
                "species": "binomial name",
                "label": "class, 0 to 9, in the order of the accessions above",
                "record": "sequence record the window was cut from",
                "start": "first base in the record, 0-based (fly: in the chromosome)",
                "stop": "one past the last base, 0-based",
                "split": "train, valid or test",
                "sequence": "512 bases, forward strand (fly: as given, towards the start), upper case",
            },
            "soft_masking": "folded to upper case: A. thaliana marks repeats in lower case in the source; "
            "P. falciparum and the fly are all lower case there, the others all upper case",
            "counts": counts(frame, "species"),
            "counts_of": "windows by species",
            "caveats": [
                "GC content alone separates many of these species: see the GC baseline.",
                "The fly windows are all promoter-proximal, the human ones all from chrX, the worm's from its X: "
                "a classifier may learn the region and not the species.",
                "E. coli windows lie in the genome of ecoli-k12, on other borders than its split.",
            ],
            "citation": "the accessions above, and the packages",
        },
    )
