"""Training: `pretrain` on stretches of a genome, `finetune` on labelled sequences; both thin over transformers.Trainer.

    stretches --> windows (anywhere, either strand) --> objective --> Trainer --> a folder with model, log and figure

The Trainer runs the loop, and torchrun or accelerate spread it over devices. Ours is what makes a run trustworthy:
window i and its masks depend on (seed, i) alone, so that a resumed run, or one on several processes, reads exactly
the data of an uninterrupted one; checkpoints are whole or absent (`gfm_lab.runs`); validation is in bits per base on
fixed windows; NaN, Ctrl-C and a full disk end a run without loss. Introduced in notebook 09.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import AutoTokenizer, TrainerCallback

from gfm_lab.device import pick_device, precision_of
from gfm_lab.model import (
    GenomicForCausalLM,
    GenomicForMaskedLM,
    GenomicForSequenceClassification,
    GenomicModel,
)
from gfm_lab.objectives import MaskedLMCollator, NextTokenCollator
from gfm_lab.runs import DiskFull, Run, RunError, precision_of_run
from gfm_lab.stats import count_flops, matmul_speed
from gfm_lab.stretches import SPECIES, Stretch, Windows, check_apart, panel, read_stretches, stretches
from gfm_lab.trainer import BITS, arguments, processes, train_in_folder

__all__ = [
    "SPECIES",
    "DiskFull",
    "Run",
    "RunError",
    "Stretch",
    "Windows",
    "finetune",
    "panel",
    "pretrain",
    "read_stretches",
    "stretches",
]


# ---- Model and tokenizer belong together ----


def check_tokenizer(model: nn.Module, tokenizer: Any, name: str) -> None:
    """Raise ValueError if the model was made for, or saved with, another tokenizer than the one given."""
    config, given = model.config, f"{type(tokenizer).__name__} with {len(tokenizer):,} entries"
    if len(tokenizer) > config.vocab_size:
        raise ValueError(
            f"{given} was given to a model of {config.vocab_size:,}: build it with that vocab_size"
        )
    ids = {"mask_token_id": tokenizer.mask_token_id, "pad_token_id": tokenizer.pad_token_id}
    for field, found in ids.items():
        expected = getattr(config, field, None)
        if expected is not None and found is not None and expected != found:
            raise ValueError(
                f"the model was made for a tokenizer with {field} {expected}, {given} has {found}: give the "
                f"model's own tokenizer, or build it with {field}={found}"
            )
    if getattr(config, "kmer_sum", 0):
        bases = [tokenizer.convert_tokens_to_ids(base) for base in "ACGT"]
        if bases != [*config.base_ids]:
            raise ValueError(
                f"the model's kmer_sum reads A, C, G, T as ids {[*config.base_ids]}, {given} writes them as {bases}: "
                f"build it with base_ids={bases}"
            )
    origin = getattr(config, "_name_or_path", "")
    folder = Path(origin)
    if origin and (folder / "config.json").exists() and (folder / "tokenizer_config.json").exists():
        saved = AutoTokenizer.from_pretrained(folder)
        theirs, ours = saved.get_vocab(), tokenizer.get_vocab()
        if theirs != ours:
            token = min(t for t in {*theirs, *ours} if theirs.get(t) != ours.get(t))
            raise ValueError(
                f"the model comes from {folder}, which was trained with a {type(saved).__name__} of {len(theirs):,} "
                f"entries; {name} was given a {given} ({token!r} is {theirs.get(token)} there and {ours.get(token)} "
                f"here). Take the tokenizer from the same folder"
            )


def _objective_of(model: nn.Module) -> str:
    kind = type(model).__name__
    if kind.endswith("ForMaskedLM"):
        return "masked"
    if kind.endswith(("ForCausalLM", "LMHeadModel")):
        return "next token"
    raise TypeError(f"{kind} has no language-model head: give a GenomicForMaskedLM or a GenomicForCausalLM")


# ---- Pre-training ----

LISTED = 50  # stretches that run.json names one by one
NOT_SETTINGS = (
    *("model", "tokenizer", "train", "valid", "output", "device"),
    *("resume", "progress", "baselines", "stats"),
)


def pretrain(
    model: nn.Module,
    tokenizer: Any,
    train: Sequence[Stretch],
    valid: Sequence[Stretch],
    output: str | Path,
    *,
    steps: int,
    batch_size: int = 64,
    window: int = 256,
    learning_rate: float = 2e-3,
    warmup: float = 0.05,
    weight_decay: float = 0.01,
    rate: float = 0.15,
    pattern: str = "independent",
    replace: tuple[float, float, float] = (0.8, 0.1, 0.1),
    together: bool = False,
    reverse_complement: bool = True,
    max_unknown: float = 0.1,
    valid_windows: int = 256,
    clip: float = 1.0,
    accumulate: int = 1,
    evaluate_every: int | None = None,
    save_every: int | None = None,
    log_every: int | None = None,
    seed: int = 0,
    precision: str = "auto",
    device: str | None = None,
    resume: bool = False,
    progress: bool | None = None,
    baselines: Mapping[str, float] | None = None,
    stats: bool = False,
) -> Run:
    """Pre-train a language model on stretches of DNA, and leave model, log and figure in the folder `output`.

    The objective follows the model's class: masked for ...ForMaskedLM (`rate`, `pattern`, `replace` and `together` as
    in `MaskedLMCollator`), next token for ...ForCausalLM. Windows of `window` bases come from anywhere in `train` and,
    with `reverse_complement`, from either strand with equal chance. Where stretches carry a control token (`panel`), it
    stands in front of each window, on either strand, and each control has the same chance: the first base is predicted
    from it alone; it is never masked and never a target.

    AdamW (betas 0.9 and 0.95; Loshchilov and Hutter 2019, arXiv:1711.05101) with the gradient clipped to norm `clip`.
    Weight decay acts on matrices and filters alone: not on norms, biases or embeddings, hence not on an LM head tied to
    them. The learning rate climbs over `warmup` steps (below 1: a share of all) and falls along a cosine to 1 % of its
    peak. The weights that are saved are the last step's, where the cosine ends; none is picked by its validation score.

    batch_size: windows in one step over all processes and `accumulate` smaller batches. precision: "float32",
    "bfloat16" or "auto", which takes bfloat16 where the device is measured to gain from it; weights stay float32.
    Build the model under torch.manual_seed: `seed` rules the data, the masks and dropout.

    Every `evaluate_every` steps (default: a tenth of `steps`) up to `valid_windows` windows of `valid`, evenly spread
    and not overlapping, are scored in bits per base, with scores renormalised over the tokens spelled with A, C, G, T.
    Masked: 15 % (`rate`) of the tokens hidden together, all as [MASK], the same ones each time: protocol (b) of the
    course. Next token: all but each window's first token, which has no context. The training loss in the log is that
    of the objective as trained (80/10/10, all tokens), so it is not the same quantity.

    Every `save_every` steps (default: a tenth) a checkpoint is written; the last two are kept until the end. After a
    kill, a power cut or Ctrl-C call again with the same arguments and resume=True: the run goes on from the last whole
    checkpoint and ends with the weights of an uninterrupted one. On several processes: torchrun --nproc_per_node=2.

    progress: None shows a bar on a terminal, lines elsewhere, nothing in a notebook; True and False decide.
    baselines: name -> height of a line in the figure. stats: measure at the end what the run cost the machine, print it
    and write it to run.json: tokens/s, memory, FLOPs a token and the share of the machine's own matrix-product speed in
    the run's precision that they reached (`gfm_lab.stats`; `Run.stats`).

    Raises ValueError for overlapping train and valid (with coordinates), no usable window, a tokenizer that is not the
    model's; RunError for a folder that holds something else or settings that differ from those resumed; DiskFull;
    FloatingPointError if the loss or a gradient is not finite (with step and learning rate); KeyboardInterrupt on
    Ctrl-C, after saving. Introduced in notebook 09.
    """
    settings = {name: value for name, value in locals().items() if name not in NOT_SETTINGS}
    objective = _objective_of(model)
    for name in ("steps", "batch_size", "window", "accumulate", "valid_windows"):
        if settings[name] < 1:
            raise ValueError(f"{name} must be at least 1, not {settings[name]}")
    check_apart(train, valid)
    check_tokenizer(model, tokenizer, "pretrain")
    place, output = pick_device(device), Path(output)
    if objective != "masked":
        for name in ("rate", "pattern", "replace", "together"):
            settings.pop(name)
    tenth = max(1, steps // 10)
    every = {
        "evaluate": evaluate_every or tenth,
        "save": save_every or tenth,
        "log": log_every or max(1, steps // 100),
    }
    settings |= {f"{name}_every": value for name, value in every.items()}

    windows = Windows(train, tokenizer, window, steps * batch_size, seed, reverse_complement, max_unknown)
    held_out = Windows(valid, tokenizer, window, 1, seed, False, max_unknown).evenly(valid_windows)
    if objective == "masked":
        how = dict(rate=rate, pattern=pattern, together=together)
        collate = MaskedLMCollator(tokenizer, replace=replace, seed=seed, **how)
        hide = MaskedLMCollator(tokenizer, replace=(1.0, 0.0, 0.0), seed=seed + 1, **how)
    else:
        collate = hide = NextTokenCollator(tokenizer)
    collate = _Collate(collate)

    def cost(trainer: Any) -> dict[str, Any]:
        batch = collate(windows.__getitems__(range(min(4, batch_size))))
        batch = {name: part.to(trainer.args.device) for name, part in batch.items()}
        return {"flops": count_flops(model, batch, dtype), "speed": matmul_speed(trainer.args.device, dtype)}

    scorer = Scorer(tokenizer, objective)
    options = arguments(
        output,
        place,
        batch_size,
        accumulate,
        seed=seed,
        max_steps=steps,
        learning_rate=learning_rate,
        warmup_steps=warmup,
        weight_decay=weight_decay,
        max_grad_norm=clip,
        per_device_eval_batch_size=max(1, min(batch_size // processes(), len(held_out))),
        train_sampling_strategy="sequential",  # the windows are random already
    )
    if resume and precision == "auto":
        precision = precision_of_run(output)
    # "auto" is measured: the first process decides for all.
    (dtype,) = broadcast_object_list([precision_of(place, precision)])
    settings |= {"objective": objective, "precision": str(dtype).removeprefix("torch.")}
    settings["unit"] = scorer.unit
    about = {
        "settings": settings,
        "model": _plain_config(model),
        "tokenizer": _fingerprint(tokenizer),
        "train": _identities(train),
        "valid": _identities(valid),
    }
    return train_in_folder(
        model,
        tokenizer,
        options,
        about,
        every,
        dtype=dtype,
        resume=resume,
        progress=progress,
        tokens_per_step=batch_size * windows.tokens if windows.sliced else None,
        loss=("train_bits", BITS),
        finish=lambda trainer: (model, {"stats": cost(trainer)} if stats else {}),
        baselines=baselines,
        train_dataset=windows,
        eval_dataset=_Masked([hide([example]) for example in held_out]),
        data_collator=collate,
        preprocess_logits_for_metrics=scorer.rows,
        compute_metrics=scorer.total,
    )


class Scorer:
    """Bits per base of a language model's scores: what validation reports.

    Scores are renormalised over the tokens that are spelled with A, C, G, T, so that chance on single bases is 2 bits
    and a model gains nothing from knowing that special tokens never come. A token that brings n new bases counts as n:
    its word's length, or the stride where words overlap and are predicted one after the other. A masked word among
    overlapping ones has no length of its own: there the unit is bits per token.
    """

    def __init__(self, tokenizer: Any, objective: str) -> None:
        words = {i: t for t, i in tokenizer.get_vocab().items() if t and {*t} <= {*"ACGT"}}
        self.causal = objective == "next token"
        k, stride = getattr(tokenizer, "k", None), getattr(tokenizer, "stride", None)
        overlap = k is not None and stride is not None and stride < k
        self.ids = torch.tensor(sorted(words))  # (W,)
        bases = [
            1 if overlap and not self.causal else stride if overlap else len(words[i]) for i in sorted(words)
        ]
        self.bases = torch.tensor(bases, dtype=torch.float32)
        self.row = torch.full((max(words) + 1,), -1)  # id -> its place among the words
        self.row[self.ids] = torch.arange(len(words))
        what = "token" if overlap and not self.causal else "base"
        self.unit = f"bits per {what}" if self.causal else f"bits per masked {what}"

    def rows(self, logits: Any, labels: Tensor) -> Tensor:
        """Logits (B, L, V) and labels (B, L) -> (B, 3): bits, bases and tokens right in each row."""
        logits = logits[0] if isinstance(logits, tuple) else logits
        if self.causal:
            logits, labels = logits[:, :-1], labels[:, 1:]
        place = self.row.to(labels.device)[labels.clamp_min(0)].masked_fill(labels < 0, -1)  # (B, L)
        real = place >= 0
        out = logits.new_zeros(len(labels), 4, dtype=torch.float32)
        batch = real.nonzero()[:, 0]  # only the rows that count: few of them where 15 % are masked
        scores = logits[real][:, self.ids.to(logits.device)].float()  # (N, W)
        target = place[real]
        bits = -scores.log_softmax(-1).gather(1, target[:, None])[:, 0] * BITS
        right = (scores.argmax(-1) == target).float()
        values = torch.stack([bits, self.bases.to(target.device)[target], right, torch.ones_like(right)], 1)
        return out.index_add_(0, batch, values)

    def total(self, prediction: Any) -> dict[str, float]:
        bits, bases, right, tokens = np.asarray(prediction.predictions, np.float64).sum(0)
        return {"bits": bits / max(bases, 1), "accuracy": right / max(tokens, 1)}


class _Masked(Dataset):
    """Validation examples that already have their masks: tensors (1, L), made once."""

    def __init__(self, examples: Sequence[dict[str, Tensor]]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return self.examples[i]


class _Collate:
    """The objective's collator for training windows; validation examples, masked already, are stacked."""

    def __init__(self, objective: Callable[[Sequence[dict]], dict[str, Tensor]]) -> None:
        self.objective = objective
        self.pad = objective.tokenizer.pad_token_id

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        if "labels" not in examples[0]:
            batch = self.objective(examples)
        elif len({example["labels"].shape for example in examples}) == 1:
            batch = {name: torch.cat([example[name] for example in examples]) for name in examples[0]}
        else:
            batch = {
                name: nn.utils.rnn.pad_sequence([example[name][0] for example in examples], True, filler)
                for name, filler in (("input_ids", self.pad), ("attention_mask", 0), ("labels", -100))
            }
        # Windows of one length have no padding, and attention is faster without a mask of ones.
        if bool(batch["attention_mask"].all()):
            del batch["attention_mask"]
        return batch


