"""Labelled windows of human and fly: human-splice-sites, human-promoters, fly-promoters.

Seeds are fixed, so the same raw files give the same rows on any machine.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from data_genomes import (
    CHR20_TEST,
    CHR20_VALID,
    Built,
    clusters,
    counts,
    drop_repeats,
    fly_records,
    is_plain,
    oriented,
    tsv_text,
)
from data_sources import Sources

from gfm_lab.sequence import reverse_complement

# ---------------------------------------------------------------------------------------------------------
# Human splice sites

HALF = 200  # bases on either side of the splice junction; the junction lies between bases 199 and 200
# The stretch of the window a position weight matrix reads: 3 exon and 6 intron bases at a donor, 20 intron
# and 3 exon bases at an acceptor (the spans usual for 5' and 3' splice sites).
PWM_SPAN = {"donor": (HALF - 3, HALF + 6), "acceptor": (HALF - 20, HALF + 3)}
# Where GT (donor) and AG (acceptor) stand in the window.
MOTIF = {"donor": ("GT", HALF), "acceptor": ("AG", HALF - 2)}


def chr20_split(position: int) -> str:
    """train, valid or test: the same borders for every human table."""
    return "train" if position < CHR20_VALID else "valid" if position < CHR20_TEST else "test"


def gene_table(sources: Sources, chrom: str) -> pd.DataFrame:
    """Genes of the splice table on one chromosome: 0-based half-open, junction ends as intron borders.

    `left` and `right` list the introns' first base and one past their last base, on the forward strand.
    """
    rows = []
    for line in sources.text("splice-table").splitlines()[1:]:
        match = re.fullmatch(r'(\w+),(\w+),([+-]),(\d+),(\d+),"?([\d,]*)"?,"?([\d,]*)"?', line)
        assert match, line[:80]
        gene, where, strand, start, stop, left, right = match.groups()
        if where == chrom:
            # jn_start is the last base before the intron, 1-based: that number is the intron's first base
            # counted from 0. jn_end is the first base after it: one less is one past its end counted from 0.
            lefts = [int(n) for n in left.split(",") if n]
            rights = [int(n) - 1 for n in right.split(",") if n]
            rows.append((gene, strand, int(start) - 1, int(stop), lefts, rights))
    frame = pd.DataFrame(rows, columns=["gene", "strand", "start", "stop", "left", "right"])
    return frame.sort_values(["start", "stop", "gene"], ignore_index=True)


def fit_pwm(sequences: list[str]) -> np.ndarray:
    """(positions, 4) log2 odds of A, C, G, T against 1/4, one pseudocount each."""
    letters = np.array([list(s) for s in sequences])  # (N, positions)
    ones = np.stack([(letters == base).sum(axis=0) for base in "ACGT"], axis=1) + 1.0
    return np.log2(ones / ones.sum(axis=1, keepdims=True) * 4)


def score_pwm(pwm: np.ndarray, sequences: list[str]) -> np.ndarray:
    """(N,) sum of the log odds, in bits."""
    codes = np.array(["ACGT".index(c) for s in sequences for c in s], dtype=np.int64)
    codes = codes.reshape(len(sequences), len(pwm))
    return pwm[np.arange(len(pwm)), codes].sum(axis=1)


def splice_positives(genes: pd.DataFrame, chromosome: str) -> pd.DataFrame:
    """One row per annotated junction end: site, gene, position (the junction), strand, sequence."""
    rows, seen = [], set()
    for g in genes.itertuples():
        for side, positions in (("left", g.left), ("right", g.right)):
            site = "donor" if (side == "left") == (g.strand == "+") else "acceptor"
            for at in sorted(set(positions)):
                # Overlapping gene records list the same junction twice: the first keeps it.
                if (site, at, g.strand) not in seen:
                    seen.add((site, at, g.strand))
                    rows.append((site, g.gene, at, g.strand))
    frame = pd.DataFrame(rows, columns=["site", "gene", "position", "strand"])
    frame["sequence"] = [
        oriented(chromosome, r.position - HALF, r.position + HALF, r.strand) for r in frame.itertuples()
    ]
    return frame


def decoy_pool(
    gene: pd.Series, site: str, chromosome: str, annotated: set[tuple[str, int, str]]
) -> list[int]:
    """Junction positions of all GT (AG) dinucleotides of a gene's strand that no gene has annotated."""
    motif = MOTIF[site][0]
    forward = motif if gene.strand == "+" else reverse_complement(motif)
    # On the forward strand a donor's GT starts at the junction and an acceptor's AG ends there; on the other
    # strand it is the reverse.
    shift = 0 if (site == "donor") == (gene.strand == "+") else 2
    piece = chromosome[gene.start : gene.stop]
    found = [gene.start + m.start() + shift for m in re.finditer(f"(?={forward})", piece)]
    return [at for at in found if (site, at, gene.strand) not in annotated]


