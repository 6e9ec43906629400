"""Published models as presets: as many parameters as others count, and the sizes of the published config.json."""

import importlib
import itertools
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import gfm_lab
from gfm_lab.model import GenomicConfig, GenomicForCausalLM, GenomicForMaskedLM
from gfm_lab.presets import FIELDS, PRESETS, build, diff, preset, preset_names, sources
from gfm_lab.pretrained import FAMILIES, _Published

transformers.logging.set_verbosity_error()  # GPT2Config's ids of 50256 lie outside a vocabulary of 10


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", preset_names())
def test_the_built_model_has_the_parameters_that_the_table_says(name):
    model = build(name)
    assert next(model.parameters()).is_meta
    assert count(model) == PRESETS[name].parameters
    assert isinstance(model, GenomicForCausalLM if model.config.causal else GenomicForMaskedLM)


# ---- Who else counts the same ----

ESM = dict(
    vocab_size=4105, num_attention_heads=20, max_position_embeddings=1002, pad_token_id=1, mask_token_id=2,
    position_embedding_type="absolute", tie_word_embeddings=False, token_dropout=True, emb_layer_norm_before=False,
)  # fmt: skip


def esm(width, layers):
    config = transformers.EsmConfig(
        hidden_size=width, num_hidden_layers=layers, intermediate_size=4 * width, **ESM
    )
    return transformers.EsmForMaskedLM(config)


REFERENCES = {
    **{
        f"dnabert-{k}": lambda k=k: transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=4**k + 5))
        for k in (3, 4, 5, 6)
    },
    "nucleotide-transformer-500m-human-ref": lambda: esm(1280, 24),
    "nucleotide-transformer-2.5b-1000g": lambda: esm(2560, 32),
    "gpt-dna": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=10)),
    "longformer-dna": lambda: transformers.LongformerForMaskedLM(
        transformers.LongformerConfig(vocab_size=4101, max_position_embeddings=4098, type_vocab_size=1)
    ),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_transformers_counts_the_same(name):
    with torch.device("meta"):
        model = REFERENCES[name]()
    contact = sum(p.numel() for part, p in model.named_parameters() if "contact_head" in part)
    assert PRESETS[name].parameters == count(model) - contact
    if contact:
        assert f"without the {contact} of its contact head" in PRESETS[name].counted


def test_dnabert_6_is_the_number_of_the_course():
    assert PRESETS["dnabert-6"].parameters == 89_196_549


def test_dnabert_2_by_hand_and_by_its_file():
    d, inner, vocabulary = 768, 3072, 4096
    norm, linear = 2 * d, lambda a, b: a * b + b
    layer = linear(d, 3 * d) + linear(d, d) + norm + d * 2 * inner + linear(inner, d) + norm
    by_hand = vocabulary * d + 2 * d + norm + 12 * layer + linear(d, d) + norm + vocabulary
    assert PRESETS["dnabert-2"].parameters == by_hand
    assert round(by_hand / 1e6) == 117
    assert round(4 * by_hand / 1e6) == 468  # the published file, in MB


@pytest.mark.parametrize(
    ("size", "d", "layers", "published"),
    [("50m", 512, 12, 55.9e6), ("100m", 512, 22, 97.9e6), ("500m", 1024, 29, 0.5e9)],
)  # fmt: skip
def test_nucleotide_transformer_v2_by_hand_and_as_published(size, d, layers, published):
    norm, vocabulary, inner = 2 * d, 4107, 4 * d
    layer = 4 * (d * d + d) + 2 * norm + d * 2 * inner + inner * d  # no biases in the feed-forward part
    head = d * d + d + norm + d * vocabulary + vocabulary
    by_hand = vocabulary * d + layers * layer + norm + head
    assert PRESETS[f"nucleotide-transformer-v2-{size}"].parameters == by_hand
    # The published files also hold a position table that rotary attention never reads, and a contact head.
    in_file = by_hand + 2050 * d + 16 * layers + 1
    assert in_file == pytest.approx(published, rel=1e-3 if size != "500m" else 1e-2)


