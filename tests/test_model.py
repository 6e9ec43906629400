"""model.py: the body against its two equations written by hand, and against what transformers expects of a model."""

import json
import re

import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open

import gfm_lab.model
from gfm_lab.model import (
    GenomicConfig,
    GenomicForCausalLM,
    GenomicForMaskedLM,
    GenomicForSequenceClassification,
    GenomicModel,
)

torch.set_num_threads(1)
V, D = 10, 16
COMPLEMENT = [0, 1, 2, 3, 4, 8, 7, 6, 5, 9]  # five special tokens, A C G T, N
MODELS = (GenomicModel, GenomicForMaskedLM, GenomicForCausalLM, GenomicForSequenceClassification)


def config(**fields):
    sizes = dict(vocab_size=V, hidden_size=D, num_hidden_layers=2, mixer_options={"heads": 2})
    return GenomicConfig(**{**sizes, "max_position_embeddings": 32, "initializer_range": 0.3, **fields})


def build(model, seed=0, **fields):
    torch.manual_seed(seed)
    return model(config(**fields)).eval()


def tokens(rows=2, length=11, seed=0):
    return torch.randint(5, V, (rows, length), generator=torch.Generator().manual_seed(seed))


def left_padded(ids, lengths):
    """The last tokens of each row, behind padding, and the mask."""
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        mask[row, ids.shape[1] - length :] = 1
    return ids * mask, mask


# ---- The configuration ----


def test_a_configuration_survives_its_file(tmp_path):
    made = config(kmer_sum=2, positions="rotary", ffn="swiglu", strands="shared", complement=COMPLEMENT)
    made.save_pretrained(tmp_path)
    again = transformers.AutoConfig.from_pretrained(tmp_path)
    assert type(again) is GenomicConfig
    ours = {n: v for n, v in made.to_dict().items() if n != "_name_or_path"}
    assert ours == {n: v for n, v in again.to_dict().items() if n != "_name_or_path"}


def test_no_field_has_the_name_of_a_generation_setting():
    """transformers takes such a field for a setting of `generate` in the wrong place, and raises or drops it."""
    generation = set(transformers.GenerationConfig().to_dict()) - {"pad_token_id", "transformers_version"}
    ours = set(GenomicConfig.__annotations__)
    assert "hidden_size" in ours and not ours & generation


