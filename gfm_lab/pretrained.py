"""Published weights into this anatomy: for each family one table of names, and no code from a download.

    state = safetensors.torch.load_file("model.safetensors")
    config = json.load(open("config.json"))
    model = from_state_dict("bert", state, config)          # DNABERT; "esm": Nucleotide Transformer v1

A row of a table reads: published name -> our name. `#` stands for a layer's number, `*` for weight or bias. `q`, `k`,
`v` after our name: the published tensor is the first, second or third part of our fused one. `T`: it is stored
transposed. Every published tensor is used exactly once or named as left out; anything else is an error.

Read `from_state_dict` first, then any table beside the settings below it. Introduced in notebook 09.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gfm_lab.mixers.hyena import HyenaFilter
from gfm_lab.model import GenomicConfig, GenomicForCausalLM, GenomicForMaskedLM

__all__ = ["FAMILIES", "KeyMap", "from_state_dict"]


@dataclass(frozen=True)
class KeyMap:
    """A family: its table, what its files may hold beside, and how its config.json reads in our fields."""

    rows: dict[str, str]  # published name -> our name
    settings: Callable[[Mapping[str, Any]], dict[str, Any]]  # config.json -> GenomicConfig's fields
    left_out: dict[str, str]  # published name -> why it is not loaded
    model: type[GenomicForMaskedLM] | type[GenomicForCausalLM] = GenomicForMaskedLM
    prefix: str = ""  # which some files leave away

    def __len__(self) -> int:
        """Lines of the table."""
        return len(self.rows)


def from_state_dict(
    family: str, state_dict: Mapping[str, Tensor], config: Mapping[str, Any]
) -> GenomicForMaskedLM | GenomicForCausalLM:
    """A model of this package with published weights, in evaluation mode and float32.

    Args:
        family: a key of `FAMILIES`. "gpt2", "hyenadna" and "mamba" give a GenomicForCausalLM, the others a
            GenomicForMaskedLM.
        state_dict: the published tensors under their published names.
        config: the published config.json as a dict.

    Raises:
        ValueError: an unknown family, a config without a needed key or with a setting that this anatomy does not have,
            and tensors that are missing, unknown, misshapen or contradict each other; all of them are named.

    Introduced in notebook 09.
    """
    if family not in FAMILIES:
        near = difflib.get_close_matches(str(family), FAMILIES, 1, 0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown family {family!r}: choose one of {', '.join(FAMILIES)}{hint}")
    keys = FAMILIES[family]
    model = keys.model(GenomicConfig(**keys.settings(_Published(config))))
    if keys.prefix and not any(name.startswith(keys.prefix) for name in state_dict):
        state_dict = {n if n.startswith("lm_head.") else keys.prefix + n: t for n, t in state_dict.items()}

    ours, wanted = model.state_dict(), _wanted(keys, model)
    known = {name for parts in wanted.values() for names in parts.values() for name in names}
    problems = [
        f"unknown: {name} {tuple(tensor.shape)}"
        for name, tensor in state_dict.items()
        if name not in known and not _left_out(name, tensor, keys, model.config)
    ]
    copies: list[tuple[Tensor, Tensor]] = []
    for target, parts in wanted.items():
        rows = ours[target].shape[0] // len(parts)
        for op, names in parts.items():
            present = [name for name in names if name in state_dict]
            if not present:
                problems.append(f"missing: {' or '.join(names)}")
                continue
            part = ours[target].narrow(0, rows * "qkv".index(op) if len(parts) == 3 else 0, rows)
            tensor, expected = state_dict[present[0]], tuple(part.shape)
            if op == "T":
                expected = expected[::-1]
                tensor = tensor.t() if tensor.ndim == 2 else tensor
            copies.append((part, tensor))
            for name in present:
                if state_dict[name].shape != expected:
                    problems.append(
                        f"misshapen: {name} is {tuple(state_dict[name].shape)}, the config asks for {expected}"
                    )
                elif not torch.equal(state_dict[name], state_dict[present[0]]):
                    problems.append(f"different: {present[0]} and {name}, of which the model has one")
    if problems:
        raise ValueError(f"these weights do not fit family {family!r}:\n  " + "\n  ".join(problems))
    with torch.no_grad():
        for part, tensor in copies:  # views of the model's own tensors
            part.copy_(tensor)
    return model.eval()


def _wanted(keys: KeyMap, model: GenomicForMaskedLM | GenomicForCausalLM) -> dict[str, dict[str, list[str]]]:
    """The table written out for this model: our name -> part ("" for a whole) -> the published names for it.

    Two names for one part are the same tensor stored twice, as tied weights are in many files.
    """
    ours, tied = model.state_dict(), model.all_tied_weights_keys
    wanted: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for published, target in keys.rows.items():
        target, _, op = target.partition(" ")
        for layer in range(model.config.num_hidden_layers if "#" in target else 1):
            for kind in ("weight", "bias") if "*" in target else ("",):
                name, our = (n.replace("#", str(layer)).replace("*", kind) for n in (published, target))
                if our in ours:  # a table serves variants: not all have all biases, norms and position tables
                    wanted[tied.get(our, our)][op].append(name)
    unfilled = ours.keys() - wanted.keys() - tied.keys()
    assert not unfilled, f"the table has no row for {sorted(unfilled)}"
    return wanted


def _left_out(name: str, tensor: Tensor, keys: KeyMap, config: GenomicConfig) -> bool:
    """Whether the table names this tensor as not loaded; what follows from the config is checked against it."""
    for pattern in keys.left_out:
        if re.fullmatch(re.escape(pattern).replace(r"\#", r"\d+").replace(r"\*", "(weight|bias)"), name):
            if name.endswith("inv_freq"):
                width = config.hidden_size // config.mixer_options["heads"]
                base = config.mixer_options.get("rotary_base", 10000.0)
                expected = base ** -(torch.arange(0, width, 2) / width)
                return tensor.shape == expected.shape and torch.allclose(tensor.float(), expected, rtol=1e-2)
            if name.endswith("complement_map"):
                return tensor.tolist() == config.complement
            if ".filter_fn." in name:
                return _follows_from(config, name.rpartition(".")[2], tensor)
            return True
    return False


def _follows_from(config: GenomicConfig, name: str, tensor: Tensor) -> bool:
    """Whether HyenaDNA's stored times t, features z and rates of the window are those that the config gives."""
    options = config.mixer_options
    written = HyenaFilter(config.hidden_size, options["max_length"], features=options["filter_features"])
    expected = dict(zip("tz", written.positions(options["max_length"]), strict=True)) | dict(
        deltas=written.rates()
    )
    same = tensor.shape[1:] == expected[name].shape or tensor.flatten().shape == expected[name].shape
    return same and torch.allclose(tensor.float().flatten(), expected[name].flatten(), atol=1e-2, rtol=1e-2)