def test_caduceus_by_hand_and_by_its_file():
    d, inner, state, rank, kernel = 256, 512, 16, 16, 4
    one_way = (
        inner * kernel + inner + inner * (rank + 2 * state) + rank * inner + inner + inner * state + inner
    )
    layer = d * 2 * inner + inner * d + 2 * one_way + d  # projections once for both directions, and a norm
    by_hand = 16 * d + 16 * layer + d
    assert PRESETS["caduceus-ps"].parameters == PRESETS["caduceus-ph"].parameters == by_hand
    assert round(4 * by_hand / 1e5) == 309  # the published file of caduceus-ps, 30.9 MB


# ---- The sizes agree with the published config.json, read by the loader of published weights ----

_BERT_JSON = dict(
    attention_probs_dropout_prob=0.1, hidden_act="gelu", hidden_dropout_prob=0.1, hidden_size=768,
    intermediate_size=3072, max_position_embeddings=512, num_attention_heads=12, num_hidden_layers=12,
    type_vocab_size=2,
)  # fmt: skip
_NT_JSON = dict(
    attention_probs_dropout_prob=0.0, emb_layer_norm_before=False, hidden_dropout_prob=0.0, layer_norm_eps=1e-12,
    mask_token_id=2, pad_token_id=1, tie_word_embeddings=False,
)  # fmt: skip
_NT1_JSON = _NT_JSON | dict(
    max_position_embeddings=1002, num_attention_heads=20, position_embedding_type="absolute", token_dropout=True,
    vocab_size=4105,
)  # fmt: skip
_NT2_JSON = _NT_JSON | dict(
    add_bias_fnn=False, max_position_embeddings=2050, num_attention_heads=16, position_embedding_type="rotary",
    token_dropout=False, vocab_size=4107,
)  # fmt: skip

_HYENA_JSON = dict(  # the "-hf" files of hyenadna-tiny-1k-seqlen, with what they say of ties left to the standalone one
    activation_freq=10, d_inner=512, d_model=128, emb_dim=5, embed_dropout=0.1, filter_order=64, hyena_dropout=0.0,
    hyena_filter_dropout=0.0, hyena_order=2, initializer_range=0.02, layer_norm_epsilon=1e-05, max_seq_len=1026,
    n_layer=2, num_inner_mlps=2, pad_vocab_size_multiple=8, short_filter_order=3, train_freq=True, use_bias=True,
    vocab_size=12,
)  # fmt: skip

_CADUCEUS_JSON = dict(
    bidirectional=True, bidirectional_strategy="add", bidirectional_weight_tie=True, d_model=256, fused_add_norm=True,
    complement_map={str(i): {7: 10, 8: 9, 9: 8, 10: 7}.get(i, i) for i in range(16)}, n_layer=16, norm_epsilon=1e-5,
    pad_vocab_size_multiple=8, residual_in_fp32=False, rms_norm=True, vocab_size=16,
    ssm_cfg=dict(bias=False, conv_bias=True, d_conv=4, d_state=16, dt_rank="auto", expand=2),
)  # fmt: skip


def _sizes(width, layers):
    return dict(hidden_size=width, num_hidden_layers=layers, intermediate_size=4 * width)


