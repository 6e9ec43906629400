"""dissect: every parameter counted once, FLOPs equal to a formula by hand, shapes that are the model's own."""

import itertools
import xml.etree.ElementTree as ET

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gfm_lab import BPETokenizer, KmerTokenizer, NucleotideTokenizer, mixers
from gfm_lab.anatomy import Dissection, dissect
from gfm_lab.model import (
    GenomicConfig,
    GenomicForCausalLM,
    GenomicForMaskedLM,
    GenomicForSequenceClassification,
    GenomicModel,
)
from gfm_lab.presets import PRESETS, build

torch.set_num_threads(1)
DNA = "ATGTGCGCTAAACGTTTGACAATC"
D, LAYERS, INNER, VOCABULARY = 24, 3, 40, 10


def small(**changes):
    sizes = dict(vocab_size=VOCABULARY, hidden_size=D, num_hidden_layers=LAYERS, intermediate_size=INNER)
    return GenomicConfig(**(sizes | dict(mixer_options={"heads": 2}) | changes))


def window(**changes):
    return small(mixer="sliding_window", mixer_options={"heads": 2, "radius": 4}, **changes)


COMPLEMENT = [0, 1, 2, 3, 4, 8, 7, 6, 5, 9]
MODELS = {
    "masked": lambda: GenomicForMaskedLM(small(lm_transform="bert", lm_bias=True)),
    "masked, not tied": lambda: GenomicForMaskedLM(small(tie_word_embeddings=False, norm_first=False)),
    "causal": lambda: GenomicForCausalLM(small(causal=True, ffn="swiglu", ffn_bias="none", norm="rms")),
    "classes": lambda: GenomicForSequenceClassification(small(num_labels=5, pooling="attention")),
    "regression": lambda: GenomicForSequenceClassification(small(num_labels=1)),
    "body": lambda: GenomicModel(small(ffn="none", final_norm=False)),
    "window": lambda: GenomicForMaskedLM(window(positions="rotary")),
    "both strands": lambda: GenomicForMaskedLM(small(strands="shared", complement=COMPLEMENT)),
    "k-mer sum": lambda: GenomicForCausalLM(small(causal=True, kmer_sum=3, positions="alibi")),
}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]()


def numel(module):
    return sum(p.numel() for p in module.parameters())


# ---- Counts ----


def test_parameters_add_up_with_ties_once(model):
    found = dissect(model, NucleotideTokenizer(), DNA)
    assert found.parameters == numel(model)
    assert sum(part.parameter_bytes for part in found.parts) == 4 * numel(model)
    assert sum(part.parameters for part in found.summary()) == numel(model)


def test_a_tied_table_counts_in_the_embedding_and_not_in_the_head():
    tied, untied = (
        dissect(GenomicForMaskedLM(small(tie_word_embeddings=tie)), NucleotideTokenizer(), DNA)
        for tie in (True, False)
    )
    assert tied.at("embedding")[0].parameters == untied.at("embedding")[0].parameters
    assert tied.at("head")[0].parameters == 0
    assert untied.at("head")[0].parameters == VOCABULARY * D
    assert "tied" in tied.at("head")[0].name and "tied" not in untied.at("head")[0].name
    assert tied.flops == untied.flops  # a shared table is multiplied all the same


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 3), st.sampled_from(["none", "gelu", "swiglu"]), st.booleans(), st.booleans()
)  # fmt: skip
def test_flops_of_attention_equal_the_formula(length, layers, ffn, transform, causal):
    config = small(
        num_hidden_layers=layers, ffn=ffn, causal=causal, lm_transform="bert" if transform else "none"
    )
    model = (GenomicForCausalLM if causal else GenomicForMaskedLM)(config)
    found = dissect(model, NucleotideTokenizer(), (DNA * 2)[:length])
    projections = 2 * length * D * 3 * D + 2 * length * D * D
    pairs = 2 * (2 * length * length * D)  # scores, and the weighted values
    per_token = {"none": 0, "gelu": 2 * 2 * D * INNER, "swiglu": 3 * 2 * D * INNER}[ffn]
    head = 2 * length * D * VOCABULARY + transform * 2 * length * D * D
    mixer = [part.flops for part in found.at(3) if part.name == "Attention"]
    rest = [part.flops for part in found.at(3) if "norms" in part.name]
    assert mixer == [projections + pairs] * layers
    assert rest == [length * per_token] * layers
    assert found.at("head")[0].flops == head
    assert found.flops == layers * (projections + pairs + length * per_token) + head


