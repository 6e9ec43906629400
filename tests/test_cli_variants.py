"""`gfm-lab score` for variants: the package's numbers, one line a variant, and what it refuses."""

from __future__ import annotations

import io
import re
import shlex

import numpy as np
import pandas as pd
import pytest
import torch

from gfm_lab import NucleotideTokenizer, cli
from gfm_lab.model import GenomicConfig, GenomicForCausalLM, GenomicForMaskedLM
from gfm_lab.variants import score_variants

DNA = "".join(np.random.default_rng(3).choice([*"ACGT"], 200))
HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for name, kind in (("masked", GenomicForMaskedLM), ("causal", GenomicForCausalLM)):
        torch.manual_seed(0)
        config = GenomicConfig(
            vocab_size=10, hidden_size=16, num_hidden_layers=1, positions="none", max_position_embeddings=None,
            mixer="convolution", mixer_options={"kernel": 5}, causal=name == "causal", initializer_range=0.5,
        )  # fmt: skip
        found[name] = kind(config).eval()
        found[name].save_pretrained(folder / name)
        NucleotideTokenizer().save_pretrained(folder / name)
        found[name + " at"] = folder / name
    return found


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A reference, and three variants in a VCF and in a table."""
    monkeypatch.setenv("GFM_LAB_DEVICE", "cpu")
    (tmp_path / "ref.fa").write_text(f">chr7\n{DNA}\n")
    rows = [
        (60, DNA[60], "ACGT"[("ACGT".index(DNA[60]) + 1) % 4]),
        (90, DNA[90], DNA[90] + "GT"),
        (120, DNA[120:123], DNA[120]),
    ]
    lines = [f"7\t{at + 1}\tv{at}\t{ref}\t{alt}\t.\t.\t.\n" for at, ref, alt in rows]
    (tmp_path / "a.vcf").write_text(HEADER + "".join(lines))
    lines = [f"chr7\t{at}\t{ref}\t{alt}\n" for at, ref, alt in rows]
    (tmp_path / "a.tsv").write_text("chrom\tposition\tref\talt\n" + "".join(lines))
    return tmp_path, [("7", *row) for row in rows]


def run(words):
    return cli.main(shlex.split(str(words)))


@pytest.mark.parametrize(("model", "method"), [("masked", "masked"), ("causal", "autoregressive")])
@pytest.mark.parametrize("source", ["--vcf", "--variants"])
def test_variants_are_scored_as_by_the_package(capsys, models, files, model, method, source):
    folder, variants = files
    file = folder / ("a.vcf" if source == "--vcf" else "a.tsv")
    out = folder / "out.tsv"
    command = (
        f"score {source} {file} --fasta {folder}/ref.fa --model {models[model + ' at']} --window 64 --quiet"
    )
    assert run(f"{command} --output {out}") == 0
    table = pd.read_csv(out, sep="\t", comment="#", keep_default_na=False)
    expected = score_variants(models[model], NucleotideTokenizer(), variants, {"7": DNA}, method, window=64)
    np.testing.assert_allclose(table["score"], expected["score"], atol=1e-4)
    assert table["position"].tolist() == [60, 90, 120] and table["kind"].tolist() == [*expected["kind"]]
    assert f"method {method}" in out.read_text() and "3 variants" in capsys.readouterr().out
    assert run(command) == 0
    again = pd.read_csv(io.StringIO(capsys.readouterr().out), sep="\t", comment="#")
    np.testing.assert_allclose(again["score"], table["score"].astype(float))


def test_skip_leaves_no_hole_unexplained(capsys, models, files):
    folder, _ = files
    path = folder / "b.vcf"
    wrong = "ACGT"[("ACGT".index(DNA[10]) + 1) % 4]
    path.write_text(
        HEADER
        + f"7\t11\t.\t{wrong}\tGG\t.\t.\t.\n"
        + f"7\t21\t.\t{DNA[20]}\t<DEL>\t.\t.\t.\n"
        + f"7\t31\t.\t{DNA[30]}\t{DNA[30]}A\t.\t.\t.\n"
    )
    out = folder / "out.tsv"
    command = (
        f"score --vcf {path} --fasta {folder}/ref.fa --model {models['masked at']} --output {out} --quiet"
    )
    assert run(command) == 2 and not out.exists()
    assert "leave such rows out with --skip" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="left out 1 alleles"):
        assert run(f"{command} --skip") == 0
    table = pd.read_csv(out, sep="\t", comment="#")
    assert table["score"].isna().tolist() == [True, False] and "Another assembly" in table["problem"][0]
    assert "1 of them without a score" in capsys.readouterr().out
    assert not [*folder.glob(".*")]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--vcf {0}/a.vcf --fasta {0}/ref.fa --protocol joint", "leave out --table"),
        ("--fasta {0}/ref.fa --method masked", "--method is for variants"),
        ("--vcf {0}/a.vcf --data lac-mpra", "a reference is a genome"),
        ("--vcf {0}/a.vcf --data ecoli-k12", "lies outside|Another assembly"),
        ("--vcf {0}/a.tsv --fasta {0}/ref.fa", "read_variants|begin with ##fileformat"),
        ("--vcf {0}/a.vcf --fasta {0}/ref.fa --method autoregressive", "score it with method 'masked'"),
        ("--vcf {0}/none.vcf --fasta {0}/ref.fa", "no such file"),
    ],
)
def test_what_is_refused(capsys, models, files, words, says):
    folder, _ = files
    assert run(f"score {words.format(folder)} --model {models['masked at']} --quiet") == 2
    assert re.search(says, capsys.readouterr().err)
