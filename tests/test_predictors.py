"""predictors.py: networks learn what they should, answer as they say, and are kept and found again whole."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gfm_lab.checkpoints as checkpoints
from gfm_lab import one_hot, reverse_complement
from gfm_lab.checkpoints import CheckpointError, checkpoint_dir
from gfm_lab.labelled import auroc
from gfm_lab.predictors import (
    KINDS,
    encode,
    join_predictors,
    load_predictor,
    predictor_names,
    train_predictor,
)

torch.set_num_threads(1)
SMALL = {
    "cnn": {"width": 8, "kernel": 7, "layers": 1, "bins": 2, "hidden": 8},
    "mlp": {"width": 16, "layers": 1},
}


def random_dna(rows, length, seed=0):
    letters = np.random.default_rng(seed).integers(0, 4, (rows, length))
    return ["".join("ACGT"[i] for i in row) for row in letters]


def planted(rows, motif="TGACTCA", length=40, seed=0, both=False):
    """Random DNA; half of it with a motif somewhere, on either strand if `both`."""
    random = np.random.default_rng([seed, 7])
    labels = np.arange(rows) % 2
    found = []
    for sequence, label in zip(random_dna(rows, length, seed), labels, strict=True):
        if label:
            at = random.integers(0, length - len(motif))
            word = reverse_complement(motif) if both and random.random() < 0.5 else motif
            sequence = sequence[:at] + word + sequence[at + len(motif) :]
        found.append(sequence)
    return found, labels


def stacked(sequences):
    return torch.tensor(np.stack([one_hot(s) for s in sequences]), dtype=torch.float32)


@pytest.fixture(scope="module")
def finder():
    """Two members that have learned to find a motif."""
    options = {**SMALL["cnn"], "width": 16, "pool": 1}
    return train_predictor(
        planted(1200), planted(200, seed=1), ensemble=2, epochs=12, batch_size=32, **options
    )


def test_a_cnn_finds_a_motif_wherever_it_stands(finder):
    sequences, labels = planted(400, seed=2)
    probability = finder.predict(sequences)
    assert probability.shape == (400, 2)
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-5)
    assert auroc(labels, probability[:, 1]) > 0.95


def test_an_mlp_learns_which_bases_go_together():
    """y depends on two places at once: each base alone says nothing, so no additive model could explain it."""

    def cut(rows, seed):
        sequences = random_dna(rows, 8, seed)
        return sequences, np.array([2.0 + 6.0 * ((s[1] in "AC") == (s[5] in "AC")) for s in sequences])

    model = train_predictor(
        cut(1500, 0), cut(200, 1), kind="mlp", task="regression", epochs=15, width=32, batch_size=32
    )
    sequences, y = cut(300, 2)
    guess = model.predict(sequences)
    assert guess.shape == (300,)
    assert 1 - ((y - guess) ** 2).mean() / y.var() > 0.9  # in the units of y: scaling is undone


def test_bins_tell_where_a_motif_stands():
    """All rows have the motif; the label is whether it stands in the first half."""

    def cut(rows, seed):
        labels = np.arange(rows) % 2
        sequences = random_dna(rows, 40, seed)
        return [
            s[: 6 + 20 * (1 - y)] + "TGACTCA" + s[13 + 20 * (1 - y) :]
            for s, y in zip(sequences, labels, strict=True)
        ], labels

    sequences, labels = cut(200, 2)
    options = dict(epochs=8, batch_size=32) | SMALL["cnn"]
    seen = {
        bins: auroc(
            labels,
            train_predictor(cut(600, 0), cut(100, 1), **options | {"bins": bins}).predict(sequences)[:, 1],
        )
        for bins in (1, 4)
    }
    assert seen[4] > 0.99


def test_an_ensemble_is_the_mean_of_its_members(finder):
    x = stacked(planted(20, seed=3)[0])
    with torch.no_grad():
        each = torch.stack([member(x).softmax(-1) for member in finder.members])
        torch.testing.assert_close(finder(x).exp(), each.mean(0))
    assert not torch.equal(each[0], each[1])


def test_forward_and_predict_agree_and_forward_is_differentiable(finder):
    sequences = planted(20, seed=3)[0]
    x = stacked(sequences).requires_grad_()
    found = finder(x)
    np.testing.assert_allclose(found.detach().exp().numpy(), finder.predict(sequences), atol=1e-6)
    found[:, 1].sum().backward()
    assert x.grad.shape == x.shape
    # A step along the gradient raises what it is the gradient of.
    with torch.no_grad():
        assert finder(x + 0.01 * x.grad)[:, 1].sum() > found[:, 1].sum()


def test_predictions_do_not_depend_on_the_batch(finder):
    sequences = planted(7, seed=4)[0]
    together = finder.predict(sequences)
    alone = np.concatenate([finder.predict([s]) for s in sequences])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert finder.predict([]).shape == (0, 2)


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_with_both_strands_the_answer_does_not_depend_on_the_strand(both_strands, data):
    sequence = data.draw(st.text("ACGTN", min_size=40, max_size=40))
    a, b = both_strands.predict([sequence, reverse_complement(sequence)])
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.fixture(scope="module")
def both_strands():
    data = planted(200, both=True), planted(60, seed=1, both=True)
    return train_predictor(*data, epochs=2, reverse_complement=True, **SMALL["cnn"])


@pytest.mark.parametrize("kind", [*KINDS])
def test_the_same_seed_gives_the_same_network(kind):
    data = planted(120), planted(40, seed=1)
    torch.manual_seed(5)
    first = train_predictor(*data, kind=kind, epochs=2, seed=3, shift=2, mutate=0.1, **SMALL[kind])
    outside = torch.rand(1)
    torch.manual_seed(6)
    again = train_predictor(*data, kind=kind, epochs=2, seed=3, shift=2, mutate=0.1, **SMALL[kind])
    other = train_predictor(*data, kind=kind, epochs=2, seed=4, shift=2, mutate=0.1, **SMALL[kind])
    a, b, c = (model.predict(data[1][0]) for model in (first, again, other))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1e-4
    torch.manual_seed(5)
    assert torch.equal(outside, torch.rand(1))  # the caller's random numbers are left alone


def test_the_best_epoch_is_kept_and_patience_ends_training():
    """Labels of pure chance: what is learned on train soon makes valid worse."""
    random = np.random.default_rng(0)
    train = random_dna(300, 20), random.integers(0, 2, 300)
    valid = random_dna(100, 20, 1), random.integers(0, 2, 100)
    model = train_predictor(
        train, valid, kind="mlp", epochs=60, patience=4, learning_rate=3e-3, batch_size=16, width=128
    )
    losses = [line["valid_loss"] for line in model.history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 4 < 60
    p = model.predict(valid[0])[np.arange(100), valid[1]]
    np.testing.assert_allclose(-np.log(p).mean(), losses[best], rtol=1e-4)


def test_rows_of_weight_zero_teach_nothing():
    sequences, labels = planted(600, length=20)
    wrong = labels.copy()
    wrong[:300] = 1 - wrong[:300]
    weights = (np.arange(600) >= 300).astype(float)
    held = planted(200, length=20, seed=1)
    options = dict(epochs=15, batch_size=32) | SMALL["cnn"]
    weighted = train_predictor((sequences, wrong), held, weights=weights, **options)
    test, y = planted(300, length=20, seed=2)
    assert auroc(y, weighted.predict(test)[:, 1]) > 0.8
    plain = train_predictor((sequences, wrong), held, **options)
    assert auroc(y, plain.predict(test)[:, 1]) < 0.7


def test_balanced_classes_raise_the_rare_one():
    random = np.random.default_rng(0)

    def cut(rows, seed):
        return random_dna(rows, 12, seed), (random.random(rows) < 0.1).astype(int)

    data = cut(600, 0), cut(300, 1)
    options = dict(kind="mlp", epochs=8, batch_size=16, learning_rate=5e-3, **SMALL["mlp"])
    plain = train_predictor(*data, **options).predict(data[1][0])[:, 1].mean()
    balanced = train_predictor(*data, class_weights="balanced", **options).predict(data[1][0])[:, 1].mean()
    assert plain < 0.25 and 0.35 < balanced < 0.65


def test_several_numbers_at_once():
    sequences = random_dna(400, 10)
    y = np.array([[s.count("A"), 100.0 - 10 * s.count("C")] for s in sequences])
    model = train_predictor(
        (sequences[:300], y[:300]),
        (sequences[300:], y[300:]),
        kind="mlp",
        task="regression",
        epochs=25,
        batch_size=16,
        **SMALL["mlp"],
    )
    guess = model.predict(sequences[300:])
    assert guess.shape == (100, 2)
    assert all(np.corrcoef(guess[:, i], y[300:, i])[0, 1] > 0.9 for i in (0, 1))


def test_joined_predictors_answer_with_the_mean_of_all_members():
    """Trained on different scales of the labels: the answers are in the units of the labels all the same."""
    sequences = random_dna(60, 10)
    options = dict(kind="mlp", task="regression", epochs=2, batch_size=16, **SMALL["mlp"])

    def fitted(shift, ensemble):
        y = np.array([shift + s.count("A") for s in sequences])
        return train_predictor((sequences, y), (sequences, y), ensemble=ensemble, **options)

    low, high = fitted(0, 1), fitted(1000, 2)
    joined = join_predictors([low, high])
    expected = (low.predict(sequences) + 2 * high.predict(sequences)) / 3
    np.testing.assert_allclose(joined.predict(sequences), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="differ in options"):
        join_predictors(
            [low, train_predictor((sequences, range(60)), (sequences, range(60)), **options | {"width": 4})]
        )
    with pytest.raises(ValueError, match="no predictor to join"):
        join_predictors([])


# ---- Saved and loaded ----


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 0), (torch.float16, 2e-2)])
def test_a_folder_gives_back_what_was_saved(finder, tmp_path, dtype, tolerance):
    sequences = planted(50, seed=5)[0]
    again = load_predictor(finder.save(tmp_path / "mine", dtype))
    np.testing.assert_allclose(again.predict(sequences), finder.predict(sequences), atol=tolerance)
    assert {p.name for p in (tmp_path / "mine").iterdir()} == {"config.json", "model.safetensors"}
    assert {p.dtype for p in again.parameters()} == {torch.float32} and not again.training


def test_saving_twice_replaces_and_saving_over_other_files_is_refused(finder, tmp_path):
    finder.save(tmp_path / "mine")
    finder.save(tmp_path / "mine")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="other files"):
        finder.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_is_no_predictor_is_named(finder, tmp_path):
    with pytest.raises(ValueError, match="no predictor and no folder"):
        load_predictor("no-such-thing")
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load_predictor(tmp_path)
    folder = finder.save(tmp_path / "mine")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"length": 44, "outputs": 3}))
    with pytest.raises(CheckpointError, match="no predictor that"):
        load_predictor(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        load_predictor(folder)


# ---- Bad input ----

GOOD = ["ACGT" * 5, "CCGT" * 5, "AAGT" * 5, "ACTT" * 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(kind="transformer"), "no predictor 'transformer'"),
        (dict(task="ranking"), "no task 'ranking'"),
        (dict(depth=3), "a cnn has no option 'depth'"),
        (dict(ensemble=0), "ensemble must be at least 1"),
        (dict(weights=[1.0]), "weights has 1 numbers for 4"),
        (dict(class_weights=[1.0]), "class_weights has 1 numbers for 2"),
        (dict(class_weights="even"), "'balanced' or one number"),
        (dict(train=(GOOD, [0, 0, 0, 0])), "at least two are needed"),
        (dict(train=(GOOD, [0, 1, 0, 0]), valid=(GOOD, [0, 1, 2, 0])), r"valid also \[2\]"),
        (dict(train=(GOOD, [0, 1, 0])), "4 sequences and 3 labels"),
        (dict(train=(GOOD, [0.5, 1, 0, 1])), "whole numbers from 0"),
        (dict(train=(GOOD, [0, np.nan, 0, 1])), "row 1 of train is nan"),
        (dict(train=(GOOD, ["a", "b", "a", "b"])), "must be numbers"),
        (dict(train=([*GOOD[:3], "ACG"], [0, 1, 0, 1])), "row 3 of train has 3 bases, not 20"),
        (dict(train=([*GOOD[:3], "ACGJ" * 5], [0, 1, 0, 1])), "row 3 of train has 'J' at 3"),
        (dict(valid=(["ACGT"], [0])), "row 0 of valid has 4 bases, not 20"),
        (dict(task="regression", train=(GOOD, [1.0, 1, 1, 1])), "all the same"),
        (dict(task="regression", class_weights="balanced"), "for classification"),
        (dict(train=(["ACGT"], [0])), "at least 2"),
    ],
)
def test_bad_input_is_named(change, message):
    call = dict(train=(GOOD, [0, 1, 0, 1]), valid=(GOOD, [0, 1, 0, 1]), epochs=1) | change
    with pytest.raises(ValueError, match=message):
        train_predictor(call.pop("train"), call.pop("valid"), **call)


def test_other_lengths_and_shapes_are_refused(finder):
    with pytest.raises(ValueError, match=re.escape("row 1 of the input has 39 bases, not 40")):
        finder.predict(["A" * 40, "A" * 39])
    with pytest.raises(ValueError, match=re.escape("(B, 40, 4)")):
        finder(torch.zeros(2, 4, 40))


def test_case_and_unknown_bases():
    np.testing.assert_array_equal(encode(["acgtN", "TGCAR"], 5), [[0, 1, 2, 3, 4], [3, 2, 1, 0, 4]])


# ---- The shipped ones ----


@pytest.mark.parametrize("name", predictor_names())
def test_shipped_predictors_answer_as_their_cards_say(name):
    folder = checkpoint_dir() / name
    files = json.loads((checkpoint_dir() / "manifest.json").read_text())["predictors"][name]["files"]
    assert {*files} == {p.name for p in folder.iterdir()} >= {"README.md", "scores.json"}
    assert sum(file["bytes"] for file in files.values()) <= 1_000_000
    scores = json.loads((folder / "scores.json").read_text())
    predictor = load_predictor(name)
    found = predictor.predict(scores["spot_check"]["sequences"])
    np.testing.assert_allclose(found, scores["spot_check"]["answers"], atol=2e-4)
    card = (folder / "README.md").read_text()
    for value, low, high in scores["test"]["metrics"].values():  # the card has the numbers of the file
        assert f"{value:.3f} ({low:.3f} to {high:.3f})" in card
    assert scores["baselines"]


def test_an_altered_shipped_predictor_is_refused(tmp_path, monkeypatch):
    if not predictor_names():
        pytest.skip("the package came without predictors")
    name = predictor_names()[0]
    shutil.copytree(checkpoint_dir(), tmp_path / "checkpoints")
    monkeypatch.setattr(checkpoints, "_CLONE", tmp_path / "checkpoints")
    monkeypatch.setattr(checkpoints, "_PACKAGE", tmp_path / "none")
    path = tmp_path / "checkpoints" / name / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="has been altered"):
        load_predictor(name)
    with pytest.raises(ValueError, match=f"did you mean '{name}'"):
        load_predictor(name + "x")
