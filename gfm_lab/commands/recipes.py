"""Recipes: the settings of `gfm-lab pretrain` by name, in one place."""

from __future__ import annotations

from typing import Any

# Left to right on E. coli, one recipe for every mixer: the same data, steps and learning rate. The feed-forward part is
# as wide as brings each model to the same number of parameters (within 1 %).
_AR = dict(
    objective="next",
    layers=4,
    window=512,
    batch_size=8,
    steps=3_000,
    learning_rate=3e-3,
    warmup=0.03,
    valid_windows=128,
    evaluate_every=250,
    save_every=1_000,
    log_every=50,
)


def _next(mixer: str, inner: int, **options: Any) -> dict[str, Any]:
    config = {"positions": "none", "mixer": mixer, "mixer_options": options, "intermediate_size": inner}
    if mixer in ("attention", "sliding_window"):
        config["positions"] = "rotary"
    return _AR | {"config": config}


# What `gfm-lab pretrain` does. A recipe says only what differs from "default"; an option given on the command line
# comes before both. `config` holds fields of GenomicConfig that have no option of their own.
RECIPES: dict[str, dict[str, Any]] = {
    "default": dict(
        data="ecoli-k12",
        objective="masked",
        layers=4,
        width=128,
        heads=2,
        kmer_sum=6,
        window=128,
        batch_size=32,
        steps=1_000,
        learning_rate=2e-3,
        warmup=0.05,
        weight_decay=0.1,
        rate=0.15,
        valid_windows=256,
        evaluate_every=None,
        save_every=None,
        log_every=None,
        seed=0,
        config={"positions": "rotary", "kmer_flanks": True},  # kmer_flanks: for masked models alone
    ),
    # The shipped checkpoint; about 70 minutes on one core of a server.
    "ecoli-attention-mlm": dict(
        layers=6,
        steps=16_000,
        warmup=0.03,
        valid_windows=512,
        evaluate_every=500,
        save_every=1_000,
        log_every=100,
    ),
    "ecoli-conv-ar": _next("convolution", 568, kernel=7, dilation=[1, 4, 16, 64]) | {"steps": 6_000},
    "ecoli-hyena-ar": _next("hyena", 440, max_length=512),
    "ecoli-mamba-ar": _next("mamba", 316),
    # Ten species, told apart by a control token before each window; windows of 256 bases, so that fly promoters fit.
    "species-mamba-ar": _next("mamba", 316)
    | dict(data="species-panel", window=256, batch_size=16, valid_windows=1_000),
    # Not shipped: the twins of the three for notebook 07.
    "ecoli-attention-ar": _next("attention", 512),
    "ecoli-window-ar": _next("sliding_window", 512, radius=64),
}


def recipe(name: str = "default", **given: Any) -> dict[str, Any]:
    """The settings of a recipe: those of "default", changed by those of `name`, changed by `given` (None: not given).

    Raises ValueError for a name that is not in RECIPES.
    """
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}: choose one of {', '.join(RECIPES)}")
    settings = RECIPES["default"] | RECIPES[name]
    return settings | {key: value for key, value in given.items() if value is not None and key in settings}
