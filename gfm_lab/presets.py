"""Published models as presets: each is one choice at five sites, with the sizes its authors published.

    preset("dnabert-6")                        a GenomicConfig
    build("dnabert-6", device="meta")          body and head without memory: 89,196,549 parameters to count
    print(diff("dnabert-6", "dnabert-2"))      which of the five choices differ

A preset is an anatomy, not weights: `gfm_lab.pretrained` loads those. Sizes are those of the config.json that the
authors published with the weights. `Preset.parameters` is checked by a test against transformers' own model or, for the
families that transformers lacks, against a sum by hand and the size of the published file. Two rows are the
course's own and say so: nobody published `gpt-dna` and `longformer-dna`. Dropout inside attention or after the
embedding, 0.1 in some of these models, is left at 0: it has no part in the anatomy, and inside attention it would cost
torch's fused kernel.

Read `PRESETS` as a table: one row a model. Introduced in notebook 00.
"""

from __future__ import annotations

import copy
import difflib
from dataclasses import dataclass
from typing import Any

import torch

from gfm_lab.model import GenomicConfig, GenomicForCausalLM, GenomicForMaskedLM

__all__ = ["PRESETS", "Diff", "Preset", "build", "diff", "preset", "preset_names", "sources"]


@dataclass(frozen=True)
class Preset:
    """A model as a row of five choices, and where they were read. `config` holds fields of GenomicConfig."""

    tokenizer: str  # site 1: the call that makes it
    config: dict[str, Any]  # sites 2, 3, 4
    objective: str  # site 5
    source: str  # the paper, and where the sizes stand
    parameters: int  # tied weights once, no pooler, no buffers
    counted: str  # who counts the same, and the number its authors give


# ---- Bodies that several rows share ----

_BERT = dict(  # Devlin et al. 2019, the "base" size
    hidden_size=768, num_hidden_layers=12, intermediate_size=3072, pad_token_id=0, mask_token_id=4,
    positions="learned", max_position_embeddings=512, token_types=2, embedding_norm=True,
    mixer="attention", mixer_options={"heads": 12}, norm_first=False, final_norm=False, norm_eps=1e-12, ffn="gelu",
    lm_transform="bert", lm_bias=True, tie_word_embeddings=True, dropout=0.1,
)  # fmt: skip
_ESM = dict(  # Rives et al. 2021 (ESM-1b): norm first, no norm on the embedding, head not tied in these models
    pad_token_id=1, mask_token_id=2, mixer="attention", norm_first=True, final_norm=True,
    norm_eps=1e-12, lm_transform="bert", lm_bias=True, tie_word_embeddings=False, dropout=0.0,
)  # fmt: skip

_JI = "Ji et al. 2021, doi:10.1093/bioinformatics/btab083; sizes: dnabert-config in the authors' repository"
_ZHOU = "Zhou et al. 2024, doi:10.48550/arXiv.2306.15006; sizes: config.json published with the weights"
_NT = "Dalla-Torre et al. 2025, doi:10.1038/s41592-024-02523-z; sizes: config.json published with the weights"

_NGUYEN = "Nguyen et al. 2023, doi:10.48550/arXiv.2306.15794; sizes: config.json published with the weights"


def _dnabert(k: int, parameters: int) -> Preset:
    return Preset(
        tokenizer=f"KmerTokenizer.dnabert({k})",
        config=_BERT | dict(vocab_size=4**k + 5),
        objective=f"masked tokens, in runs of {k}, as neighbours share bases",
        source=_JI,
        parameters=parameters,
        counted="transformers' BertForMaskedLM, the same number",
    )


def _nucleotide_transformer_v1(
    width: int, layers: int, parameters: int, contact: int, published: str
) -> Preset:
    sizes = dict(vocab_size=4105, hidden_size=width, num_hidden_layers=layers, intermediate_size=4 * width)
    positions = dict(positions="learned", max_position_embeddings=1002, position_offset=2, token_dropout=True)
    return Preset(
        tokenizer="KmerTokenizer.nucleotide_transformer()",
        config=_ESM | sizes | positions | dict(mixer_options={"heads": 20}, ffn="gelu"),
        objective="masked tokens, 15 %",
        source=_NT,
        parameters=parameters,
        counted=f"transformers' EsmForMaskedLM, without the {contact} of its contact head; published: {published}",
    )


