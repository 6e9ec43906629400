"""`dissect(model, tokenizer, sequence)`: follow one stretch of DNA through the five sites and measure each.

    letters -> 1 tokenizer -> token ids -> 2 embedding -> vectors -> 3 mixer -> vectors in context
            -> 4 head -> logits -> 5 objective -> loss

The model is run once, for real, and watched from outside: hooks note what goes into each part and what comes out.
What is watched follows from how every model here is put together (`body.embeddings`, `body.layers`, each with its
`mixer`, `body.norm`, `head`), not from what the parts are: a new mixer or head is dissected without a line here. A
model on the "meta" device works too: `dissect(build("dnabert-6"), ...)` measures the published size without memory.

Read in this order: `Part` (what is measured), `dissect`, `Dissection` (how it is shown). Introduced in notebook 00.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

__all__ = ["Dissection", "Part", "dissect"]

SITES = ("tokenizer", "embedding", "mixer", "head", "objective")
CONVENTION = (
    "FLOPs: a multiply-add is 2; counted by torch's FlopCounterMode while the model ran, in matrix products, "
    "convolutions, FFTs (5 n log2 n) and attention (every pair, hidden ones too). Not counted: norms, activations, "
    "softmax, gates, the steps of a scan. Weights and output in bytes, MB = 10^6; one sequence, no gradients."
)


@dataclass(frozen=True)
class Part:
    """One part of a model, measured. `shape` and `dtype` are those of its output."""

    site: int  # 1 to 5
    name: str  # what stands at this site
    input: str  # what goes in, in words
    output: str  # what comes out, in words
    shape: tuple[int, ...]
    dtype: str
    parameters: int = 0  # its own; a tied table counts where it is used first, in the embedding
    flops: int = 0  # see CONVENTION
    parameter_bytes: int = 0
    output_bytes: int = 0
    repeats: int = 1  # in `Dissection.summary`: so many equal parts in turn, numbers added up


# ---- Measuring ----


def _attention_flops(q: Any, k: Any, v: Any, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    return sdpa_flop_count(q, k, v)


def _fft_flops(x: Any, dims: Any, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    """5 n log2 n for a complex transform of n points, half for a real one, as FFT benchmarks count."""
    shape, other = [*x], [*out_shape]
    points = math.prod(max(shape[d], other[d]) for d in dims)
    rows = math.prod(shape) // math.prod(shape[d] for d in dims)
    return int(rows * 5 * points * math.log2(max(points, 2)) / (1 if shape == other else 2))


# What torch's counter lacks: the fused attention of CPUs, and FFTs.
_ALSO = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._fft_r2c: _fft_flops,
    torch.ops.aten._fft_c2r: _fft_flops,
    torch.ops.aten._fft_c2c: _fft_flops,
}


@contextmanager
def _watch(modules: list[nn.Module]) -> Iterator[tuple[dict[nn.Module, Tensor], dict[nn.Module, int]]]:
    """While it lasts, note each module's last output and the FLOPs spent inside it, over all its calls."""
    outputs: dict[nn.Module, Tensor] = {}
    flops = dict.fromkeys(modules, 0)
    with FlopCounterMode(display=False, custom_mapping=_ALSO) as counter:

        def before(module: nn.Module, _: Any) -> None:
            flops[module] -= counter.get_total_flops()

        def after(module: nn.Module, _: Any, output: Any) -> None:
            flops[module] += counter.get_total_flops()
            if not isinstance(output, Tensor):  # a model's output class: its first entry is what it is for
                output = output[0] if isinstance(output, tuple) else next(iter(output.values()))
            outputs[module] = output

        handles = [
            h for m in flops for h in (m.register_forward_pre_hook(before), m.register_forward_hook(after))
        ]
        try:
            yield outputs, flops
        finally:
            for handle in handles:
                handle.remove()


