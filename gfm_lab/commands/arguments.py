"""The arguments of `gfm-lab`, with their defaults and examples. Imports neither torch nor numpy."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import Any

from gfm_lab import __version__
from gfm_lab.commands.assign import add_arguments as add_assign
from gfm_lab.commands.recipes import RECIPES

EXAMPLES = {
    "pretrain": (
        "gfm-lab pretrain",
        "gfm-lab pretrain --objective next --layers 2 --steps 300 --output runs/ecoli-gpt",
        "gfm-lab pretrain --fasta data/ecoli-k12/genome.fa.gz --valid-fraction 0.1 --test-fraction 0.1",
    ),
    "finetune": (
        "gfm-lab finetune --data lac-mpra",
        "gfm-lab finetune --data human-splice-sites --where site=donor --where kind=donor,matched_decoy --method lora",
    ),
    "embed": (
        "gfm-lab embed --data species-panel --output species.npz",
        "gfm-lab embed --data human-promoters --split test --pooling max --layer 2 --output promoters.npz",
    ),
    "score": (
        "gfm-lab score --data lac-mpra --split test --limit 200 --output lac.tsv",
        "gfm-lab score --fasta data/ecoli-k12/genome.fa.gz --protocol joint > genome.tsv",
    ),
    "generate": (
        "gfm-lab generate --length 300 --number 3 --output new.fa",
        "gfm-lab generate --prompt ATGAAACGC --temperature 0.8 --top-k 3 --seed 1 > new.fa",
    ),
}

_SHIPPED = "ecoli-attention-mlm"
_WRITER = "ecoli-conv-ar"
_JOBS = {
    "pretrain": (
        "train a model on a genome, and compare it with baselines on a region it never saw",
        "Without arguments: masked modelling with a small attention model on E. coli's training region. This took "
        "3 minutes on two server cores that compute in bfloat16; expect two or three times that without. It ends "
        "with bits per masked base on the test region beside Markov models. The output folder holds "
        "model.safetensors, config.json, run.json, log.jsonl, loss.png, test.tsv and test.png.",
    ),
    "finetune": (
        "adapt a checkpoint to labelled sequences, beside linear models on the same sequences",
        "Labels that are whole numbers or words are classes, other numbers are measured values. The output folder "
        "holds the model (safetensors), predictions.tsv, result.tsv, run.json and log.jsonl.",
    ),
    "embed": (
        "one vector for each sequence, as npz",
        "The .npz holds ids (N,), lengths (N,), vectors (N, width) as float32, and settings: a JSON text that says "
        "model, layer and pooling. A sequence longer than --window is read in pieces, and their vectors are pooled "
        "(mean: weighted by tokens).",
    ),
    "score": (
        "how well a model predicts each sequence, in bits, as TSV",
        "One line a sequence: name, length, bases scored, bits per base. A causal model is scored base by base from "
        "the left; a masked model by its pseudo-likelihood, each base hidden in turn (protocol single), or with 15 % "
        "hidden at a time (joint). The first lines, after #, name the protocol: numbers of different protocols cannot "
        "be compared. With --vcf or --variants: one line a variant instead, how the model's log-likelihood (in nats) "
        "or another score changes; --fasta or --data is then the reference it is read from.",
    ),
    "generate": (
        "write new DNA, base by base, with a causal model, as FASTA",
        "Each record holds the prompt, if there is one, and --length new bases. Only A, C, G and T are written. The "
        "same arguments give the same DNA; a larger --number or --length adds to it. Models with attention slow down "
        "as the sequence grows, Hyena slows down most; convolutions and Mamba do not. Generated DNA has the "
        "statistics that the model has learned, no known function.",
    ),
}


class _Parser(argparse.ArgumentParser):
    """argparse, which suggests the nearest option for one that does not exist."""

    def error(self, message: str) -> Any:
        if message.startswith("unrecognized arguments: "):
            word = message.split()[2].split("=")[0]
            parsers = [self]
            for action in self._actions:
                parsers += action.choices.values() if isinstance(action, argparse._SubParsersAction) else []
            known = [
                option for part in parsers for action in part._actions for option in action.option_strings
            ]
            close = difflib.get_close_matches(word, known, 1, 0.5)
            message += f" (did you mean {close[0]}?)" if close else ""
        super().error(message)


def parser() -> argparse.ArgumentParser:
    """The arguments of `gfm-lab` and its commands."""
    top = _Parser(
        prog="gfm-lab", description="Companion of the course Anatomy of a Genomic Foundation Model."
    )
    top.add_argument("--version", action="version", version=f"gfm-lab {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    parts = {}
    for name, (purpose, description) in _JOBS.items():
        examples = "examples (on shipped data):\n" + "".join(f"  {line}\n" for line in EXAMPLES[name])
        parts[name] = commands.add_parser(
            name,
            help=purpose,
            description=description,
            epilog=examples,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
    commands.add_parser("doctor", help="check this machine: Python, torch, device, data, tools, memory, disk")
    course = commands.add_parser(
        "progress",
        help="exercises attempted and solved, from your saved notebooks",
        description="Which exercises are solved, from the notebooks as they were last saved. Nothing is run.",
        allow_abbrev=False,
    )
    course.add_argument(
        "paths", nargs="*", type=Path, default=[Path("notebooks")], metavar="PATH",
        help="notebooks, or folders of notebooks (default: notebooks)",
    )  # fmt: skip
    course.add_argument("--json", action="store_true", help="every exercise with its state, for a program")
    course.set_defaults(debug=False)
    new = commands.add_parser(
        "new",
        help="a project of your own: from DNA to a report, ready to run",
        description="Makes a folder with a script to change (own FASTA or table, tokenizer, pre-training, fine-tuning, "
        "report), which runs at once on shipped data, and its test.",
        allow_abbrev=False,
    )
    new.add_argument("project", type=Path, metavar="PROJECT", help="the folder to make")
    new.set_defaults(debug=False)
    add_assign(commands)
    _pretrain(parts["pretrain"])
    _finetune(parts["finetune"])
    _embed(parts["embed"])
    _score(parts["score"])
    _generate(parts["generate"])
    for part in parts.values():
        group = part.add_argument_group("general")
        group.add_argument(
            "--seed", type=_at_least(0), help=f"of every random choice{_default(part, 'seed')}"
        )
        group.add_argument(
            "--device",
            metavar="NAME",
            help="auto, cpu, cuda, cuda:1 or mps (default: $GFM_LAB_DEVICE, else the best)",
        )
        group.add_argument("--precision", help="auto, float32 or bfloat16 (default: auto)")
        group.add_argument("--quiet", action="store_true", help="no progress bar")
        group.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return top


class _Formatter(argparse.HelpFormatter):
    """Wraps the description, but leaves the examples as they are: one line each."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def _default(part: argparse.ArgumentParser, name: str) -> str:
    known = RECIPES["default"] if part.prog.endswith("pretrain") else {"seed": 0}
    return f" (default: {known[name]})"


