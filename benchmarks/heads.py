"""Four kinds of labels, two routes: a language model with a head, and a small supervised network from nothing.

    python benchmarks/heads.py fly-promoters baselines               # k-mers and the like, tuned on valid
    python benchmarks/heads.py fly-promoters supervised              # an ensemble of small networks
    python benchmarks/heads.py fly-promoters probe                   # linear model on a frozen model's vectors
    python benchmarks/heads.py fly-promoters lora|full               # gfm_lab.training.finetune
    python benchmarks/heads.py fly-promoters probe|lora|full --twin  # the same from random weights
    python benchmarks/heads.py fly-promoters ship                    # the ensemble as checkpoints/NAME, with card

Each adds its lines to results/heads.json as soon as they are known: data, route, model, metric with 95 % interval on
the test rows (bootstrap by locus or gene where the table names them), the same metric on the validation rows,
settings, seed, minutes and hardware. `paired` compares with the strongest linear baseline on the same test rows.
Predictions stand in runs/heads/, and so do members of an ensemble that is not finished: `supervised` stops after
--minutes and goes on when called again.

What was chosen was chosen on the validation rows; results/heads_trials.json lists all that was tried, with its score
there. Test rows are read once a line, with one exception that is told there: the learning rate of full fine-tuning was
changed after its first runs had been scored on test as well. One thread; minutes are those of a machine with other
work.

**Protocol.** Fly: cleaned table, trained on 2L, 2R, 3L and 3R, tested on X. Settings were chosen with 3R held out; of
the ensemble each member stops by another of the four arms and trains on the other three. Baselines and language models
train on three arms and are tuned on 3R. Donors: chr20, matched decoys alone, by gene clusters; prevalence 1 in 300 is
that of the matched decoys, weighted. Arabidopsis: chr1, by position. The two MPRAs: the split that was supplied;
splice-mpra-block holds out every site with G at -1 and +5.

**Language models.** species-mamba-ar for eukaryotes, ecoli-attention-mlm for the lac promoter, each with its
random-weights twin: the same shape as first made. They read a limited number of training rows (train_rows of each
line), LoRA and full fine-tuning for few epochs, to fit a quarter of an hour of one core: longer might help, the twin
alike.
"""

from __future__ import annotations

# ruff: noqa: E402 (the number of threads is read when the libraries are imported)
import os
import sys
from pathlib import Path

# This directory has a tokenizers.py, and so is a library called that transformers imports: look for that one elsewhere.
sys.path = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy and torch are imported

import argparse
import fcntl
import json
import shutil
import time
from typing import Any

import numpy as np
import torch

from gfm_lab import load_data
from gfm_lab.checkpoints import load_model
from gfm_lab.metrics import METRICS, paired, with_interval
from gfm_lab.predictors import join_predictors, load_predictor, train_predictor
from gfm_lab.runs import describe_machine, write_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "heads.json"
TRIALS = RESULTS.with_name("heads_trials.json")
RUNS = ROOT / "runs" / "heads"
PREVALENCE = 1 / 300  # annotated donors among the GTs of genes
CNN = dict(kind="cnn", precision="bfloat16", batch_size=128, learning_rate=3e-3)
MLP = dict(kind="mlp", batch_size=128)