class _Published(dict):
    """A config.json: a key that it lacks is an error that says so."""

    def __missing__(self, key: str) -> Any:
        raise ValueError(f"the config has no {key!r}: pass the published config.json as a dict")

    def only(self, **allowed: Any) -> None:
        """Refuse what this anatomy does not have; a key that is not there has the first value."""
        for key, values in allowed.items():
            if self.get(key, values[0]) not in values:
                choices = ", ".join(map(repr, values))
                raise ValueError(
                    f"the config has {key} = {self[key]!r}, which this anatomy cannot build: only {choices}"
                )


# ---- BERT: DNABERT-3 to DNABERT-6 (Devlin et al. 2019, doi:10.18653/v1/N19-1423; Ji et al. 2021,
#      doi:10.1093/bioinformatics/btab083) ----

BERT_ROWS = {
    "bert.embeddings.word_embeddings.weight": "body.embeddings.token.weight",
    "bert.embeddings.position_embeddings.weight": "body.embeddings.position.weight",
    "bert.embeddings.token_type_embeddings.weight": "body.embeddings.token_type.weight",
    "bert.embeddings.LayerNorm.*": "body.embeddings.norm.*",
    "bert.encoder.layer.#.attention.self.query.*": "body.layers.#.mixer.qkv.* q",
    "bert.encoder.layer.#.attention.self.key.*": "body.layers.#.mixer.qkv.* k",
    "bert.encoder.layer.#.attention.self.value.*": "body.layers.#.mixer.qkv.* v",
    "bert.encoder.layer.#.attention.output.dense.*": "body.layers.#.mixer.out.*",
    "bert.encoder.layer.#.attention.output.LayerNorm.*": "body.layers.#.norm1.*",
    "bert.encoder.layer.#.intermediate.dense.*": "body.layers.#.ffn.up.*",
    "bert.encoder.layer.#.output.dense.*": "body.layers.#.ffn.down.*",
    "bert.encoder.layer.#.output.LayerNorm.*": "body.layers.#.norm2.*",
    "cls.predictions.transform.dense.*": "head.transform.0.*",
    "cls.predictions.transform.LayerNorm.*": "head.transform.2.*",
    "cls.predictions.decoder.*": "head.decoder.*",
    "cls.predictions.bias": "head.decoder.bias",
}
BERT_LEFT_OUT = {
    "bert.embeddings.position_ids": "0, 1, 2, ...",
    "bert.embeddings.token_type_ids": "zeros",
    "bert.pooler.dense.*": "serves next-sentence prediction, not the language model",
    "cls.seq_relationship.*": "next-sentence prediction",
}