def _at_least(least: float, kind: type = int) -> Any:
    """A type for argparse: a number from `least` on, in words when it is not."""

    def number(text: str) -> Any:
        what = "a whole number" if kind is int else "a number"
        try:
            value = kind(text.replace(",", "").replace("_", "")) if kind is int else kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        if not value >= least:
            raise argparse.ArgumentTypeError(f"{text} is too small: {what} from {least} on")
        return value

    return number


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1, such as 0.05")
    return value


def _pretrain(part: argparse.ArgumentParser) -> None:
    default = RECIPES["default"]

    def add(group: Any, option: str, text: str, **kinds: Any) -> None:
        name = option.lstrip("-").replace("-", "_")
        shown = f" (default: {default[name]})" if default.get(name) is not None else ""
        group.add_argument(option, help=text + shown, **kinds)

    group = part.add_argument_group("what to train on")
    source = group.add_mutually_exclusive_group()
    add(source, "--data", "a shipped genome: ecoli-k12 or human-chr20", metavar="NAME")
    add(source, "--fasta", "your own: FASTA, plain or gzip; runs of N are left out", metavar="FILE")
    regions = "NAME:START-STOP or NAME of the FASTA, 0-based, half-open as in BED; may be repeated"
    group.add_argument("--valid-region", metavar="REGION", action="append", help=f"{regions}")
    group.add_argument("--test-region", metavar="REGION", action="append", help="the same for the final test")
    group.add_argument(
        "--valid-fraction",
        metavar="SHARE",
        type=_share,
        help="without regions: the share before the test region (default: 0.05)",
    )
    group.add_argument(
        "--test-fraction",
        metavar="SHARE",
        type=_share,
        help="without regions: the last share of all bases (default: 0.1)",
    )

    group = part.add_argument_group("the model (tokens are single nucleotides)")
    group.add_argument(
        "--recipe",
        metavar="NAME",
        choices=RECIPES,
        help=f"settings by name: {', '.join(RECIPES)}; {_SHIPPED} remakes the shipped checkpoint",
    )
    group.add_argument(
        "--preset",
        metavar="NAME",
        help="the body of a published model, such as dnabert-6 or gpt-dna; --layers and --width shrink it",
    )
    group.add_argument(
        "--init",
        metavar="CHECKPOINT",
        help="go on from the weights of a checkpoint: a shipped name or a folder",
    )
    add(group, "--layers", "layers", type=_at_least(1), metavar="N")
    add(group, "--width", "channels of each token's vector", type=_at_least(4), metavar="N")
    add(group, "--heads", "attention heads; must divide the width", type=_at_least(1), metavar="N")
    add(
        group,
        "--kmer-sum",
        "add the 1-mer .. k-mer that ends at each base; 0: none",
        type=_at_least(0),
        metavar="K",
    )

    group = part.add_argument_group("training")
    add(group, "--objective", "masked, or next for the next token", choices=("masked", "next"))
    add(group, "--window", "bases a model sees at once", type=_at_least(8), metavar="N")
    add(group, "--steps", "optimizer steps", type=_at_least(1), metavar="N")
    add(group, "--batch-size", "windows a step", type=_at_least(1), metavar="N")
    add(group, "--learning-rate", "its peak; cosine schedule", type=_at_least(0.0, float), metavar="RATE")

    group = part.add_argument_group("output")
    group.add_argument(
        "--output",
        metavar="FOLDER",
        help="default: runs/DATA-OBJECTIVE; a folder that holds another run is refused",
    )
    group.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    group.add_argument(
        "--stats",
        action="store_true",
        help="print what the run cost: memory, FLOPs a token, share of this machine's matrix-product speed",
    )
    group.add_argument(
        "--test-bases",
        metavar="N",
        type=_at_least(1000),
        default=None,
        help="score so many bases of the test region, evenly spread (default: all)",
    )
    group.add_argument(
        "--single-bases",
        metavar="N",
        type=_at_least(0),
        default=None,
        help="of these, so many with one base masked at a time, which is slow; 0: none (default: 8,192)",
    )