def cut_splice(sources: Sources) -> Built:
    """`human-splice-sites`: donors and acceptors of chr20, and two kinds of decoys from the same genes."""
    ((_, chromosome),) = sources.fasta("human20")
    genes = gene_table(sources, "chr20")
    # Genes whose windows can overlap stand or fall together: one split per cluster, by where it starts.
    genes["cluster"] = clusters(genes["start"].to_numpy() - HALF, genes["stop"].to_numpy() + HALF)
    first = genes.groupby("cluster")["start"].transform("min")
    genes["split"] = [chr20_split(at) for at in first]
    split_of = dict(zip(genes["gene"], genes["split"], strict=True))

    positives = splice_positives(genes, chromosome)
    annotated = set(positives[["site", "position", "strand"]].itertuples(index=False, name=None))
    positives = drop_repeats(positives[[is_plain(s) for s in positives["sequence"]]]).reset_index(drop=True)
    positives["split"] = positives["gene"].map(split_of)

    rng = np.random.default_rng(20)
    rows = [(r.site, r.site, r.gene, r.position, r.strand, r.sequence) for r in positives.itertuples()]
    pwms = {}
    for site in ("donor", "acceptor"):
        a, b = PWM_SPAN[site]
        mine = positives[positives["site"] == site]
        pwms[site] = fit_pwm([s[a:b] for s in mine.loc[mine["split"] == "train", "sequence"]])
        by_gene = {name: part["sequence"].tolist() for name, part in mine.groupby("gene")}
        for gene in genes.itertuples():
            wanted = by_gene.get(gene.gene)
            if not wanted:
                continue
            pool = []
            for at in decoy_pool(gene, site, chromosome, annotated):
                window = oriented(chromosome, at - HALF, at + HALF, gene.strand)
                if len(window) == 2 * HALF and is_plain(window):
                    pool.append((at, window))
            if not pool:
                continue
            # Random first (a fair draw from all), then for each site the nearest PWM score among the rest.
            take = rng.permutation(len(pool))[: len(wanted)]
            rows += [("random_decoy", site, gene.gene, pool[i][0], gene.strand, pool[i][1]) for i in take]
            taken = set(take.tolist())
            rest = [item for i, item in enumerate(pool) if i not in taken]
            free = score_pwm(pwms[site], [w[a:b] for _, w in rest]) if rest else np.empty(0)
            for target in np.sort(score_pwm(pwms[site], [w[a:b] for w in wanted]))[::-1]:
                if not np.isfinite(free).any():
                    break
                best = int(np.argmin(np.abs(free - target)))
                rows.append(("matched_decoy", site, gene.gene, rest[best][0], gene.strand, rest[best][1]))
                free[best] = np.inf
    frame = pd.DataFrame(rows, columns=["kind", "site", "gene", "position", "strand", "sequence"])
    # Positives come first, so a decoy that reads like a positive elsewhere is the one that goes.
    frame = drop_repeats(frame)
    frame = frame.drop_duplicates(["site", "position", "strand"])
    frame["split"] = frame["gene"].map(split_of)
    frame["label"] = (frame["kind"] == frame["site"]).astype(int)
    frame["pwm"] = 0.0
    for site, (a, b) in PWM_SPAN.items():
        rows_ = frame["site"] == site
        frame.loc[rows_, "pwm"] = score_pwm(pwms[site], [s[a:b] for s in frame.loc[rows_, "sequence"]])
    frame["pwm"] = frame["pwm"].round(3)
    frame["chrom"] = "chr20"
    columns = ["kind", "site", "label", "gene", "chrom", "position", "strand", "split", "pwm", "sequence"]
    frame = frame.sort_values(["position", "strand", "site", "kind"], ignore_index=True)[columns]
    return Built(
        "human-splice-sites",
        {"table.tsv.gz": tsv_text(frame)},
        ["splice-table", "human20"],
        {
            "kind": "table",
            "title": "Human splice sites of chromosome 20 and two kinds of decoys, 400-nt windows",
            "accession": "GRCh37 chr20 (NC_000020.10); GENCODE junctions",
            "how_cut": "Every annotated junction end of the chr20 genes, 200 bases on either side. Decoys are "
            "GT (donor) or AG (acceptor) dinucleotides on the strand of the same gene that no gene has "
            "annotated: as many drawn at random (seed 20) as the gene has sites, and for each site the one "
            "with the nearest score under a position weight matrix fitted to training sites. Genes that "
            "overlap or share a window form a cluster; clusters below 45 Mb train, from 55 Mb test, those "
            "between validate. A window that repeats another (or its reverse complement) is left out.",
            "label": "label",
            "columns": {
                "kind": "donor, acceptor, random_decoy or matched_decoy",
                "site": "donor or acceptor: what the window is, or what a decoy imitates",
                "label": "1 annotated site, 0 decoy",
                "gene": "Ensembl gene",
                "chrom": "chr20",
                "position": "the junction, 0-based on the forward strand: it lies before this base",
                "strand": "strand of the gene; the sequence is read on it",
                "split": "train, valid or test",
                "pwm": "score in bits under the matrix of its site (donor: bases 197-205 of the window, "
                "acceptor: 180-202; log2 odds against 1/4, one pseudocount)",
                "sequence": "400 bases read along the gene; the junction lies between bases 199 and 200: a "
                "donor's GT at 200-201, an acceptor's AG at 198-199; upper case",
            },
            "counts": counts(frame, "kind"),
            "counts_of": "windows by kind",
            "caveats": [
                "Random decoys are too easy: state results on matched decoys, and the AUPRC at natural "
                "prevalence (about 1 annotated donor per 300 GTs within genes).",
                "In short genes a strong site finds no decoy as strong: the PWM still tells matched decoys "
                "from sites a little (see the baselines).",
                "A decoy is a dinucleotide nobody has annotated, not one proven never to be spliced.",
                "Published splice networks were trained on all human chromosomes: their scores here are not "
                "held out.",
            ],
            "citation": "Strauch et al. 2022, PLOS ONE, doi:10.1371/journal.pone.0269159; GENCODE",
        },
    )