def _bert(c: _Published) -> dict[str, Any]:
    c.only(hidden_act=("gelu",), position_embedding_type=("absolute", None), is_decoder=(False, None))
    return dict(
        **_sizes(c),
        positions="learned",
        pad_token_id=c.get("pad_token_id", 0),
        max_position_embeddings=c["max_position_embeddings"],
        token_types=c.get("type_vocab_size", 2),
        embedding_norm=True,
        norm_first=False,
        final_norm=False,
        mixer_options=_heads(c),
    )


def _sizes(c: _Published) -> dict[str, Any]:
    """What BERT, ESM, Longformer and DNABERT-2 call alike."""
    return dict(
        vocab_size=c["vocab_size"],
        hidden_size=c["hidden_size"],
        num_hidden_layers=c["num_hidden_layers"],
        intermediate_size=c["intermediate_size"],
        mask_token_id=c.get("mask_token_id"),
        norm_eps=c.get("layer_norm_eps", 1e-12),
        dropout=c.get("hidden_dropout_prob", 0.1),
        ffn="gelu",
        lm_transform="bert",
        lm_bias=True,
        tie_word_embeddings=c.get("tie_word_embeddings", True),
    )


def _heads(c: _Published) -> dict[str, Any]:
    return dict(heads=c["num_attention_heads"], dropout=c.get("attention_probs_dropout_prob", 0.1))


# ---- ESM: Nucleotide Transformer v1 (Lin et al. 2023, doi:10.1126/science.ade2574; Dalla-Torre et al. 2025,
#      doi:10.1038/s41592-024-02523-z). Version 2 has the same names. ----