def test_no_class_here_is_called_mamba():
    """transformers looks for that word in a model's class name, and then names the cache differently."""
    names = [name for name, thing in vars(gfm_lab.model).items() if isinstance(thing, type)]
    assert "GenomicForCausalLM" in names and not [name for name in names if "mamba" in name.lower()]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hiden_size": 64}, r"no field 'hiden_size': did you mean 'hidden_size'"),
        ({"max_length": 64}, r"no field 'max_length'"),
        ({"zzz": 1}, r"no field 'zzz': the fields are .*num_hidden_layers"),
        ({"mixer": "atention"}, r"'atention'.*attention, .*did you mean 'attention'"),
        ({"mixer_options": {"heads": 3}}, r"3 heads do not divide the width 16.*1, 2, 4, 8, 16"),
        ({"mixer_options": {"heads": 2, "head": 2}}, r"unknown option 'head'.*options are heads"),
        ({"mixer_options": {"heads": 2, "causal": True}}, r"causal is a field of the configuration"),
        ({"mixer": "sliding_window"}, r"missing option 'radius'"),
        (
            {"mixer": "sliding_window", "mixer_options": {"heads": 2, "radius": [1, 2, 3]}},
            "3 values for 2 layers",
        ),
        ({"positions": "rotery"}, r"'rotery'.*none, learned, sinusoidal, rotary, alibi"),
        ({"max_position_embeddings": None}, r"learned positions need max_position_embeddings"),
        ({"ffn": "relu"}, r"ffn is 'relu': choose one of none, gelu, gelu_tanh, geglu, swiglu"),
        ({"ffn_bias": "up"}, r"ffn_bias is 'up': choose one of both, down, none"),
        ({"norm": "batch"}, r"norm is 'batch': choose one of layer, rms"),
        ({"lm_transform": "gpt"}, r"'gpt': choose one of none, bert"),
        ({"pooling": "median"}, r"'median': choose one of first, last, mean"),
        ({"strands": "both"}, r"strands is 'both': choose one of single, shared, averaged"),
        ({"strands": "shared"}, r"needs complement, a list of 10 ids"),
        ({"strands": "shared", "complement": COMPLEMENT[:9]}, r"needs complement"),
        ({"strands": "shared", "complement": [1, 2, 0, *range(3, 10)]}, r"twice leads back"),
        ({"strands": "shared", "complement": COMPLEMENT, "causal": True}, r"causal=False"),
        ({"exchange_strands": True}, r"strands='shared'"),
        ({"kmer_sum": 3, "kmer_flanks": True, "causal": True}, "kmer_flanks also reads the bases after"),
        ({"token_dropout": True, "mask_token_id": None}, r"token_dropout=True needs mask_token_id"),
        ({"hidden_size": 0}, r"hidden_size is 0: it must be a whole number of at least 1"),
        ({"num_hidden_layers": 0}, r"num_hidden_layers is 0"),
        ({"pad_token_id": 10}, r"pad_token_id is 10: it must lie below vocab_size 10"),
        ({"mask_token_id": -1}, r"mask_token_id is -1"),
        ({"config_format": 2}, r"format 2, from a newer gfm_lab.*up to 1: update gfm_lab"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_makes_no_sense_is_refused_and_says_what_would(fields, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        config(**fields)


def test_a_file_from_a_newer_version_is_refused_when_loaded(tmp_path):
    build(GenomicForMaskedLM).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    saved = json.loads(file.read_text())
    file.write_text(json.dumps({**saved, "config_format": 7}))
    with pytest.raises(ValueError, match="format 7, from a newer gfm_lab"):
        GenomicForMaskedLM.from_pretrained(tmp_path)
    file.write_text(json.dumps({**saved, "mixer_depth": 3}))
    with pytest.raises(ValueError, match="no field 'mixer_depth'"):
        transformers.AutoModelForMaskedLM.from_pretrained(tmp_path)
    file.write_text(json.dumps(saved))
    with pytest.raises(ValueError, match="ffn is 'relu'"):  # a field changed on the way is checked too
        GenomicForMaskedLM.from_pretrained(tmp_path, ffn="relu")


def test_a_model_that_its_configuration_cannot_serve():
    with pytest.raises(ValueError, match="set causal=False, or build a GenomicForCausalLM"):
        build(GenomicForMaskedLM, causal=True)
    with pytest.raises(ValueError, match="set causal=True, or build a GenomicForMaskedLM"):
        build(GenomicForCausalLM)
    with pytest.raises(ValueError, match="use 'last'"):
        build(GenomicForSequenceClassification, causal=True, pooling="first")
    assert build(GenomicForSequenceClassification, causal=True, pooling="last")


def test_one_option_a_layer():
    model = build(GenomicModel, mixer="sliding_window", mixer_options={"heads": 2, "radius": [1, 5]})
    assert [layer.mixer.radius for layer in model.layers] == [1, 5]


# ---- The block, by hand ----


def ffn_by_hand(ffn, x, kind):
    up = F.linear(x, ffn.up.weight, ffn.up.bias)
    if kind in ("geglu", "swiglu"):
        half = up.shape[-1] // 2
        gate = up[..., :half]
        up = (gate * torch.sigmoid(gate) if kind == "swiglu" else F.gelu(gate)) * up[..., half:]
    else:
        up = F.gelu(up, approximate="tanh" if kind == "gelu_tanh" else "none")
    return F.linear(up, ffn.down.weight, ffn.down.bias)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("ffn", ["none", "gelu", "gelu_tanh", "geglu", "swiglu"])
def test_the_body_is_its_two_equations(norm_first, norm, ffn):
    fields = dict(norm_first=norm_first, norm=norm, ffn=ffn, norm_eps=1e-3, intermediate_size=24)
    model = build(GenomicModel, **fields)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    ids = tokens()
    x = model.embeddings(ids)
    states = [x]
    for block in model.layers:
        if norm_first:
            x = x + block.mixer(block.norm1(x))
            x = x if ffn == "none" else x + ffn_by_hand(block.ffn, block.norm2(x), ffn)
        else:
            x = block.norm1(x + block.mixer(x))
            x = x if ffn == "none" else block.norm2(x + ffn_by_hand(block.ffn, x, ffn))
        states.append(x)
    states[-1] = model.norm(x)
    out = model(ids, output_hidden_states=True)
    torch.testing.assert_close(out.last_hidden_state, states[-1])
    for given_state, expected in zip(out.hidden_states, states, strict=True):
        torch.testing.assert_close(given_state, expected)
    assert type(model.norm) is {"layer": torch.nn.LayerNorm, "rms": torch.nn.RMSNorm}[norm]
    assert model.norm.eps == model.layers[0].norm1.eps == 1e-3
    assert isinstance(build(GenomicModel, final_norm=False).norm, torch.nn.Identity)


@pytest.mark.parametrize(
    ("bias", "has"), [("both", (True, True)), ("down", (False, True)), ("none", (False, False))]
)
def test_biases_of_the_feed_forward_part(bias, has):
    ffn = build(GenomicModel, ffn_bias=bias).layers[0].ffn
    assert (ffn.up.bias is not None, ffn.down.bias is not None) == has


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_padding_moves_nothing(data):
    """Whatever the positions and the embedding's options: a padded row equals the row alone."""
    fields = dict(
        positions=data.draw(st.sampled_from(["none", "learned", "sinusoidal", "rotary", "alibi"])),
        causal=data.draw(st.booleans()),
        kmer_sum=data.draw(st.sampled_from([0, 3])),
        token_dropout=data.draw(st.booleans()),
        position_offset=data.draw(st.sampled_from([0, 2])),
        token_types=data.draw(st.sampled_from([0, 2])),
        embedding_norm=data.draw(st.booleans()),
    )
    model = build(GenomicModel, **fields).double()
    lengths = data.draw(st.lists(st.integers(1, 11), min_size=1, max_size=3))
    ids, total = tokens(len(lengths), 13), 13
    ids[:, ::4] = 4  # some masked tokens
    mask, where = torch.zeros_like(ids), []
    for row, length in enumerate(lengths):
        start = data.draw(st.integers(0, total - length))
        where.append(slice(start, start + length))
        mask[row, where[-1]] = 1
    padded = model(ids, mask).last_hidden_state
    for row, part in enumerate(where):
        alone = model(ids[row : row + 1, part]).last_hidden_state
        torch.testing.assert_close(
            padded[row : row + 1, part], alone, rtol=0, atol=1e-6
        )  # rotary angles are float32


def test_global_tokens_are_marked_beside_the_mask():
    """The mixer gets 2 at a global token; a mark on padding makes no token of it, and no mask means no padding."""
    model = build(GenomicModel, mixer="sliding_window", mixer_options={"heads": 2, "radius": 1})
    masks = []
    model.layers[0].register_forward_pre_hook(lambda layer, given: masks.append(given[1]))
    ids, mask = left_padded(tokens(length=4), [4, 2])
    special = torch.tensor([[1, 0, 0, 0], [1, 0, 0, 1]])
    model(ids, mask, special)
    model(ids, global_attention_mask=special)
    model(ids, mask.bool())
    assert masks[0].tolist() == [[2, 1, 1, 1], [0, 0, 1, 2]]
    assert masks[1].tolist() == [[2, 1, 1, 1], [2, 1, 1, 2]]
    assert torch.equal(masks[2], mask)


def test_vectors_in_place_of_ids():
    model = build(GenomicForMaskedLM)
    ids = tokens()
    by_hand = model(inputs_embeds=model.get_input_embeddings()(ids)).logits
    torch.testing.assert_close(by_hand, model(ids).logits)


# ---- Tables, heads and files ----


@pytest.mark.parametrize(("model", "causal"), [(GenomicForMaskedLM, False), (GenomicForCausalLM, True)])
def test_tied_weights_are_one_tensor_everywhere(model, causal, tmp_path):
    made = build(model, causal=causal)
    table = made.get_input_embeddings().weight
    assert made.get_output_embeddings().weight is table
    assert made.num_parameters() == sum(p.numel() for p in set(made.parameters()))
    made.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        stored = set(file.keys())
    assert "body.embeddings.token.weight" in stored and "head.decoder.weight" not in stored
    again = model.from_pretrained(tmp_path)
    assert again.get_output_embeddings().weight is again.get_input_embeddings().weight
    assert torch.equal(again(tokens()).logits, made(tokens()).logits)
    apart = build(model, causal=causal, tie_word_embeddings=False)
    assert apart.num_parameters() == made.num_parameters() + V * D
    assert apart.get_output_embeddings().weight is not apart.get_input_embeddings().weight


def test_the_auto_classes_know_the_models(tmp_path):
    build(GenomicForMaskedLM).save_pretrained(tmp_path / "masked")
    build(GenomicForCausalLM, causal=True).save_pretrained(tmp_path / "causal")
    for auto, folder, model in (
        (transformers.AutoModel, "masked", GenomicModel),
        (transformers.AutoModelForMaskedLM, "masked", GenomicForMaskedLM),
        (transformers.AutoModelForCausalLM, "causal", GenomicForCausalLM),
        (transformers.AutoModelForSequenceClassification, "masked", GenomicForSequenceClassification),
    ):
        loaded = auto.from_pretrained(tmp_path / folder)
        assert type(loaded) is model
        original = transformers.AutoModel.from_pretrained(tmp_path / folder).state_dict()
        body = getattr(loaded, "body", loaded).state_dict()
        assert original.keys() == body.keys() and all(
            torch.equal(body[name], original[name]) for name in original
        )


def test_more_tokens_can_be_added():
    model = build(GenomicForMaskedLM)
    before = model(tokens()).logits
    model.resize_token_embeddings(V + 3)
    assert (
        model.config.vocab_size == V + 3 and model.head.decoder.weight is model.body.embeddings.token.weight
    )
    torch.testing.assert_close(model(tokens()).logits[..., :V], before)


def test_the_input_table_can_be_exchanged():
    for model in MODELS:
        made = build(model, causal=model is GenomicForCausalLM)
        table = torch.nn.Embedding(V, D)
        made.set_input_embeddings(table)
        assert made.get_input_embeddings() is table
        assert "body.embeddings.token.weight" in made.state_dict() or model is GenomicModel


# ---- Losses ----


def test_masked_loss_is_over_what_is_labelled():
    model = build(GenomicForMaskedLM)
    ids, labels = tokens(), torch.full((2, 11), -100)
    labels[0, 3], labels[1, 7] = 6, 8
    out = model(ids, labels=labels)
    expected = -(out.logits[0, 3].log_softmax(0)[6] + out.logits[1, 7].log_softmax(0)[8]) / 2
    torch.testing.assert_close(out.loss, expected)
    assert model(ids, labels=torch.full((2, 11), -100)).loss == 0


def test_causal_labels_are_shifted_once():
    """Labels are the ids themselves: position t is scored against token t + 1, and the last against nothing."""
    model = build(GenomicForCausalLM, causal=True)
    ids = tokens()
    out = model(ids, labels=ids)
    logp = out.logits.log_softmax(-1)
    expected = -torch.stack([logp[b, t, ids[b, t + 1]] for b in range(2) for t in range(10)]).mean()
    torch.testing.assert_close(out.loss, expected)


@pytest.mark.parametrize("label", [V, -1, -99])
def test_labels_out_of_range_are_named(label):
    labels = tokens()
    labels[1, 4] = label
    for model, causal in ((GenomicForMaskedLM, False), (GenomicForCausalLM, True)):
        with pytest.raises(ValueError, match=f"label {label} at .* outside 0 to 9"):
            build(model, causal=causal)(tokens(), labels=labels)
    with pytest.raises(ValueError, match=r"label 2 at .* outside 0 to 1"):
        build(GenomicForSequenceClassification)(tokens(), labels=torch.tensor([0, 2]))


@pytest.mark.parametrize(
    ("labels", "classes", "loss"),
    [
        (torch.tensor([2, 0]), 3, F.cross_entropy),
        (torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]), 3, F.binary_cross_entropy_with_logits),
        (torch.tensor([0.3, -2.0]), 1, lambda logits, labels: F.mse_loss(logits[:, 0], labels)),
        (torch.tensor([[0.3, -2.0], [1.0, 5.0]]), 2, None),
    ],
    ids=["one-class", "many-classes", "regression", "two-targets"],
)
def test_classification_of_all_kinds(labels, classes, loss):
    kind = {} if loss else {"problem_type": "regression"}
    model = build(GenomicForSequenceClassification, num_labels=classes, **kind)
    out = model(tokens(), labels=labels)
    assert out.logits.shape == (2, classes)
    torch.testing.assert_close(out.loss, (loss or F.mse_loss)(out.logits, labels))