# ---- Fine-tuning ----

LEARNING_RATES = {"full": 2e-4, "probe": 3e-3, "lora": 1e-3}
PROBLEMS = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}


def finetune(
    model: nn.Module,
    tokenizer: Any,
    train: Any,
    valid: Any,
    output: str | Path,
    *,
    task: str,
    method: str = "full",
    epochs: int = 10,
    batch_size: int = 32,
    learning_rate: float | None = None,
    warmup: float = 0.1,
    weight_decay: float = 0.01,
    clip: float = 1.0,
    pooling: str | None = None,
    class_weights: str | Sequence[float] | None = None,
    patience: int | None = 3,
    lora_rank: int = 8,
    lora_alpha: float = 16,
    allow_shared: bool = False,
    seed: int = 0,
    precision: str = "auto",
    device: str | None = None,
    progress: bool | None = None,
) -> Run:
    """Train a pre-trained model on labelled sequences, and leave it with its log in the folder `output`.

    model: a language model or body of this package, which gets a new head (`pooling` as in `GenomicConfig`), or any
    ...ForSequenceClassification of transformers. It is copied, so that the next method starts from the same weights.
    train, valid: a `SequenceTable`, or a pair (sequences, labels).
    task: "classification" (labels 0, 1, ...), "multilabel" (rows of 0 and 1) or "regression" (numbers, which are
    scaled to mean 0 and deviation 1 for training, and back in the last layer of the saved model).
    method: "full" trains every weight; "probe" the head alone, on a frozen body; "lora" the head and two thin matrices
    of rank `lora_rank` beside every linear map of the body (Hu et al. 2022, arXiv:2106.09685), through PEFT, which are
    added to the weights at the end: the saved model is an ordinary one.

    Optimizer, warm-up, cosine and precision as in `pretrain`. learning_rate: by default 2e-4, 3e-3 and 1e-3 for the
    three methods. class_weights: "balanced" (inverse to the classes' share of train) or one number a class.
    After every epoch `valid` is scored; the epoch with the lowest validation loss is kept, and training stops after
    `patience` epochs without a lower one (None: never). Because `valid` chose the epoch, its scores are a little too
    good: report those of a test split that nothing was chosen on.

    Returns a `Run`: `metrics` of the epoch that was kept, `predictions` for the rows of `valid` (probabilities, or
    numbers in the units of the labels), (N, labels). A run that is cut off starts again from the beginning.

    Raises ValueError for labels that do not fit the task, sequences that stand in train and valid (unless
    `allow_shared`), an unknown task or method, and a tokenizer that is not the model's; RunError, DiskFull and
    FloatingPointError as `pretrain`. Introduced in notebook 11.
    """
    settings = {name: value for name, value in locals().items() if name not in NOT_SETTINGS}
    for name, value, known in (("task", task, PROBLEMS), ("method", method, LEARNING_RATES)):
        if value not in known:
            raise ValueError(f"there is no {name} {value!r}: choose one of {', '.join(known)}")
    output, place = Path(output), pick_device(device)
    check_tokenizer(model, tokenizer, "finetune")
    rows = {"train": _labelled(train, task, "train"), "valid": _labelled(valid, task, "valid")}
    shared = {*rows["train"][0]} & {*rows["valid"][0]}
    if shared and not allow_shared:
        at = next(i for i, sequence in enumerate(rows["valid"][0]) if sequence in shared)
        raise ValueError(
            f"{len(shared):,} sequences stand in train and in valid, such as row {at} of valid: a score on sequences "
            f"that were trained on means nothing. Remove them, or pass allow_shared=True if that is the question"
        )
    classes = _count_labels(rows, task)
    if (isinstance(class_weights, str) and class_weights != "balanced") or (
        class_weights is not None and classes == 1
    ):
        raise ValueError("class_weights is 'balanced' or one number a class, for classification")
    torch.manual_seed(seed)  # of the new head
    made = _classifier(model, task, classes, pooling)
    scale = (0.0, 1.0)
    if task == "regression":
        labels = rows["train"][1]
        scale = (labels.mean(0), np.maximum(labels.std(0), 1e-8))
        rows = {name: (sequences, (y - scale[0]) / scale[1]) for name, (sequences, y) in rows.items()}
    made = _prepare(made, method, lora_rank, lora_alpha)
    sets = {
        name: _Examples([_encoded(tokenizer, s, name, i) for i, s in enumerate(sequences)], labels)
        for name, (sequences, labels) in rows.items()
    }
    per_epoch = -(-len(sets["train"]) // batch_size)
    settings["learning_rate"] = learning_rate or LEARNING_RATES[method]
    options = arguments(
        output,
        place,
        batch_size,
        seed=seed,
        max_steps=epochs * per_epoch,
        learning_rate=settings["learning_rate"],
        warmup_steps=warmup,
        weight_decay=weight_decay,
        max_grad_norm=clip,
        per_device_eval_batch_size=batch_size,
    )
    (dtype,) = broadcast_object_list([precision_of(place, precision)])
    settings |= {"precision": str(dtype).removeprefix("torch."), "unit": "loss"}
    about = {
        "settings": settings,
        "model": _plain_config(made),
        "tokenizer": _fingerprint(tokenizer),
        **{name: _rows_identity(*part) for name, part in rows.items()},
    }
    weights = _class_weights(class_weights, rows["train"][1], classes)
    score = _Score(task, weights, scale)
    best = _Best(patience)

    def finish(trainer: Any) -> tuple[nn.Module, dict[str, Any]]:
        best.restore(made)
        trainer.predict(sets["valid"])  # `score` keeps the predictions
        whole = made.merge_and_unload() if method == "lora" else made
        for parameter in whole.parameters():
            parameter.requires_grad_(True)
        facts: dict[str, Any] = {"kept_step": best.step}
        if task == "regression":
            facts["labels_scaled_back"] = _unscale(whole, scale, classes)
        return whole, facts

    run = train_in_folder(
        made,
        tokenizer,
        options,
        about,
        {"evaluate": per_epoch, "save": 0, "log": max(1, per_epoch // 5)},
        dtype=dtype,
        resume=False,
        progress=progress,
        tokens_per_step=None,
        loss=("train_loss", 1.0),
        finish=finish,
        train_dataset=sets["train"],
        eval_dataset=sets["valid"],
        data_collator=_Pad(tokenizer),
        compute_loss_func=lambda out, y, num_items_in_batch=None: _loss(
            task, _logits(out), y, weights, num_items_in_batch
        ),
        compute_metrics=score,
        callbacks=[best],
    )
    run.predictions = score.last
    return run


class _Score:
    """Validation scores of `finetune`; keeps the predictions it was last called with."""

    def __init__(self, task: str, weights: Tensor | None, scale: tuple[Any, Any]) -> None:
        self.task, self.weights, self.scale = task, weights, scale
        self.last: np.ndarray | None = None

    def __call__(self, found: Any) -> dict[str, float]:
        from scipy.stats import spearmanr
        from sklearn import metrics as sk

        logits, labels = _logits(found.predictions), found.label_ids
        loss = _loss(self.task, torch.tensor(logits), torch.tensor(labels), self.weights).item()
        if self.task == "regression":
            mean, deviation = self.scale
            self.last = logits * deviation + mean
            columns = [(labels[:, i], logits[:, i]) for i in range(labels.shape[1])]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a constant prediction has no rank correlation: NaN says so
                rank = np.mean([spearmanr(a, b).statistic for a, b in columns])
            return {"loss": loss, "spearman": rank, "r2": np.mean([sk.r2_score(a, b) for a, b in columns])}
        if self.task == "multilabel":
            self.last = torch.tensor(logits).float().sigmoid().numpy()
            both = [i for i in range(labels.shape[1]) if 0 < labels[:, i].mean() < 1]
            areas = [sk.roc_auc_score(labels[:, i], logits[:, i]) for i in both]
            return {"loss": loss, "auroc": np.mean(areas) if areas else math.nan}
        self.last = torch.tensor(logits).float().softmax(-1).numpy()
        choice = logits.argmax(1)
        scores = {"accuracy": np.mean(choice == labels), "mcc": sk.matthews_corrcoef(labels, choice)}
        if logits.shape[1] == 2 and 0 < labels.mean() < 1:
            scores["auroc"] = sk.roc_auc_score(labels, self.last[:, 1])
            scores["auprc"] = sk.average_precision_score(labels, self.last[:, 1])
        return {"loss": loss, **scores}


class _Best(TrainerCallback):
    """Keeps the trained weights of the epoch with the lowest validation loss; stops after `patience` without one."""

    def __init__(self, patience: int | None) -> None:
        self.patience, self.loss, self.step, self.since = patience, math.inf, 0, 0
        self.weights: dict[str, Tensor] = {}

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float], model: nn.Module, **_: Any
    ) -> Any:
        if state.global_step == 0:  # an untrained head is no epoch
            return control
        if metrics["eval_loss"] < self.loss:
            self.loss, self.step, self.since = metrics["eval_loss"], state.global_step, 0
            trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
            self.weights = {name: p.detach().clone() for name, p in trained.items()}
        else:
            self.since += 1
            control.should_training_stop |= self.patience is not None and self.since >= self.patience
        return control

    def restore(self, model: nn.Module) -> None:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in self.weights:
                    parameter.copy_(self.weights[name])


class _Examples(Dataset):
    """Encoded sequences and their labels."""

    def __init__(self, ids: Sequence[np.ndarray], labels: np.ndarray) -> None:
        self.ids, self.labels = ids, labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> tuple[np.ndarray, Any]:
        return self.ids[i], self.labels[i]


class _Pad:
    """Collator of `_Examples`: pads to the longest, on the tokenizer's side."""

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.pad_token_id is None:
            raise ValueError(f"{type(tokenizer).__name__} has no padding token: set tokenizer.pad_token")
        self.pad, self.left = tokenizer.pad_token_id, tokenizer.padding_side == "left"

    def __call__(self, examples: Sequence[tuple[np.ndarray, Any]]) -> dict[str, Tensor]:
        shape = (len(examples), max(len(ids) for ids, _ in examples))
        ids, mask = np.full(shape, self.pad, np.int64), np.zeros(shape, np.int64)
        for row, (found, _) in enumerate(examples):
            place = slice(shape[1] - len(found), None) if self.left else slice(len(found))
            ids[row, place], mask[row, place] = found, 1
        labels = torch.tensor(np.array([label for _, label in examples]))
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "labels": labels,
        }