# table, how it is split, metrics (the first one chooses), what test rows share, and the settings of each route.
QUESTIONS: dict[str, dict[str, Any]] = {
    "lac-mpra": dict(  # rows and epochs: of the language model, fewer for LoRA
        table="lac-mpra",
        metrics=("R2", "Spearman"),
        supervised=dict(MLP, width=128, layers=2, dropout=0.3, weight_decay=0.1, epochs=6),
        members=8,
        model="ecoli-attention-mlm",
        rows=30_516,
        epochs=3,
        rate=1e-3,
        lora=(8_000, 2),
    ),
    "splice-mpra": dict(
        table="splice-mpra",
        metrics=("R2", "Spearman"),
        supervised=dict(MLP, width=192, layers=3, dropout=0.1, epochs=25),
        members=4,
        model="species-mamba-ar",
        control="human",
        rows=18_469,
        epochs=4,
        rate=1e-3,
    ),
    "splice-mpra-block": dict(
        table="splice-mpra",
        by="split_block",
        metrics=("R2", "Spearman"),
        supervised=dict(MLP, width=192, layers=3, dropout=0.1, epochs=25),
        members=4,
        model="species-mamba-ar",
        control="human",
        rows=18_469,
        epochs=4,
        rate=1e-3,
    ),
    "fly-promoters": dict(
        table="fly-promoters",
        metrics=("AUROC", "AUPRC"),
        groups="locus",
        folds=("chr3R", "chr3L", "chr2R", "chr2L"),
        supervised=dict(CNN, kernel=13, pool=4, hidden=40, dropout=0.4, shift=10, epochs=9),
        members=4,
        model="species-mamba-ar",
        control="fly",
        rows=6_000,
        epochs=3,
        rate=1e-3,
        lora=(1_500, 2),
    ),
    "donor-matched": dict(
        table="human-splice-sites",
        metrics=("AUROC", "AUPRC"),
        groups="gene",
        prevalence=PREVALENCE,
        supervised=dict(
            CNN,
            width=48,
            kernel=9,
            pool=4,
            layers=4,
            bins=25,
            hidden=32,
            dropout=0.4,
            batch_size=64,
            epochs=8,
        ),
        members=3,
        model="species-mamba-ar",
        control="human",
        rows=7_143,
        epochs=3,
        rate=1e-3,
        lora=(1_500, 2),
    ),
    "arabidopsis-expression": dict(
        table="arabidopsis-expression",
        metrics=("Spearman", "R2"),
        supervised=dict(
            CNN,
            kernel=9,
            pool=8,
            layers=2,
            bins=15,
            hidden=32,
            dropout=0.4,
            shift=20,
            batch_size=64,
            learning_rate=2e-3,
            epochs=12,
        ),
        members=3,
        model="species-mamba-ar",
        control="arabidopsis",
        rows=500,
        epochs=1,
    ),
}


# ---- Data ----


class Rows:
    """The three parts of one question."""

    def __init__(self, question: str) -> None:
        self.about = QUESTIONS[question]
        table = load_data(self.about["table"])
        if question == "donor-matched":
            table = table.where((table.frame.site == "donor") & (table.frame.kind != "random_decoy"))
        by = self.about.get("by", "split")
        self.test = table.split("test", by)
        self.pool = table.split("train", by)  # where folds stand for a validation split
        if "folds" in self.about:
            held = (self.pool.frame.chrom == self.about["folds"][0]).to_numpy()
            self.train, self.valid = self.pool.where(~held), self.pool.where(held)
        else:
            self.train, self.valid = self.pool, table.split("valid", by)
        self.task = "classification" if self.about["metrics"][0] == "AUROC" else "regression"
        self.groups = None if "groups" not in self.about else self.test.frame[self.about["groups"]].to_numpy()

    def fold(self, member: int) -> tuple[Any, Any]:
        """What member number `member` of an ensemble trains on, and what it stops by."""
        if "folds" not in self.about:
            return self.train, self.valid
        arm = self.about["folds"][member % len(self.about["folds"])]
        held = (self.pool.frame.chrom == arm).to_numpy()
        return self.pool.where(~held), self.pool.where(held)


def pair(table: Any) -> tuple[list[str], np.ndarray]:
    return table.sequences, table.labels


# ---- Results ----