@pytest.mark.parametrize("pooling", ["first", "last", "mean", "max", "attention"])
@pytest.mark.parametrize("strands", ["single", "shared"])
def test_classification_does_not_see_padding_nor_the_strand(pooling, strands):
    model = build(GenomicForSequenceClassification, pooling=pooling, strands=strands, complement=COMPLEMENT)
    ids, mask = left_padded(tokens(), [11, 6])
    scores = model(ids, mask).logits
    torch.testing.assert_close(scores[1:], model(ids[1:, 5:]).logits, rtol=0, atol=1e-5)
    reverse = model(torch.tensor(COMPLEMENT)[ids].flip(1), mask.flip(1)).logits
    assert torch.allclose(scores, reverse, atol=1e-5) == (strands == "shared")


# ---- Both strands ----


@pytest.mark.parametrize("exchange", [False, True])
def test_shared_strands(exchange):
    """Features turn with the sequence, over length and channels; a model that reads one strand does not do that."""
    fields = dict(strands="shared", complement=COMPLEMENT, exchange_strands=exchange)
    model, complement = build(GenomicForMaskedLM, **fields), torch.tensor(COMPLEMENT)
    ids = tokens()
    back = complement[ids].flip(1)
    h, h_rc = model.body(ids).last_hidden_state, model.body(back).last_hidden_state
    assert h.shape == (2, 11, 2 * D)
    torch.testing.assert_close(h_rc, h.flip((1, 2)), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        model(back).logits.flip(1)[..., complement], model(ids).logits, rtol=0, atol=1e-5
    )
    plain = build(GenomicForMaskedLM)
    plain.load_state_dict(model.state_dict())
    once = plain.body(ids).last_hidden_state
    assert (
        torch.allclose(h[..., :D], once, atol=1e-5) != exchange
    )  # the first half is the plain body's, unexchanged


