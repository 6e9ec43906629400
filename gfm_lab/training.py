"""Training: `pretrain` on stretches of a genome, `finetune` on labelled sequences; both thin over transformers.Trainer.

    stretches --> windows (anywhere, either strand) --> objective --> Trainer --> a folder with model, log and figure

The Trainer runs the loop, and torchrun or accelerate spread it over devices. Ours is what makes a run trustworthy:
window i and its masks depend on (seed, i) alone, so that a resumed run, or one on several processes, reads exactly
the data of an uninterrupted one; checkpoints are whole or absent (`gfm_lab.runs`); validation is in bits per base on
fixed windows; NaN, Ctrl-C and a full disk end a run without loss. Introduced in notebook 09.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import (
    AutoTokenizer,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from gfm_lab import runs
from gfm_lab.objectives import MaskedLMCollator, NextTokenCollator
from gfm_lab.runs import DiskFull, Run, RunError
from gfm_lab.windows import Stretch, Windows, check_apart, read_stretches, stretches

__all__ = ["DiskFull", "Run", "RunError", "Stretch", "Windows", "pretrain", "read_stretches", "stretches"]

BITS = 1 / math.log(2)  # of one nat


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
    from gfm_lab.device import pick_device, precision_of

    settings = {name: value for name, value in locals().items() if name in _SETTINGS}
    objective = _objective_of(model)
    for name in ("steps", "batch_size", "window", "accumulate", "valid_windows"):
        if settings[name] < 1:
            raise ValueError(f"{name} must be at least 1, not {settings[name]}")
    check_apart(train, valid)
    _check_tokenizer(model, tokenizer, "pretrain")
    place = pick_device(device)
    dtype = precision_of(place, precision)
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
    settings |= {"objective": objective, "precision": str(dtype).removeprefix("torch.")}

    windows = Windows(train, tokenizer, window, steps * batch_size, seed, reverse_complement, max_unknown)
    held_out = Windows(valid, tokenizer, window, 1, seed, False, max_unknown).evenly(valid_windows)
    if objective == "masked":
        options = dict(rate=rate, pattern=pattern, together=together)
        collate = MaskedLMCollator(tokenizer, replace=replace, seed=seed, **options)
        hide = MaskedLMCollator(tokenizer, replace=(1.0, 0.0, 0.0), seed=seed + 1, **options)
    else:
        collate = hide = NextTokenCollator(tokenizer)
    scorer = Scorer(tokenizer, objective)
    settings["unit"] = scorer.unit
    about = {
        "settings": settings,
        "model": _plain_config(model),
        "tokenizer": _fingerprint(tokenizer),
        "train": [_identity(s) for s in train],
        "valid": [_identity(s) for s in valid],
    }
    arguments = _arguments(
        Path(output),
        place,
        seed=seed,
        max_steps=steps,
        learning_rate=learning_rate,
        warmup_steps=warmup,
        weight_decay=weight_decay,
        max_grad_norm=clip,
        gradient_accumulation_steps=accumulate,
        per_device_train_batch_size=_per_process(batch_size, accumulate),
        per_device_eval_batch_size=min(batch_size, len(held_out)),
        train_sampling_strategy="sequential",  # the windows are random already
    )
    return _run(
        model,
        tokenizer,
        arguments,
        about,
        every,
        dtype=dtype,
        resume=resume,
        progress=progress,
        baselines=baselines,
        train_dataset=windows,
        eval_dataset=_Batched([hide([example]) for example in held_out]),
        data_collator=_Collate(collate),
        preprocess_logits_for_metrics=scorer.rows,
        compute_metrics=scorer.total,
        tokens_per_step=batch_size * windows.tokens if windows.sliced else None,
        save=lambda folder: (model.save_pretrained(folder), tokenizer.save_pretrained(folder)),
    )


_SETTINGS = {
    *(
        "steps",
        "batch_size",
        "window",
        "learning_rate",
        "warmup",
        "weight_decay",
        "rate",
        "pattern",
        "replace",
    ),
    *("together", "reverse_complement", "max_unknown", "valid_windows", "clip", "accumulate", "seed"),
}


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


class _Batched(Dataset):
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


# ---- The Trainer, with checkpoints that are whole ----


def _per_process(batch_size: int, accumulate: int) -> int:
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if batch_size % (processes * accumulate):
        raise ValueError(
            f"batch_size {batch_size} cannot be shared evenly by {processes} processes with accumulate={accumulate}: "
            f"choose a multiple of {processes * accumulate}"
        )
    return batch_size // (processes * accumulate)


def _arguments(output: Path, device: torch.device, **options: Any) -> TrainingArguments:
    fixed = dict(
        output_dir=str(output / "checkpoints"),
        num_train_epochs=1,
        lr_scheduler_type="cosine_warmup_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.01},
        adam_beta1=0.9,
        adam_beta2=0.95,
        logging_strategy="no",  # `_Recorder` decides when
        save_strategy="no",
        eval_strategy="no",
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        label_names=["labels"],
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",
        ddp_find_unused_parameters=False,
    )
    arguments = TrainingArguments(**(fixed | options))
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs are for torchrun, not for DataParallel
    return arguments


class _Trainer(Trainer):
    """transformers' Trainer with our precision and weight decay, and checkpoints that are whole or absent."""

    dtype = torch.float32
    save_files: Callable[[Path], Any] = staticmethod(lambda folder: None)
    last_loss = math.nan

    def autocast_smart_context_manager(
        self, cache_enabled: bool | None = True
    ) -> contextlib.AbstractContextManager:
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.args.device.type, self.dtype)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        return [name for name, p in model.named_parameters() if p.ndim > 1 and id(p) not in tables]

    def training_step(self, *arguments: Any, **options: Any) -> Tensor:
        self.last_loss = super().training_step(*arguments, **options)
        return self.last_loss

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """A loss that is not finite makes a norm that is not; the weights are still those of the step before."""
        norm = super()._clip_grad_norm(model)
        if not math.isfinite(float(norm)):
            raise _not_finite(self, float(norm))
        return norm

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """An LM head tied to the embedding is saved once; any other tensor that is missing or extra is an error."""
        tied = {*(getattr(self.model, "_tied_weights_keys", None) or {})}
        odd = [*({*load_result.missing_keys} - tied), *load_result.unexpected_keys]
        if odd:
            raise RunError(f"the checkpoint in {self.folder} is not of this model: tensors {', '.join(odd)}")

    @property
    def folder(self) -> Path:
        return Path(self.args.output_dir)

    def room(self, needed: int, what: str) -> None:
        """Raise DiskFull unless `needed` bytes are free; the older of the checkpoints makes way first."""
        whole = runs.checkpoints(self.folder)
        if runs.free_space(self.folder) < needed and len(whole) > 1:
            shutil.rmtree(whole.pop(0))
        if runs.free_space(self.folder) < needed:
            raise runs.disk_full(self.folder, needed, what, whole[-1] if whole else None)

    def checkpoint_size(self) -> int:
        """Bytes of the next checkpoint: weights and AdamW's two averages, or the size of the last one."""
        whole = runs.checkpoints(self.folder)
        if whole:
            return runs.folder_size(whole[-1]) + runs.MB
        return 3 * sum(p.numel() * p.element_size() for p in self.model.parameters()) + runs.MB

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        final, step = self.folder, self.state.global_step
        half, needed = final / runs.HALF, self.checkpoint_size()
        if self.args.should_save:
            shutil.rmtree(half, ignore_errors=True)
            self.room(needed, f"the checkpoint of step {step}")
        self.accelerator.wait_for_everyone()
        self.args.output_dir = str(half)
        try:
            super()._save_checkpoint(model, trial)
            if self.args.should_save:
                self.save_files(half / f"checkpoint-{step}")
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                runs.finish_checkpoint(half / f"checkpoint-{step}", final / f"checkpoint-{step}", step)
                half.rmdir()
        except (OSError, RuntimeError, SafetensorError) as fault:
            shutil.rmtree(half, ignore_errors=True)
            if isinstance(fault, DiskFull) or not runs.is_full(fault, final, needed):
                raise
            whole = runs.checkpoints(final)
            raise runs.disk_full(
                final, needed, f"the checkpoint of step {step}", whole[-1] if whole else None
            ) from fault
        finally:
            self.args.output_dir = str(final)
        self.accelerator.wait_for_everyone()