PUBLISHED = {  # name: (family, config.json)
    "dnabert-3": ("bert", _BERT_JSON | dict(vocab_size=69)),
    "dnabert-6": ("bert", _BERT_JSON | dict(vocab_size=4101)),
    "dnabert-2": ("dnabert2", _BERT_JSON | dict(vocab_size=4096, attention_probs_dropout_prob=0.0)),
    "nucleotide-transformer-500m-1000g": ("esm", _NT1_JSON | _sizes(1280, 24)),
    "nucleotide-transformer-2.5b-multi-species": ("esm", _NT1_JSON | _sizes(2560, 32)),
    "nucleotide-transformer-v2-100m": ("nucleotide-transformer-v2", _NT2_JSON | _sizes(512, 22)),
    "nucleotide-transformer-v2-500m": ("nucleotide-transformer-v2", _NT2_JSON | _sizes(1024, 29)),
    "hyenadna-tiny-1k": ("hyenadna", _HYENA_JSON),
    "hyenadna-large-1m": ("hyenadna", _HYENA_JSON | dict(d_inner=1024, d_model=256, n_layer=8, max_seq_len=1_000_002)),
    "caduceus-ps": ("caduceus", _CADUCEUS_JSON | dict(rcps=True)),
    "caduceus-ph": ("caduceus", _CADUCEUS_JSON | dict(rcps=False)),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_loader_of_published_weights_builds_the_same_anatomy(name):
    family, published = PUBLISHED[name]
    loaded = GenomicConfig(**FAMILIES[family].settings(_Published(published)))
    ours = preset(name)
    # Ids of the tokenizer's own tokens are not in every config.json; options of attention are compared one by one.
    apart = {"pad_token_id", "mask_token_id", "mixer_options"}
    if ours.positions == "rotary":
        apart.add("position_offset")  # turns queries and keys alike: moves nothing
    for field in (f for fields in FIELDS.values() for f in fields):
        if field not in apart:
            assert getattr(loaded, field) == getattr(ours, field), field
    assert ours.mixer_options.items() <= loaded.mixer_options.items()


# ---- The rows ----


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "dnabert-2"])
def test_the_tokenizer_of_a_row_gives_the_ids_of_its_table(name):
    tokenizer = eval(f"gfm_lab.{PRESETS[name].tokenizer}", {"gfm_lab": gfm_lab})
    config = preset(name)
    padded = 8 if config.vocab_size == 16 else 1  # HyenaDNA and Caduceus fill their 12 up to a multiple of 8
    assert -(-len(tokenizer) // padded) * padded == config.vocab_size
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id) == (config.pad_token_id, config.mask_token_id)


def test_every_row_says_where_it_was_read():
    assert list(sources) == preset_names() == list(PRESETS)
    for name, source in sources.items():
        own = name in ("gpt-dna", "longformer-dna")
        assert ("the course's own" in source and "not published" in source) if own else "doi:" in source


def test_changes_replace_fields_and_leave_the_table_alone():
    config = preset("dnabert-6", num_hidden_layers=2, mixer_options={"heads": 4})
    assert (config.num_hidden_layers, config.hidden_size) == (2, 768)
    config.mixer_options["heads"] = 3
    assert preset("dnabert-6").mixer_options == {"heads": 12}
    assert preset("dnabert-6").num_hidden_layers == 12


def test_bad_requests_say_what_would_be_right():
    with pytest.raises(
        ValueError, match=r"no preset 'dnabert6': did you mean 'dnabert-6'.*gpt-dna.*longformer-dna"
    ):
        preset("dnabert6")
    with pytest.raises(ValueError, match=r"hidden_sise.*hidden_size"):
        preset("gpt-dna", hidden_sise=3)
    with pytest.raises(ValueError, match="no preset"):
        diff("gpt-dna", "gpt-4")
    with pytest.raises(ValueError, match="no preset"):
        build("longformer")
    with pytest.raises(ValueError, match="with num_hidden_layers changed"):
        build(preset("gpt-dna"), num_hidden_layers=1)


def test_a_small_preset_runs():
    model = build("gpt-dna", "cpu", num_hidden_layers=1, hidden_size=24, intermediate_size=48)
    assert model(torch.tensor([[5, 6, 7]])).logits.shape == (1, 3, 10)
    again = build(preset("dnabert-3", num_hidden_layers=1, hidden_size=24, intermediate_size=48), "cpu")
    assert again(torch.tensor([[5, 6, 7]])).logits.shape == (1, 3, 69)


# ---- diff ----


def test_every_field_of_the_configuration_stands_under_one_site():
    placed = [field for fields in FIELDS.values() for field in fields]
    ours = {name for name in vars(GenomicConfig)["__annotations__"] if not name.startswith("_")}
    assert len(placed) == len({*placed})
    assert {*placed} == ours - {"config_format", "model_type"}


@pytest.mark.parametrize("name", ["dnabert-6", "gpt-dna"])
def test_a_model_does_not_differ_from_itself(name):
    for a, b in itertools.product([name, preset(name)], repeat=2):
        found = diff(a, b)
        assert found.rows == () and found.sites == []
        assert "the same: 1 tokenizer, 2 embedding, 3 mixer, 4 head, 5 objective" in str(found)