def note(
    question: str,
    route: str,
    model: str,
    rows: Rows,
    guess: np.ndarray,
    valid: float | None,
    minutes: float,
    **facts: Any,
) -> dict[str, Any]:
    """Score the predictions of the test rows and put the line into heads.json, in place of an earlier one."""
    y, metrics = rows.test.labels, {}
    score = guess[:, 1] if guess.ndim == 2 else guess
    for name in rows.about["metrics"]:
        found = with_interval(name, y, score, groups=rows.groups)
        metrics[name] = [round(float(v), 4) for v in found[1:]]
    if "prevalence" in rows.about:
        found = with_interval("AUPRC", y, score, groups=rows.groups, prevalence=rows.about["prevalence"])
        metrics["AUPRC, 1 in 300"] = [round(float(v), 4) for v in found[1:]]
    line = dict(
        data=question,
        route=route,
        model=model,
        metrics=metrics,
        test_rows=len(y),
        resampled=rows.about.get("groups", "rows"),
        valid=None if valid is None else round(float(valid), 4),
        parts=parts(question, rows, score),
        minutes=round(minutes, 1),
        **facts,
    )
    folder = RUNS / question
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{route}-{model}.npy".replace(" ", "_").replace("/", "_"), score.astype(np.float32))
    with open(RUNS / "lock", "w") as lock:  # two of these may run at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        lines = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        same = [
            i for i, old in enumerate(lines) if all(old[k] == line[k] for k in ("data", "route", "model"))
        ]
        if same:
            lines[same[0]] = line
        else:
            lines.append(line)
        compare(question, rows, lines)
        write_json(RESULTS, lines)
    first = rows.about["metrics"][0]
    print(
        question, route, model, first, metrics[first], "valid", line["valid"], line.get("paired"), flush=True
    )
    return line


def compare(question: str, rows: Rows, lines: list[dict[str, Any]]) -> None:
    """Add `paired`, against the linear baseline with the best first metric on valid, to every line of the question."""
    mine = [line for line in lines if line["data"] == question]
    linear = [line for line in mine if line["route"] == "baselines" and line["model"] != "small CNN"]
    if not linear:
        return
    best = max(linear, key=lambda line: line["valid"])
    metric, y = rows.about["metrics"][0], rows.test.labels

    def score(line: dict[str, Any]) -> np.ndarray | None:
        path = RUNS / question / f"{line['route']}-{line['model']}.npy".replace(" ", "_")
        return np.load(path) if path.exists() else None

    theirs = score(best)
    for line in mine:
        ours = score(line)
        if line is best or ours is None or theirs is None:
            line.pop("paired", None)
            continue
        found = paired(metric, y, ours, theirs, groups=rows.groups)
        line["paired"] = dict(
            minus=best["model"],
            metric=metric,
            value=[round(float(v), 4) for v in found[:3]],
            p=round(found.p, 4),
        )


def parts(question: str, rows: Rows, score: np.ndarray) -> dict[str, Any]:
    """The first metric on parts of the test rows that have to be reported apart."""
    frame, y = rows.test.frame, rows.test.labels
    cuts: dict[str, np.ndarray] = {}
    if question.startswith("splice-mpra"):
        cuts = {f"{site} sites": (frame.site == site).to_numpy() for site in ("GT", "GC")}
    if question == "arabidopsis-expression":
        cuts = {
            "with a training paralog": (frame.paralog == 1).to_numpy(),
            "without": (frame.paralog == 0).to_numpy(),
        }
    name = rows.about["metrics"][0]
    found = {}
    for what, rows_in in cuts.items():
        metric = with_interval(name, y[rows_in], score[rows_in])
        found[what] = dict(
            rows=int(rows_in.sum()), metric=name, value=[round(float(v), 4) for v in metric[1:]]
        )
    return found


def valid_score(rows: Rows, guess: np.ndarray) -> float:
    return METRICS[rows.about["metrics"][0]](rows.valid.labels, guess[:, 1] if guess.ndim == 2 else guess)


def machine() -> dict[str, Any]:
    found = describe_machine(torch.device("cpu"))
    return {"hardware": found.get("name") or found["device"], "threads": torch.get_num_threads()}


# ---- Shipping ----