def test_exchanging_strands_by_hand():
    """Before each block a strand's features become the other's, turned over length and channels."""
    model = build(GenomicModel, strands="shared", complement=COMPLEMENT, exchange_strands=True)
    ids = tokens()
    forward = model.embeddings(ids)
    reverse = model.embeddings(torch.tensor(COMPLEMENT)[ids].flip(1))
    for layer in model.layers:
        forward, reverse = layer(reverse.flip((1, 2))), layer(forward.flip((1, 2)))
    expected = torch.cat([model.norm(forward), model.norm(reverse).flip((1, 2))], -1)
    torch.testing.assert_close(model(ids).last_hidden_state, expected)


def test_shared_is_the_model_run_twice_and_averaged_is_its_half():
    plain, complement = build(GenomicForMaskedLM), torch.tensor(COMPLEMENT)
    ids = tokens()
    twice = plain(ids).logits + plain(complement[ids].flip(1)).logits.flip(1)[..., complement]
    for strands, factor in (("shared", 1), ("averaged", 2)):
        model = build(GenomicForMaskedLM, strands=strands, complement=COMPLEMENT)
        model.load_state_dict(plain.state_dict())
        torch.testing.assert_close(model(ids).logits * factor, twice, rtol=0, atol=1e-5)


def test_strands_need_tokens():
    model = build(GenomicModel, strands="shared", complement=COMPLEMENT)
    with pytest.raises(ValueError, match="needs input_ids"):
        model(inputs_embeds=torch.zeros(1, 3, D))


