"""Two tables for variant scores and design: yeast-ars and thousand-genomes-chr20."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pandas as pd
from data_genomes import CHR20_SLICE, Built, counts, fasta_text, is_plain, tsv_text
from data_sources import Sources

from gfm_lab.sequence import reverse_complement
from gfm_lab.splits import shared_kmer_fraction

# ---------------------------------------------------------------------------------------------------------
# ARS1 of yeast, mutated at about a tenth of its bases and selected for replication

READS = 20  # least reads, library and selected together, of a variant of kind "counted"
PSEUDO = 2  # every count of the source is even, so two is its smallest count
JOINED = 2  # variants that differ at no more bases than this stay in one split
SHARES = {"test": 0.15, "valid": 0.10}
# Two stretches of the 150 bases, half-open, that lost their mutations under selection (beside the consensus at
# 121 to 132): the block split holds out every variant that is mutated in both.
BLOCKS = ((62, 72), (101, 106))


def near_groups(codes: np.ndarray, most: int) -> np.ndarray:
    """(N,) group numbers: rows of `codes` (N, L) linked by chains of pairs that differ at <= `most` places.

    Two rows that differ at m places agree wholly on at least one of m + 1 blocks, so only rows that share a
    block are compared.
    """
    parent = np.arange(len(codes))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for places in np.array_split(np.arange(codes.shape[1]), most + 1):
        block = np.ascontiguousarray(codes[:, places])
        keys = block.view(np.dtype((np.void, block.shape[1]))).ravel()
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.r_[True, keys[order][1:] != keys[order][:-1], True])
        for a, b in pairwise(starts):
            rows = order[a:b]
            for n, i in enumerate(rows[:-1]):
                near = rows[n + 1 :][(codes[rows[n + 1 :]] != codes[i]).sum(axis=1) <= most]
                for j in near:
                    low, high = sorted((root(i), root(j)))
                    parent[high] = low
    return np.array([root(i) for i in range(len(codes))])


def cut_ars(sources: Sources) -> Built:
    """`yeast-ars`: variants of the replication origin ARS1, their reads before and after selection."""
    raw = pd.read_csv(io.StringIO(sources.text("ars")), sep="\t", comment="#")
    lines = [line for line in sources.text("ars-wild-type").splitlines() if not line.startswith("#")]
    wild_type = reverse_complement("".join(lines).strip())  # the variants are read on the other strand
    assert raw["sequence"].is_unique and (raw["sequence"].str.len() == len(wild_type)).all()
    assert not ((raw["library_ct"] | raw["selected_ct"]) & 1).any()
    totals = {name: int(raw[name].sum()) for name in ("library_ct", "selected_ct")}
    counted = raw[raw["library_ct"] + raw["selected_ct"] >= READS]
    # For contrast as many variants that stood in the library and were not found again.
    lost = raw[(raw["library_ct"] > 0) & (raw["selected_ct"] == 0) & ~raw.index.isin(counted.index)]
    rng = np.random.default_rng(0)
    lost = lost.sort_values("sequence").iloc[np.sort(rng.permutation(len(lost))[: len(counted)])]
    frame = pd.concat([counted.assign(kind="counted"), lost.assign(kind="library")])
    frame = frame.sort_values("sequence", ignore_index=True)
    frame["y"] = np.log2(frame["selected_ct"] + PSEUDO) - np.log2(totals["selected_ct"])
    frame["y"] -= np.log2(frame["library_ct"] + PSEUDO) - np.log2(totals["library_ct"])
    frame["label"] = (frame["y"] > 0).astype(int)
    codes = np.frombuffer("".join(frame["sequence"]).encode(), np.uint8).reshape(len(frame), -1)
    mutated = codes != np.frombuffer(wild_type.encode(), np.uint8)
    frame["mutations"] = mutated.sum(axis=1)
    frame["group"] = np.unique(near_groups(codes, JOINED), return_inverse=True)[1]
    # Whole groups in random order fill test, then valid; the largest (few mutations) stays in train.
    sizes = frame["group"].value_counts()
    order = rng.permutation(np.array(sorted(set(frame["group"]) - {sizes.idxmax()})))
    reached = np.cumsum(sizes.loc[order].to_numpy()) / len(frame)
    part = np.select(
        [reached <= SHARES["test"], reached <= SHARES["test"] + SHARES["valid"]], ["test", "valid"], "train"
    )
    frame["split"] = frame["group"].map(dict(zip(order, part, strict=True))).fillna("train")
    both = np.logical_and(*(mutated[:, a:b].any(axis=1) for a, b in BLOCKS))
    # Validation is drawn from what remains: it must not show the held-out block.
    spare = rng.permutation(frame["group"].unique())[: frame["group"].nunique() // 8]
    frame["split_block"] = np.select([both, frame["group"].isin(spare)], ["test", "valid"], "train")
    columns = ["kind", "label", "y", "library_ct", "selected_ct", "mutations", "group"]
    frame = frame[[*columns, "split", "split_block", "sequence"]]
    (a, b), (c, d) = BLOCKS
    chosen = (counted["selected_ct"] >= READS).mean()
    unseen = (counted["library_ct"] == 0).mean()
    return Built(
        "yeast-ars",
        {"table.tsv.gz": tsv_text(frame)},
        ["ars", "ars-wild-type"],
        {
            "kind": "table",
            "title": "Reads before and after selection of mutated yeast replication origins (ARS1)",
            "accession": "ARS1 (ARS416) of S. cerevisiae, selection data of J. B. Kinney (unpublished), as packaged "
            f"in logomaker; wild type on NC_001136.10, about {mutated[:, 22:].mean():.0%} of bases 22 to 150 mutated",
            "how_cut": f"Of {len(raw):,} variants all {len(counted):,} with {READS} or more reads (library and "
            "selected together; kind `counted`), and as many drawn at random (seed 0) from the "
            f"{((raw['library_ct'] > 0) & (raw['selected_ct'] == 0)).sum():,} that have library reads and no selected "
            f"one (kind `library`). y = log2[(selected + {PSEUDO}) / {totals['selected_ct']:,}] - log2[(library + "
            f"{PSEUDO}) / {totals['library_ct']:,}], the totals being those of the whole experiment; label 1: y > 0. "
            f"`split`: 75 / 10 / 15 % at random (seed 0), variants that differ at no more than {JOINED} bases (chains "
            f"of such pairs) kept together. `split_block`: test is every variant mutated in bases {a} to {b} and in "
            f"{c} to {d} (0-based, half-open); a training variant is mutated in one of them at most.",
            "label": "label",
            "wild_type": wild_type,
            "variants": {
                'table.split("test")': "random, near duplicates joined",
                'table.split("test", by="split_block")': "the block split",
            },
            "columns": {
                "kind": "counted (20 or more reads) or library (read before selection, not after)",
                "label": "1: a larger share of the selected than of the library reads (y > 0)",
                "y": "log2 enrichment, as defined under Cut",
                "library_ct": "reads before selection",
                "selected_ct": "reads after selection",
                "mutations": "bases that differ from the wild type",
                "group": f"number of its chain of variants that differ at no more than {JOINED} bases",
                "split": "train, valid or test: random, whole groups",
                "split_block": "train, valid or test by mutations in two stretches",
                "sequence": "150 bases; the first 22 hardly vary",
            },
            "counts": counts(frame, "kind"),
            "counts_block": counts(frame, "kind", "split_block"),
            "counts_of": "variants by kind",
            "caveats": [
                f"{READS} reads in all is a choice by the outcome: {chosen:.1%} of the counted variants have {READS} "
                f"or more selected reads and {unseen:.0%} have no library read, so within this kind y is little but "
                "the logarithm of the selected reads, which clone size and amplification move as well. The question "
                "these data can answer is the label, counted against library.",
                "Every count is even, so each molecule seems to be counted twice: read 20 as ten.",
                "A library variant without a selected read may have been missed, or be a sequencing error of another.",
                "One origin: both splits ask about variants of ARS1, not about origins elsewhere. In the block split "
                "test variants have near relatives in training, by design.",
            ],
            "citation": "Tareen & Kinney 2020, Bioinformatics 36:2272, doi:10.1093/bioinformatics/btz921 (logomaker "
            "0.8.7, which carries the data); assay as in Liachko et al. 2013, Genome Research 23:698, "
            "doi:10.1101/gr.144659.112",
        },
    )


# ---------------------------------------------------------------------------------------------------------
# Variants that people carry, on the stretch of chr20 that no training set holds

STRETCH = (990_000, 4_010_000)  # the variants' region, 1 to 4 Mb, and 10 kb of context on either side
TRAIN_END, TEST_START = 2_500_000, 2_800_000


def cut_thousand_genomes(sources: Sources) -> Built:
    """`thousand-genomes-chr20`: sites with their allele frequency, and the reference they lie on."""
    ((_, chromosome),) = sources.fasta("human20")
    pretraining = chromosome[CHR20_SLICE[0] : CHR20_SLICE[1]].upper()
    first, last = STRETCH
    sequence = chromosome[first:last].upper()
    assert is_plain(sequence)
    rows = []
    for line in sources.text("thousand-genomes").splitlines():
        if line.startswith("#"):
            continue
        _, pos, name, ref, alt, _, _, about = line.split("\t", 8)[:8]
        info = dict(part.split("=") for part in about.split(";"))
        assert int(info["AN"]) == 600 and "," not in alt and is_plain(ref + alt)
        # VCF positions are 1-based; ours are 0-based, on the chromosome and on the shipped stretch.
        rows.append((int(pos) - 1, int(pos) - 1 - first, name, ref, alt, float(info["AF"]), int(info["AC"])))
    frame = pd.DataFrame(rows, columns=["position", "start", "id", "ref", "alt", "af", "ac"])
    for row in frame.itertuples():
        assert sequence[row.start : row.start + len(row.ref)] == row.ref, f"REF of {row.id} is not chr20's"
    longer = frame["alt"].str.len() - frame["ref"].str.len()
    frame.insert(5, "kind", np.select([longer > 0, longer < 0], ["insertion", "deletion"], "snv"))
    frame["split"] = np.select(
        [frame["position"] < TRAIN_END, frame["position"] < TEST_START], ["train", "valid"], "test"
    )
    shared = shared_kmer_fraction(sequence, pretraining[: len(pretraining) * 85 // 100], k=31)
    common, unseen = int((frame["af"] > 0.05).sum()), int((frame["ac"] == 0).sum())
    return Built(
        "thousand-genomes-chr20",
        {
            "genome.fa.gz": fasta_text("chr20", f"GRCh37 {first}-{last} (0-based, half-open)", sequence),
            "table.tsv.gz": tsv_text(frame),
        },
        ["thousand-genomes", "human20"],
        {
            "kind": "variants",
            "title": "Sites of 1000 Genomes variants on human chr20, 1 to 4 Mb, with the reference around them",
            "accession": "1000 Genomes Project (GRCh37, chr20), as packaged in shapeit4-example; GRCh37 chr20",
            "how_cut": f"All {len(frame):,} records, one alternative each; sites only, no genotypes. REF equals the "
            f"reference at every one. The reference is shipped from {first:,} to {last:,}, in upper case. Train "
            f"below {TRAIN_END:,}, test from {TEST_START:,} on, valid between.",
            "label": "af",
            "offset": first,
            "columns": {
                "position": "first base of `ref` on chr20, 0-based (the VCF's POS minus one)",
                "start": "the same place in the shipped stretch: position minus offset",
                "id": "dbSNP identifier",
                "ref": "reference allele, forward strand",
                "alt": "alternative allele",
                "kind": "snv, insertion or deletion; the last two keep VCF's anchor base",
                "af": "frequency of the alternative (INFO AF, 1,006 chromosomes), 0 to 1",
                "ac": "copies of the alternative among 300 people (INFO AC, 600 chromosomes)",
                "split": "train, valid or test by position",
            },
            "counts": counts(frame, "kind"),
            "counts_of": "variants",
            "caveats": [
                "AF and AC count different people (1,006 and 600 chromosomes): use AF, never AC / 600 beside it. "
                f"({int((frame['ac'] / 600 > 0.05).sum()):,} would pass 5 % by AC.) {unseen:,} variants have AC = 0 "
                "because nobody among the 600 carries them.",
                f"{common:,} variants have AF above 5 %. The 503 people seem to be the Europeans of phase 3, of whom "
                "there are as many. Frequency is a weak proxy of effect: it also follows "
                "mutation rate, position and chance. Compare with position and with the trinucleotide context "
                "(CpG transitions).",
                "The reference is for evaluation alone: the pre-training slice human-chr20 lies elsewhere, though "
                f"{shared:.1%} of these bases lie in 31-mers of its training part (repeats). Training rows of "
                "human-splice-sites and human-promoters do come from this stretch.",
                "The published splice model was trained on every human chromosome.",
            ],
            "citation": "1000 Genomes Project Consortium 2015, Nature 526:68, doi:10.1038/nature15393; Delaneau et al. "
            "2019, Nature Communications 10:5436, doi:10.1038/s41467-019-13225-y (SHAPEIT4)",
        },
    )