SHIPPED = {
    "lac-mpra": (
        "lac-mpra-mlp",
        "Expression of mutated E. coli lac promoters: fully connected networks",
        "values: the mean bin, 0 (dark) to 9 (bright)",
        "That it would hold for another promoter: all rows are variants of one, the split among them is random, and "
        "nearly all were read once, so that most of what is left is noise of unknown size.",
    ),
    "splice-mpra": (
        "splice-mpra-mlp",
        "Exon inclusion for variants of one 5' splice site: fully connected networks",
        "values: log10 of percent spliced in",
        "That it extrapolates: the library nearly fills the space of 9 bases and the split is random, so this is "
        "interpolation (splice-mpra-block in the results holds out a corner of that space). It knows one exon of one "
        "gene, and its GC sites far less well than its GT sites.",
    ),
    "fly-promoters": (
        "fly-promoters-cnn",
        "Fly promoters against upstream windows of the same genes: convolutional networks",
        "probabilities of two classes: 0 upstream window, 1 the 300 bases before an annotated start",
        "That it finds promoters in a genome: classes are as many each, the window ends at the start, and the other "
        "class is upstream sequence alone. X is one chromosome, with dosage compensation of its own.",
    ),
    "donor-matched": (
        "human-donors-cnn",
        "Human splice donors against decoys of the same strength: convolutional networks",
        "probabilities of two classes: 0 decoy, 1 annotated donor",
        "How good it is on a whole gene: decoys were chosen to have the same score under a weight matrix, so the "
        "AUPRC at 1 donor in 300 is that against strong decoys alone. Decoys are unannotated, not proven unused. One "
        "chromosome, 400 bases: published networks read 10,000 and all chromosomes.",
    ),
    "arabidopsis-expression": (
        "arabidopsis-expression-cnn",
        "Expression of Arabidopsis genes from the sequence around their start: convolutional networks",
        "values: log2(CPM per kb + 1)",
        "That promoters are understood: most of the signal lies in the first 500 transcribed bases, and y depends on "
        "the length of the gene. One chromosome; a third of the test genes have a paralog in train.",
    ),
}


def ship(question: str, rows: Rows) -> None:
    """The ensemble that was scored, in 16 bits, as checkpoints/NAME with its card; its lines in the manifest."""
    import hashlib

    name, title, answers, limits = SHIPPED[question]
    source, folder = RUNS / question / "supervised" / "whole", ROOT / "checkpoints" / name
    lines = [line for line in json.loads(RESULTS.read_text()) if line["data"] == question]
    (mine,) = (line for line in lines if line["route"] == "supervised")
    others = [line for line in lines if line["route"] == "baselines"]
    tuned = [line for line in lines if line["route"] in ("probe", "lora", "full")]
    config = json.loads((source / "config.json").read_text())
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "model.safetensors"):
        shutil.copy(source / file, folder / file)
    probe_rows = {"sequences": rows.test.sequences[:8]}  # what a test reads again
    found = load_predictor(folder).predict(probe_rows["sequences"])
    probe_rows["answers"] = np.round(found, 5).tolist()
    write_json(
        folder / "scores.json",
        {"test": mine, "baselines": others, "language_models": tuned, "spot_check": probe_rows},
    )

    def table(line: dict[str, Any]) -> str:
        cells = (f"{v[0]:.3f} ({v[1]:.3f} to {v[2]:.3f})" for v in line["metrics"].values())
        return " | ".join(cells)

    names = list(mine["metrics"])
    best = mine.get("paired")
    card = [
        f"# {name}",
        "",
        f"{title}. No pre-training: labels alone.",
        "",
        "```python",
        "from gfm_lab.predictors import load_predictor",
        "",
        f'predictor = load_predictor("{name}")',
        "predictor.predict(sequences)",
        "```",
        "",
        f"Reads {config['length']} bases, gives {answers}. An ensemble of {config['ensemble']} networks "
        f"({mine['parameters']:,} parameters in all, stored in 16 bits, loaded as float32); "
        "their answers are averaged.",
        "",
        "## Training",
        "",
        f"Data: `{rows.test.name}`, {mine['train_rows']:,} training rows, {mine['test_rows']:,} test rows; cut, split "
        f"and sources in data/README.md. {protocol(question)}",
        "",
        f"Settings, chosen on validation rows: `{json.dumps(mine['settings'])}`; seeds {mine['seed']}. "
        f"{mine['minutes']:g} minutes in all on {mine['hardware']} (1 thread), shared with other work. "
        "What else was tried stands in benchmarks/results/heads_trials.json.",
        "",
        "```bash",
        f"python benchmarks/heads.py {question} supervised --minutes 60",
        f"python benchmarks/heads.py {question} ship",
        "```",
        "",
        "## On the test rows",
        "",
        "95 % intervals: bootstrap over "
        + (f"what shares a {mine['resampled']}" if mine["resampled"] != "rows" else "rows")
        + ". They say nothing about other training runs.",
        "",
        "| | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
        *(f"| {line['model']} | {table(line)} |" for line in others),
        *(
            f"| language model: {line['route']}, {line['model']} ({line['train_rows']:,} rows) | {table(line)} |"
            for line in tuned
        ),
        f"| **this predictor** | {table(mine)} |",
        "",
        *(
            ["A twin is the language model's shape with random weights.", ""]
            if any("twin" in line["model"] for line in tuned)
            else []
        ),
    ]
    if best:
        v = best["value"]
        card += [
            f"This predictor minus {best['minus']} (the linear baseline that did best on validation rows), "
            f"{best['metric']} on the same rows: {v[0]:+.3f} ({v[1]:+.3f} to {v[2]:+.3f}).",
            "",
        ]
    if mine["parts"]:
        card += ["| test rows | number | " + names[0] + " |", "|---|---|---|"]
        for what, part in mine["parts"].items():
            v = part["value"]
            card.append(f"| {what} | {part['rows']:,} | {v[0]:.3f} ({v[1]:.3f} to {v[2]:.3f}) |")
        card.append("")
    card += [
        "## What these numbers do not show",
        "",
        f"{limits} Not for clinical or safety decisions.",
        "",
        "Weights: Apache-2.0, as the code. Data: see data/README.md. This card: CC BY 4.0.",
        "",
    ]
    (folder / "README.md").write_text("\n".join(card), encoding="utf-8")
    for file in folder.iterdir():
        file.chmod(0o644)
    path = ROOT / "checkpoints" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    files = {
        f.name: {"bytes": f.stat().st_size, "sha256": hashlib.sha256(f.read_bytes()).hexdigest()}
        for f in sorted(folder.iterdir())
    }
    manifest.setdefault("predictors", {})[name] = {"about": title, "files": files}
    manifest["predictors"] = dict(sorted(manifest["predictors"].items()))
    write_json(path, manifest)