def test_a_window_costs_in_proportion_to_the_length():
    model = GenomicForMaskedLM(window(positions="none"))
    costs = [
        [
            p.flops
            for p in dissect(model, NucleotideTokenizer(), DNA * n).at(3)
            if p.name.startswith("Sliding")
        ]
        for n in (4, 16)
    ]
    assert all(3.5 <= long / short <= 4.5 for short, long in zip(*costs, strict=True))


def test_reading_both_strands_costs_twice():
    one, two = (
        dissect(GenomicForMaskedLM(small(strands=strands, complement=COMPLEMENT)), NucleotideTokenizer(), DNA)
        for strands in ("single", "shared")
    )
    assert [part.flops for part in two.parts] == [2 * part.flops for part in one.parts]
    assert two.parameters == one.parameters


# ---- Shapes ----


def test_shapes_are_the_ones_that_the_model_gives(model):
    tokenizer = NucleotideTokenizer(wrap="cls_sep")
    found = dissect(model, tokenizer, DNA)
    ids = torch.tensor([tokenizer(DNA)["input_ids"]])
    out = model.eval()(ids)
    length, rows = len(DNA) + 2, 1 if model.config.strands == "single" else 2
    assert found.at("tokenizer")[0].shape == (1, length)
    assert {part.shape for part in (*found.at("embedding"), *found.at("mixer"))} == {(rows, length, D)}
    assert (
        len([part for part in found.at(3) if "norms" not in part.name and part.name != "final norm"])
        == LAYERS
    )
    if "logits" in out:
        assert [part.shape for part in found.at("head")] == [tuple(out.logits.shape)]
        assert len(found.at("objective")) == 1
    else:
        assert found.at("head") == found.at("objective") == ()
    for part in found.parts[1:-1]:
        assert part.output_bytes == 4 * torch.Size(part.shape).numel()


def test_each_site_hands_over_what_the_next_takes(model):
    for before, after in zip(
        flow := dissect(model, NucleotideTokenizer(), DNA).parts, flow[1:], strict=False
    ):
        assert after.input == (before.input if before.site == after.site else before.output)


def test_hidden_states_are_not_called_logits():
    bare = dissect(MODELS["body"](), NucleotideTokenizer(), DNA)
    assert bare.parts[-1].output == "vectors in context"
    assert "logits" not in str(bare) and "4 head: none" in str(bare)
    kinds = ("masked", "causal", "regression", "classes")
    names = {kind: dissect(MODELS[kind](), NucleotideTokenizer(), DNA) for kind in kinds}
    assert [found.at("head")[0].output for found in names.values()] == [
        "logits",
        "logits",
        "predicted values",
        "logits",
    ]
    assert [found.at(5)[0].name for found in names.values()] == [
        "masked tokens",
        "next token",
        "squared error",
        "one of the labels",
    ]


def test_dtype_is_the_model_s():
    found = dissect(GenomicForMaskedLM(small()).to(torch.float64), NucleotideTokenizer(), DNA)
    assert {part.dtype for part in found.parts[1:-1]} == {"float64"}
    assert sum(part.parameter_bytes for part in found.parts) == 8 * found.parameters


@pytest.mark.parametrize(
    ("tokenizer", "tokens"),
    [
        (KmerTokenizer(3), len(DNA) - 2),
        (KmerTokenizer.dnabert(3), len(DNA)),
        (KmerTokenizer(3, stride=3), 8),
        (NucleotideTokenizer.hyenadna(), len(DNA) + 2),
        (BPETokenizer.train([DNA * 9], 16), None),
    ],
)
def test_every_tokenizer_of_the_course(tokenizer, tokens):
    found = dissect(GenomicForMaskedLM(small(vocab_size=len(tokenizer))), tokenizer, DNA)
    assert found.at(1)[0].shape == (1, tokens or len(tokenizer(DNA)["input_ids"]))
    assert found.at(4)[0].shape[-1] == len(tokenizer)


# ---- Mixers and heads that this module has never heard of; models as people have them ----


class Stirrer(nn.Module):
    """A mixer by contract alone: each position gets the mean of all."""

    def __init__(self, dim: int, causal: bool = False) -> None:
        super().__init__()
        self.inside = nn.Linear(dim, dim)
        self.spectrum = nn.Linear(dim, dim, bias=False)

    def forward(self, x, mask=None, state=None):
        return torch.fft.irfft(torch.fft.rfft(self.inside(x), dim=1), n=x.shape[1], dim=1) + self.spectrum(x)


