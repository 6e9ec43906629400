"""A language model beside its baselines, on the same bases of a region that none of them has read.

`compare` makes the table, `show_comparison` its text, `plot_comparison` its figure. Introduced in notebook 09.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gfm_lab.baselines import STRENGTHS, MarkovModel, TwoSidedBackoff
from gfm_lab.evaluation import (
    Score,
    bits_per_base,
    bits_per_masked_base,
    bootstrap,
    difference,
    masked_mask,
    score_baseline,
)
from gfm_lab.splits import shared_kmer_mask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gfm_lab.stretches import Stretch

__all__ = ["compare", "compare_controls", "is_causal", "plot_comparison", "protocol_text", "show_comparison"]

SINGLE_BASES = 4_000  # test bases scored with one masked at a time: each needs a window of its own
CAUSAL_ORDERS = (3, 6, 8, 10, 12)  # of the Markov models that are tried on the validation region
STRONGER = (
    512.0,
    1024.0,
)  # strengths that are tried beside those of `MarkovModel.fit`, where its largest was the best
CONTROL_ORDERS = (2, 3, 4, 6, 8, 10)  # where there may be little DNA
MASKED_ORDERS = (6, 9, 12)
TUNING_BASES = 100_000  # of the validation region, for orders and strengths
REACH = 6
MODEL, UNIFORM = "this model", "four equal letters"


def protocol_text(protocol: str, rate: float = 0.15) -> str:
    """What a number is, in a line: the unit and what was visible."""
    return {
        "causal": "bits per base; each base from those before it",
        "single": "bits per masked base; one base masked at a time: protocol (a)",
        "joint": f"bits per masked base; {rate:.0%} masked together: protocol (b)",
    }[protocol]


def is_causal(model: Any) -> bool:
    """Whether a language model predicts the next token, by its class: ours or one of transformers'."""
    return any(word in type(model).__name__ for word in ("CausalLM", "LMHead"))


def compare(
    model: Any,
    tokenizer: Any,
    train: Sequence[str],
    valid: Sequence[str],
    test: Sequence[str],
    *,
    window: int,
    rate: float = 0.15,
    seed: int = 0,
    test_bases: int | None = None,
    single_bases: int = SINGLE_BASES,
) -> tuple[pd.DataFrame, list[str]]:
    """A model beside its baselines on the same bases of the test region, one block of rows a protocol.

    Baselines: 2 bits for four equal letters; base frequencies; a Markov model, under the masked protocols by its exact
    conditional; for masked models two-sided back-off too. Markov order and strengths are tuned for each protocol, on
    the first 100,000 bases of `valid` outside repeats that stand in `train` (which favour long words); nothing on
    `test`.

    Several stretches are read as one text with N between them, which no baseline's context crosses. The first
    `test_bases` of the test region are scored, and of them a sample of `single_bases` (0: none) with one masked at a
    time.

    Returns a table (protocol, model, bits, low, high, outside_repeats, bases, windows, and for the model: difference
    from the best baseline, its interval, against which) and lines that say how it was made. Intervals are 95 %, from a
    bootstrap over windows; outside_repeats leaves out bases in 31-mers of `train`. Raises ValueError as
    `gfm_lab.evaluation` does.
    """
    text, tuning = "N".join(test)[:test_bases], "N".join(valid)[:TUNING_BASES]
    repeated, repeated_valid = (shared_kmer_mask(part, train) for part in (text, tuning))
    if not repeated_valid.all():  # repeats would choose long words and little smoothing
        tuning = "".join(np.where(repeated_valid, "N", np.array([*tuning])))
    hidden = masked_mask(len(tuning), rate, seed)
    causal = is_causal(model)
    if causal:
        scores = [bits_per_base(model, tokenizer, text, window, batch_size=64)]
    else:
        masked = partial(bits_per_masked_base, model, tokenizer, text, batch_size=64)
        scores = [masked("joint", rate, seed, window)]
        scores += [masked("single", rate, seed, window, sample=single_bases)] if single_bases else []

    rows, notes = [], []
    for score in scores:
        protocol, orders = score.protocol, CAUSAL_ORDERS if causal else MASKED_ORDERS
        mask = hidden if protocol == "joint" else None
        by_order: dict[int, float] = {}
        best_markov = None
        for k in orders:  # one after the other: a table of order 12 takes 0.4 GB, and more while it is made
            markov = MarkovModel(k).fit(train, tuning, protocol=protocol, masked=mask)
            bits = markov.bits(tuning) if protocol == "causal" else markov.masked_bits(tuning, mask)
            by_order[k] = float(np.nanmean(bits))
            if best_markov is None or by_order[k] < by_order[best_markov.order]:
                best_markov = markov
        if protocol == "causal" and best_markov.strength == STRENGTHS[-1]:
            stronger = (MarkovModel(best_markov.order, s).fit(train) for s in STRONGER)
            best_markov = min((best_markov, *stronger), key=lambda m: float(np.nanmean(m.bits(tuning))))
        order = best_markov.order
        baselines = {
            "base frequencies": MarkovModel(0).fit(train, tuning),
            f"Markov, order {order}" + (", exact conditional" if protocol != "causal" else ""): best_markov,
        }
        if protocol != "causal":
            two_sided = TwoSidedBackoff(REACH).fit(train, tuning, masked=mask)
            baselines[f"two-sided back-off, {REACH} bases"] = two_sided
        found = {name: score_baseline(baseline, text, like=score) for name, baseline in baselines.items()}
        best = min(found, key=lambda name: found[name].value)
        apart = difference(score, found[best])
        rows.append(dict(protocol=protocol, model=UNIFORM, bits=2.0, low=2.0, high=2.0, outside_repeats=2.0))
        rows += [_row(name, s, repeated) for name, s in {**found, MODEL: score}.items()]
        rows[-1] |= dict(
            difference=apart.value, difference_low=apart.low, difference_high=apart.high, against=best
        )
        tried = ", ".join(f"order {k} {bits:.4f}" for k, bits in by_order.items())
        notes.append(f"{protocol}: {protocol_text(protocol, rate)}; never compare it with another protocol")
        notes.append(f"{protocol}: Markov order chosen on the validation region outside repeats: {tried}")
    notes.append(
        f"outside_repeats: without the {repeated.mean():.1%} of test bases in 31-mers of the training region"
    )
    table = pd.DataFrame(rows)
    table.attrs |= dict(rate=rate, markov=(best_markov.order, best_markov.strength))  # of the last protocol
    return table, notes