def protocol(question: str) -> str:
    return {
        "lac-mpra": "The split that was supplied with the data, random among variants.",
        "splice-mpra": "The split that was supplied with the data, random among sites.",
        "fly-promoters": "Trained on 2L, 2R, 3L and 3R, tested on X. Settings were chosen with 3R held out; each "
        "member trains on three arms and stops by the fourth.",
        "donor-matched": "Clusters of genes of chr20 below 45 Mb train, from 55 Mb test, between validate.",
        "arabidopsis-expression": "Chr1 below 22 Mb trains, above 24 Mb tests, between validates.",
    }[question]


# ---- The routes ----


def baselines(question: str, rows: Rows, only: list[str] | None = None) -> None:
    from gfm_lab.sequence_baselines import fit_baseline, fitting_baselines

    for name in only or fitting_baselines(rows.train.sequences):
        started = time.perf_counter()
        fit = fit_baseline(
            name, pair(rows.train), pair(rows.valid), rows.task, metric=rows.about["metrics"][0]
        )
        guess = fit.predict(rows.test.sequences)
        minutes = (time.perf_counter() - started) / 60
        facts = dict(chosen=fit.chosen, train_rows=len(rows.train), seed=0, **machine())
        note(question, "baselines", name, rows, guess, fit.valid, minutes, **facts)