def test_a_new_mixer_needs_no_line_here(monkeypatch):
    monkeypatch.setitem(mixers.MIXERS, "stirrer", Stirrer)
    model = GenomicForMaskedLM(small(mixer="stirrer", mixer_options={}))
    found = dissect(model, NucleotideTokenizer(), DNA[:16])
    stirrers = [part for part in found.at(3) if part.name == "Stirrer"]
    assert [part.parameters for part in stirrers] == [2 * D * D + D] * LAYERS
    two_ffts = 2 * D * 5 * 16 * 4 // 2  # 5 n log2 n, halved for real numbers, there and back
    assert [part.flops for part in stirrers] == [2 * (2 * 16 * D * D) + two_ffts] * LAYERS
    assert found.parameters == numel(model)


def test_a_new_head_needs_no_line_here():
    model = GenomicForMaskedLM(small())
    model.head = nn.Sequential(nn.Linear(D, 7), nn.Linear(7, VOCABULARY))
    found = dissect(model, NucleotideTokenizer(), DNA)
    assert found.at("head")[0].parameters == numel(model.head)
    assert found.parameters == numel(model)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")  # peft asks transformers for an old name
def test_adapters_are_counted_where_they_sit():
    from peft import LoraConfig, get_peft_model

    model = GenomicForMaskedLM(small())
    before = dissect(model, NucleotideTokenizer(), DNA)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["qkv"]))
    found = dissect(adapted, NucleotideTokenizer(), DNA)
    assert found.parameters == numel(adapted)
    assert found.parameters - before.parameters == LAYERS * 2 * (D + 3 * D)
    assert found.at("embedding") == before.at("embedding")


def test_the_meta_device_measures_a_published_size():
    found = dissect(build("dnabert-6"), KmerTokenizer.dnabert(6), DNA)
    assert found.parameters == PRESETS["dnabert-6"].parameters
    length = len(DNA) - 5 + 2
    per_layer = 2 * length * 768 * 768 * 4 + 4 * length**2 * 768 + 4 * length * 768 * 3072
    assert found.flops == 12 * per_layer + 2 * length * 768 * (768 + 4101)


@pytest.mark.parametrize("kind", MODELS)
def test_the_meta_device_measures_what_the_cpu_does(kind):
    with torch.device("meta"):
        empty = MODELS[kind]()
    assert dissect(empty, NucleotideTokenizer(), DNA) == dissect(MODELS[kind](), NucleotideTokenizer(), DNA)


def test_a_table_whose_tie_was_lost_is_not_called_tied():
    moved = GenomicForMaskedLM(small()).to("meta")  # torch makes a new tensor for each name
    found = dissect(moved, NucleotideTokenizer(), DNA)
    assert found.at("head")[0].name == "LMHead"
    assert found.parameters == numel(moved) == numel(GenomicForMaskedLM(small())) + VOCABULARY * D