# ---- Generation (each mixer's state is tested in test_mixers.py) ----


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary", "alibi"])
@pytest.mark.parametrize(
    "search", [{}, {"num_beams": 3}, {"do_sample": True, "top_k": 4}], ids=["greedy", "beam", "sample"]
)
def test_generating_with_a_state_behind_padding(positions, search):
    model = build(GenomicForCausalLM, causal=True, positions=positions, kmer_sum=2)
    ids, mask = left_padded(tokens(length=7), [7, 3])
    # No pair of tokens twice: random weights say one token again and again, which would hide mistakes.
    how = {
        "max_new_tokens": 10,
        "do_sample": False,
        "no_repeat_ngram_size": 2,
        "suppress_tokens": [0],
        **search,
    }
    how |= {"return_dict_in_generate": True, "output_logits": True, "pad_token_id": 0}
    runs = []
    for row_mask, row_ids, use_cache in ((mask, ids, True), (mask, ids, False), (None, ids[1:, 4:], True)):
        torch.manual_seed(0)
        runs.append(model.generate(row_ids, attention_mask=row_mask, use_cache=use_cache, **how))
    kept, recomputed, alone = runs
    assert kept.sequences.shape == (2, 17) and torch.equal(kept.sequences, recomputed.sequences)
    torch.testing.assert_close(torch.stack(kept.logits), torch.stack(recomputed.logits), rtol=0, atol=1e-5)
    assert len(kept.sequences[:, 7:].unique()) > 2
    if "do_sample" not in search:  # random numbers depend on the number of rows
        assert torch.equal(kept.sequences[1:, 4:], alone.sequences)


