"""The scripts to copy: each kind of input reaches a table of scores, and faulty input a sentence."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gfm_lab import reverse_complement

TEMPLATE = Path(__file__).parent.parent / "templates" / "promoters.py"
spec = importlib.util.spec_from_file_location("template_promoters", TEMPLATE)
template = importlib.util.module_from_spec(spec)
spec.loader.exec_module(template)


def dna(rng, length, gc):
    return "".join(rng.choice(list("ACGT"), length, p=[(1 - gc) / 2, gc / 2, gc / 2, (1 - gc) / 2]))


def write_fasta(path, texts):
    path.write_text("".join(f">{path.stem}{i}\n{text}\n" for i, text in enumerate(texts)))
    return str(path)


def run(tmp_path, *arguments):
    template.main([*arguments, "--small", "--output", str(tmp_path / "out")])
    return {f.stem: pd.read_csv(f, sep="\t") for f in (tmp_path / "out").iterdir()}


def test_two_fasta_files(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rich, poor = ([dna(rng, 80, gc) for _ in range(60)] for gc in (0.6, 0.4))
    files = [
        write_fasta(tmp_path / f"{name}.fa", t) for name, t in (("rich", rich), ("poor", [*poor, poor[0]]))
    ]
    found = run(tmp_path, "--positive", files[0], "--negative", files[1])
    assert "1 repeats dropped" in capsys.readouterr().out
    scores = found["scores"].set_index("model")
    assert {"GC content", "k-mers", "probe", "probe, random twin"} == set(scores.index)
    assert scores.loc["GC content", "value"].max() > 0.8  # the classes differ in nothing else
    assert ((scores["low"] <= scores["value"]) & (scores["value"] <= scores["high"])).all()
    assert len(found["paired"]) == 3 and len(found["predictions"]) >= 10


def test_windows_of_a_genome_keep_loci_together(tmp_path):
    rng = np.random.default_rng(1)
    genome = dna(rng, 60_000, 0.5)
    (tmp_path / "genome.fa").write_text(f">chr1\n{genome}\n")
    starts = np.arange(0, 60_000 - 600, 600)
    # In pairs 100 bases apart: one locus. The strand of every other window is minus.
    windows = [(s + 100 * k, s + 100 * k + 60, f"w{s}_{k}", "+-"[k]) for s in starts[::4] for k in (0, 1)]
    bed = "".join(f"chr1\t{a}\t{b}\t{name}\t0\t{strand}\n" for a, b, name, strand in windows)
    (tmp_path / "windows.bed").write_text(bed)
    labels = "".join(f"{name}\t{i // 2 % 2}\n" for i, (_, _, name, _) in enumerate(windows))
    (tmp_path / "labels.tsv").write_text("name\tlabel\n" + labels)
    paths = [str(tmp_path / name) for name in ("windows.bed", "labels.tsv", "genome.fa")]
    frame = template.from_bed(*paths)
    a, b, _, _ = windows[1]
    assert frame["sequence"][1] == reverse_complement(genome[a:b])
    assert frame.groupby("group").size().eq(2).all() and frame["group"].nunique() == len(starts[::4])
    (tmp_path / "labels.tsv").write_text("name\tlabel\nw0_0\t1\n")
    with pytest.raises(SystemExit, match=r"have no label in .*labels\.tsv"):
        template.from_bed(*paths)


@pytest.mark.parametrize(
    ("rich", "poor", "message"),
    [
        (["ACGTAACCGG"], ["CCGGTTACGT"], "stand in both classes"),  # each other's reverse complement
        (["ACGTAACCGG"], [], r"labels must be 0 and 1|empty"),
    ],
)
def test_faulty_input(tmp_path, rich, poor, message):
    files = [write_fasta(tmp_path / f"{name}.fa", t) for name, t in (("rich", rich), ("poor", poor))]
    with pytest.raises((SystemExit, ValueError), match=message):
        run(tmp_path, "--positive", files[0], "--negative", files[1])
    assert not (tmp_path / "out").exists()


def test_half_of_the_files():
    with pytest.raises(SystemExit, match="give --positive and --negative"):
        template.main(["--positive", "a.fa"])