def _logits(out: Any) -> Any:
    out = getattr(out, "logits", out)
    return out[0] if isinstance(out, tuple) else out


def _loss(
    task: str, logits: Tensor, labels: Tensor, weights: Tensor | None, number: Tensor | int | None = None
) -> Tensor:
    """Loss for one label; `number`: how many labels all batches of this step have."""
    logits = logits.float()
    if task == "classification":
        weights = None if weights is None else weights.to(logits.device)
        total = F.cross_entropy(logits, labels, weights, reduction="sum")
    elif task == "multilabel":
        total = F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="sum")
    else:
        total = F.mse_loss(logits, labels.float(), reduction="sum")
    return total / (labels.numel() if number is None else number)


def _labelled(data: Any, task: str, name: str) -> tuple[list[str], np.ndarray]:
    """Sequences and labels, (N,) whole numbers or (N, labels), of a SequenceTable or a pair."""
    sequences, labels = (data.sequences, data.labels) if hasattr(data, "frame") else data
    sequences, labels = [*sequences], np.asarray(labels)
    if not sequences or len(sequences) != len(labels):
        raise ValueError(
            f"{name} has {len(sequences):,} sequences and {len(labels):,} labels: it needs as many, not 0"
        )
    if labels.dtype.kind not in "biuf":
        raise ValueError(
            f"labels of {name} are {labels[0]!r}, ...: they must be numbers; number the classes from 0"
        )
    if not np.isfinite(labels).all():
        row = int(np.flatnonzero(~np.isfinite(labels.reshape(len(labels), -1)).all(1))[0])
        raise ValueError(f"the label in row {row} of {name} is {labels[row]}: leave rows without a label out")
    if task == "classification":
        if labels.ndim != 1 or (labels != np.round(labels)).any() or labels.min() < 0:
            raise ValueError(
                f"labels of {name} are {labels[0]}, ...: classification needs one whole number from 0 a sequence; "
                f"measured numbers are task='regression', several labels task='multilabel'"
            )
        return sequences, labels.astype(np.int64)
    labels = labels.reshape(len(labels), -1).astype(np.float32)
    if task == "multilabel" and not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels of {name} must be rows of 0 and 1 for task='multilabel'")
    return sequences, labels