def _nucleotide_transformer_v2(width: int, layers: int, parameters: int, published: str) -> Preset:
    sizes = dict(vocab_size=4107, hidden_size=width, num_hidden_layers=layers, intermediate_size=4 * width)
    positions = dict(positions="rotary", max_position_embeddings=2050)
    return Preset(
        tokenizer="KmerTokenizer.nucleotide_transformer(version=2)",
        config=_ESM | sizes | positions | dict(mixer_options={"heads": 16}, ffn="swiglu", ffn_bias="none"),
        objective="masked tokens, 15 %",
        source=_NT,
        parameters=parameters,
        counted="a sum by hand; the published files also hold a contact head and a table of 2,050 learned positions "
        f"that the rotary model never reads, with which they count {published}",
    )


def _hyenadna(width: int, layers: int, length: int, parameters: int, published: str) -> Preset:
    return Preset(
        tokenizer="NucleotideTokenizer.hyenadna()",
        config=dict(
            vocab_size=16, hidden_size=width, num_hidden_layers=layers, intermediate_size=4 * width, pad_token_id=4,
            mask_token_id=3, base_ids=[7, 8, 9, 10], positions="none", max_position_embeddings=length, mixer="hyena",
            mixer_options={"max_length": length}, causal=True, ffn="gelu_tanh", dropout=0.0,
        ),
        objective="next token",
        source=_NGUYEN,
        parameters=parameters,
        counted=f"a sum by hand; {published}",
    )  # fmt: skip


def _caduceus(strands: dict[str, Any], objective: str) -> Preset:
    return Preset(
        tokenizer="NucleotideTokenizer.caduceus()",
        config=dict(
            vocab_size=16, hidden_size=256, num_hidden_layers=16, pad_token_id=4, mask_token_id=3, positions="none",
            max_position_embeddings=None,  # trained on 131,072; a recurrence has no limit of its own
            mixer="mamba", mixer_options={"state_size": 16, "conv_kernel": 4, "expand": 2}, norm="rms", norm_eps=1e-5,
            ffn="none", complement=[*range(7), 10, 9, 8, 7, *range(11, 16)], dropout=0.0,
        ) | strands,
        objective=objective,
        source="Schiff et al. 2024, doi:10.48550/arXiv.2403.03234; sizes: the authors' repository and the config.json "
        "published with the weights",
        parameters=7_725_312,
        counted="a sum by hand; published: a file of 30.9 MB (4 bytes each)",
    )  # fmt: skip


# ---- The table ----