def test_diff_finds_the_choice_and_only_that():
    assert diff("dnabert-3", "dnabert-6").sites == ["1 tokenizer", "5 objective"]  # runs of 3, and of 6
    assert diff("dnabert-6", "longformer-dna").sites == ["2 embedding", "3 mixer"]
    assert diff("dnabert-6", "gpt-dna").sites == list(FIELDS)
    found = diff("dnabert-6", "longformer-dna")
    assert ("3 mixer", "mixer", "attention", "sliding_window") in found.rows
    assert ("3 mixer", "radius", "-", "256") in found.rows


CHANGES = {
    "hidden_size": (36, "2 embedding"), "positions": ("alibi", "2 embedding"), "causal": (True, "3 mixer"),
    "num_hidden_layers": (3, "3 mixer"), "ffn": ("swiglu", "3 mixer"), "norm": ("rms", "3 mixer"),
    "lm_transform": ("none", "4 head"), "tie_word_embeddings": (False, "4 head"), "vocab_size": (70, "1 tokenizer"),
}  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from(sorted(CHANGES)), min_size=1))
def test_diff_reports_exactly_the_changed_fields(fields):
    small = dict(num_hidden_layers=1, hidden_size=24, intermediate_size=48)
    plain = preset("dnabert-3", **small)
    changed = preset("dnabert-3", **(small | {field: CHANGES[field][0] for field in fields}))
    expected = {(CHANGES[f][1], FIELDS[CHANGES[f][1]][f]) for f in fields}
    if "causal" in fields:
        expected.add(("5 objective", "predict"))
    found, back = diff(plain, changed), diff(changed, plain)
    assert {row[:2] for row in found.rows} == expected
    assert back.rows == tuple((site, what, b, a) for site, what, a, b in found.rows)


@pytest.mark.parametrize("name", preset_names())
def test_diff_prints_within_100_columns_and_names_both(name):
    text = str(diff("dnabert-6", name))
    assert max(map(len, text.splitlines())) <= 100
    assert "dnabert-6" in text and name in text


# ---- The README's table of families (tools/families_table.py) ----


@pytest.fixture
def families_table(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent / "tools"))
    return importlib.import_module("families_table")


RECORD = {"bert": {"largest_logit_error": 4.34e-7, "key_map_lines": 16}}


def test_a_row_of_the_families_table(families_table):
    *_, row = families_table.table({"bert": 16}, RECORD).splitlines()
    assert row == "| `bert` | DNABERT-3 to DNABERT-6 | transformers' BertForMaskedLM | 4.3e-07 | 16 |"


@pytest.mark.parametrize(
    ("lines", "record", "message"),
    [
        ({"bert": 17}, RECORD, "measured with 16 lines of key map and now has 17.*GFM_LAB_WRITE"),
        ({"bert": 16, "esm": 16}, RECORD, "'esm' is not in families.json"),
        ({}, RECORD, "does not have: bert"),
        ({"elmo": 3}, {}, "'elmo' has no line in ABOUT"),
    ],
)
def test_a_table_that_the_tests_did_not_make_is_refused(families_table, lines, record, message):
    with pytest.raises(SystemExit, match=message):
        families_table.table(lines, record)


def test_the_table_is_written_between_its_markers_and_checked(families_table, monkeypatch, tmp_path):
    monkeypatch.setattr(families_table, "current", lambda: "| new |")
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{families_table.BEGIN}\n| old |\n{families_table.END}\nbelow\n")
    assert families_table.main(["--check"], readme) == 1
    assert "old" in readme.read_text()
    assert families_table.main([], readme) == families_table.main(["--check"], readme) == 0
    assert readme.read_text() == f"above\n{families_table.BEGIN}\n| new |\n{families_table.END}\nbelow\n"
    assert [*tmp_path.iterdir()] == [readme]
    readme.write_text("no markers")
    with pytest.raises(SystemExit, match="lost its markers"):
        families_table.main([], readme)


def test_every_family_of_the_package_can_stand_in_the_table(families_table):
    assert FAMILIES.keys() <= families_table.ABOUT.keys()


def test_a_filled_in_table_of_the_readme_is_up_to_date(families_table):
    text = families_table.README.read_text(encoding="utf-8")
    filled = text.partition(families_table.BEGIN)[2].partition(families_table.END)[0].strip()
    assert not filled or families_table.main(["--check"]) == 0