# ---------------------------------------------------------------------------------------------------------
# Human promoters

UP, DOWN = 400, 200  # bases before and from the start of transcription
TSS_CLEAR = 2_000  # no negative within this distance of a listed start
CHRX_VALID, CHRX_TEST = 45_000_000, 50_000_000


def chrx_split(position: int) -> str:
    """train, valid or test on chrX (of which the source holds the first 70 Mb)."""
    return "train" if position < CHRX_VALID else "valid" if position < CHRX_TEST else "test"


def cut_promoters(sources: Sources) -> Built:
    """`human-promoters`: windows at gene starts against random and against GC-matched windows."""
    rng = np.random.default_rng(20)
    size = UP + DOWN
    parts = []
    for chrom, key, split in (("chr20", "human20", chr20_split), ("chrX", "humanX", chrx_split)):
        ((_, chromosome),) = sources.fasta(key)
        genes = gene_table(sources, chrom)
        genes = genes[genes["stop"] < len(chromosome) - size]
        tss = np.where(genes["strand"] == "+", genes["start"], genes["stop"])
        rows = []
        for gene, strand, at in zip(genes["gene"], genes["strand"], tss.tolist(), strict=True):
            start = at - UP if strand == "+" else at - DOWN
            rows.append(("promoter", gene, chrom, start, start + size, strand))
        positives = pd.DataFrame(rows, columns=["kind", "gene", "chrom", "start", "stop", "strand"])
        positives["sequence"] = [
            oriented(chromosome, r.start, r.stop, r.strand) for r in positives.itertuples()
        ]
        positives = drop_repeats(positives[[is_plain(s) for s in positives["sequence"]]])
        positives["split"] = [
            split((a + b) // 2) for a, b in zip(positives.start, positives.stop, strict=True)
        ]
        parts.append(positives)

        # Candidates: every 100 bases, no N, off the listed starts, wholly within one split.
        code = np.frombuffer(chromosome.encode(), dtype=np.uint8)
        gc = np.concatenate([[0], np.cumsum(np.isin(code, [ord("G"), ord("C")]))])
        unknown = np.concatenate([[0], np.cumsum(code == ord("N"))])
        start = np.arange(0, len(chromosome) - size, 100)
        near = np.searchsorted(np.sort(tss), start - TSS_CLEAR)
        near = near != np.searchsorted(np.sort(tss), start + size + TSS_CLEAR, "right")
        start = start[(unknown[start + size] == unknown[start]) & ~near]
        share = (gc[start + size] - gc[start]) / size
        where = np.array([split(a) for a in start])
        where[where != np.array([split(a + size) for a in start])] = "border"
        free = np.ones(len(start), dtype=bool)
        for kind in ("random", "gc_matched"):
            negatives = []
            # Extreme GC is rare, so those positives choose first; the order of the table does not show it.
            mine = (gc[positives["stop"]] - gc[positives["start"]]) / size
            for i in np.argsort(-np.abs(mine - 0.4), kind="stable"):
                p = positives.iloc[i]
                pool = np.flatnonzero(free & (where == p.split))
                if kind == "gc_matched":
                    distance = np.abs(share[pool] - mine[i])
                    pool = pool[distance <= max(0.005, distance.min())]
                pick = rng.choice(pool)
                free[np.abs(start - start[pick]) < size] = False  # negatives do not overlap each other
                a, strand = int(start[pick]), str(rng.choice(["+", "-"]))
                piece = oriented(chromosome, a, a + size, strand)
                negatives.append((kind, p.gene, chrom, a, a + size, strand, piece, p.split))
            parts.append(pd.DataFrame(negatives, columns=positives.columns))
    frame = drop_repeats(pd.concat(parts, ignore_index=True))
    frame["label"] = (frame["kind"] == "promoter").astype(int)
    frame["gc"] = [round((s.count("G") + s.count("C")) / size, 4) for s in frame["sequence"]]
    columns = ["kind", "label", "gene", "chrom", "start", "stop", "strand", "split", "gc", "sequence"]
    frame = frame.sort_values(["chrom", "start", "strand", "kind"], ignore_index=True)[columns]
    return Built(
        "human-promoters",
        {"table.tsv.gz": tsv_text(frame)},
        ["splice-table", "human20", "humanX"],
        {
            "kind": "table",
            "title": "Human promoters of chr20 and chrX against random and GC-matched windows",
            "accession": "GRCh37 chr20 (NC_000020.10) and chrX (NC_000023.10), first 70 Mb; GENCODE genes",
            "how_cut": f"A window of {UP} bases before and {DOWN} from the start of every gene of the splice "
            "table. For each, from the same chromosome and split, one window drawn at random and one with the "
            f"same share of G and C (seed 20), both at least {TSS_CLEAR:,} bp from any listed start and from "
            "each other's bases. chr20: train below 45 Mb, test from 55 Mb; chrX: train below 45 Mb, test "
            "from 50 Mb; valid between.",
            "label": "label",
            "columns": {
                "kind": "promoter, random or gc_matched",
                "label": "1 promoter, 0 negative",
                "gene": "Ensembl gene; for a negative the gene it was drawn for",
                "chrom": "chr20 or chrX",
                "start": "first base on the forward strand, 0-based",
                "stop": "one past the last base, 0-based",
                "strand": "strand the sequence is read on; random for negatives",
                "split": "train, valid or test",
                "gc": "share of G and C in the window, 0 to 1",
                "sequence": f"{size} bases; a promoter's transcription starts at base {UP}; upper case",
            },
            "counts": counts(frame, "kind"),
            "counts_of": "windows by kind",
            "caveats": [
                "Against random negatives this is a GC-content task: see the GC baseline. Show both.",
                "The start of a gene is its outermost annotated start; most genes have several.",
                "Only genes with introns are listed: some GC-matched windows may be promoters of others.",
                "Few genes: intervals are wide.",
            ],
            "citation": "Strauch et al. 2022, PLOS ONE, doi:10.1371/journal.pone.0269159; GENCODE",
        },
    )


# ---------------------------------------------------------------------------------------------------------
# Fly promoters

FLY_SIZE = 300  # positives -300..0, negatives -2000..-1700 of the same start
FLY_CLEAR = 500  # a negative nearer than this to another start's positive may be a promoter itself
FLY_SPLIT = {"chr2L": "train", "chr2R": "train", "chr3L": "train", "chr3R": "train", "chrX": "test"}


def near_a_positive(frame: pd.DataFrame) -> np.ndarray:
    """(N,) bool: does a start's negative window lie within FLY_CLEAR bases of any start's positive?"""
    bad = np.zeros(len(frame), dtype=bool)
    for _, rows in frame.groupby("chrom").indices.items():
        starts = np.sort(frame["pos_start"].to_numpy()[rows])
        negative = frame["neg_start"].to_numpy()[rows]
        reach = FLY_SIZE + FLY_CLEAR
        low = np.searchsorted(starts, negative - reach, "right")
        high = np.searchsorted(starts, negative + reach, "left")
        bad[rows] = high > low
    return bad


def cut_fly(sources: Sources) -> Built:
    """`fly-promoters`: the 300 bases before a start against the 300 bases 1.7 kb further up."""
    records = fly_records(sources)
    forward = records["strand"] == "+"
    records["pos_start"] = np.where(forward, records["stop"] - FLY_SIZE, records["start"])
    records["neg_start"] = np.where(forward, records["start"], records["stop"] - FLY_SIZE)
    near = near_a_positive(records)
    # A locus: records of one chromosome whose 2 kb overlap, on either strand. Resample these, not windows.
    locus = np.empty(len(records), dtype=object)
    for chrom, rows in records.groupby("chrom").indices.items():
        part = records.iloc[rows]
        number = clusters(part["start"].to_numpy(), part["stop"].to_numpy())
        locus[rows] = [f"{chrom}:{n}" for n in number]
    parts = []
    for label, kind, at, cut in (
        (1, "promoter", "pos_start", slice(-FLY_SIZE, None)),
        (0, "upstream", "neg_start", slice(FLY_SIZE)),
    ):
        part = records[["transcript", "records", "chrom", "strand"]].assign(
            pair=np.arange(len(records)),
            kind=kind,
            label=label,
            start=records[at],
            stop=records[at] + FLY_SIZE,
            locus=locus,
            near_start=near.astype(int) * (1 - label),
            sequence=records["sequence"].str[cut],
        )
        parts.append(part)
    frame = pd.concat(parts, ignore_index=True)
    frame["split"] = frame["chrom"].map(FLY_SPLIT).fillna("other")
    frame["clean"] = fly_clean(frame, near)
    columns = ["transcript", "records", "pair", "kind", "label", "chrom", "start", "stop", "strand", "locus"]
    columns += ["split", "near_start", "clean", "sequence"]
    frame = frame.sort_values(["pair", "label"], ascending=[True, False], ignore_index=True)[columns]
    clean = frame[frame["clean"] == 1]
    return Built(
        "fly-promoters",
        {"table.tsv.gz": tsv_text(frame)},
        ["fly"],
        {
            "kind": "table",
            "title": "Fly promoters against upstream windows of the same genes, as they are and cleaned",
            "accession": "UCSC dm3 (BDGP Release 5); RefSeq transcripts",
            "how_cut": "Distinct 2-kb records before annotated starts; positive -300..0, negative -2000..-1700 "
            "of the same start. `clean` is 1 for pairs on 2L, 2R, 3L, 3R or X whose negative lies more than "
            f"{FLY_CLEAR} bp from every start's positive, without N, and without a window that repeats "
            "an earlier one (or its reverse complement). Train on 2L/2R/3L/3R, test on X; to tune, hold out 3R.",
            "label": "label",
            "variants": {
                "cleaned=True (default)": "rows with clean = 1",
                "cleaned=False": "all rows, with the raw negatives: for seeing what cleaning changes",
            },
            "columns": {
                "transcript": "RefSeq transcript; the first in the source where several share the record",
                "records": "records of the source with this very sequence (17,286 of 26,454 are distinct)",
                "pair": "number of the start; its positive and its negative share it",
                "kind": "promoter or upstream",
                "label": "1 promoter, 0 upstream window",
                "chrom": "chromosome arm",
                "start": "first base on the forward strand, 0-based",
                "stop": "one past the last base, 0-based",
                "strand": "strand of the gene; the sequence is read on it",
                "locus": "group of records whose 2 kb overlap: the unit to resample for intervals",
                "split": "train, test, or other (chr4, heterochromatin, unplaced)",
                "near_start": "1: this negative lies within 500 bp of some start's positive",
                "clean": "1: the pair is kept in the cleaned table",
                "sequence": "300 bases towards the start, upper case (the source is all lower case, so it "
                "marks no repeats); raw rows may hold N",
            },
            "counts": counts(clean, "kind"),
            "counts_of": "cleaned windows by kind",
            "counts_raw": counts(frame, "kind"),
            "caveats": [
                f"{near.mean():.0%} of the raw negatives lie within 500 bp of a start's positive: they may be "
                "promoters themselves.",
                "Many starts lie close together: resample loci, not windows, for intervals.",
                "Only with cleaned=False are there repeated sequences, N, and starts off the five arms.",
            ],
            "citation": "Biostrings 2.66.0, doi:10.18129/B9.bioc.Biostrings; UCSC dm3",
        },
    )


def fly_clean(frame: pd.DataFrame, near: np.ndarray) -> np.ndarray:
    """(rows,) 1 where the row's pair stays: no near negative, no N, on a main arm, no window seen before."""
    plain = np.array([is_plain(s) for s in frame["sequence"]]) & (frame["split"] != "other").to_numpy()
    bad = set(frame.loc[~plain, "pair"]) | set(np.flatnonzero(near).tolist())
    seen: set[str] = set()
    pairs = frame[~frame["pair"].isin(bad)].groupby("pair", sort=True)["sequence"].apply(list)
    for pair, windows in pairs.items():
        keys = [min(s, reverse_complement(s)) for s in windows]
        if seen.intersection(keys) or len(set(keys)) < len(keys):
            bad.add(pair)
        else:
            seen.update(keys)
    return (~frame["pair"].isin(bad)).astype(int).to_numpy()