def test_the_model_is_left_as_it_was(model):
    model.train()
    next(model.modules()).get_submodule(
        "layers.0" if isinstance(model, GenomicModel) else "body.layers.0"
    ).eval()
    modes = {name: module.training for name, module in model.named_modules()}
    dissect(model, NucleotideTokenizer(), DNA)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_hooks_go_also_when_the_model_fails(monkeypatch):
    model = GenomicForMaskedLM(small()).train()
    monkeypatch.setattr(model.body.layers[1].mixer, "forward", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        dissect(model, NucleotideTokenizer(), DNA)
    assert model.training and not any(module._forward_hooks for module in model.modules())


# ---- Bad input ----


def test_bad_input_says_what_is_wrong():
    model, tokenizer = GenomicForMaskedLM(small(max_position_embeddings=20)), NucleotideTokenizer()
    with pytest.raises(ValueError, match="sequence is empty"):
        dissect(model, tokenizer, "")
    with pytest.raises(ValueError, match="no token of 'AT'"):
        dissect(model, KmerTokenizer(3, tail="drop"), "AT")
    with pytest.raises(ValueError, match="24 letters makes 24 tokens, more than the 20 that the model has"):
        dissect(model, tokenizer, DNA)
    with pytest.raises(ValueError, match="position 3"):
        dissect(model, tokenizer, "ATGX")
    with pytest.raises(ValueError, match=r"ends at 9.*len\(tokenizer\) is 4101"):
        dissect(model, KmerTokenizer.dnabert(6), DNA)
    with pytest.raises(TypeError, match="str of letters, not list"):
        dissect(model, tokenizer, [DNA])
    with pytest.raises(ValueError, match="1 to 5"):
        dissect(model, tokenizer, "A").at("decoder")


def test_the_longest_sequence_that_fits_and_one_base():
    model = GenomicForMaskedLM(small(max_position_embeddings=20, position_offset=2))
    assert dissect(model, NucleotideTokenizer(), DNA[:18]).at(4)[0].shape == (1, 18, VOCABULARY)
    with pytest.raises(ValueError, match="19 tokens, more than the 18"):
        dissect(model, NucleotideTokenizer(), DNA[:19])
    assert dissect(model, NucleotideTokenizer(), "A").at(4)[0].shape == (1, 1, VOCABULARY)


# ---- Text, HTML, figure ----


def test_text_fits_100_columns_and_holds_the_numbers(model):
    found = dissect(model, NucleotideTokenizer(), DNA)
    text = str(found)
    assert text == repr(found)
    assert max(map(len, text.splitlines())) <= 100
    assert f"{numel(model):,}" in text
    assert "multiply-add is 2" in text
    for number, site in enumerate(("tokenizer", "embedding", "mixer", "head", "objective"), start=1):
        assert f"\n{number} {site}: " in text
    assert f"{LAYERS} x " in text


def test_text_of_the_largest_preset_fits():
    text = str(
        dissect(build("nucleotide-transformer-2.5b-1000g"), KmerTokenizer.nucleotide_transformer(), DNA * 200)
    )
    assert max(map(len, text.splitlines())) <= 100
    assert "2,547,800,585" in text


def test_html_is_well_formed_and_complete(model):
    found = dissect(model, NucleotideTokenizer(), DNA)
    page = found._repr_html_()
    table = ET.fromstring(f"<div>{page}</div>").find("table")  # raises where a tag does not close
    rows = table.findall("tr")
    widths = [sum(int(cell.get("colspan", 1)) for cell in row) for row in rows]
    assert {*widths} == {6}
    assert len(rows) == 2 + 5 + len(found.summary())  # header and sum, one line a site, one row a part
    cells = ["".join(cell.itertext()) for cell in rows[-1]]
    assert cells[2] == f"{numel(model):,}"
    assert "http" not in page and "<script" not in page


def test_html_escapes_names():
    found = dissect(MODELS["masked"](), NucleotideTokenizer(), DNA)
    odd = Dissection("<b>model</b>", found.sequence, found.parts, found.choices)
    assert "<b>" not in odd._repr_html_()
    assert "&lt;b&gt;model" in odd._repr_html_()


def shown(figure):
    return [text for text in figure.axes[0].texts if text.get_text() and text.get_visible()]


def test_the_figure_has_the_numbers_and_marks_the_choices(model):
    found = dissect(model, NucleotideTokenizer(), DNA)
    figure = found.figure()
    try:
        texts = shown(figure)
        everything = "\n".join(text.get_text() for text in texts)
        for site in (1, 2, 3, 4):
            if parts := found.at(site):
                assert f"{sum(part.parameters for part in parts):,} parameters" in everything
                assert " x ".join(f"{n:,}" for n in parts[-1].shape) in everything
        bold = {text.get_text() for text in texts if text.get_weight() == "bold"}
        assert {found.choices[site] for site in range(1, 5) if found.choices[site]} <= bold
        assert "ATGTGCGCT" in "".join(text.get_text() for text in texts[:9])
        assert ("scores" in everything) == bool(found.at("head"))
        assert any(found.model in text.get_text() for text in texts)
    finally:
        plt.close(figure)


def test_nothing_in_the_figure_is_cut_off_or_overlaps_below_the_boxes():
    figure = dissect(
        build("nucleotide-transformer-2.5b-1000g"), KmerTokenizer.nucleotide_transformer(), DNA * 200
    ).figure()
    try:
        figure.canvas.draw()
        width, height = figure.canvas.get_width_height()
        boxes = [text.get_window_extent() for text in shown(figure)]
        assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
        captions = boxes[-5:]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(captions))
    finally:
        plt.close(figure)


def test_a_sequence_shorter_than_the_strip_draws_only_its_bases():
    figure = dissect(MODELS["masked"](), NucleotideTokenizer(), "ATG").figure()
    assert [text.get_text() for text in figure.axes[0].texts[:9]] == [*"ATG", *[""] * 6]
    assert [box.get_visible() for box in figure.axes[0].patches[:9]] == [True] * 3 + [False] * 6
    plt.close(figure)
