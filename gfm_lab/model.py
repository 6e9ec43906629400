"""The body: where the sites of the anatomy meet. A configuration, one block, and three models on top of it.

    ids (B, L) -> embedding -> block x layers -> norm -> head -> answer
                                |
                                norm first:  x = x + mixer(norm1(x));   x = x + ffn(norm2(x))
                                norm last:   x = norm1(x + mixer(x));   x = norm2(x + ffn(x))

BERT, DNABERT, GPT, HyenaDNA and Caduceus are settings of `GenomicConfig`, not classes. What transformers does well
(saving, generation, training, LoRA) is left to it: the configuration and the models are registered with its Auto
classes when this module is imported. The mask is 0 at padding, 1 at a token, 2 at a token with global attention.

Read in this order: `GenomicConfig`, `Block`, `GenomicModel`, then the models. Introduced in notebook 03.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    MaskedLMOutput,
    SequenceClassifierOutput,
)
from transformers.utils import can_return_tuple

from gfm_lab.embeddings import Embedding
from gfm_lab.heads import ClassificationHead, LMHead, sequence_loss, token_loss
from gfm_lab.mixers import build_mixer

__all__ = [
    "GenomicConfig",
    "GenomicForCausalLM",
    "GenomicForMaskedLM",
    "GenomicForSequenceClassification",
    "GenomicModel",
    "GenomicState",
]

CONFIG_FORMAT = 1  # of the saved configuration; a larger number is a file from a newer gfm_lab
NORMS = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}
GELU_TANH = partial(F.gelu, approximate="tanh")
ACTIVATIONS = {"gelu": F.gelu, "gelu_tanh": GELU_TANH, "geglu": F.gelu, "swiglu": F.silu}
CHOICES = {
    "norm": tuple(NORMS),
    "ffn": ("none", *ACTIVATIONS),
    "ffn_bias": ("both", "down", "none"),
    "strands": ("single", "shared", "averaged"),
}
# What transformers may pass to a configuration, or keep in a saved one, beside its declared fields.
FROM_TRANSFORMERS = re.compile(
    "_.*|model_type|name_or_path|num_labels|torch_dtype|output_attentions|use_cache|per_layer_config|"
    "tie_last_hidden_states|(attn|experts)_implementation|(bos|eos|sep|cls)_token_id"
)


# Names that other configurations of transformers use for what is a mixer's option or another field here.
ELSEWHERE = {
    "num_attention_heads": "attention takes mixer_options={'heads': 4}",
    "num_heads": "attention takes mixer_options={'heads': 4}",
    "attention_window": "the window takes mixer_options={'heads': 4, 'radius': 64}, with mixer='sliding_window'",
    "position_embedding_type": "it is called positions: none, learned, sinusoidal, rotary or alibi",
    "hidden_act": "it is called ffn: none, gelu, gelu_tanh, geglu or swiglu",
    "layer_norm_eps": "it is called norm_eps",
    "hidden_dropout_prob": "it is called dropout",
    "is_decoder": "it is called causal",
}


class GenomicConfig(PreTrainedConfig):
    """The five choices as numbers and names: all that it takes to build a model, except its weights.

    Checked when it is made: a field that does not exist, a value that makes no sense or a combination that cannot
    work raises ValueError and says what would be right. Introduced in notebook 03.
    """

    model_type = "genomic"

    vocab_size: int = 4101
    hidden_size: int = 256
    num_hidden_layers: int = 4
    pad_token_id: int | None = 0
    mask_token_id: int | None = 4
    # Site 2, the embedding.
    positions: str = "learned"  # none, learned, sinusoidal, rotary, alibi
    max_position_embeddings: int | None = 512  # None: no limit (not with learned positions)
    position_offset: int = 0  # the first token's position: pad_token_id + 1 in ESM and Longformer
    token_types: int = 0  # rows of BERT's table of sentence types; row 0 is added everywhere
    embedding_norm: bool = False
    token_dropout: bool = False  # ESM's rescaling for masked tokens
    kmer_sum: int = 0  # each base enriched with the 1-mer .. k-mer that ends there
    base_ids: tuple[int, ...] | list[int] = (5, 6, 7, 8)  # of A, C, G, T: for kmer_sum
    kmer_flanks: bool = False  # kmer_sum beside each base, on both sides, not at it: for masked models
    # Site 3, the mixer, and the block around it.
    mixer: str = "attention"  # a name in gfm_lab.mixers
    mixer_options: dict[str, Any] | None = None  # its own arguments; a list gives one value for each layer
    causal: bool = False  # True: a token sees only what stands before it
    norm: str = "layer"  # layer, rms
    norm_eps: float = 1e-5
    norm_first: bool = True  # False: BERT's original order
    final_norm: bool = True
    ffn: str = "gelu"  # none, gelu, gelu_tanh, and gated: geglu, swiglu
    ffn_bias: str = "both"  # both, down, none
    intermediate_size: int | None = None  # None: 4 * hidden_size
    dropout: float = 0.0
    # Both strands: read once, or twice with the same weights.
    strands: str = "single"  # single, shared (Caduceus-PS), averaged (after training)
    exchange_strands: bool = False  # the released Caduceus: each block reads the other strand
    complement: list[int] | None = None  # token id -> id of its complement
    # Site 4, the head.
    lm_transform: str = "none"  # none, bert
    lm_bias: bool = False
    tie_word_embeddings: bool = True  # the LM head uses the embedding's table
    pooling: str = "mean"  # of the classifier: first, last, mean, max, attention
    initializer_range: float = 0.02
    config_format: int = CONFIG_FORMAT

    def __post_init__(self, **kwargs: Any) -> None:
        if self.config_format > CONFIG_FORMAT:
            raise ValueError(
                f"this configuration has format {self.config_format}, from a newer gfm_lab; the installed one reads "
                f"up to {CONFIG_FORMAT}: update gfm_lab"
            )
        ours = [*GenomicConfig.__annotations__]
        for name in kwargs:
            if not FROM_TRANSFORMERS.fullmatch(name):
                close = difflib.get_close_matches(name, ours, 1, 0.6)
                hint = f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(ours)}"
                raise ValueError(f"GenomicConfig has no field {name!r}: {ELSEWHERE.get(name, hint)}")
        self.base_ids = list(self.base_ids)
        if self.intermediate_size is None:
            self.intermediate_size = 4 * self.hidden_size
        if self.mixer_options is None:
            self.mixer_options = {"heads": 4} if self.mixer == "attention" else {}
        if not isinstance(self.mixer_options, dict):
            raise ValueError(
                f"mixer_options is {self.mixer_options!r}: give a dict of the mixer's arguments, such as "
                f"{{'heads': 4}}"
            )
        self.mixer_options = dict(self.mixer_options)  # not the caller's own
        self.check()
        super().__post_init__(**kwargs)

    def check(self) -> None:
        """Raise ValueError if this configuration cannot work."""
        for field, allowed in CHOICES.items():
            if getattr(self, field) not in allowed:
                raise ValueError(f"{field} is {getattr(self, field)!r}: choose one of {', '.join(allowed)}")
        for field in ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{field} is {value!r}: it must be a whole number of at least 1")
        if not self.norm_eps > 0:
            raise ValueError(f"norm_eps is {self.norm_eps}: it must be above 0, such as 1e-5")
        for field in ("pad_token_id", "mask_token_id"):
            if not 0 <= (getattr(self, field) or 0) < self.vocab_size:
                raise ValueError(
                    f"{field} is {getattr(self, field)}: it must lie below vocab_size {self.vocab_size}"
                )
        for name, value in self.mixer_options.items():
            if name in ("causal", "positions"):
                raise ValueError(f"{name} is a field of the configuration: take it out of mixer_options")
            if isinstance(value, list | tuple) and len(value) != self.num_hidden_layers:
                raise ValueError(
                    f"mixer_options[{name!r}] lists {len(value)} values for {self.num_hidden_layers} layers: give "
                    f"one for each, or one that is no list, for all"
                )
        if self.kmer_flanks and self.causal:
            raise ValueError(
                "kmer_flanks also reads the bases after each one, which a causal model has to predict: set "
                "kmer_flanks=False, or causal=False"
            )
        if self.strands == "single" and self.exchange_strands:
            raise ValueError("exchange_strands needs two strands: set strands='shared'")
        if self.strands != "single":
            if self.causal:
                raise ValueError(
                    f"strands={self.strands!r} also reads from the end, where a causal model would see what it has "
                    f"to predict: set causal=False, or strands='single'"
                )
            ids = range(self.vocab_size)
            there = self.complement or []
            if sorted(there) != [*ids] or any(there[there[i]] != i for i in ids):
                raise ValueError(
                    f"strands={self.strands!r} needs complement, a list of {self.vocab_size} ids: entry i is the "
                    f"complement of token i, special tokens are their own, and twice leads back"
                )
        with torch.device("meta"):  # the parts check the rest themselves: build one of each, without memory
            _embedding(self), _lm_head(self), ClassificationHead(self.hidden_size, 1, self.pooling)
            for layer in range(self.num_hidden_layers if _lists(self) else 1):
                Block(self, layer)


def _lists(config: GenomicConfig) -> list[str]:
    """The options of the mixer that have a value for each layer."""
    return [name for name, value in config.mixer_options.items() if isinstance(value, list | tuple)]


def _embedding(config: GenomicConfig) -> Embedding:
    return Embedding(**{name: getattr(config, name) for name in inspect.signature(Embedding).parameters})


def _mixer(config: GenomicConfig, layer: int) -> nn.Module:
    options = dict(config.mixer_options, causal=config.causal)
    options.update({name: options[name][layer] for name in _lists(config)})
    if config.positions in ("rotary", "alibi"):  # the two that act inside attention
        options["positions"] = config.positions
    return build_mixer(config.mixer, config.hidden_size, **options)


def _norm(config: GenomicConfig) -> nn.Module:
    return NORMS[config.norm](config.hidden_size, eps=config.norm_eps)


def _lm_head(config: GenomicConfig) -> LMHead:
    return LMHead(config.hidden_size, config.vocab_size, config.lm_transform, config.lm_bias, config.norm_eps)


@lru_cache(maxsize=1)
def _fast_feedforward() -> ModuleType | None:
    """feedforward_fast.py, if numba is there; it takes a second to import, so it waits for the first training step."""
    try:
        return importlib.import_module(".feedforward_fast", __package__)
    except Exception:  # no numba, or one that does not fit numpy
        return None


class FeedForward(nn.Module):
    """What a block does to each token by itself: (B, L, D) -> (B, L, inner) -> (B, L, D).

    Gated forms make two vectors at once; the first, through the activation, weighs the second (Shazeer 2020,
    arXiv:2002.05202). Introduced in notebook 03.
    """

    def __init__(self, dim: int, inner: int, kind: str = "gelu", bias: str = "both") -> None:
        super().__init__()
        self.gated = kind in ("geglu", "swiglu")
        self.activation = ACTIVATIONS[kind]
        self.up = nn.Linear(dim, inner * (2 if self.gated else 1), bias=bias == "both")
        self.down = nn.Linear(inner, dim, bias=bias != "none")

    def forward(self, x: Tensor) -> Tensor:
        if not self.gated:
            fast = _fast_feedforward() if self._plain(x) else None
            if fast is not None and self.up.out_features % fast.LANES == 0:
                return fast.FeedForward.apply(
                    x, self.up.weight, self.up.bias, self.down.weight, self.down.bias
                )
            return self.down(self.activation(self.up(x)))
        weight, value = self.up(x).chunk(2, dim=-1)
        return self.down(self.activation(weight) * value)

    def _plain(self, x: Tensor) -> bool:
        """Whether this is training in float32 on one thread of a CPU, by two ordinary layers that nobody looks into or
        has replaced (as LoRA does). Elsewhere nothing is gained, and scores stay what torch computes."""
        layers = self.up, self.down
        return (
            torch.is_grad_enabled()
            and type(x) is Tensor  # and not torch's stand-in for one
            and x.device.type == "cpu"
            and x.numel() > 0
            and torch.get_num_threads() == 1
            and self.activation is F.gelu
            and all(type(m) is nn.Linear and m.bias is not None for m in layers)
            and all(p.dtype == torch.float32 for p in (x, layers[0].weight, layers[1].weight))
            and (x.requires_grad or any(p.requires_grad for m in layers for p in m.parameters()))
            and not any(m._forward_hooks or m._forward_pre_hooks for m in layers)
            and not any(m._backward_hooks or m._backward_pre_hooks for m in layers)
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
        )


class Block(GradientCheckpointingLayer):
    """One layer: the mixer lets tokens see each other, the feed-forward part works on each alone; both add to x.

    x (B, L, D), mask (B, L), state: this layer's dict while generating, else None. Introduced in notebook 03.
    """

    def __init__(self, config: GenomicConfig, layer: int) -> None:
        super().__init__()
        self.norm_first = config.norm_first
        self.norm1 = _norm(config)
        self.mixer = _mixer(config, layer)
        self.ffn = None
        if config.ffn != "none":
            self.norm2 = _norm(config)
            self.ffn = FeedForward(config.hidden_size, config.intermediate_size, config.ffn, config.ffn_bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None, state: dict[str, Any] | None = None) -> Tensor:
        if self.norm_first:
            x = x + self.dropout(self.mixer(self.norm1(x), mask, state))
            return x if self.ffn is None else x + self.dropout(self.ffn(self.norm2(x)))
        x = self.norm1(x + self.dropout(self.mixer(x, mask, state)))
        return x if self.ffn is None else self.norm2(x + self.dropout(self.ffn(x)))


class GenomicState(list):
    """What generation keeps of the tokens already read: one dict a layer, which the mixer fills in place.

    `columns` counts what was read, padding too; `tokens`, a number or (B,), the tokens alone, so that the next one
    knows its position; `embedding` is the embedding's own dict. transformers calls the two methods.
    Introduced in notebook 10.
    """

    def __init__(self, layers: int) -> None:
        super().__init__({} for _ in range(layers))
        self.embedding: dict[str, Any] = {}
        self.columns = 0
        self.tokens: Tensor | int = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.columns

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row i continues what row beam_idx[i] was: beam search drops some beams and splits others."""
        for part in (self.__dict__, self.embedding, *self):
            for name, value in part.items():
                if isinstance(value, Tensor):
                    part[name] = value.index_select(0, beam_idx.to(value.device))