def _model(part: argparse.ArgumentParser) -> None:
    part.add_argument(
        "--model",
        metavar="CHECKPOINT",
        default=_SHIPPED,
        help=f"a shipped checkpoint or a folder, such as runs/ecoli-k12-masked (default: {_SHIPPED})",
    )


def _sequences(part: argparse.ArgumentParser, fasta: bool = True) -> None:
    group = part.add_argument_group("sequences")
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", metavar="NAME", help="a shipped table; data/README.md describes them")
    if fasta:
        source.add_argument("--fasta", metavar="FILE", help="FASTA, plain or gzip")
        source.add_argument(
            "--table",
            metavar="FILE",
            help="TSV with a header and a column sequence; name or id, if there, names them",
        )
        group.add_argument(
            "--split", metavar="NAME", help="only rows of this split (a genome: only this region)"
        )
    else:
        source.add_argument(
            "--table",
            metavar="FILE",
            help="TSV with a header and the columns sequence, label or y, and split (train, valid, test)",
        )
    group.add_argument(
        "--where",
        metavar="COLUMN=VALUE",
        action="append",
        default=[],
        help="only rows with this value, or one of several: kind=donor,matched_decoy; may be repeated",
    )
    group.add_argument(
        "--limit",
        metavar="N",
        type=_at_least(1),
        help="at most so many sequences" + ("" if fasta else " of each split, drawn at random"),
    )


def _finetune(part: argparse.ArgumentParser) -> None:
    _sequences(part, fasta=False)
    group = part.add_argument_group("training")
    _model(group)
    group.add_argument("--label", metavar="COLUMN", help="the label's column (default: label, else y)")
    group.add_argument(
        "--group",
        metavar="COLUMN",
        help="rows that belong together are resampled together for intervals (default: gene or locus, if there)",
    )
    group.add_argument(
        "--method",
        choices=("probe", "lora", "full"),
        default="probe",
        help="train the head alone, low-rank additions too, or all weights (default: probe)",
    )
    group.add_argument(
        "--epochs",
        metavar="N",
        type=_at_least(1),
        help="passes over the training rows (default: training's own for the method)",
    )
    group.add_argument("--batch-size", metavar="N", type=_at_least(1), help="sequences a step (default: 32)")
    group.add_argument(
        "--learning-rate",
        metavar="RATE",
        type=_at_least(0.0, float),
        help="its peak (default: training's own for the method)",
    )
    group.add_argument("--no-baseline", action="store_true", help="leave out the linear models")
    group.add_argument(
        "--allow-shared",
        action="store_true",
        help="although sequences stand in train and valid, which flatters",
    )
    part.add_argument_group("output").add_argument(
        "--output",
        metavar="FOLDER",
        help="default: runs/DATA-METHOD; a folder that holds something is refused",
    )