def supervised(question: str, rows: Rows, minutes: float) -> None:
    """Train the members one by one; score the ensemble when all are there."""
    about, started = rows.about, time.perf_counter()
    settings, count = about["supervised"], about["members"]
    folder = RUNS / question / "supervised"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        place = folder / str(number)
        if (place / "minutes.json").exists():
            continue
        begun = time.perf_counter()
        if (begun - started) / 60 > minutes:
            print(f"{question}: {number} of {count} members; call again", flush=True)
            return
        train, held = rows.fold(number)
        made = train_predictor(pair(train), pair(held), task=rows.task, seed=number, **settings)
        guess = made.predict(held.sequences)
        score = METRICS[about["metrics"][0]](held.labels, guess[:, 1] if guess.ndim == 2 else guess)
        made.save(place)
        spent = (time.perf_counter() - begun) / 60
        write_json(place / "minutes.json", {"minutes": spent, "valid": score, "settings": settings})
        print(f"{question}: member {number}, held out {score:.4f}, {spent:.1f} minutes", flush=True)
    notes = [json.loads((folder / str(i) / "minutes.json").read_text()) for i in range(count)]
    if any(n["settings"] != settings for n in notes):
        raise SystemExit(f"{folder} holds members of other settings: remove it")
    members = [load_predictor(folder / str(i)) for i in range(count)]
    whole = join_predictors(members)
    whole.save(folder / "whole", torch.float16)
    whole = load_predictor(folder / "whole")  # the numbers are those of the weights as shipped, in 16 bits
    # With folds, each validation row is scored by the members that have not trained on it.
    judge = whole if "folds" not in about else join_predictors(members[:: len(about["folds"])])
    kind = settings["kind"].upper()
    note(
        question,
        "supervised",
        f"{kind} ensemble",
        rows,
        whole.predict(rows.test.sequences),
        valid_score(rows, judge.predict(rows.valid.sequences)),
        sum(n["minutes"] for n in notes),
        settings=settings,
        members=count,
        members_valid=[round(n["valid"], 4) for n in notes],
        parameters=sum(p.numel() for p in whole.parameters()),
        train_rows=len(rows.pool if "folds" in about else rows.train),
        seed=list(range(count)),
        **machine(),
    )


def language_model(rows: Rows, twin: bool) -> tuple[Any, Any]:
    """The shipped model, or one of its shape with random weights."""
    model, tokenizer = load_model(rows.about["model"])
    if twin:
        torch.manual_seed(0)
        model = type(model)(model.config)
    return model.eval(), tokenizer


def reduced(table: Any, count: int) -> Any:
    keep = np.zeros(len(table), bool)
    keep[np.random.default_rng(0).permutation(len(table))[:count]] = True
    return table.where(keep)


def probe(question: str, rows: Rows, twin: bool) -> None:
    """Mean and last vectors of the frozen model; logistic or ridge regression on either, chosen on valid."""
    from sklearn.linear_model import LogisticRegression, Ridge

    started = time.perf_counter()
    model, tokenizer = language_model(rows, twin)
    long = len(rows.train.sequences[0]) > 1000
    train = reduced(rows.train, 1_500 if long else 20_000)
    rows.valid = reduced(rows.valid, 2_000)
    # species-mamba-ar was trained with a control token in front; like `finetune`, the probe reads bases alone
    tables = {"train": train, "valid": rows.valid, "test": rows.test}
    vectors = {name: _vectors(model, tokenizer, table.sequences) for name, table in tables.items()}
    best: tuple[float, str, Any] | None = None
    for pooling in vectors["train"]:
        x = {name: found[pooling] for name, found in vectors.items()}
        mean, spread = x["train"].mean(0), x["train"].std(0) + 1e-6
        x = {name: (part - mean) / spread for name, part in x.items()}
        for strength in (1e-4, 1e-3, 1e-2, 1e-1):
            if rows.task == "classification":
                fit = LogisticRegression(C=strength, max_iter=300).fit(x["train"], train.labels)
                guesses = {name: fit.predict_proba(x[name])[:, 1] for name in ("valid", "test")}
            else:
                fit = Ridge(alpha=1 / strength).fit(x["train"], train.labels)
                guesses = {name: fit.predict(x[name]) for name in ("valid", "test")}
            score = valid_score(rows, guesses["valid"])
            if best is None or score > best[0]:
                best = (score, f"{pooling}, strength {strength:g}", guesses["test"])
    assert best is not None
    name = f"{rows.about['model']}{' twin' if twin else ''}"
    minutes = (time.perf_counter() - started) / 60
    facts = dict(chosen=best[1], train_rows=len(train), seed=0, **machine())
    note(question, "probe", name, rows, best[2], best[0], minutes, **facts)