class GenomicPreTrainedModel(PreTrainedModel):
    """What transformers wants to know of every model here."""

    config_class = GenomicConfig
    base_model_prefix = "body"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["Block"]  # noqa: RUF012 (transformers' own convention)

    def _init_weights(self, module: nn.Module) -> None:
        """As transformers starts every module, and then as a mixer with a start of its own says (`initialize`)."""
        super()._init_weights(module)
        loaded = any(getattr(p, "_is_hf_initialized", False) for p in module.parameters())
        if hasattr(module, "initialize") and not loaded:
            module.initialize()

    def get_input_embeddings(self) -> nn.Module:
        return self.base_model.embeddings.token

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.base_model.embeddings.token = value

    def get_output_embeddings(self) -> nn.Module | None:
        return getattr(getattr(self, "head", None), "decoder", None)

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.head.decoder = value


class GenomicModel(GenomicPreTrainedModel):
    """The body: ids (B, L) -> one vector for each token (B, L, D), or (B, L, 2 D) when it reads both strands.

    With `strands` "shared" or "averaged" it runs twice, on the sequence and on its reverse complement, and gives
    concat(h, flip(h_rc)), the second half flipped over length and channels, so that position t of both halves is
    the same base pair (Schiff et al. 2024, Caduceus, arXiv:2403.03234).
    Introduced in notebook 03; strands in notebook 06.
    """

    def __init__(self, config: GenomicConfig) -> None:
        config.check()  # from_pretrained(..., field=value) changes a configuration after it was made
        super().__init__(config)
        self.embeddings = _embedding(config)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = _norm(config) if config.final_norm else nn.Identity()
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        global_attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: GenomicState | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        **others: Any,
    ) -> BaseModelOutputWithPast:
        """Args: ids or their vectors; masks (B, L), the second 1 at tokens with global attention; `past_key_values`:
        the state that the last call returned under this name (with it, give only the new tokens).

        Raises ValueError if the shapes disagree or the sequence is longer than the positions.
        """
        # transformers and PEFT pass what other models know, asking for nothing.
        for name, value in others.items():
            if bool(value.any()) if isinstance(value, Tensor) else value:
                raise TypeError(f"GenomicModel does not know {name}={value!r}")
        state, both = past_key_values, self.config.strands != "single"
        twice = self.training and any(layer.gradient_checkpointing for layer in self.layers)
        # Gradient checkpointing runs a layer twice, which would fill its state twice.
        if use_cache and state is None and self.config.causal and not twice:
            state = GenomicState(len(self.layers))
        given = input_ids if input_ids is not None else inputs_embeds
        mask = _mask(attention_mask, global_attention_mask, given, 0 if state is None else state.columns)
        if both:
            if input_ids is None:
                raise ValueError(f"strands={self.config.strands!r} complements tokens: it needs input_ids")
            self.embeddings.check_ids(input_ids)
            input_ids = torch.cat([input_ids, self.complement[input_ids].flip(1)])  # (2 B, L)
            mask = None if mask is None else torch.cat([mask, mask.flip(1)])

        offset, kept = (0, None) if state is None else (state.tokens, state.embedding)
        x = self.embeddings(input_ids, mask, inputs_embeds, offset, kept)
        hidden = []
        for i, layer in enumerate(self.layers):
            if output_hidden_states:
                hidden.append(self._join(x))
            if self.config.exchange_strands:
                x = torch.cat([*x.chunk(2)][::-1]).flip((1, 2))
            x = layer(x, mask, None if state is None else state[i])
        x = self._join(self.norm(x))
        if state is not None:
            state.columns += x.shape[1]
            state.tokens = state.tokens + (x.shape[1] if mask is None else (mask > 0).sum(1))
        return BaseModelOutputWithPast(
            last_hidden_state=x,
            past_key_values=state,
            hidden_states=(*hidden, x) if output_hidden_states else None,
        )

    @property
    def complement(self) -> Tensor:
        """Token id -> id of its complement, (V,)."""
        return torch.tensor(self.config.complement, device=self.device)

    def _join(self, x: Tensor) -> Tensor:
        """Two strands: (2 B, L, D) -> (B, L, 2 D), the reverse one flipped over length and channels."""
        if self.config.strands == "single":
            return x
        forward, reverse = x.chunk(2)
        return torch.cat([forward, reverse.flip((1, 2))], dim=-1)