def _not_finite(trainer: _Trainer, norm: float) -> FloatingPointError:
    step = trainer.state.global_step + 1
    whole = runs.checkpoints(trainer.folder)
    kept = f"the last good checkpoint is {whole[-1]}" if whole else "no checkpoint had been written yet"
    return FloatingPointError(
        f"training stopped at step {step:,}: loss {float(trainer.last_loss):.4g}, gradient norm {norm:.4g}, learning "
        f"rate {trainer._get_learning_rate():.3g}. The weights were not changed by this step; {kept}. Resuming would "
        f"come here again: start a new run with a lower learning_rate, a longer warmup or precision='float32'"
    )


class _Recorder(TrainerCallback):
    """Decides when to log, validate and save; writes log.jsonl; shows progress; turns Ctrl-C into a save."""

    def __init__(
        self,
        path: Path,
        every: dict[str, int],
        log: list[dict[str, Any]],
        tokens_per_step: int | None,
        show: Callable[[int, dict[str, Any]], None],
        main: bool,
    ) -> None:
        self.path, self.every, self.log, self.show, self.main = path, every, log, show, main
        self.tokens_per_step = tokens_per_step
        self.before = log[-1]["seconds"] if log else 0.0
        self.started = self.mark = time.perf_counter()
        self.pending: dict[str, Any] = {}
        self.stop = False

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.started = self.mark = time.perf_counter()

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        step, last = state.global_step, state.global_step >= state.max_steps
        due = {name: last or step % every == 0 for name, every in self.every.items()}
        control.should_evaluate = due["evaluate"]
        control.should_save = due["save"] or self.stop
        control.should_log = any(due.values()) or self.stop  # so that a resumed log has the same lines
        control.should_training_stop |= self.stop
        self.show(step, {})
        return control

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **_: Any
    ) -> None:
        if "loss" not in logs:
            return
        now = time.perf_counter()
        spent, self.mark = now - self.mark, now
        steps = state.global_step - (self.log[-1]["step"] if self.log else 0)
        tokens = self.tokens(state)
        self.pending = {
            "step": state.global_step,
            "tokens": tokens,
            "learning_rate": logs["learning_rate"],
            "train_bits": round(logs["loss"] * BITS, 6),
            "gradient_norm": round(float(logs.get("grad_norm", math.nan)), 6),
            "tokens_per_second": round(
                (tokens - (self.log[-1]["tokens"] if self.log else 0)) / max(spent, 1e-9), 1
            ),
        }
        if not control.should_evaluate and steps:
            self.write()

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, metrics: dict[str, Any], **_: Any
    ) -> None:
        found = {name.removeprefix("eval_"): value for name, value in metrics.items()}
        self.pending.setdefault("step", state.global_step)
        self.pending.setdefault("tokens", self.tokens(state))
        scores = {
            n: v
            for n, v in found.items()
            if n not in ("runtime", "loss", "epoch") and not n.endswith("_second")
        }
        self.pending |= {f"valid_{name}": round(float(value), 6) for name, value in scores.items()}
        self.write()
        self.mark = time.perf_counter()

    def on_save(self, *_: Any, **__: Any) -> None:
        self.mark = time.perf_counter()

    def tokens(self, state: TrainerState) -> int:
        per_step = self.tokens_per_step
        return state.num_input_tokens_seen if per_step is None else per_step * state.global_step

    def write(self) -> None:
        """One line, on disk before the checkpoint of its step is."""
        self.pending["seconds"] = round(self.before + time.perf_counter() - self.started, 3)
        self.log.append(self.pending)
        if self.main:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(self.pending) + "\n")
        self.show(self.pending["step"], self.pending)
        self.pending = {}


