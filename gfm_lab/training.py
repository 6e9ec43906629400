"""Training: `pretrain` on stretches of a genome, `finetune` on labelled sequences; both thin over transformers.Trainer.

    stretches --> windows (anywhere, either strand) --> objective --> Trainer --> a folder with model, log and figure

The Trainer runs the loop, and torchrun or accelerate spread it over devices. Ours is what makes a run trustworthy:
window i and its masks depend on (seed, i) alone, so that a resumed run, or one on several processes, reads exactly
the data of an uninterrupted one; checkpoints are whole or absent (`gfm_lab.runs`); validation is in bits per base on
fixed windows; NaN, Ctrl-C and a full disk end a run without loss. Introduced in notebook 09.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import AutoTokenizer

from gfm_lab.device import pick_device, precision_of
from gfm_lab.objectives import MaskedLMCollator, NextTokenCollator
from gfm_lab.runs import DiskFull, Run, RunError, precision_of_run
from gfm_lab.trainer import BITS, arguments, processes, train_in_folder
from gfm_lab.windows import Stretch, Windows, check_apart, read_stretches, stretches

__all__ = ["DiskFull", "Run", "RunError", "Stretch", "Windows", "pretrain", "read_stretches", "stretches"]


# ---- Model and tokenizer belong together ----


def _check_tokenizer(model: nn.Module, tokenizer: Any, name: str) -> None:
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
    folder = Path(getattr(config, "_name_or_path", "") or ".")
    if folder.is_dir() and (folder / "config.json").exists() and (folder / "tokenizer_config.json").exists():
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

NOT_SETTINGS = ("model", "tokenizer", "train", "valid", "output", "device", "resume", "progress", "baselines")


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
) -> Run:
    """Pre-train a language model on stretches of DNA, and leave model, log and figure in the folder `output`.

    The objective follows the model's class: masked for ...ForMaskedLM (`rate`, `pattern`, `replace` and `together` as
    in `MaskedLMCollator`), next token for ...ForCausalLM. Windows of `window` bases come from anywhere in `train` and,
    with `reverse_complement`, from either strand with equal chance.

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
    baselines: name -> height of a line in the figure.

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
    _check_tokenizer(model, tokenizer, "pretrain")
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
        "train": [_identity(s) for s in train],
        "valid": [_identity(s) for s in valid],
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
        finish=lambda trainer: model,
        baselines=baselines,
        train_dataset=windows,
        eval_dataset=_Masked([hide([example]) for example in held_out]),
        data_collator=_Collate(collate),
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


# ---- What describes a run ----


def _plain_config(model: nn.Module) -> dict[str, Any]:
    changing = ("transformers_version", "_name_or_path", "architectures", "use_cache", "dtype", "torch_dtype")
    return {n: v for n, v in model.config.to_dict().items() if n not in changing}


def _fingerprint(tokenizer: Any) -> dict[str, Any]:
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    return {"class": type(tokenizer).__name__, "sha256": hashlib.sha256(vocabulary.encode()).hexdigest()[:16]}


def _identity(stretch: Stretch) -> str:
    return f"{stretch.name} sha256 {hashlib.sha256(stretch.sequence.encode()).hexdigest()[:16]}"