class GenomicForMaskedLM(GenomicPreTrainedModel):
    """The body and an LM head over every position: which token stands under the mask? Labels are ids, -100 elsewhere.

    Returns logits (B, L, V) and, given labels, the mean cross-entropy in nats. Raises ValueError for a causal
    configuration and for labels outside the vocabulary. Introduced in notebook 09.
    """

    _tied_weights_keys = {"head.decoder.weight": "body.embeddings.token.weight"}  # noqa: RUF012
    accepts_loss_kwargs = True

    def __init__(self, config: GenomicConfig) -> None:
        if config.causal:
            raise ValueError(
                "masked language modelling fills gaps from both sides, but causal=True hides the right side: "
                "set causal=False, or build a GenomicForCausalLM"
            )
        super().__init__(config)
        self.body = GenomicModel(config)
        self.head = _lm_head(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **inputs: Any,
    ) -> MaskedLMOutput:
        """Args as in `GenomicModel.forward`; `labels` (B, L); how many labels all batches of this step have."""
        out = self.body(input_ids, attention_mask, return_dict=True, **inputs)
        logits = _lm_logits(self, out.last_hidden_state)
        loss = None if labels is None else token_loss(logits, labels, num_items_in_batch)
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=out.hidden_states)


class GenomicForCausalLM(GenomicPreTrainedModel, GenerationMixin):
    """The body and an LM head: which token comes next? `labels` are the input ids themselves, -100 at padding.

    The model shifts them, once: position t is scored against label t + 1. `generate` is transformers', with a
    `GenomicState` in place of its cache. Returns logits (B, L, V) and, given labels, the mean cross-entropy in nats.
    Raises ValueError for a configuration that is not causal and for labels outside the vocabulary.
    Introduced in notebook 10.
    """

    _tied_weights_keys = {"head.decoder.weight": "body.embeddings.token.weight"}  # noqa: RUF012
    _is_stateful = True
    accepts_loss_kwargs = True

    def __init__(self, config: GenomicConfig) -> None:
        if not config.causal:
            raise ValueError(
                "predicting the next token needs causal=True: a body that sees the whole sequence would copy it; "
                "set causal=True, or build a GenomicForMaskedLM"
            )
        super().__init__(config)
        self.body = GenomicModel(config)
        self.head = _lm_head(config)
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, past_key_values: GenomicState | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """What `generate` gives to `forward`: only the tokens that the state has not read."""
        seen = 0 if past_key_values is None else past_key_values.get_seq_length()
        kept = {name: kwargs.get(name) for name in ("attention_mask", "use_cache", "logits_to_keep")}
        return {"input_ids": input_ids[:, seen:], "past_key_values": past_key_values, **kept}

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        logits_to_keep: int | None = None,
        **inputs: Any,
    ) -> CausalLMOutputWithPast:
        """Args as in `GenomicForMaskedLM.forward`; `logits_to_keep`: only the last so many positions."""
        out = self.body(input_ids, attention_mask, return_dict=True, **inputs)
        logits = _lm_logits(self, out.last_hidden_state[:, -(logits_to_keep or 0) :])
        loss = None if labels is None else token_loss(logits[:, :-1], labels[:, 1:], num_items_in_batch)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=out.past_key_values, hidden_states=out.hidden_states
        )


