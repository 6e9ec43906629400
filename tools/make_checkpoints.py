"""Turn a finished run into a shipped checkpoint: 16-bit weights, scores on the untouched test region, a model card.

    OMP_NUM_THREADS=1 gfm-lab pretrain --recipe ecoli-attention-mlm  # trains it, into runs/ecoli-attention-mlm
    python tools/make_checkpoints.py ecoli-attention-mlm             # scores it, writes checkpoints/NAME

The scores are those of the files as shipped. Nothing is chosen here: what there was to choose, the recipe has, and it
was chosen on the validation region.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = ROOT / "checkpoints"
TITLES = {
    "ecoli-attention-mlm": "A small masked language model of E. coli: attention over single nucleotides",
    "ecoli-conv-ar": "A small left-to-right language model of E. coli: gated, dilated convolutions",
    "ecoli-hyena-ar": "A small left-to-right language model of E. coli: Hyena",
    "ecoli-mamba-ar": "A small left-to-right language model of E. coli: Mamba",
    "species-mamba-ar": "A small left-to-right language model of ten species, told apart by a control token: Mamba",
}
PUBLISHED = {  # made by others, loaded by a module of their own, remade by a tool of their own
    "ci-spliceai": "A published splice model: one network of CI-SpliceAI (CC BY 4.0)",
}
TRIALS = {
    True: "Learning rate, batch and window were guided by about ten trials of 60 to 90 seconds on the validation "
    "region, most of them with the convolution; Mamba was tried at three learning rates, which made no difference.",
    False: "The settings were guided by about a dozen trials of two to three minutes, on the validation region.",
}
SINGLE_BASES = 50_000  # of the test region, for the protocol that needs one window a base
SPOT = 60_000  # test bases that the tests score again


def ship(name: str, run: Path) -> None:
    """Write checkpoints/NAME and the manifest from the folder of a finished run."""
    import pandas as pd
    import torch

    from gfm_lab.baselines import MarkovModel
    from gfm_lab.checkpoints import load_model
    from gfm_lab.commands.files import regions
    from gfm_lab.commands.recipes import recipe
    from gfm_lab.comparison import compare, compare_controls, plot_comparison
    from gfm_lab.evaluation import bits_per_base, score_baseline

    torch.set_num_threads(os.cpu_count() or 1)
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    if not facts.get("finished"):
        raise SystemExit(f"{run} is not finished: go on with gfm-lab pretrain --recipe {name} --resume")
    settings, used = recipe(name), facts["about"]["settings"]
    differs = [k for k in used if k in settings and used[k] != settings[k] and k != "objective"]
    if differs:
        raise SystemExit(f"{run} was not made by the recipe {name!r}: {', '.join(differs)} differ")

    half = CHECKPOINTS / f".{name}.part"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    model, tokenizer = load_model(run)
    model.half().save_pretrained(half)
    tokenizer.save_pretrained(half)
    for file in ("log.jsonl", "loss.png"):
        shutil.copy(run / file, half / file)
    threads = facts["machine"].get("threads", 1)
    command = f"OMP_NUM_THREADS={threads} gfm-lab pretrain --recipe {name}"  # other threads, other rounding
    _write(half / "run.json", facts | {"command": command})

    model, tokenizer = load_model(half)
    parts = dict(zip(("train", "valid", "test"), regions(data=settings["data"]), strict=True))
    texts = {part: [stretch.sequence for stretch in stretches] for part, stretches in parts.items()}
    options = dict(window=settings["window"], rate=settings["rate"], seed=settings["seed"])
    controls = parts["test"][0].control is not None
    if controls:
        how = dict(window=settings["window"], seed=settings["seed"])
        table, notes = compare_controls(model, tokenizer, *parts.values(), **how)
        spot = table[table.control == "ecoli"]
    else:
        table, notes = compare(model, tokenizer, *texts.values(), single_bases=SINGLE_BASES, **options)
        region = texts["test"][0][:SPOT]
        if model.config.causal:
            score = bits_per_base(model, tokenizer, region, settings["window"], batch_size=64)
            markov = MarkovModel(*table.attrs["markov"]).fit(texts["train"])
            best = score_baseline(markov, region, like=score).value
            spot = pd.DataFrame(
                {"model": ["Markov", "this model"], "bits": [best, score.value], "bases": SPOT}
            )
        else:
            spot, _ = compare(
                model, tokenizer, texts["train"], texts["valid"], [region], single_bases=0, **options
            )
    plot_comparison(table).savefig(half / "test.png", bbox_inches="tight")
    baselines = spot.bits[spot.model != "this model"]
    scores = {
        "table": json.loads(table.to_json(orient="records")),
        "notes": notes,
        "spot_check": {
            "bases": int(spot.bases.max()), "seed": settings["seed"], "window": settings["window"],
            "bits": float(spot.bits[spot.model == "this model"].item()), "best_baseline": float(baselines.min()),
        },
    }  # fmt: skip
    _write(half / "scores.json", scores)
    (half / "README.md").write_text(card(name, half), encoding="utf-8")
    shutil.rmtree(CHECKPOINTS / name, ignore_errors=True)
    os.replace(half, CHECKPOINTS / name)
    manifest()


def card(name: str, folder: Path) -> str:
    """The model card: every number in it is read from run.json and scores.json."""
    from gfm_lab.checkpoints import load_model
    from gfm_lab.comparison import protocol_text

    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    model, tokenizer = load_model(folder)
    c, s, machine = model.config, facts["about"]["settings"], facts["machine"]
    size = (folder / "model.safetensors").stat().st_size / 1e6
    lines = [
        f"# {name}",
        "",
        f"{TITLES[name]}. Made for teaching: small enough for a laptop, good enough to have learned something.",
        "",
        "```python",
        "import gfm_lab",
        "",
        f'model, tokenizer = gfm_lab.load_model("{name}")',
        "```",
        "",
        "## What it is",
        "",
        "| site | choice |",
        "|---|---|",
        f"| 1 tokenizer | single nucleotides, {_around(tokenizer)} |",
        f"| 2 embedding | {c.hidden_size} wide; {_kmers(c)}; positions: {c.positions} |",
        f"| 3 mixer | {c.num_hidden_layers} layers of {c.mixer} ({_options(c)}), feed-forward {c.intermediate_size} |",
        "| 4 head | language-model head, tied to the embedding |",
        f"| 5 objective | {_objective(c, s)} |",
        "",
        f"{model.num_parameters():,} parameters, stored in float16 ({size:.1f} MB), loaded as float32.",
        "",
        "## Training",
        "",
        _data(facts, s, bool(tokenizer.controls)),
        "",
        f"{s['steps']:,} steps of {s['batch_size']} windows ({facts['tokens'] / 1e6:.1f} million tokens), AdamW, "
        f"learning rate {s['learning_rate']} after warm-up, cosine to 1 %, seed {s['seed']}, {s['precision']}. "
        f"{facts['seconds'] / 60:.0f} minutes on {_machine(machine)}, shared with other work; "
        f"{facts['tokens_per_second']:,.0f} tokens a second; peak memory {facts['peak_memory_mib']:,.0f} MiB. "
        f"{TRIALS[c.causal]} "
        "The log is `log.jsonl`, the curve `loss.png`, all settings `run.json`.",
        "",
        "The commands that remake it (the same losses to the last digit need the same number of threads, the same "
        "PyTorch and a CPU of the same kind):",
        "",
        "```bash",
        facts["command"],
        f"python tools/make_checkpoints.py {name}",
        "```",
        "",
        f"## Bits per {'' if c.causal else 'masked '}base on the test region",
        "",
        "Lower is better; 2 is no knowledge. "
        + (LEFT_TO_RIGHT if c.causal else MASKED)
        + " Intervals are 95 %, "
        f"bootstrap over {'the test windows' if tokenizer.controls else 'windows of 2,000 bases of the test region'} "
        "(they say nothing about other training runs: there was one).",
        "",
    ]
    by_protocol: dict[str, list[dict[str, Any]]] = {}
    for row in scores["table"]:
        by_protocol.setdefault(row.get("control") or row["protocol"], []).append(row)
    for protocol, rows in by_protocol.items():
        what = f"`{protocol}`" if tokenizer.controls else protocol_text(protocol, s.get("rate", 0.15))
        lines += [f"**{what[0].upper()}{what[1:]}**", ""]  # a protocol, or a species
        lines += ["| | bits | 95 % interval | outside repeats | bases |", "|---|---|---|---|---|"]
        for row in rows:
            model_row = row["model"] == "this model"
            name_shown = f"**{row['model']}**" if model_row else row["model"]
            between = "" if row["low"] == row["high"] else f"{row['low']:.4f} to {row['high']:.4f}"
            bases = f"{row['bases']:,.0f}" if row["bases"] else ""
            lines.append(
                f"| {name_shown} | {row['bits']:.4f} | {between} | {row['outside_repeats']:.4f} | {bases} |"
            )
        last = rows[-1]
        lines += [
            "",
            f"This model minus {last['against']}, on the same windows: {last['difference']:+.4f} "
            f"({last['difference_low']:+.4f} to {last['difference_high']:+.4f}).",
            "",
        ]
    if tokenizer.controls:
        ours = [row for row in scores["table"] if row["model"] == "this model"]
        behind = [f"`{row['control']}`" for row in ours if row["difference_low"] > 0]
        unclear = [
            f"`{row['control']}`" for row in ours if row["difference_low"] <= 0 <= row["difference_high"]
        ]
        lines += [
            f"Behind a Markov model that has read the same DNA of that species: {', '.join(behind) or 'none'}. Not "
            f"clearly ahead of it: {', '.join(unclear) or 'none'}. Ten species share these parameters, each a tenth of "
            "the training tokens; where a species has much DNA, or repeats, counting words is hard to beat.",
            "",
        ]
    lines += [f"- {note[0].upper()}{note[1:]}." for note in scores["notes"]]
    lines += [
        "",
        "## What it is not",
        "",
        _limits(c, s, bool(tokenizer.controls)),
        "",
        "Weights: Apache-2.0, as the code. Sequence: public domain (cite U00096.3). This card: CC BY 4.0.",
    ]
    return "\n".join(lines) + "\n"


LEFT_TO_RIGHT = (
    "Each base is predicted from those before it, on the forward strand, in windows that overlap by half. Never to be "
    "compared with bits per masked base, where both sides are visible. The Markov models read the same bases and are "
    "scored on the same ones."
)
MASKED = (
    "Two protocols, never to be compared with each other or with bits of left-to-right models. The baselines read the "
    "same visible bases and are scored on the same ones."
)


def _around(tokenizer: Any) -> str:
    if tokenizer.controls:
        return f"a control token before each window: {', '.join(tokenizer.controls)}"
    return "no special tokens around a window"


def _kmers(config: Any) -> str:
    if config.kmer_flanks:
        return (
            f"to each base the sum of its flanking 1- to {config.kmer_sum}-mers on either side, the base itself left "
            "out (`kmer_flanks`)"
        )
    return f"to each base the sum of the 1- to {config.kmer_sum}-mers that end there (`kmer_sum`)"


def _options(config: Any) -> str:
    return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in config.mixer_options.items()) or "default sizes"


def _objective(config: Any, settings: dict[str, Any]) -> str:
    if config.causal:
        return "next token"
    return f"masked, {settings['rate']:.0%} of the bases, {'/'.join(f'{r:.0%}' for r in settings['replace'])}"


def _data(facts: dict[str, Any], settings: dict[str, Any], controls: bool) -> str:
    if controls:
        return (
            "Data: `species-panel` and, of three of its species, what else is shipped: the first 70 % of `ecoli-k12`, "
            "the training region of `human-chr20`, the training part of `fly-promoters` (no fly genome: for the fly, "
            f"DNA before annotated starts). Windows of {settings['window']} bases from either strand; every species "
            "has the same chance, however much DNA it has. Validation and test: the panel's own 100 and 200 windows a "
            "species, never read in training. The seven other species have 358,400 training bases each."
        )
    return (
        f"Data: `ecoli-k12` (E. coli K-12 MG1655, U00096.3), the training region alone, {_regions(facts, 'train')}; "
        f"windows of {settings['window']} bases from either strand. Validation: {_regions(facts, 'valid')}. Test: the "
        "last 10 % of the chromosome, never read in training nor in choosing."
    )


def _limits(config: Any, settings: dict[str, Any], controls: bool) -> str:
    what = (
        "A model of short windows of ten genomes, most of them read in small samples: what it says of a species is "
        "what 358,400 bases and a shared body can say."
        if controls
        else "A model of one genome. It has read no other species and no second E. coli strain."
    )
    if config.mixer == "hyena":
        beyond = f"It cannot read more than {settings['window']} tokens: its filters end there."
    else:
        beyond = (
            f"It has read nothing longer than its window; beyond {settings['window']} tokens it is untried."
        )
    return (
        f"{what} {beyond} Its scores say how predictable a base is, not whether a change of it matters to the cell. "
        "Not for clinical or safety decisions."
    )


def _regions(facts: dict[str, Any], part: str) -> str:
    spans = [entry.split(" ")[0] for entry in facts["about"][part]]
    return ", ".join(f"`{span}`" for span in spans)


def _machine(machine: dict[str, Any]) -> str:
    threads = machine.get("threads", 1)
    return f"{machine.get('name') or machine['device']} ({threads} thread{'s' * (threads > 1)})"


def manifest() -> None:
    """checkpoints/manifest.json: each checkpoint's files with size and sha256; those of others stand apart.

    Sections that other tools write, as that of the predictors, stay as they are.
    """
    path = CHECKPOINTS / "manifest.json"
    whole = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    entries, published = {}, {}
    for folder in (CHECKPOINTS / name for name in sorted(TITLES | PUBLISHED)):
        if not folder.is_dir():
            continue
        files = {
            path.name: {
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in sorted(folder.iterdir())
        }
        group = published if folder.name in PUBLISHED else entries
        group[folder.name] = {"about": (TITLES | PUBLISHED)[folder.name], "files": files}
    _write(path, whole | {"format": 1, "checkpoints": entries, "published": published})


def _write(path: Path, content: Any) -> None:
    half = path.with_name(f".{path.name}.part")
    half.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(half, path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Turn a finished run into a shipped checkpoint.")
    parser.add_argument("name", nargs="?", choices=sorted(TITLES))
    parser.add_argument("--run", type=Path, help="folder of the run (default: runs/NAME)")
    parser.add_argument("--manifest", action="store_true", help="only write the manifest anew")
    options = parser.parse_args(arguments)
    if options.manifest:
        manifest()
    elif options.name:
        ship(options.name, options.run or ROOT / "runs" / options.name)
    else:
        parser.error("give the name of a checkpoint, or --manifest")
    return 0


if __name__ == "__main__":
    sys.exit(main())