def test_a_state_continues_where_it_ended():
    model = build(GenomicForCausalLM, causal=True)
    ids, mask = left_padded(tokens(), [11, 8])
    whole = model(ids, mask)
    assert whole.past_key_values is None
    first = model(ids[:, :6], mask[:, :6], use_cache=True)
    state = first.past_key_values
    assert state.get_seq_length() == 6 and state.tokens.tolist() == [6, 3]
    second = model(ids[:, 6:8], mask[:, :8], past_key_values=state)  # a mask of all columns
    third = model(ids[:, 8:], mask[:, 8:], past_key_values=state)  # or of the new ones
    logits = torch.cat([first.logits, second.logits, third.logits], 1)
    torch.testing.assert_close(logits[mask > 0], whole.logits[mask > 0], rtol=0, atol=1e-5)
    assert state.get_seq_length() == 11


def test_only_the_last_logits():
    model = build(GenomicForCausalLM, causal=True)
    torch.testing.assert_close(model(tokens(), logits_to_keep=2).logits, model(tokens()).logits[:, -2:])


def test_a_body_that_sees_the_future_keeps_no_state():
    model = build(GenomicModel)
    assert model(tokens(), use_cache=True).past_key_values is None
    with pytest.raises(ValueError, match="causal=True"):
        model(tokens(), past_key_values=gfm_lab.model.GenomicState(2))


# ---- Training and adapters ----


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing. is deprecated")  # the new name is too new
def test_trainer_trains_and_saves(tmp_path):
    """transformers' Trainer, with accumulation and checkpointing; the saved model is the trained one."""
    rows = [{"input_ids": row, "labels": row} for row in tokens(8, 9)]
    model = build(GenomicForCausalLM, causal=True, dropout=0.1)
    before = model(tokens(8, 9), labels=tokens(8, 9)).loss.item()
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=12, per_device_train_batch_size=4, gradient_accumulation_steps=2,
        learning_rate=1e-2, report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True,
        gradient_checkpointing=True, logging_strategy="no",
    )  # fmt: skip
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=rows)
    trainer.train()
    trainer.save_model(tmp_path)
    again = GenomicForCausalLM.from_pretrained(tmp_path).eval()
    after = again(tokens(8, 9), labels=tokens(8, 9)).loss.item()
    assert after < 0.8 * before
    assert torch.equal(again(tokens()).logits, model.eval()(tokens()).logits)