class GenomicForSequenceClassification(GenomicPreTrainedModel):
    """The body, pooled, and one score a label: (B, num_labels). Labels as in transformers:

    one of several classes: whole numbers (B,); any number of classes: 0. and 1. (B, num_labels); regression: numbers
    (B,) or (B, num_labels). `problem_type` says which; by default num_labels = 1 means regression, whole numbers one
    of several. With two strands each is pooled in its own reading direction and the scores are averaged.

    Raises ValueError for labels out of range, and for pooling "first" on a causal body, where it has seen one token.
    Introduced in notebook 08.
    """

    accepts_loss_kwargs = False  # its loss is a plain mean: the Trainer averages over smaller batches itself

    def __init__(self, config: GenomicConfig) -> None:
        if config.causal and config.pooling == "first":
            raise ValueError(
                "pooling 'first' on a causal body reads a token that has seen nothing but itself: use 'last' "
                "(or mean, max, attention)"
            )
        super().__init__(config)
        self.body = GenomicModel(config)
        self.head = ClassificationHead(config.hidden_size, config.num_labels, config.pooling, config.dropout)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **inputs: Any,
    ) -> SequenceClassifierOutput:
        """Args as in `GenomicModel.forward`, and `labels` as the class says."""
        out = self.body(input_ids, attention_mask, return_dict=True, **inputs)
        x = out.last_hidden_state
        if self.config.strands == "single":
            logits = self.head(x, attention_mask)
        else:
            forward, reverse = x.chunk(2, dim=-1)
            turned = None if attention_mask is None else attention_mask.flip(1)
            logits = (self.head(forward, attention_mask) + self.head(reverse.flip((1, 2)), turned)) / 2
        loss = None if labels is None else sequence_loss(logits, labels, self.config.problem_type)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=out.hidden_states)