def _embed(part: argparse.ArgumentParser) -> None:
    _sequences(part)
    group = part.add_argument_group("vectors")
    _model(group)
    group.add_argument(
        "--pooling",
        choices=("mean", "max", "first", "last"),
        help="over the tokens (default: mean)",
        default="mean",
    )
    group.add_argument(
        "--layer",
        metavar="N",
        type=int,
        default=-1,
        help="0: the embedding, 1: after the first layer ... (default: -1, the last, after the final norm)",
    )
    _windows(group)
    _file(part, required=True)


def _score(part: argparse.ArgumentParser) -> None:
    _sequences(part)
    group = part.add_argument_group("scores")
    _model(group)
    group.add_argument(
        "--protocol",
        choices=("single", "joint"),
        help="masked models: one base hidden at a time, or 15 %% at once (default: single)",
    )
    _windows(group)
    _variants(part)
    _file(part, required=False)


def _variants(part: argparse.ArgumentParser) -> None:
    group = part.add_argument_group("variants")
    source = group.add_mutually_exclusive_group()
    source.add_argument("--vcf", metavar="FILE", help="score these variants: VCF 4, plain or gzip")
    source.add_argument(
        "--variants",
        metavar="FILE",
        help="score these: a table with columns position (from 0), ref, alt, and chrom if there are several",
    )
    group.add_argument(
        "--method",
        choices=("masked", "autoregressive", "embedding", "head"),
        help="which score (default: what the model was trained for)",
    )
    group.add_argument(
        "--strands",
        choices=("forward", "both"),
        help="both: the mean of the two (default: both for autoregressive, else forward)",
    )
    group.add_argument("--control", metavar="NAME", help="a control token of the model, such as a species")
    group.add_argument(
        "--skip",
        action="store_true",
        help="leave out symbolic alleles, and give variants that do not fit the reference no score, instead of "
        "ending with an error",
    )


def _generate(part: argparse.ArgumentParser) -> None:
    group = part.add_argument_group("what to write")
    group.add_argument(
        "--model",
        metavar="CHECKPOINT",
        default=_WRITER,
        help=f"a causal one: a shipped checkpoint or a folder, such as runs/ecoli-k12-next (default: {_WRITER})",
    )
    group.add_argument(
        "--length",
        metavar="N",
        type=_at_least(1),
        default=1000,
        help="new bases of each sequence (default: 1000)",
    )
    group.add_argument("--number", metavar="N", type=_at_least(1), default=1, help="sequences (default: 1)")
    group.add_argument("--prompt", metavar="DNA", default="", help="what each sequence begins with")
    group.add_argument(
        "--control", metavar="NAME", help="a control token of the model, such as a species: ecoli"
    )
    group = part.add_argument_group("how to draw")
    group.add_argument(
        "--temperature",
        metavar="T",
        type=_at_least(0.0, float),
        default=1.0,
        help="1: the model's own distribution; below 1: likely bases become likelier; 0: the likeliest always "
        "(default: 1)",
    )
    group.add_argument(
        "--top-k", metavar="K", type=_at_least(1), help="draw from the K likeliest bases (default: all 4)"
    )
    group.add_argument(
        "--top-p",
        metavar="P",
        type=_at_least(0.0, float),
        help="draw from the fewest likeliest bases that sum to this probability (default: 1)",
    )
    group.add_argument(
        "--batch-size", metavar="N", type=_at_least(1), default=64, help="sequences at once (default: 64)"
    )
    _file(part, required=False)


def _windows(group: Any) -> None:
    group.add_argument(
        "--window",
        metavar="N",
        type=_at_least(1),
        help="bases a model sees at once (default: what it was trained on, at most its limit)",
    )
    group.add_argument(
        "--batch-size", metavar="N", type=_at_least(1), default=32, help="windows at once (default: 32)"
    )


def _file(part: argparse.ArgumentParser, required: bool) -> None:
    group = part.add_argument_group("output")
    group.add_argument(
        "--output",
        metavar="FILE",
        required=required,
        help="the file to write" + ("" if required else " (default: standard output)"),
    )
    group.add_argument("--force", action="store_true", help="replace the file if it exists")