def _count_labels(rows: Mapping[str, tuple[list[str], np.ndarray]], task: str) -> int:
    train, valid = rows["train"][1], rows["valid"][1]
    if task != "classification":
        if train.shape[1] != valid.shape[1]:
            raise ValueError(f"train has {train.shape[1]} labels a sequence, valid {valid.shape[1]}")
        return train.shape[1]
    unseen = {*valid.tolist()} - {*train.tolist()}
    if unseen or len({*train.tolist()}) < 2:
        raise ValueError(
            f"train has the classes {sorted({*train.tolist()})}, valid also {sorted(unseen)}: "
            f"at least two are needed, and each of valid's in train"
        )
    return int(train.max()) + 1


def _class_weights(given: str | Sequence[float] | None, labels: np.ndarray, classes: int) -> Tensor | None:
    if given is None:
        return None
    if isinstance(given, str):
        counts = np.bincount(labels, minlength=classes)
        given = len(labels) / (np.maximum(counts, 1) * (counts > 0).sum())
    if len(given) != classes:
        raise ValueError(f"class_weights has {len(given)} numbers for {classes} classes")
    return torch.tensor(np.asarray(given), dtype=torch.float32)


def _classifier(model: nn.Module, task: str, labels: int, pooling: str | None) -> nn.Module:
    """A copy of a ...ForSequenceClassification, or a new one on a copy of the body of a language model."""
    if type(model).__name__.endswith("ForSequenceClassification"):
        if model.config.num_labels != labels:
            raise ValueError(f"the model has {model.config.num_labels} scores, the labels need {labels}")
        return copy.deepcopy(model)
    if not isinstance(model, GenomicForMaskedLM | GenomicForCausalLM | GenomicModel):
        raise TypeError(
            f"{type(model).__name__} has no head for whole sequences: give one of this package's models, or "
            f"transformers' ...ForSequenceClassification with num_labels={labels}"
        )
    config = copy.deepcopy(model.config)
    config.num_labels, config.problem_type = labels, PROBLEMS[task]
    config.pooling = pooling or ("last" if config.causal and config.pooling == "first" else config.pooling)
    made = GenomicForSequenceClassification(config)
    made.body.load_state_dict((model if isinstance(model, GenomicModel) else model.body).state_dict())
    return made