def _lm_logits(model: GenomicForMaskedLM | GenomicForCausalLM, x: Tensor) -> Tensor:
    """Scores (B, L, V). With two strands: those of the forward one and, its letters exchanged for their complements,
    those of the reverse one; summed as Caduceus does, or averaged."""
    if model.config.strands == "single":
        return model.head(x)
    forward, reverse = x.chunk(2, dim=-1)
    logits = model.head(forward) + model.head(reverse.flip(-1))[..., model.body.complement]
    return logits if model.config.strands == "shared" else logits / 2


def _mask(
    attention: Tensor | None, global_attention: Tensor | None, given: Tensor | None, seen: int
) -> Tensor | None:
    """0 at padding, 1 at tokens, 2 at global tokens, for the columns that are new; None if nothing was given."""
    if given is None or (attention is None and global_attention is None):
        return None
    rows, columns = given.shape[:2]
    for part in (attention, global_attention):
        fits = part is None or part.shape in ((rows, columns), (rows, seen + columns))
        if not fits:
            raise ValueError(
                f"a mask has shape {tuple(part.shape)}, the input {(rows, columns)}: they must agree; pad sequences "
                f"of different lengths to one, with 0 in the mask at padding"
            )
    mask = given.new_ones(rows, columns, dtype=torch.long)
    if attention is not None:
        mask = (attention[:, attention.shape[1] - columns :] != 0).long()
    if global_attention is not None:
        mask = mask * (1 + (global_attention[:, global_attention.shape[1] - columns :] != 0).long())
    return mask


# Registering twice (a module reloaded in a notebook) is harmless.
transformers.AutoConfig.register(GenomicConfig.model_type, GenomicConfig, exist_ok=True)
for _auto, _model in (
    (transformers.AutoModel, GenomicModel),
    (transformers.AutoModelForMaskedLM, GenomicForMaskedLM),
    (transformers.AutoModelForCausalLM, GenomicForCausalLM),
    (transformers.AutoModelForSequenceClassification, GenomicForSequenceClassification),
):
    _auto.register(GenomicConfig, _model, exist_ok=True)
