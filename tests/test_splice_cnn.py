"""splice_cnn.py: the original graph's numbers, its context, what it does with odd input, and real splice sites."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

import gfm_lab.checkpoints as checkpoints
from gfm_lab import SequenceError, load_data, load_model, one_hot, reverse_complement
from gfm_lab.checkpoints import CheckpointError, checkpoint_names
from gfm_lab.splice_cnn import CLASSES, CONTEXT, load_splice_cnn

torch.set_num_threads(1)
FIXTURE = Path(__file__).parent / "fixtures" / "ci_spliceai.safetensors"


@pytest.fixture(scope="module")
def model():
    return load_splice_cnn()


def fixture(case):
    """The sequence that the original graph read, and its answer (L, 3)."""
    with safe_open(FIXTURE, "numpy") as file:
        return file.metadata()[case], file.get_tensor(case)


@pytest.mark.parametrize("case", ["in_context", "without_context", "holes", "one_base"])
def test_probabilities_are_those_of_the_original_graph(model, case):
    sequence, expected = fixture(case)
    found = model.probabilities(sequence)
    if case == "in_context":
        found = found[CONTEXT:-CONTEXT]
    assert found.shape == expected.shape and found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-5
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_the_fixture_holds_sites_so_that_agreement_means_something():
    _, expected = fixture("in_context")
    assert (expected.max(0) > 0.99).all() and (expected.min(0) < 1e-3).all()


def test_the_size_is_that_of_one_network(model):
    assert (
        sum(p.numel() for p in model.parameters()) == 698_787 - 2 * 32 * 32
    )  # without the norms' statistics
    assert (checkpoints.checkpoint_dir() / "ci-spliceai/model.safetensors").stat().st_size <= 3_000_000
    assert not model.training


def test_columns_are_none_acceptor_donor_on_an_annotated_exon(model):
    """An exon of chromosome 20: the acceptor is its first base, behind AG, the donor its last, before GT."""
    table, genome = load_data("human-splice-sites").frame, load_data("human-chr20")
    first, stop = 35_068_156, 35_068_271
    known = table[(table["gene"] == "ENSG00000080845") & (table["label"] == 1)].set_index("position")["kind"]
    assert known[first] == "acceptor" and known[stop] == "donor"
    start = first - genome.offset - 1_000
    sequence = genome.region(start, start + 2_115)
    assert sequence[998:1_000] == "AG" and sequence[1_115:1_117] == "GT"
    p = model.probabilities(sequence)
    assert CLASSES == ("none", "acceptor", "donor")
    assert p[:, 1].argmax() == 1_000 and p[:, 2].argmax() == 1_114
    assert p[1_000, 1] > 0.8 and p[1_114, 2] > 0.8
    other = model.probabilities(reverse_complement(sequence))[::-1]  # the same bases on the other strand
    assert other[[1_000, 1_114], 1:].max() < 0.1


def test_annotated_sites_of_the_test_genes_score_above_matched_decoys(model):
    table = load_data("human-splice-sites")
    for site, base, column in (("donor", 199, 2), ("acceptor", 200, 1)):
        rows = table.frame[(table.frame["site"] == site) & (table.frame["split"] == "test")]
        pick = rows[rows["kind"].isin([site, "matched_decoy"])].groupby("label").head(8)
        score = np.array([model.probabilities(s)[base, column] for s in pick["sequence"]])
        positive, decoy = (score[pick["label"] == label] for label in (1, 0))
        assert (positive[:, None] > decoy).mean() > 0.8


# ---- Context, pieces, odd input ----


def test_a_base_reaches_5_000_bases_and_no_further(model):
    """Exactly: a change at the edge of the context moves the score in the middle, one beyond does not."""
    sequence = "".join(np.random.default_rng(0).choice([*"ACGT"], 2 * CONTEXT + 3))
    middle = CONTEXT + 1
    before = model.probabilities(sequence)[middle]
    for place, moves in ((0, False), (1, True), (len(sequence) - 2, True), (len(sequence) - 1, False)):
        x = torch.tensor(one_hot(sequence).T[None, :, 1:-1].copy(), requires_grad=True)
        assert model(x).shape == (1, 3, 1)
        changed = sequence[:place] + {"A": "C", "C": "A", "G": "T", "T": "G"}[sequence[place]]
        after = model.probabilities(changed + sequence[place + 1 :])[middle]
        if not moves:
            np.testing.assert_allclose(after, before, atol=1e-9)
    model(x)[0].sum().backward()
    assert x.grad[0, :, 0].abs().max() > 0 and x.grad[0, :, -1].abs().max() > 0


@pytest.mark.parametrize("piece", [1, 7, 299, 300, 301])
def test_the_result_does_not_depend_on_the_piece(model, piece):
    sequence = fixture("holes")[0][: 4 * piece if piece < 10 else 300]
    np.testing.assert_allclose(model.probabilities(sequence, piece), model.probabilities(sequence), atol=1e-5)


def test_n_at_the_ends_is_what_lies_beyond_the_ends(model):
    sequence = fixture("without_context")[0][:60]
    padded = model.probabilities("N" * 25 + sequence + "NN")
    np.testing.assert_allclose(padded[25:-2], model.probabilities(sequence), atol=1e-5)


def test_length_zero_and_lower_case(model):
    assert model.probabilities("").shape == (0, 3)
    np.testing.assert_array_equal(model.probabilities("gattaca"), model.probabilities("GATTACA"))


@settings(max_examples=10, deadline=None)
@given(st.text("ACGTNacgtn", max_size=30), st.sampled_from("URYX-* \n\t1é"), st.text("ACGTN", max_size=30))
def test_another_letter_is_named_with_its_place(model, before, wrong, after):
    with pytest.raises(SequenceError) as fault:
        model.probabilities(before + wrong + after)
    assert fault.value.position == len(before) + 1 and repr(wrong) in str(fault.value)
    assert ("U as T" in str(fault.value)) == (wrong == "U")


def test_wrong_arguments_are_named(model):
    with pytest.raises(ValueError, match="piece is 0"):
        model.probabilities("ACGT", piece=0)
    with pytest.raises(TypeError, match="one sequence of letters is needed, not list"):
        model.probabilities(["ACGT"])
    with pytest.raises(ValueError, match=r"shape \(1, 4, 10000\).*probabilities"):
        model(torch.zeros(1, 4, 2 * CONTEXT))


# ---- The shipped files ----


def test_it_stands_apart_from_the_language_models_and_every_file_is_listed():
    manifest = json.loads((checkpoints.checkpoint_dir() / "manifest.json").read_text())
    assert "ci-spliceai" not in checkpoint_names()
    files = {p.name for p in (checkpoints.checkpoint_dir() / "ci-spliceai").iterdir()}
    assert files == set(manifest["published"]["ci-spliceai"]["files"])
    assert files == {"README.md", "model.safetensors", "scores.json"}
    with pytest.raises(ValueError, match="load_splice_cnn"):
        load_model("ci-spliceai")


def test_the_card_names_authors_licence_and_what_was_seen():
    card = (checkpoints.checkpoint_dir() / "ci-spliceai" / "README.md").read_text()
    for needed in (
        "Strauch",
        "10.1371/journal.pone.0269159",
        "CC BY 4.0",
        "not held-out",
        "all chromosomes",
        "Arabidopsis",
    ):
        assert needed in card
    scores = json.loads((checkpoints.checkpoint_dir() / "ci-spliceai" / "scores.json").read_text())
    for row in scores["rows"]:
        assert f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" in card


def test_an_altered_file_is_refused(tmp_path, monkeypatch):
    copy = tmp_path / "checkpoints"
    copy.mkdir()
    shutil.copy(checkpoints._CLONE / "manifest.json", copy)
    shutil.copytree(checkpoints._CLONE / "ci-spliceai", copy / "ci-spliceai")
    monkeypatch.setattr(checkpoints, "_CLONE", copy)
    path = copy / "ci-spliceai" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="has been altered"):
        load_splice_cnn()
    path.unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        load_splice_cnn()
    with pytest.raises(CheckpointError, match="no published model"):
        checkpoints.published_folder("ci-splice")