@contextlib.contextmanager
def _catch_interrupt(recorder: _Recorder) -> Iterator[None]:
    """The first Ctrl-C lets the step end and saves; the second one stops at once. (Not across several processes.)"""
    main = threading.current_thread() is threading.main_thread() and int(os.environ.get("WORLD_SIZE", 1)) == 1
    earlier = signal.getsignal(signal.SIGINT) if main else None

    def handler(number: int, frame: Any) -> None:
        recorder.stop = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if main:
        signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, earlier or signal.default_int_handler)


@contextlib.contextmanager
def _quiet_saving() -> Iterator[None]:
    """Without transformers' own bar for each file that it writes."""
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


@contextlib.contextmanager
def _progress(
    progress: bool | None, steps: int, first: int
) -> Iterator[Callable[[int, dict[str, Any]], None]]:
    """A function that shows where the run is: a bar on a terminal, about ten lines elsewhere, or nothing."""
    notebook = "ipykernel" in sys.modules
    if progress is False or (progress is None and notebook):
        yield lambda step, line: None
        return
    if sys.stderr.isatty() and not notebook:
        from tqdm import tqdm

        with tqdm(total=steps, initial=first, unit="step", dynamic_ncols=True) as bar:

            def show(step: int, line: dict[str, Any]) -> None:
                bar.update(step - bar.n)
                if line:
                    bar.set_postfix_str(_summary(line), refresh=False)

            yield show
        return

    shown = -1

    def show_line(step: int, line: dict[str, Any]) -> None:
        nonlocal shown
        if line and (step * 10 // steps > shown or "valid_bits" in line):
            shown = step * 10 // steps
            print(f"step {step:>7,} of {steps:,}  {_summary(line)}", file=sys.stderr, flush=True)

    yield show_line


def _summary(line: dict[str, Any]) -> str:
    names = {
        "train_bits": ("train", ".4f"),
        "valid_bits": ("valid", ".4f"),
        "tokens_per_second": ("tokens/s", ",.0f"),
    }
    return "  ".join(f"{label} {line[name]:{form}}" for name, (label, form) in names.items() if name in line)


def _run(
    model: nn.Module,
    tokenizer: Any,
    arguments: TrainingArguments,
    about: dict[str, Any],
    every: dict[str, int],
    *,
    dtype: torch.dtype,
    resume: bool,
    progress: bool | None,
    baselines: Mapping[str, float] | None,
    tokens_per_step: int | None,
    save: Callable[[Path], Any],
    **parts: Any,
) -> Run:
    """Everything around the Trainer: claim the folder, find the checkpoint, train, save, describe."""
    output = Path(arguments.output_dir).parent
    folder, log_path = output / "checkpoints", output / "log.jsonl"
    main, steps = arguments.process_index == 0, arguments.max_steps
    arguments.include_num_input_tokens_seen = "no" if tokens_per_step else "non_padding"
    if main:
        earlier = runs.open_run(output, about, resume)
        if earlier is None:
            started = {"about": about, "command": _command(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}
            machine = runs.describe_machine(arguments.device)
            runs.write_json(output / "run.json", started | {"machine": machine, "finished": False})
        folder.mkdir(exist_ok=True)
        shutil.rmtree(folder / runs.HALF, ignore_errors=True)
    had_cache = model.config.__dict__.get("use_cache", ...)
    trainer = _Trainer(model=model, args=arguments, **parts)
    if had_cache is ...:  # the Trainer sets it
        model.config.__dict__.pop("use_cache", None)
    else:
        model.config.use_cache = had_cache
    trainer.remove_callback(PrinterCallback)
    trainer.dtype = dtype
    trainer.save_files = tokenizer.save_pretrained
    trainer.accelerator.wait_for_everyone()
    facts = json.loads((output / "run.json").read_text(encoding="utf-8"))
    if facts.get("finished"):
        loaded = type(model).from_pretrained(output)
        model.load_state_dict(loaded.state_dict())
        return _result(model.eval(), output, facts)

    whole = runs.checkpoints(folder)
    checkpoint = whole[-1] if whole else None
    done = int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0
    log = runs.read_log(log_path, done) if checkpoint else []
    if main:
        runs.rewrite_log(log_path, log)
        size = trainer.checkpoint_size()
        trainer.room(
            max(0, (runs.KEEP + 1 - len(whole)) * size) + size // 3, "checkpoints and the final model"
        )
    trainer.accelerator.wait_for_everyone()
    arguments.eval_on_start = checkpoint is None
    if arguments.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(arguments.device)

    with _progress(progress if main else False, steps, done) as show, _quiet_saving():
        recorder = _Recorder(log_path, every, log, tokens_per_step, show, main)
        trainer.add_callback(recorder)
        with _catch_interrupt(recorder):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    step = trainer.state.global_step
    model.zero_grad(set_to_none=True)
    if step < steps:
        raise KeyboardInterrupt(
            f"stopped at step {step:,} of {steps:,}; everything is saved in {folder / f'checkpoint-{step}'}. To go on, "
            f"call again with the same arguments and resume=True"
        )

    if main:
        half = output / runs.HALF
        shutil.rmtree(half, ignore_errors=True)
        trainer.room(trainer.checkpoint_size() // 2, "the final model")
        with _quiet_saving():
            save(half)
        runs.move_into(half, output)
        runs.plot_log(log, about["settings"]["unit"], baselines).savefig(output / "loss.png")
        training = [(b["tokens"] - a["tokens"], b["tokens_per_second"]) for a, b in itertools.pairwise(log)]
        facts |= {
            "finished": True,
            "seconds": log[-1]["seconds"],
            "tokens": log[-1]["tokens"],
            "tokens_per_second": round(
                log[-1]["tokens"] / sum(tokens / speed for tokens, speed in training), 1
            ),
            "peak_memory_mib": runs.peak_memory_mib(arguments.device),
        }
        runs.write_json(output / "run.json", facts)
        shutil.rmtree(folder)
    trainer.accelerator.wait_for_everyone()
    return _result(model.eval(), output, json.loads((output / "run.json").read_text(encoding="utf-8")))


def _result(model: nn.Module, output: Path, facts: dict[str, Any]) -> Run:
    return Run(
        model=model,
        output=output,
        log=runs.read_log(output / "log.jsonl"),
        settings=facts["about"]["settings"],
        seconds=facts["seconds"],
        tokens_per_second=facts["tokens_per_second"],
        peak_memory_mib=facts["peak_memory_mib"],
    )


# ---- What describes a run ----


def _plain_config(model: nn.Module) -> dict[str, Any]:
    changing = ("transformers_version", "_name_or_path", "architectures", "use_cache", "dtype", "torch_dtype")
    return {n: v for n, v in model.config.to_dict().items() if n not in changing}


def _fingerprint(tokenizer: Any) -> dict[str, Any]:
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    return {"class": type(tokenizer).__name__, "sha256": hashlib.sha256(vocabulary.encode()).hexdigest()[:16]}


def _identity(stretch: Stretch) -> str:
    return f"{stretch.name} sha256 {hashlib.sha256(stretch.sequence.encode()).hexdigest()[:16]}"


def _command() -> str:
    """How this was started, without the folders of this machine."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv and sys.argv[0] else "interactive"
