"""The project runs from data to report in its small form: `python -m pytest`. Keep it green while you change it."""

import project
import pytest


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    project.main(["--small", "--output", str(folder)])
    assert (folder / "bits.png").exists() and (folder / "fine-tuned").is_dir()
    return (folder / "report.md").read_text(encoding="utf-8")


def test_every_score_has_a_baseline_and_an_interval(report):
    for needed in (
        "four equal letters",
        "Markov",
        "GC content",
        "k-mers",
        "random twin",
        "low",
        "high",
        "AUROC minus",
    ):
        assert needed in report


def test_no_group_is_in_two_splits():
    frame = project.labelled(small=False)
    assert (frame.groupby("group")["split"].nunique() == 1).all()


def test_the_model_looks_at_nothing_to_the_right():
    model, tokenizer = project.language_model()
    a, b = (tokenizer(text, return_tensors="pt")["input_ids"] for text in ("ACGTACGTAC", "ACGTACGTTT"))
    model.eval()
    assert (model(a).logits[:, :8] - model(b).logits[:, :8]).abs().max() < 1e-5