def _run(model: nn.Module, ids: list[int], parts: list[nn.Module]) -> tuple[dict, dict]:
    """One forward pass in evaluation mode, without gradients; the model is left as it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    device = next(model.parameters()).device
    try:
        with torch.no_grad(), _watch(parts) as watched:
            model(input_ids=torch.tensor([ids], device=device))
    finally:
        for module, mode in modes.items():
            module.training = mode
    return watched


def _token_ids(model: nn.Module, tokenizer: Any, sequence: str) -> list[int]:
    """The ids of `sequence`, or a clear error if there are none, too many, or ones that the model does not have."""
    if not isinstance(sequence, str):
        raise TypeError(f"sequence must be a str of letters, not {type(sequence).__name__}")
    if not sequence:
        raise ValueError("the sequence is empty: give at least one base")
    ids = tokenizer(sequence)["input_ids"]
    if not ids:
        raise ValueError(
            f"the tokenizer makes no token of {sequence[:20]!r} ({len(sequence)} letters): give a longer sequence"
        )
    config = model.config
    if max(ids) >= config.vocab_size:
        raise ValueError(
            f"the tokenizer gives id {max(ids)}, but the model's vocabulary ends at {config.vocab_size - 1}: they do "
            f"not belong together (len(tokenizer) is {len(tokenizer)})"
        )
    limit = config.max_position_embeddings
    if config.positions in ("learned", "sinusoidal") and limit and len(ids) + config.position_offset > limit:
        raise ValueError(
            f"the sequence of {len(sequence)} letters makes {len(ids)} tokens, more than the "
            f"{limit - config.position_offset} that the model has positions for: cut it into windows"
        )
    return ids


def dissect(model: nn.Module, tokenizer: Any, sequence: str) -> Dissection:
    """Run `sequence` through `model` and measure each of the five sites: shape, parameters, FLOPs, memory.

    Args:
        model: a GenomicModel, GenomicForMaskedLM, GenomicForCausalLM or GenomicForSequenceClassification, on any
            device, "meta" included; also one with adapters from PEFT.
        tokenizer: any tokenizer of the course (or of transformers).
        sequence: the letters, at least one.

    Returns:
        A `Dissection`: prints as text, shows as a table in a notebook, and draws itself with `.figure()`.

    Raises:
        ValueError: an empty sequence, one that gives no token, one longer than the model's positions, or ids that the
            model does not have.

    Introduced in notebook 00.
    """
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    ids = _token_ids(model, tokenizer, sequence)
    body, config = model.base_model, model.config
    head = getattr(model, "head", None)
    layers = [*body.layers]
    inside = [part for layer in layers for part in (layer, layer.mixer)]
    tops = [body.embeddings, *inside, body.norm, body, *([] if head is None else [head, model])]
    outputs, flops = _run(model, ids, tops)

    owners = {id(p): name for name, p in model.named_parameters()}  # each tensor once, under its first name
    prefixes = {module: f"{name}." for name, module in model.named_modules()}

    def own(module: nn.Module) -> dict[str, Any]:
        """Parameters under this module's name, so that a tied table counts once."""
        mine = [p for p in module.parameters() if owners[id(p)].startswith(prefixes[module])]
        return dict(
            parameters=sum(p.numel() for p in mine),
            parameter_bytes=sum(p.numel() * p.element_size() for p in mine),
        )

    def measured(site: int, name: str, words: tuple[str, str], module: nn.Module) -> Part:
        output = outputs[module]
        return Part(
            site, name, *words, tuple(output.shape), _dtype(output), **own(module), flops=flops[module],
            output_bytes=output.numel() * output.element_size(),
        )  # fmt: skip

    token = ("letters", "token ids")
    parts = [Part(1, type(tokenizer).__name__, *token, (1, len(ids)), "int64", output_bytes=8 * len(ids))]
    parts.append(
        measured(2, f"table, {_positions(config)} positions", ("token ids", "vectors"), body.embeddings)
    )
    mixed = ("vectors", "vectors in context")
    for layer in layers:
        mixer, block = measured(3, _name(layer.mixer), mixed, layer.mixer), measured(3, "", mixed, layer)
        rest = {f: getattr(block, f) - getattr(mixer, f) for f in ("parameters", "parameter_bytes", "flops")}
        what = "feed-forward, norms" if layer.ffn is not None else "norms"
        parts += [mixer, replace(block, name=what, **rest)]
    if own(body.norm)["parameters"]:
        parts.append(measured(3, "final norm", mixed, body.norm))
    task = ""
    if head is not None:
        scores = outputs[model]
        lm = scores.ndim == 3  # a row of scores for each position, not one for the sequence
        task, gives, objective = _task(config, lm)
        # The head may run once for each strand; what leaves the model is their sum.
        part = measured(4, _name(head), ("vectors in context", gives), head)
        tied = part.parameters < sum(p.numel() for p in head.parameters())
        parts.append(
            replace(part, name=part.name + (", tied" if tied else ""), shape=tuple(scores.shape), dtype=_dtype(scores),
                    output_bytes=scores.numel() * scores.element_size())
        )  # fmt: skip
        parts.append(Part(5, objective, gives, "loss", (), "float32", output_bytes=4))
    return Dissection(type(model).__name__, sequence, tuple(parts), _choices(tokenizer, config, task))