ESM_ROWS = {
    "esm.embeddings.word_embeddings.weight": "body.embeddings.token.weight",
    "esm.embeddings.position_embeddings.weight": "body.embeddings.position.weight",
    "esm.embeddings.layer_norm.*": "body.embeddings.norm.*",
    "esm.encoder.layer.#.attention.LayerNorm.*": "body.layers.#.norm1.*",
    "esm.encoder.layer.#.attention.self.query.*": "body.layers.#.mixer.qkv.* q",
    "esm.encoder.layer.#.attention.self.key.*": "body.layers.#.mixer.qkv.* k",
    "esm.encoder.layer.#.attention.self.value.*": "body.layers.#.mixer.qkv.* v",
    "esm.encoder.layer.#.attention.output.dense.*": "body.layers.#.mixer.out.*",
    "esm.encoder.layer.#.LayerNorm.*": "body.layers.#.norm2.*",
    "esm.encoder.layer.#.intermediate.dense.*": "body.layers.#.ffn.up.*",
    "esm.encoder.layer.#.output.dense.*": "body.layers.#.ffn.down.*",
    "esm.encoder.emb_layer_norm_after.*": "body.norm.*",
    "lm_head.dense.*": "head.transform.0.*",
    "lm_head.layer_norm.*": "head.transform.2.*",
    "lm_head.decoder.weight": "head.decoder.weight",
    "lm_head.bias": "head.decoder.bias",
}
ESM_LEFT_OUT = {
    "esm.embeddings.position_ids": "0, 1, 2, ...",
    "esm.embeddings.position_embeddings.weight": "not used with rotary positions",
    "esm.rotary_embeddings.inv_freq": "the frequencies of the rotary positions follow from the width and the base",
    "esm.encoder.layer.#.attention.self.rotary_embeddings.inv_freq": "the same, once a layer, in older files",
    "esm.contact_head.regression.*": "predicts contacts in proteins from attention maps",
    "esm.pooler.dense.*": "not part of the language model",
}


def _esm(c: _Published) -> dict[str, Any]:
    c.only(
        position_embedding_type=("absolute", "rotary"), is_decoder=(False, None), hidden_act=("gelu", None)
    )
    rotary = c.get("position_embedding_type") == "rotary"
    options = dict(rotary_base=c.get("rope_theta", 10000.0)) if rotary else {}
    return dict(
        **_sizes(c),
        positions="rotary" if rotary else "learned",
        pad_token_id=c["pad_token_id"],
        max_position_embeddings=c["max_position_embeddings"],
        position_offset=0 if rotary else c["pad_token_id"] + 1,
        embedding_norm=bool(c.get("emb_layer_norm_before")),
        token_dropout=bool(c.get("token_dropout")),
        mixer_options=dict(**_heads(c), **options),
    )


def _nucleotide_transformer_v2(c: _Published) -> dict[str, Any]:
    c.only(position_embedding_type=("rotary",))
    return _esm(c) | dict(ffn="swiglu", ffn_bias="both" if c.get("add_bias_fnn", True) else "none")


# ---- GPT-2 (Radford et al. 2019) ----

GPT2_ROWS = {
    "transformer.wte.weight": "body.embeddings.token.weight",
    "transformer.wpe.weight": "body.embeddings.position.weight",
    "transformer.h.#.ln_1.*": "body.layers.#.norm1.*",
    "transformer.h.#.attn.c_attn.*": "body.layers.#.mixer.qkv.* T",
    "transformer.h.#.attn.c_proj.*": "body.layers.#.mixer.out.* T",
    "transformer.h.#.ln_2.*": "body.layers.#.norm2.*",
    "transformer.h.#.mlp.c_fc.*": "body.layers.#.ffn.up.* T",
    "transformer.h.#.mlp.c_proj.*": "body.layers.#.ffn.down.* T",
    "transformer.ln_f.*": "body.norm.*",
    "lm_head.weight": "head.decoder.weight",
}
GPT2_LEFT_OUT = {
    "transformer.h.#.attn.bias": "the causal mask",
    "transformer.h.#.attn.masked_bias": "the number that the mask puts at hidden positions",
}
GPT2_FFN = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}