def _row(name: str, score: Score, repeated: np.ndarray) -> dict[str, Any]:
    outside = score.bits[~repeated[score.positions]]
    return dict(
        protocol=score.protocol,
        model=name,
        bits=score.value,
        low=score.low,
        high=score.high,
        outside_repeats=float(outside.mean()) if len(outside) else np.nan,
        bases=len(score.bits),
        windows=len(score.per_window),
    )


def compare_controls(
    model: Any,
    tokenizer: Any,
    train: Sequence[Stretch],
    valid: Sequence[Stretch],
    test: Sequence[Stretch],
    *,
    window: int,
    seed: int = 0,
) -> tuple[pd.DataFrame, list[str]]:
    """A model with control tokens, control by control, beside a Markov model of the same control's training DNA.

    The Markov model's order and strength are tuned on the validation stretches of that control. Every test stretch is
    read alone, from its first base on.

    Returns a table (protocol "causal", control, model, bits, low, high, outside_repeats, bases, windows; and for the
    model the difference from the Markov model) and lines that say how it was made. Intervals are 95 %, a bootstrap over
    the test stretches, paired for the difference; outside_repeats leaves out bases in 31-mers of the same control's
    training DNA. Raises ValueError as `gfm_lab.evaluation` does. Introduced in notebook 10.
    """
    rows, orders = [], []
    for control in dict.fromkeys(stretch.control for stretch in test):
        seen, tuning, held_out = (
            [s.sequence for s in part if s.control == control] for part in (train, valid, test)
        )
        tried = (MarkovModel(k).fit(seen, tuning) for k in CONTROL_ORDERS)
        markov = min(tried, key=lambda m: float(np.nanmean(m.bits("N".join(tuning)))))
        orders.append(f"{control} {markov.order}")
        ends = np.cumsum([len(sequence) + 1 for sequence in held_out])[:-1]
        repeated = [m[: len(s)] for m, s in zip(np.split(shared_kmer_mask("N".join(held_out), seen), ends), held_out,
                                                strict=True)]  # fmt: skip
        bits = {
            f"Markov, order {markov.order}": [markov.bits(sequence) for sequence in held_out],
            MODEL: [
                _bits_of(bits_per_base(model, tokenizer, s, min(window, len(s)), control=control), len(s))
                for s in held_out
            ],
        }
        known = [
            np.isfinite(bits[MODEL][i]) & np.isfinite(b) for i, b in enumerate(next(iter(bits.values())))
        ]
        weights = [int(k.sum()) for k in known]
        means = {
            name: [float(b[k].mean()) for b, k in zip(bs, known, strict=True)] for name, bs in bits.items()
        }
        for name, values in means.items():
            low, high = bootstrap(values, weights, seed=seed)
            outside = np.concatenate([b[k & ~r] for b, k, r in zip(bits[name], known, repeated, strict=True)])
            rows.append(
                dict(protocol="causal", control=control, model=name, bits=float(np.average(values, weights=weights)),
                     low=low, high=high, outside_repeats=float(outside.mean()), bases=sum(weights),
                     windows=len(weights))
            )  # fmt: skip
        (against, base), (_, ours) = means.items()
        low, high = bootstrap(np.subtract(ours, base), weights, seed=seed)
        apart = float(np.average(np.subtract(ours, base), weights=weights))
        rows[-1] |= dict(difference=apart, difference_low=low, difference_high=high, against=against)
    notes = [
        f"causal: {protocol_text('causal')}; every test stretch is read alone, after its control token",
        f"orders of the Markov models, chosen on the validation stretches of each: {', '.join(orders)}",
    ]
    return pd.DataFrame(rows), notes