def _prepare(model: nn.Module, method: str, rank: int, alpha: float) -> nn.Module:
    """What is trained: every weight, the head alone, or the head and LoRA's matrices in the body."""
    prefix = model.base_model_prefix
    body = getattr(model, prefix)
    if method == "probe":
        for parameter in body.parameters():
            parameter.requires_grad_(False)
        for module in body.modules():  # a frozen body gives the vectors that it will give later
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    if method != "lora":
        return model
    from peft import LoraConfig, get_peft_model

    linear = [f"{prefix}.{name}" for name, module in body.named_modules() if isinstance(module, nn.Linear)]
    heads = [
        name
        for name, part in model.named_children()
        if name != prefix and any(True for _ in part.parameters())
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is deprecated", FutureWarning)  # PEFT's own calls
        return get_peft_model(
            model, LoraConfig(r=rank, lora_alpha=alpha, target_modules=linear, modules_to_save=heads)
        )


def _encoded(tokenizer: Any, sequence: str, name: str, row: int) -> np.ndarray:
    try:
        fast = hasattr(tokenizer, "encode_array")
        ids = tokenizer.encode_array(sequence, True) if fast else tokenizer(sequence)["input_ids"]
    except ValueError as fault:
        raise ValueError(f"row {row} of {name}: {fault}") from None
    if len(ids) == 0:
        raise ValueError(f"row {row} of {name} gives no token: it is {sequence!r}")
    return np.asarray(ids)


def _unscale(model: nn.Module, scale: tuple[Any, Any], labels: int) -> bool:
    """Put the labels' scale into the last linear map, so that the saved model answers in their units."""
    last = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == labels][-1]
    if last.bias is None:
        return False
    mean, deviation = (
        torch.as_tensor(part, dtype=last.weight.dtype, device=last.weight.device) for part in scale
    )
    with torch.no_grad():
        last.weight.mul_(deviation.reshape(-1, 1))
        last.bias.mul_(deviation).add_(mean)
    return True


