"""checkpoints.py: shipped checkpoints are verified, folders are loaded safely, and each shipped claim holds."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import torch

import gfm_lab.checkpoints as checkpoints
from gfm_lab import GenomicConfig, GenomicForMaskedLM, NucleotideTokenizer, load_data
from gfm_lab.checkpoints import CheckpointError, checkpoint_names, load_model
from gfm_lab.evaluation import bits_per_base, bits_per_masked_base
from gfm_lab.stretches import panel

torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path):
    """A small model of one's own, saved as a run leaves it."""
    torch.manual_seed(0)
    config = GenomicConfig(vocab_size=10, hidden_size=8, num_hidden_layers=1, mixer_options={"heads": 2})
    place = tmp_path / "mine"
    GenomicForMaskedLM(config).save_pretrained(place)
    NucleotideTokenizer().save_pretrained(place)
    return place


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A copy of the shipped folder that a test may damage."""
    copy = tmp_path / "checkpoints"
    shutil.copytree(checkpoints._CLONE, copy)
    monkeypatch.setattr(checkpoints, "_CLONE", copy)
    return copy


def test_a_folder_gives_back_what_was_saved(folder):
    saved = GenomicForMaskedLM.from_pretrained(folder)
    for place in (folder, str(folder)):
        model, tokenizer = load_model(place)
        assert type(model) is GenomicForMaskedLM and not model.training
        assert type(tokenizer) is NucleotideTokenizer
        ids = torch.tensor([tokenizer("ACGTTGCA")["input_ids"]])
        torch.testing.assert_close(model(ids).logits, saved.eval()(ids).logits)


def test_loading_prints_nothing_and_leaves_progress_bars_as_they_were(folder, capfd):
    from transformers.utils import logging

    logging.enable_progress_bar()
    load_model(folder)
    assert logging.is_progress_bar_enabled()
    assert capfd.readouterr() == ("", "")


def test_weights_in_16_bits_are_computed_with_in_32(folder):
    GenomicForMaskedLM.from_pretrained(folder).half().save_pretrained(folder)
    model, _ = load_model(folder)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_transformers_own_models_load_too(folder):
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    BertForMaskedLM(config).save_pretrained(folder)
    assert type(load_model(folder)[0]) is BertForMaskedLM


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match=re.escape("did you mean 'ecoli-attention-mlm'?")):
        load_model("ecoli-atention-mlm")


def test_a_pickle_is_not_opened(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is a pickle"):
        load_model(folder)


def test_code_that_comes_along_is_not_run(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    evil = {"architectures": ["Evil"], "auto_map": {"AutoModelForMaskedLM": "evil.Evil"}}
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    (folder / "config.json").write_text(json.dumps(config | evil))
    with pytest.raises(CheckpointError, match="'Evil'"):
        load_model(folder)
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": evil["auto_map"]}))
    with pytest.raises(ValueError, match="auto_map"):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "complaint"),
    [("config.json", "no config.json"), ("tokenizer_config.json", "no tokenizer that loads")],
)
def test_a_folder_with_a_missing_file_says_which(folder, file, complaint):
    for path in folder.glob(file.replace("_config", "*")):
        path.unlink()
    with pytest.raises(CheckpointError, match=complaint):
        load_model(folder)


def test_a_config_without_a_class_is_explained(folder):
    (folder / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="architectures"):
        load_model(folder)


# ---- The shipped ones ----


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_altered_and_missing_files_are_named_with_the_cure(shipped, file):
    name = checkpoint_names()[0]
    path = shipped / name / file
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"{file} has been altered.*git checkout"):
        load_model(name)
    path.unlink()
    with pytest.raises(
        CheckpointError, match=rf"{file} is missing.*git checkout -- checkpoints/{name}/{file}"
    ):
        load_model(name)


def test_the_manifest_lists_every_file_and_no_other():
    folder = checkpoints.checkpoint_dir()
    for name in checkpoint_names():
        listed = set(json.loads((folder / "manifest.json").read_text())["checkpoints"][name]["files"])
        assert listed == {p.name for p in (folder / name).iterdir()}
        assert sum(p.stat().st_size for p in (folder / name).iterdir()) <= 8_000_000
        assert {"README.md", "log.jsonl", "run.json", "model.safetensors"} <= listed


def test_loading_touches_no_network(tmp_path):
    code = """
import socket
def refuse(*a, **k): raise AssertionError("network")
socket.socket.connect = refuse
import gfm_lab
model, tokenizer = gfm_lab.load_model("ecoli-attention-mlm")
print(sum(p.numel() for p in model.parameters()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = load_model("ecoli-attention-mlm")[0].config
    assert int(done.stdout) == GenomicForMaskedLM(config).num_parameters()


@pytest.mark.parametrize("name", checkpoint_names())
def test_the_card_s_numbers_come_back_on_a_part_of_the_test_region(name):
    """Below the best baseline, and the card's own number for that part (for the species: its E. coli windows)."""
    claims = json.loads((checkpoints.checkpoint_dir() / name / "scores.json").read_text())["spot_check"]
    model, tokenizer = load_model(name)
    window = claims["window"]
    if tokenizer.controls:
        windows = [s.sequence for s in panel("test") if s.control == "ecoli"]
        scores = [bits_per_base(model, tokenizer, w, window, control="ecoli") for w in windows]
        bits = sum(score.bits.sum() for score in scores) / sum(len(score.bits) for score in scores)
    else:
        region = load_data("ecoli-k12").split("test")[: claims["bases"]]
        if model.config.causal:
            bits = bits_per_base(model, tokenizer, region, window).value
        else:
            score = bits_per_masked_base(
                model, tokenizer, region, "joint", seed=claims["seed"], window=window
            )
            bits = score.value
    assert abs(bits - claims["bits"]) < 0.002
    assert bits < claims["best_baseline"]