def _bits_of(score: Score, length: int) -> np.ndarray:
    """The bits of a score at their places in the sequence, NaN where none was scored."""
    bits = np.full(length, np.nan)
    bits[score.positions] = score.bits
    return bits


def show_comparison(table: pd.DataFrame) -> str:
    """The table of `compare` for a terminal: one block a protocol."""
    lines = []
    kind = "control" if "control" in table else "protocol"
    for name, part in table.groupby(kind, sort=False):
        what = (
            f"{name}: bits per base"
            if kind == "control"
            else protocol_text(name, table.attrs.get("rate", 0.15))
        )
        lines += ["", what, f"{'':37} bits     95 % interval    outside repeats"]
        for row in part.itertuples():
            between = (
                f"{row.low:.4f}-{row.high:.4f}" if row.low < row.high else ""
            )  # one window alone has none
            lines.append(f"  {row.model:35} {row.bits:.4f}   {between:15}  {row.outside_repeats:.4f}")
        apart = f"{row.difference:+.4f} [{row.difference_low:+.4f}, {row.difference_high:+.4f}]"
        lines.append(f"  {MODEL} minus {row.against}: {apart}")
    return "\n".join(lines[1:])


def plot_comparison(table: pd.DataFrame) -> Figure:
    """Bits of the model and its baselines with their intervals, one panel a protocol."""
    import matplotlib.pyplot as plt

    from gfm_lab import plots

    with plt.rc_context():
        plots.use_style()
        if "control" in table:
            return _plot_controls(table)
        parts = [*table.groupby("protocol", sort=False)]
        figure, panels = plt.subplots(1, len(parts), figsize=(6.5 * len(parts), 3.2), squeeze=False)
        for axes, (protocol, part) in zip(panels[0], parts, strict=True):
            places = np.arange(len(part))[::-1]
            color = [plots.PALETTE[1 if name == MODEL else 0] for name in part["model"]]
            error = np.nan_to_num(np.stack([part["bits"] - part["low"], part["high"] - part["bits"]])).clip(0)
            axes.errorbar(part["bits"], places, xerr=error, fmt="none", ecolor=color, elinewidth=2)
            axes.scatter(part["bits"], places, color=color, zorder=3)
            axes.set_yticks(places, part["model"])
            axes.locator_params(axis="x", nbins=5)
            kind = "bits per base" if protocol == "causal" else "bits per masked base"
            axes.set(
                xlabel=kind,
                title={"single": "one masked at a time", "joint": "many masked"}.get(protocol, ""),
            )
    return figure


def _plot_controls(table: pd.DataFrame) -> Figure:
    """One line a control: the model and its Markov model, with intervals."""
    import matplotlib.pyplot as plt

    from gfm_lab import plots

    figure, axes = plt.subplots(figsize=(7, 0.42 * table.control.nunique() + 1.4))
    controls = [*dict.fromkeys(table.control)]
    for color, ours, shift in ((0, False, 0.14), (1, True, -0.14)):
        part = table[(table["model"] == MODEL) == ours]
        places = np.array([len(controls) - controls.index(c) for c in part.control]) + shift
        error = np.stack([part["bits"] - part["low"], part["high"] - part["bits"]]).clip(0)
        label = MODEL if ours else "Markov, best order of each"
        axes.errorbar(
            part["bits"], places, xerr=error, fmt="o", ms=5, color=plots.PALETTE[color], label=label
        )
    axes.set_yticks([len(controls) - i for i in range(len(controls))], controls)
    axes.set(xlabel="bits per base")
    axes.legend(loc="upper left")
    return figure