def test_trainer_averages_a_classifier_s_small_batches(tmp_path):
    """Two batches of 4 accumulated move the weights as one of 8 does."""
    rows = [{"input_ids": row, "labels": i % 2} for i, row in enumerate(tokens(8, 9))]
    moved = []
    for size, accumulate in ((8, 1), (4, 2)):
        torch.manual_seed(0)
        model = build(GenomicForSequenceClassification, num_labels=2)
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path), max_steps=3, per_device_train_batch_size=size, optim="sgd", learning_rate=0.5,
            gradient_accumulation_steps=accumulate, report_to=[], use_cpu=True, save_strategy="no",
            disable_tqdm=True, logging_strategy="no", train_sampling_strategy="sequential",
        )  # fmt: skip
        transformers.Trainer(model=model, args=arguments, train_dataset=rows).train()
        moved.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*moved, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("model", "task", "fields"),
    [
        (GenomicForSequenceClassification, "SEQ_CLS", {}),
        (GenomicForCausalLM, "CAUSAL_LM", {"causal": True}),
        (GenomicForMaskedLM, None, {}),
    ],
    ids=["classification", "causal", "masked"],
)
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing. is deprecated")  # said by PEFT's own call
def test_lora_attaches(model, task, fields, tmp_path):
    made = build(model, **fields)
    ids, mask = left_padded(tokens(), [11, 6])
    before = made(ids, mask).logits
    wrapped = get_peft_model(made, LoraConfig(task_type=task, r=2, target_modules=["qkv", "up"])).eval()
    torch.testing.assert_close(
        wrapped(input_ids=ids, attention_mask=mask).logits, before
    )  # it starts at zero
    trained = {name for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    assert trained and all("lora_" in name or "modules_to_save" in name for name in trained)
    labels = torch.tensor([0, 1]) if task == "SEQ_CLS" else ids.masked_fill(mask == 0, -100)
    optimizer = torch.optim.SGD([p for p in wrapped.parameters() if p.requires_grad], lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        wrapped(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
    after = wrapped(input_ids=ids, attention_mask=mask).logits
    assert not torch.allclose(after, before, atol=1e-3)
    wrapped.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(build(model, **fields), tmp_path).eval()
    torch.testing.assert_close(again(input_ids=ids, attention_mask=mask).logits, after)
    torch.testing.assert_close(wrapped.merge_and_unload()(ids, mask).logits, after, rtol=0, atol=1e-5)
    if task == "CAUSAL_LM":
        assert again.generate(input_ids=ids, attention_mask=mask, max_new_tokens=3, pad_token_id=0).shape == (
            2,
            14,
        )


# ---- Bad input ----


@pytest.mark.parametrize("positions", ["none", "learned", "sinusoidal", "rotary", "alibi"])
def test_a_sequence_longer_than_the_positions(positions):
    model = build(GenomicModel, positions=positions)
    model(tokens(1, 32))
    if positions in ("learned", "sinusoidal"):
        with pytest.raises(ValueError, match="33 tokens is longer than the 32"):
            model(tokens(1, 33))
        # Padding is no token: it may go beyond.
        ids, mask = left_padded(tokens(1, 40), [32])
        assert torch.isfinite(model(ids, mask).last_hidden_state).all()
        causal = build(GenomicForCausalLM, positions=positions, causal=True)
        with pytest.raises(ValueError, match="33 tokens is longer than the 32"):
            causal.generate(tokens(1, 30), max_new_tokens=4, pad_token_id=0)


@pytest.mark.parametrize("model", MODELS)
def test_a_row_of_padding_alone_is_finite(model):
    made = build(model, causal=model is GenomicForCausalLM).train()
    ids, mask = left_padded(tokens(), [11, 0])
    out = made(ids, mask)[0]
    assert torch.isfinite(out).all()
    out.square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.grad is not None)
    torch.testing.assert_close(made(ids, mask)[0][:1], made(ids[:1])[0])
    if model is GenomicForSequenceClassification:  # zeros are pooled: the score is the bias
        torch.testing.assert_close(out[1], made.head.classifier.bias)


@pytest.mark.parametrize("model", MODELS)
def test_one_token_and_none(model):
    made = build(model, causal=model is GenomicForCausalLM)
    for rows, length in ((1, 1), (3, 1), (2, 0), (0, 4)):
        assert made(torch.full((rows, length), 5)).to_tuple()[0].shape[0] == rows


def test_masks_and_ids_that_do_not_fit():
    model = build(GenomicForMaskedLM)
    for mask in (torch.ones(2, 10), torch.ones(3, 11), torch.ones(2, 1, 11)):
        with pytest.raises(ValueError, match=r"a mask has shape .* the input \(2, 11\).*pad sequences"):
            model(tokens(), mask)
    for wrong in (V, -1):
        with pytest.raises(ValueError, match=rf"is {wrong}, outside 0 to 9"):
            model(torch.tensor([[5, wrong]]))
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        model()
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        model(tokens(), inputs_embeds=torch.zeros(2, 11, D))


def test_arguments_that_mean_something_are_not_swallowed():
    model = build(GenomicForMaskedLM)
    model(tokens(), token_type_ids=torch.zeros(2, 11, dtype=torch.long), output_attentions=None)
    with pytest.raises(TypeError, match="token_type_ids"):
        model(tokens(), token_type_ids=torch.ones(2, 11, dtype=torch.long))
    with pytest.raises(TypeError, match="output_attentions"):
        model(tokens(), output_attentions=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_a_cpu(dtype):
    """Defined: it computes in the half type and is near the float32 result; the loss is taken in float32."""
    for model, causal in ((GenomicForMaskedLM, False), (GenomicForCausalLM, True)):
        made = build(model, causal=causal, initializer_range=0.1)
        expected = made(tokens()).logits
        out = made.to(dtype)(tokens(), labels=tokens())
        assert out.logits.dtype == dtype and out.loss.dtype == torch.float32 and torch.isfinite(out.loss)
        assert (out.logits.float() - expected).abs().max() < 0.05 * expected.abs().max()


def test_tuples_if_asked():
    out = build(GenomicForMaskedLM)(tokens(), labels=tokens(), return_dict=False)
    assert isinstance(out, tuple) and len(out) == 2 and out[1].shape == (2, 11, V)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("hidden_size", "24", "whole number of at least 1"),
        ("hidden_size", 24.5, "whole number of at least 1"),
        ("num_hidden_layers", True, "whole number of at least 1"),
        ("norm_eps", -1.0, "above 0"),
        ("mixer_options", "heads", "give a dict"),
        ("num_attention_heads", 4, "mixer_options={'heads': 4}"),
        ("position_embedding_type", "rotary", "called positions"),
        ("something_else", 1, "the fields are vocab_size, hidden_size"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(field, value, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        GenomicConfig(**({"vocab_size": 16, "hidden_size": 24, "num_hidden_layers": 1} | {field: value}))


def test_the_callers_options_stay_the_callers():
    options = {"heads": 2}
    config = GenomicConfig(vocab_size=16, hidden_size=24, num_hidden_layers=1, mixer_options=options)
    config.mixer_options["heads"] = 3
    assert options == {"heads": 2}


def test_ids_outside_the_vocabulary_are_named_with_two_strands_too():
    config = GenomicConfig(vocab_size=16, hidden_size=24, num_hidden_layers=1, mixer_options={"heads": 2},
                           strands="shared", complement=list(range(16)))  # fmt: skip
    with pytest.raises(ValueError, match=r"input_ids\[0, 1\] is 99, outside 0 to 15"):
        GenomicForMaskedLM(config)(torch.tensor([[1, 99]]))