@torch.no_grad()
def _vectors(model: Any, tokenizer: Any, sequences: list[str]) -> dict[str, np.ndarray]:
    from gfm_lab.device import autocast

    found: dict[str, list[np.ndarray]] = {"mean": [], "last": [], "mean of four quarters": []}
    for first in range(0, len(sequences), 64):
        ids = torch.tensor(
            np.stack([tokenizer.encode_array(s, False) for s in sequences[first : first + 64]])
        )
        with autocast("cpu"):
            hidden = model.body(ids.long()).last_hidden_state.float()  # one length: no padding
        found["mean"].append(hidden.mean(1).numpy())
        found["last"].append(hidden[:, -1].numpy())
        quarters = torch.tensor_split(hidden, 4, 1)
        found["mean of four quarters"].append(torch.cat([q.mean(1) for q in quarters], 1).numpy())
    return {name: np.concatenate(parts).astype(np.float64) for name, parts in found.items()}


def tune(question: str, rows: Rows, method: str, twin: bool, tried: float | None = None) -> None:
    """LoRA or full fine-tuning by `gfm_lab.training.finetune`; `tried`: another rate, scored on valid alone."""
    from gfm_lab.training import finetune

    started = time.perf_counter()
    model, tokenizer = language_model(rows, twin)
    name = f"{rows.about['model']}{' twin' if twin else ''}"
    output = RUNS / question / f"{method}{'-twin' if twin else ''}"
    shutil.rmtree(output, ignore_errors=True)
    count, epochs = rows.about["rows"], rows.about["epochs"]
    if method == "lora":  # a step costs more than one of full fine-tuning
        count, epochs = rows.about.get("lora", (count, epochs))
    train = reduced(rows.train, count)
    rows.valid = valid = reduced(rows.valid, 1_000)
    rate = tried or (rows.about.get("rate", 2e-4) if method == "full" else 1e-3)
    settings = dict(method=method, epochs=epochs, batch_size=32, pooling="mean", seed=0, learning_rate=rate)
    run = finetune(model, tokenizer, train, valid, output, task=rows.task, progress=False, **settings)
    tuned, tokenizer = run.model.eval(), tokenizer
    if tried:
        found = round(valid_score(rows, _answers(tuned, tokenizer, valid, rows.task)), 4)
        trial = dict(data=question, model=name, rows=count, epochs=epochs, rate=rate, valid=found)
        trials = json.loads(TRIALS.read_text())
        trials["learning_rates"]["trials"].append(trial)
        write_json(TRIALS, trials)
        print(trial)
        return
    guesses = {
        part: _answers(tuned, tokenizer, table, rows.task)
        for part, table in (("valid", rows.valid), ("test", rows.test))
    }
    note(
        question,
        method,
        name,
        rows,
        guesses["test"],
        valid_score(rows, guesses["valid"]),
        (time.perf_counter() - started) / 60,
        settings=settings,
        train_rows=len(train),
        seed=0,
        **machine(),
    )


@torch.no_grad()
def _answers(model: Any, tokenizer: Any, table: Any, task: str) -> np.ndarray:
    from gfm_lab.device import autocast

    found = []
    for first in range(0, len(table), 64):
        part = table.sequences[first : first + 64]
        ids = torch.tensor(np.stack([tokenizer.encode_array(s, True) for s in part])).long()
        with autocast("cpu"):
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()
        found.append(logits.softmax(-1)[:, 1] if task == "classification" else logits[:, 0])
    return torch.cat(found).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description="Two routes to the same labels, beside baselines.")
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("route", choices=("baselines", "supervised", "probe", "lora", "full", "ship"))
    parser.add_argument("--twin", action="store_true", help="random weights in place of the trained ones")
    parser.add_argument("--minutes", type=float, default=2.0, help="start no further member after so long")
    parser.add_argument("--only", nargs="*", help="names of baselines")
    parser.add_argument(
        "--rate", type=float, help="of `full` or `lora`: try it on valid, for heads_trials.json"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(options.question)
    if options.route == "baselines":
        baselines(options.question, rows, options.only)
    elif options.route == "supervised":
        supervised(options.question, rows, options.minutes)
    elif options.route == "ship":
        ship(options.question, rows)
    elif options.route == "probe":
        probe(options.question, rows, options.twin)
    else:
        tune(options.question, rows, options.route, options.twin, options.rate)


if __name__ == "__main__":
    main()