PRESETS: dict[str, Preset] = {
    "dnabert-3": _dnabert(3, 86_095_941),
    "dnabert-4": _dnabert(4, 86_243_589),
    "dnabert-5": _dnabert(5, 86_834_181),
    "dnabert-6": _dnabert(6, 89_196_549),
    "dnabert-2": Preset(
        tokenizer='BPETokenizer.train(..., 4096, wrap="cls_sep")',  # ours; the published one has other ids
        config=_BERT
        | dict(vocab_size=4096, pad_token_id=3, positions="alibi", max_position_embeddings=None)
        | dict(ffn="geglu", ffn_bias="down"),
        objective="masked tokens, 15 %",
        source=_ZHOU + "; its own tokenizer, which has other ids than ours, puts [PAD] at 3",
        parameters=117_074_176,
        counted="a sum by hand; published: 117M, a file of 468 MB (4 bytes each)",
    ),
    "nucleotide-transformer-500m-human-ref": _nucleotide_transformer_v1(
        1280, 24, 485_698_825, 481, "500M, a file of 1.94 GB"
    ),
    "nucleotide-transformer-500m-1000g": _nucleotide_transformer_v1(1280, 24, 485_698_825, 481, "500M"),
    "nucleotide-transformer-2.5b-1000g": _nucleotide_transformer_v1(
        2560, 32, 2_547_800_585, 641, "2.5B, files of 9.91 GB and 278 MB"
    ),
    "nucleotide-transformer-2.5b-multi-species": _nucleotide_transformer_v1(
        2560, 32, 2_547_800_585, 641, "2.5B"
    ),
    "nucleotide-transformer-v2-50m": _nucleotide_transformer_v2(512, 12, 54_855_179, "55.9M"),
    "nucleotide-transformer-v2-100m": _nucleotide_transformer_v2(512, 22, 96_839_179, "97.9M"),
    "nucleotide-transformer-v2-500m": _nucleotide_transformer_v2(1024, 29, 496_245_771, "0.5B"),
    "hyenadna-tiny-1k": _hyenadna(
        128, 2, 1026, 436_096, "the published file of 1.81 MB (4 bytes each) also holds an untied head, and the "
        "positions and window of each layer"
    ),
    "hyenadna-tiny-16k": _hyenadna(
        128, 2, 16386, 436_096, "the same but for the length"
    ),
    "hyenadna-small-32k": _hyenadna(
        256, 4, 32770, 3_277_568, "its config.json has these sizes"
    ),
    "hyenadna-medium-160k": _hyenadna(
        256, 8, 160002, 6_550_528, "the published file of 57 MB (4 bytes each) also holds an untied head, and the "
        "positions and window of each layer"
    ),
    "hyenadna-medium-450k": _hyenadna(
        256, 8, 450002, 6_550_528, "the same but for the length"
    ),
    "hyenadna-large-1m": _hyenadna(
        256, 8, 1000002, 6_550_528, "the same but for the length"
    ),
    "caduceus-ps": _caduceus(
        dict(strands="shared", exchange_strands=True), "masked tokens, 15 %, both strands at once"
    ),
    "caduceus-ph": _caduceus(
        {}, "masked tokens, 15 %, either strand; averaged when used"
    ),
    "gpt-dna": Preset(
        tokenizer="NucleotideTokenizer()",
        config=dict(
            vocab_size=10, hidden_size=768, num_hidden_layers=12, intermediate_size=3072, pad_token_id=0,
            mask_token_id=4, positions="learned", max_position_embeddings=1024, mixer="attention",
            mixer_options={"heads": 12}, causal=True, norm_first=True, final_norm=True, norm_eps=1e-5,
            ffn="gelu_tanh", lm_transform="none", lm_bias=False, tie_word_embeddings=True, dropout=0.1,
        ),
        objective="next token",
        source="the course's own choice: GPT-2's smallest body (Radford et al. 2019), one token a base; not published",
        parameters=85_850_112,
        counted="transformers' GPT2LMHeadModel, the same number",
    ),
    "longformer-dna": Preset(
        tokenizer="KmerTokenizer.dnabert(6)",
        config=_BERT
        | dict(vocab_size=4101, positions="learned", max_position_embeddings=4098, position_offset=2, token_types=1)
        | dict(mixer="sliding_window", norm_eps=1e-5)
        | dict(mixer_options={"heads": 12, "radius": 256, "global_projections": True}),
        objective="masked tokens, in runs of 6, as neighbours share bases",
        source="the course's own choice: Longformer's base size (Beltagy et al. 2020, doi:10.48550/arXiv.2004.05150; "
        "attention_window 512, both sides) with DNABERT-6's vocabulary; not published",
        parameters=113_211_141,
        counted="transformers' LongformerForMaskedLM, the same number",
    ),
}  # fmt: skip

sources: dict[str, str] = {name: row.source for name, row in PRESETS.items()}
"""Where each preset's choices and sizes were read. Introduced in notebook 00."""


def preset_names() -> list[str]:
    """The names that `preset` knows, in the order of the table. Introduced in notebook 00."""
    return [*PRESETS]


def _row(name: str) -> Preset:
    if name not in PRESETS:
        close = difflib.get_close_matches(str(name).lower(), PRESETS, 1, 0.4)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"there is no preset {name!r}: {hint}The presets are {', '.join(PRESETS)}")
    return PRESETS[name]


def preset(name: str, **changes: Any) -> GenomicConfig:
    """The configuration of a published model; `changes` replace fields, for example num_hidden_layers=2.

    Raises:
        ValueError: an unknown name (the message lists the known ones and the nearest), or a change that
            GenomicConfig refuses.

    Introduced in notebook 00.
    """
    return GenomicConfig(**(copy.deepcopy(_row(name).config) | changes))  # a copy: the table stays as it is


def build(
    model: str | GenomicConfig, device: str | torch.device = "meta", **changes: Any
) -> GenomicForMaskedLM | GenomicForCausalLM:
    """A model of that anatomy: GenomicForCausalLM if it is causal, else GenomicForMaskedLM; in evaluation mode.

    On "meta" it has shapes but no numbers and takes no memory, which is enough to count or to `dissect`; on "cpu"
    its weights are random (2.5B of them take 10 GB). For published weights use `gfm_lab.pretrained`.

    Args:
        model: a preset's name, or a configuration.
        device: where.
        changes: fields to replace, as in `preset`; with a name only.

    Raises:
        ValueError: as `preset`, and for changes to a configuration, which is taken as it is.

    Introduced in notebook 00.
    """
    if changes and not isinstance(model, str):
        raise ValueError(f"make the configuration with {', '.join(changes)} changed: build takes it as it is")
    config = preset(model, **changes) if isinstance(model, str) else model
    with torch.device(device):
        return (GenomicForCausalLM if config.causal else GenomicForMaskedLM)(config).eval()