def _rows_identity(sequences: Sequence[str], labels: np.ndarray) -> str:
    content = "\n".join(sequences).encode() + np.ascontiguousarray(labels).tobytes()
    return f"{len(sequences):,} rows sha256 {hashlib.sha256(content).hexdigest()[:16]}"


# ---- What describes a run ----


def _plain_config(model: nn.Module) -> dict[str, Any]:
    changing = ("transformers_version", "_name_or_path", "architectures", "use_cache", "dtype", "torch_dtype")
    return {n: v for n, v in model.config.to_dict().items() if n not in changing}


def _fingerprint(tokenizer: Any) -> dict[str, Any]:
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    return {"class": type(tokenizer).__name__, "sha256": hashlib.sha256(vocabulary.encode()).hexdigest()[:16]}


def _identities(part: Sequence[Stretch]) -> list[str]:
    """One line a stretch; where they are many, one line a control."""
    if len(part) <= LISTED:
        return [_identity(s) for s in part]
    groups: dict[str | None, list[Stretch]] = {}
    for stretch in part:
        groups.setdefault(stretch.control, []).append(stretch)
    return [
        f"{name + ': ' if name else ''}{len(group):,} stretches, {sum(len(s.sequence) for s in group):,} bases sha256 "
        + hashlib.sha256("\n".join(_identity(s) for s in group).encode()).hexdigest()[:16]
        for name, group in groups.items()
    ]


def _identity(stretch: Stretch) -> str:
    control = f" control {stretch.control}" if stretch.control else ""
    return f"{stretch.name} sha256 {hashlib.sha256(stretch.sequence.encode()).hexdigest()[:16]}{control}"