def _dtype(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _name(module: nn.Module) -> str:
    """A module's class, and what it wraps: Bidirectional(Mamba)."""
    name, inner = type(module).__name__, getattr(module, "mixer", None)
    return f"{name}({_name(inner)})" if isinstance(inner, nn.Module) else name


def _positions(config: Any) -> str:
    return {"alibi": "ALiBi", "none": "no"}.get(config.positions, config.positions)


def _task(config: Any, lm: bool) -> tuple[str, str, str]:
    """The head's option on the map, what it gives, and the objective that belongs to it."""
    if lm:
        return "language model", "logits", "next token" if config.causal else "masked tokens"
    kind = config.problem_type or ("regression" if config.num_labels == 1 else "single_label_classification")
    if kind == "regression":
        return "regress", "predicted values", "squared error"
    return "classify", "logits", "one of the labels" if kind.startswith("single") else "each label, yes or no"


def _choices(tokenizer: Any, config: Any, task: str) -> dict[int, str]:
    """The options to print bold on the course's map, as `gfm_lab.plots.SITES` spells them; unknown ones stay plain."""
    kinds = {"KmerTokenizer": "k-mer", "NucleotideTokenizer": "nucleotide", "BPETokenizer": "BPE"}
    mixers = {"hyena": "Hyena", "mamba": "Mamba"}
    return {
        1: kinds.get(type(tokenizer).__name__, ""),
        2: "none" if config.positions == "none" else _positions(config),
        3: mixers.get(config.mixer, config.mixer.replace("_", " ")),
        4: task,
        5: ("next token" if config.causal else "masked") if task == "language model" else "",
    }


# ---- Showing ----


@dataclass(frozen=True)
class Dissection:
    """What `dissect` measured. `parts` in the order data flows; print it, show it, or draw it with `.figure()`."""

    model: str
    sequence: str
    parts: tuple[Part, ...]
    choices: dict[int, str]

    @property
    def parameters(self) -> int:
        """All parameters, tied ones once: what sum(p.numel() for p in model.parameters()) gives."""
        return sum(part.parameters for part in self.parts)

    @property
    def flops(self) -> int:
        """FLOPs of one pass over the sequence; the convention is under the table."""
        return sum(part.flops for part in self.parts)

    def at(self, site: int | str) -> tuple[Part, ...]:
        """The parts of one site, by number (1 to 5) or name.

        Raises:
            ValueError: there is no such site.
        """
        if site not in (*SITES, *range(1, 6)):
            raise ValueError(f"site is a number from 1 to 5 or one of {', '.join(SITES)}, not {site!r}")
        number = site if isinstance(site, int) else SITES.index(site) + 1
        return tuple(part for part in self.parts if part.site == number)

    def summary(self) -> tuple[Part, ...]:
        """The same with equal parts of the stack of layers counted together: `repeats`, and sums."""
        merged: dict[tuple, Part] = {}
        for part in self.parts:
            key = (part.site, part.name, part.shape, part.dtype)
            if key in merged:
                old = merged[key]
                sums = {
                    f: getattr(old, f) + getattr(part, f)
                    for f in ("parameters", "flops", "parameter_bytes", "output_bytes")
                }
                part = replace(old, repeats=old.repeats + 1, **sums)
            merged[key] = part
        return tuple(merged.values())

    def _title(self) -> str:
        return f"{self.model} reads {len(self.sequence):,} letters as {self.parts[0].shape[1]:,} tokens"

    def _rows(self) -> list[tuple[str, list[list[str]]]]:
        """For each site: its line, and one row of cells for each part."""
        sites = []
        for number, site in enumerate(SITES, start=1):
            parts = [part for part in self.summary() if part.site == number]
            if not parts:
                sites.append((f"{number} {site}: none", []))
                continue
            line = f"{number} {site}: {parts[0].input} -> {parts[0].output}"
            sites.append((line, [self._cells(part) for part in parts]))
        return sites

    @staticmethod
    def _cells(part: Part) -> list[str]:
        name = part.name if part.repeats == 1 else f"{part.repeats} x {part.name}"
        if part.site == 5:
            return [name, "one number; needs labels, not run", "", "", "", ""]
        shape = f"{tuple(part.shape)} {part.dtype}"
        cost = [
            f"{part.parameters:,}",
            _si(part.flops),
            _si(part.parameter_bytes, "B"),
            _si(part.output_bytes, "B"),
        ]
        return [name, shape, *cost]

    def _total(self) -> list[str]:
        weights, output = (
            sum(getattr(p, f) for p in self.parts) for f in ("parameter_bytes", "output_bytes")
        )
        return ["all", "", f"{self.parameters:,}", _si(self.flops), _si(weights, "B"), _si(output, "B")]

    def __str__(self) -> str:
        def line(cells: list[str]) -> str:
            name, shape, *numbers = cells
            name = name if len(name) <= 29 else name[:28] + "\u2026"
            columns = "".join(f"{n:>{width}}" for n, width in zip(numbers, (14, 9, 9, 9), strict=True))
            return f"  {name:29} {shape:25}{columns}".rstrip()

        shown = [self._title(), "", line(HEADER)]
        for site, rows in self._rows():
            shown += [site, *map(line, rows)]
        return "\n".join([*shown, line(self._total()), "", *textwrap.wrap(CONVENTION, 98)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        right, left = (f'style="text-align:{side};padding:0.1em 0.6em"' for side in ("right", "left"))

        def row(cells: list[str], tag: str = "td") -> str:
            align = [left, left, right, right, right, right]
            inside = zip(cells, align, strict=True)
            return "<tr>" + "".join(f"<{tag} {a}>{html.escape(c)}</{tag}>" for c, a in inside) + "</tr>"

        body = [row(HEADER, "th")]
        for site, rows in self._rows():
            body.append(f'<tr><th colspan="6" scope="rowgroup" {left}>{html.escape(site)}</th></tr>')
            body += [row(cells) for cells in rows]
        body.append(row(self._total(), "th"))
        caption = f"<caption>{html.escape(self._title())}</caption>"
        return f"<table>{caption}{''.join(body)}</table><p><small>{html.escape(CONVENTION)}</small></p>"

    def figure(self) -> Figure:
        """The course's map with this model's options in bold and its numbers under each site.

        Below a box: the shape that leaves it, its parameters, its FLOPs, and the memory of its weights and outputs.
        """
        from gfm_lab import plots

        figure = plots.anatomy(choices=self.choices)
        axes = figure.axes[0]
        # The map's example gives way to what was dissected: its first bases, and its kind of positions.
        for i, (box, letter) in enumerate(zip(axes.patches[:9], axes.texts[:9], strict=True)):
            base = self.sequence[i : i + 1]
            letter.set_text(base)
            box.set_facecolor(plots.NUCLEOTIDE_COLORS.get(base.upper(), plots.NUCLEOTIDE_COLORS["N"]))
            box.set_visible(bool(base))
        more = "..." if len(self.sequence) > 9 else ""
        missing = [plots.FLOW[n] for n in range(1, 6) if not self.at(n)]  # a bare body gives no scores
        for text in axes.texts[9:]:
            if text.get_text() == "DNA goes in":
                text.set(text=f"{more} {len(self.sequence):,} letters\n{self.model}", fontsize=11)
            elif text.get_text() == "learned, sinusoidal,":
                text.set(text=self.choices[2], weight="bold")
            elif text.get_text() == "rotary, ALiBi" or text.get_text().rstrip(" \u2192") in missing:
                text.set_text("")
        width, gap = 1.72, 0.5  # the map's
        for number in range(1, 6):
            middle, lines = (number - 1) * (width + gap) + width / 2, _captions(self.at(number))
            axes.text(
                middle,
                -2.95,
                "\n".join(lines),
                ha="center",
                va="top",
                fontsize=10,
                linespacing=1.45,
                color=plots.INK,
            )
        figure.set_size_inches(12, 5.6)
        axes.set_ylim(-4.75, 2.1)
        return figure


HEADER = ["", "gives", "parameters", "FLOPs", "weights", "output"]


def _captions(parts: tuple[Part, ...]) -> list[str]:
    """The numbers under one box of the figure."""
    if not parts:
        return ["none"]
    last = parts[-1]
    if last.site == 5:
        return [last.name, "one number", "needs labels"]
    lines = [" x ".join(f"{n:,}" for n in last.shape), last.dtype]
    lines.append(f"{sum(part.parameters for part in parts):,} parameters")
    if last.site > 1:
        flops = _si(sum(part.flops for part in parts))
        lines.append(f"{flops}FLOPs" if flops[-1].isalpha() else f"{flops} FLOPs")
    return [*lines, f"{_si(sum(part.parameter_bytes + part.output_bytes for part in parts), 'B')} memory"]


def _si(number: int, unit: str = "") -> str:
    """1234567 -> "1.23 M"; decimal prefixes, three digits."""
    value, prefixes = float(number), ["", "k", "M", "G", "T", "P"]
    while value >= 999.5 and len(prefixes) > 1:
        value, prefixes = value / 1000, prefixes[1:]
    digits = (
        f"{value:.0f}"
        if number < 1000 or value >= 99.95
        else f"{value:.1f}"
        if value >= 9.995
        else f"{value:.2f}"
    )
    return f"{digits} {prefixes[0]}{unit}".strip()