# ---- Which of the five choices differ? ----

# Every field of GenomicConfig, under the site where it is a choice, with a name for people.
FIELDS: dict[str, dict[str, str]] = {
    "1 tokenizer": dict(
        vocab_size="vocabulary", pad_token_id="id of padding", mask_token_id="id of the mask",
        base_ids="ids of A, C, G, T",
    ),
    "2 embedding": dict(
        hidden_size="width", positions="positions", max_position_embeddings="limit of positions",
        position_offset="first position", token_types="token types", embedding_norm="norm",
        token_dropout="token dropout", kmer_sum="k-mer sum", kmer_flanks="k-mers beside the base",
    ),
    "3 mixer": dict(
        mixer="mixer", mixer_options="options", causal="left to right only", num_hidden_layers="layers",
        ffn="feed-forward", intermediate_size="its width", ffn_bias="its biases", norm="norm", norm_eps="norm epsilon",
        norm_first="norm first", final_norm="final norm", dropout="dropout", initializer_range="initial spread",
        strands="strands", exchange_strands="exchange strands", complement="complement",
    ),
    "4 head": dict(
        lm_transform="transform", lm_bias="bias", tie_word_embeddings="tied to the embedding", pooling="pooling",
    ),
    "5 objective": {},
}  # fmt: skip


@dataclass(frozen=True)
class Diff:
    """What `diff` found: `rows` of (site, what, in the first, in the second); prints as a table."""

    first: str
    second: str
    rows: tuple[tuple[str, str, str, str], ...]

    @property
    def sites(self) -> list[str]:
        """The sites that differ, in order."""
        return list(dict.fromkeys(site for site, *_ in self.rows))

    def __str__(self) -> str:
        same = [site for site in FIELDS if site not in self.sites]
        table = [("", "", self.first, self.second), *self.rows]
        shown, last = [], ""
        for site, what, a, b in table:
            # One line where it fits; a long pair takes the second line for its second value.
            head = f"{'' if site == last else site:12} {what:22} "
            shown += [f"{head}{a:30} {b}"] if len(a) <= 30 and len(b) <= 34 else [head + a, f"{'':36}{b}"]
            last = site
        return "\n".join([*shown, f"the same: {', '.join(same) or 'nothing'}"])

    __repr__ = __str__


def _say(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, list | tuple) and len(value) > 8:
        return f"{len(value)} values"
    return f"{value:,}" if isinstance(value, int) else str(value)


def diff(a: str | GenomicConfig, b: str | GenomicConfig) -> Diff:
    """Which of the five choices differ between two models, site by site: `print(diff("dnabert-6", "dnabert-2"))`.

    Takes names or configurations. A configuration does not know its tokenizer's kind: then only what it says of the
    vocabulary is compared, and of the objective whether it looks both ways.

    Raises:
        ValueError: an unknown name.

    Introduced in notebook 00.
    """
    rows: list[tuple[str, str, str, str]] = []
    known = [_row(model) if isinstance(model, str) else None for model in (a, b)]
    configs = [preset(model) if isinstance(model, str) else model for model in (a, b)]
    both = all(known)

    def compare(site: str, what: str, values: list[Any]) -> None:
        if values[0] != values[1]:
            left, right = map(_say, values)
            rows.append((site, what, left, right))

    for site, fields in FIELDS.items():
        if site == "1 tokenizer" and both:
            compare(site, "made by", [row.tokenizer for row in known])
        for field, what in fields.items():
            values = [getattr(config, field) for config in configs]
            if field == "mixer_options":  # one line for each option, not one for all
                for option in sorted({key for options in values for key in options}):
                    compare(site, option.replace("_", " "), [options.get(option, "-") for options in values])
            else:
                compare(site, what, values)
        if site == "5 objective":
            simple = ["next token" if config.causal else "masked tokens" for config in configs]
            compare(site, "predict", [row.objective for row in known] if both else simple)
    names = [model if isinstance(model, str) else "configuration" for model in (a, b)]
    return Diff(*names, tuple(rows))