def _gpt2(c: _Published) -> dict[str, Any]:
    c.only(activation_function=tuple(GPT2_FFN), scale_attn_weights=(True,), add_cross_attention=(False,))
    c.only(scale_attn_by_inverse_layer_idx=(False,))
    return dict(
        vocab_size=c["vocab_size"],
        hidden_size=c["n_embd"],
        num_hidden_layers=c["n_layer"],
        intermediate_size=c.get("n_inner") or 4 * c["n_embd"],
        pad_token_id=c.get("pad_token_id"),
        mask_token_id=None,
        positions="learned",
        max_position_embeddings=c["n_positions"],
        causal=True,
        norm_eps=c.get("layer_norm_epsilon", 1e-5),
        ffn=GPT2_FFN[c.get("activation_function", "gelu_new")],
        tie_word_embeddings=c.get("tie_word_embeddings", True),
        dropout=c.get("resid_pdrop", 0.1),
        mixer_options=dict(heads=c["n_head"], dropout=c.get("attn_pdrop", 0.1)),
    )


# ---- Longformer (Beltagy et al. 2020, arXiv:2004.05150): BERT's names, more projections, RoBERTa's head ----

LONGFORMER_ROWS = {
    **{k.replace("bert.", "longformer.", 1): v for k, v in BERT_ROWS.items() if k.startswith("bert.")},
    "longformer.encoder.layer.#.attention.self.query_global.*": "body.layers.#.mixer.qkv_global.* q",
    "longformer.encoder.layer.#.attention.self.key_global.*": "body.layers.#.mixer.qkv_global.* k",
    "longformer.encoder.layer.#.attention.self.value_global.*": "body.layers.#.mixer.qkv_global.* v",
    "lm_head.dense.*": "head.transform.0.*",
    "lm_head.layer_norm.*": "head.transform.2.*",
    "lm_head.decoder.*": "head.decoder.*",
    "lm_head.bias": "head.decoder.bias",
}
LONGFORMER_LEFT_OUT = {
    "longformer.embeddings.position_ids": "0, 1, 2, ...",
    "longformer.pooler.dense.*": "not part of the language model",
}


