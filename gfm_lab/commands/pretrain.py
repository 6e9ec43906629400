"""`gfm-lab pretrain`: train on one region of a genome, compare with baselines on another."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfm_lab.commands.files import PANEL, regions, write_tsv, writing
from gfm_lab.commands.recipes import recipe
from gfm_lab.commands.shared import load, say
from gfm_lab.comparison import (
    SINGLE_BASES,
    compare,
    compare_controls,
    is_causal,
    plot_comparison,
    show_comparison,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gfm_lab.training import Stretch


def pretrain(args: Namespace) -> None:
    """Train on one region of a genome, compare with baselines on another, write table and figures."""
    from gfm_lab import training

    settings = recipe(args.recipe or "default", **vars(args))
    if args.fasta:
        settings["data"] = None
    model, tokenizer = build(args, settings)
    causal = is_causal(model)
    named = args.recipe if args.recipe not in (None, "default") else None
    source = Path(args.fasta).name.split(".")[0] if args.fasta else settings["data"]
    objective = "next" if causal else "masked"
    output = Path(args.output or f"runs/{named or f'{source}-{objective}'}")
    cuts = {
        name: getattr(args, name)
        for name in ("valid_region", "test_region", "valid_fraction", "test_fraction")
    }
    train, valid, test = regions(data=settings["data"], fasta=args.fasta, **cuts)
    for name, part in (("train", train), ("valid", valid), ("test", test)):
        say(f"{name:6} {sum(len(s.sequence) for s in part):>12,} bases: {_shown(part)}")
    say(f"model  {model.num_parameters():>12,} parameters; {settings['steps']:,} steps to {output}")

    options = {name: settings[name] for name in TRAINING if name in settings}
    run = training.pretrain(
        model,
        tokenizer,
        train,
        valid,
        output,
        **options,
        precision=args.precision or "auto",
        device=args.device,
        resume=args.resume,
        stats=args.stats,
        progress=False if args.quiet else None,
    )
    say(
        f"trained in {run.seconds / 60:.1f} minutes, {run.tokens_per_second:,.0f} tokens/s; scoring the test region"
    )
    if test[0].control:
        parts, how = (train, valid, test), dict(window=settings["window"], seed=settings["seed"])
        table, notes = compare_controls(run.model, tokenizer, *parts, **how)
    else:
        table, notes = compare(
            run.model,
            tokenizer,
            *((*(s.sequence for s in part),) for part in (train, valid, test)),
            window=settings["window"],
            rate=settings["rate"],
            seed=settings["seed"],
            test_bases=args.test_bases,
            single_bases=SINGLE_BASES if args.single_bases is None else args.single_bases,
        )
    where = f"test region {_shown(test)}, seed {settings['seed']}"
    write_tsv(table, output / "test.tsv", [where, *notes])
    _save(run.plot({"uniform": 2.0}), output / "loss.png")
    _save(plot_comparison(table), output / "test.png")
    print(show_comparison(table))
    print(f"({where}; intervals: 95 %, bootstrap over windows)")
    behind = sorted(table["control" if test[0].control else "protocol"][table.difference_high >= 0])
    if behind:
        shipped = "ecoli-attention-mlm"
        print(
            f"This model is not below its best baseline ({' and '.join(behind)}): {settings['steps']:,} steps show "
            f"that it learns; give it more (--steps). The shipped {shipped} took {recipe(shipped)['steps']:,}."
        )
    print(f"in {output}: model.safetensors, test.tsv, test.png, loss.png, log.jsonl, run.json")


TRAINING = (
    "steps", "batch_size", "window", "learning_rate", "warmup", "weight_decay", "rate", "pattern", "replace",
    "together", "reverse_complement", "clip", "accumulate", "evaluate_every", "save_every", "log_every",
    "valid_windows", "seed",
)  # fmt: skip


def _shown(part: Sequence[Stretch]) -> str:
    more = f" and {len(part) - 3} more" if len(part) > 3 else ""
    return ", ".join(stretch.name for stretch in part[:3]) + more


def build(args: Namespace, settings: dict[str, Any]) -> tuple[Any, Any]:
    """(model, tokenizer) with fresh weights, or those of --init. Raises ValueError for settings that do not fit."""
    import torch

    from gfm_lab.model import GenomicConfig, GenomicForCausalLM, GenomicForMaskedLM
    from gfm_lab.presets import preset
    from gfm_lab.stretches import SPECIES
    from gfm_lab.tokenization import NucleotideTokenizer

    shape = [
        name for name in ("layers", "width", "heads", "kmer_sum", "preset") if getattr(args, name) is not None
    ]
    if args.init:
        if shape:
            raise ValueError(
                f"--init brings its own model: leave out {', '.join('--' + n.replace('_', '-') for n in shape)}"
            )
        model, tokenizer = load(args.init)
        causal = is_causal(model)
        if args.objective and causal != (args.objective == "next"):
            raise ValueError(
                f"{args.init} predicts the {'next token' if causal else 'masked tokens'}: leave out --objective"
            )
        return model, tokenizer

    controls = tuple(SPECIES.values()) if settings["data"] == PANEL and not args.fasta else ()
    tokenizer = NucleotideTokenizer(on_unknown="split", controls=controls)  # N has a token of its own
    ids = tokenizer.convert_tokens_to_ids([*"ACGT"])
    site1 = dict(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, base_ids=ids)
    site1 |= dict(mask_token_id=tokenizer.mask_token_id)
    if args.preset:
        changes: dict[str, Any] = {}
        config = preset(args.preset)
        if args.layers:
            changes["num_hidden_layers"] = args.layers
        if args.width:
            changes |= dict(hidden_size=args.width, intermediate_size=4 * args.width)
        if args.heads:
            changes["mixer_options"] = config.mixer_options | {"heads": args.heads}
        if args.kmer_sum is not None:
            changes["kmer_sum"] = args.kmer_sum
        if args.objective:
            changes["causal"] = args.objective == "next"
        if config.strands != "single":
            changes["complement"] = tokenizer.complement_ids.tolist()
        config = preset(args.preset, **site1, **changes)
    else:
        more = dict(settings["config"])
        if more.get("positions", "learned") == "learned":
            more.setdefault("max_position_embeddings", settings["window"])
        if more.get("mixer", "attention") in ("attention", "sliding_window"):
            more["mixer_options"] = {"heads": settings["heads"]} | more.get("mixer_options", {})
        if settings["objective"] == "next":
            more.pop("kmer_flanks", None)  # they look ahead
        config = GenomicConfig(
            **site1,
            hidden_size=settings["width"],
            num_hidden_layers=settings["layers"],
            kmer_sum=settings["kmer_sum"],
            causal=settings["objective"] == "next",
            **({"max_position_embeddings": None} | more),
        )
    limit = config.max_position_embeddings
    if limit is not None and settings["window"] > limit:
        raise ValueError(f"--window {settings['window']} is longer than the {limit} positions of this model")
    torch.manual_seed(settings["seed"])
    return (GenomicForCausalLM if config.causal else GenomicForMaskedLM)(config), tokenizer


def _save(figure: Figure, path: Path) -> None:
    import matplotlib.pyplot as plt

    with writing(path, "wb") as file:
        figure.savefig(file, format="png", bbox_inches="tight")
    plt.close(figure)