def _longformer(c: _Published) -> dict[str, Any]:
    windows = c["attention_window"]
    both_sides = windows if isinstance(windows, list | tuple) else [windows] * c["num_hidden_layers"]
    if any(window % 2 for window in both_sides):
        raise ValueError(f"attention_window counts both sides and must be even, not {windows}")
    radius = [window // 2 for window in both_sides]
    return _bert(c) | dict(
        pad_token_id=c["pad_token_id"],
        position_offset=c["pad_token_id"] + 1,
        mixer="sliding_window",
        mixer_options=dict(**_heads(c), radius=radius, global_projections=True),
    )


# ---- DNABERT-2 (Zhou et al. 2024, arXiv:2306.15006): BERT with ALiBi, one fused projection and a gated FFN ----

DNABERT2_ROWS = {
    "bert.embeddings.word_embeddings.weight": "body.embeddings.token.weight",
    "bert.embeddings.token_type_embeddings.weight": "body.embeddings.token_type.weight",
    "bert.embeddings.LayerNorm.*": "body.embeddings.norm.*",
    "bert.encoder.layer.#.attention.self.Wqkv.*": "body.layers.#.mixer.qkv.*",
    "bert.encoder.layer.#.attention.output.dense.*": "body.layers.#.mixer.out.*",
    "bert.encoder.layer.#.attention.output.LayerNorm.*": "body.layers.#.norm1.*",
    "bert.encoder.layer.#.mlp.gated_layers.weight": "body.layers.#.ffn.up.weight",
    "bert.encoder.layer.#.mlp.wo.*": "body.layers.#.ffn.down.*",
    "bert.encoder.layer.#.mlp.layernorm.*": "body.layers.#.norm2.*",
    "cls.predictions.transform.dense.*": "head.transform.0.*",
    "cls.predictions.transform.LayerNorm.*": "head.transform.2.*",
    "cls.predictions.decoder.*": "head.decoder.*",
    "cls.predictions.bias": "head.decoder.bias",
}


def _dnabert2(c: _Published) -> dict[str, Any]:
    # ALiBi reaches any length; alibi_starting_size and max_position_embeddings are no limit.
    return _bert(c) | dict(positions="alibi", max_position_embeddings=None, ffn="geglu", ffn_bias="down")


# ---- HyenaDNA (Nguyen et al. 2023, arXiv:2306.15794). Its config.json is that of the "-hf" files. ----

HYENADNA_ROWS = {
    "hyena.backbone.embeddings.word_embeddings.weight": "body.embeddings.token.weight",
    "hyena.backbone.layers.#.norm1.*": "body.layers.#.norm1.*",
    "hyena.backbone.layers.#.mixer.in_proj.*": "body.layers.#.mixer.inputs.*",
    "hyena.backbone.layers.#.mixer.short_filter.*": "body.layers.#.mixer.short.*",
    "hyena.backbone.layers.#.mixer.filter_fn.implicit_filter.0.*": "body.layers.#.mixer.filter.layers.0.*",
    "hyena.backbone.layers.#.mixer.filter_fn.implicit_filter.2.*": "body.layers.#.mixer.filter.layers.1.*",
    "hyena.backbone.layers.#.mixer.filter_fn.implicit_filter.4.*": "body.layers.#.mixer.filter.layers.2.*",
    "hyena.backbone.layers.#.mixer.filter_fn.implicit_filter.6.*": "body.layers.#.mixer.filter.last.*",
    # One set of frequencies, stored under the name of each of the three sines that share it.
    "hyena.backbone.layers.#.mixer.filter_fn.implicit_filter.1.freq": "body.layers.#.mixer.filter.frequency",
    "hyena.backbone.layers.#.mixer.filter_fn.implicit_filter.3.freq": "body.layers.#.mixer.filter.frequency",
    "hyena.backbone.layers.#.mixer.filter_fn.implicit_filter.5.freq": "body.layers.#.mixer.filter.frequency",
    "hyena.backbone.layers.#.mixer.filter_fn.bias": "body.layers.#.mixer.skip",
    "hyena.backbone.layers.#.mixer.out_proj.*": "body.layers.#.mixer.out.*",
    "hyena.backbone.layers.#.norm2.*": "body.layers.#.norm2.*",
    "hyena.backbone.layers.#.mlp.fc1.*": "body.layers.#.ffn.up.*",
    "hyena.backbone.layers.#.mlp.fc2.*": "body.layers.#.ffn.down.*",
    "hyena.backbone.ln_f.*": "body.norm.*",
    "lm_head.weight": "head.decoder.weight",
}
HYENADNA_LEFT_OUT = {
    "hyena.backbone.layers.#.mixer.filter_fn.pos_emb.t": "the times follow from max_seq_len",
    "hyena.backbone.layers.#.mixer.filter_fn.pos_emb.z": "their cosines and sines follow from emb_dim",
    "hyena.backbone.layers.#.mixer.filter_fn.modulation.deltas": "the rates of the window follow from the width",
}


def _hyenadna(c: _Published) -> dict[str, Any]:
    c.only(short_filter_order=(3,), num_inner_mlps=(2,), use_bias=(True,), train_freq=(True, False))
    multiple = c.get("pad_vocab_size_multiple", 8)  # rows without a token fill the table up
    return dict(
        vocab_size=-(-c["vocab_size"] // multiple) * multiple,
        hidden_size=c["d_model"],
        num_hidden_layers=c["n_layer"],
        intermediate_size=c.get("d_inner") or 4 * c["d_model"],
        pad_token_id=c.get("pad_token_id", 4),
        mask_token_id=None,
        base_ids=[7, 8, 9, 10],
        positions="none",
        max_position_embeddings=c["max_seq_len"],
        causal=True,
        norm_eps=c.get("layer_norm_epsilon", 1e-5),
        ffn="gelu_tanh",
        tie_word_embeddings=c.get("tie_word_embeddings", True),
        dropout=c.get("resid_dropout", 0.0),
        mixer="hyena",
        mixer_options=dict(
            max_length=c["max_seq_len"],
            order=c.get("hyena_order", 2),
            filter_width=c.get("filter_order", 64),
            filter_features=c.get("emb_dim", 3),
            filter_frequency=float(c.get("activation_freq", 1)),
        ),
    )


# ---- Mamba (Gu and Dao 2023, arXiv:2312.00752), as transformers and the "-hf" files name it ----

MAMBA_ROWS = {
    "backbone.embeddings.weight": "body.embeddings.token.weight",
    "backbone.layers.#.norm.weight": "body.layers.#.norm1.weight",
    "backbone.layers.#.mixer.in_proj.weight": "body.layers.#.mixer.inputs.weight",
    "backbone.layers.#.mixer.conv1d.*": "body.layers.#.mixer.conv.*",
    "backbone.layers.#.mixer.x_proj.weight": "body.layers.#.mixer.select.weight",
    "backbone.layers.#.mixer.dt_proj.*": "body.layers.#.mixer.dt.*",
    "backbone.layers.#.mixer.A_log": "body.layers.#.mixer.A_log",
    "backbone.layers.#.mixer.D": "body.layers.#.mixer.D",
    "backbone.layers.#.mixer.out_proj.weight": "body.layers.#.mixer.out.weight",
    "backbone.norm_f.weight": "body.norm.weight",
    "lm_head.weight": "head.decoder.weight",
}


def _mamba(c: _Published) -> dict[str, Any]:
    c.only(use_bias=(False,), use_conv_bias=(True,), hidden_act=("silu",))
    expand = c.get("expand", 2)
    c.only(intermediate_size=(int(expand * c["hidden_size"]),))
    rank = c.get("time_step_rank", "auto")
    return dict(
        vocab_size=c["vocab_size"],
        hidden_size=c["hidden_size"],
        num_hidden_layers=c["num_hidden_layers"],
        pad_token_id=c.get("pad_token_id"),
        mask_token_id=None,
        positions="none",
        max_position_embeddings=None,
        causal=True,
        norm="rms",
        norm_eps=c.get("layer_norm_epsilon", 1e-5),
        ffn="none",
        tie_word_embeddings=c.get("tie_word_embeddings", True),
        mixer="mamba",
        mixer_options=dict(
            state_size=c["state_size"],
            conv_kernel=c.get("conv_kernel", 4),
            expand=expand,
            dt_rank=None if rank == "auto" else rank,
        ),
    )


# ---- Caduceus (Schiff et al. 2024, arXiv:2403.03234): two Mambas a layer; in PS, both strands with shared weights ----

_CADUCEUS_LAYER = {
    "norm.*": "norm1.*",
    "mixer.mamba_fwd.in_proj.weight": "mixer.ahead.inputs.weight",
    "mixer.mamba_fwd.out_proj.weight": "mixer.ahead.out.weight",
    # One projection for both directions; most files store it once, some under each name.
    "mixer.mamba_rev.in_proj.weight": "mixer.ahead.inputs.weight",
    "mixer.mamba_rev.out_proj.weight": "mixer.ahead.out.weight",
    **{
        f"mixer.mamba_{theirs}.{published}": f"mixer.{ours}.{target}"
        for theirs, ours in (("fwd", "ahead"), ("rev", "back"))
        for published, target in {
            "conv1d.*": "conv.*",
            "x_proj.weight": "select.weight",
            "dt_proj.*": "dt.*",
            "A_log": "A_log",
            "D": "D",
        }.items()
    },
}
CADUCEUS_ROWS = {
    "caduceus.backbone.embeddings.word_embeddings.weight": "body.embeddings.token.weight",
    "caduceus.backbone.norm_f.*": "body.norm.*",
    "lm_head.weight": "head.decoder.weight",
    # PS wraps what both strands share; which norms are wrapped depends on fused_add_norm.
    "caduceus.backbone.embeddings.word_embeddings.embedding.weight": "body.embeddings.token.weight",
    "caduceus.backbone.norm_f.submodule.*": "body.norm.*",
    "lm_head.lm_head.weight": "head.decoder.weight",
    **{
        f"caduceus.backbone.layers.#.{name}": f"body.layers.#.{target}"
        for published, target in _CADUCEUS_LAYER.items()
        for name in (published, re.sub(r"^(norm|mixer)\.", r"\1.submodule.", published))
    },
}
CADUCEUS_LEFT_OUT = {
    "caduceus.backbone.embeddings.word_embeddings.complement_map": "the complement of each token, as in the config",
    "lm_head.complement_map": "the same",
}
CADUCEUS_COMPLEMENT = {7: 10, 8: 9, 9: 8, 10: 7}  # ids of A, C, G, T in the published tokenizer


def _caduceus(c: _Published) -> dict[str, Any]:
    c.only(bidirectional=(True,), bidirectional_strategy=("add", None), bidirectional_weight_tie=(True,))
    ssm = _Published({**c, **(c.get("ssm_cfg") or {})})
    ssm.only(bias=(False,), conv_bias=(True,))
    multiple = c.get("pad_vocab_size_multiple", 8)
    size = -(-c["vocab_size"] // multiple) * multiple  # rows without a token fill the table up
    usual = size == 16  # 12 tokens; PlantCaduceus has others and says which are complements
    pairs = c.get("complement_map") or (CADUCEUS_COMPLEMENT if usual else {})
    pairs = {int(token): int(other) for token, other in pairs.items()}  # JSON's keys are texts
    both, rank = c["rcps"], ssm.get("dt_rank", "auto")
    return dict(
        vocab_size=size,
        hidden_size=c["d_model"],
        num_hidden_layers=c["n_layer"],
        pad_token_id=4 if usual else None,
        mask_token_id=3 if usual else None,
        positions="none",
        max_position_embeddings=None,
        mixer="mamba",
        mixer_options=dict(
            state_size=ssm.get("d_state", 16),
            conv_kernel=ssm.get("d_conv", 4),
            expand=ssm.get("expand", 2),
            dt_rank=None if rank == "auto" else rank,
        ),
        norm="rms" if c.get("rms_norm", True) else "layer",
        norm_eps=c.get("norm_epsilon", 1e-5),
        ffn="none",
        strands="shared" if both else "single",
        # Adding and normalising in one kernel, the released PS models give each strand's block the other strand's half.
        exchange_strands=both and c.get("fused_add_norm", True),
        complement=[pairs.get(i, i) for i in range(size)] if pairs else None,
    )


FAMILIES: dict[str, KeyMap] = {
    "bert": KeyMap(BERT_ROWS, _bert, BERT_LEFT_OUT),
    "esm": KeyMap(ESM_ROWS, _esm, ESM_LEFT_OUT),
    "gpt2": KeyMap(GPT2_ROWS, _gpt2, GPT2_LEFT_OUT, GenomicForCausalLM, prefix="transformer."),
    "longformer": KeyMap(LONGFORMER_ROWS, _longformer, LONGFORMER_LEFT_OUT),
    "dnabert2": KeyMap(DNABERT2_ROWS, _dnabert2, BERT_LEFT_OUT),
    "nucleotide-transformer-v2": KeyMap(ESM_ROWS, _nucleotide_transformer_v2, ESM_LEFT_OUT),
    "hyenadna": KeyMap(HYENADNA_ROWS, _hyenadna, HYENADNA_LEFT_OUT, GenomicForCausalLM, prefix="hyena."),
    "mamba": KeyMap(MAMBA_ROWS, _mamba, {}, GenomicForCausalLM),
    "caduceus": KeyMap(CADUCEUS_ROWS, _caduceus, CADUCEUS_LEFT_OUT),
}
