"""transformers.Trainer, as `pretrain` and `finetune` use it: what stands between a training loop and a run to trust.

Four things are added, each small. `GuardedTrainer` saves checkpoints that are whole or absent, and stops at the first
number that is not finite. `Recorder` decides when to log, validate and save, and writes log.jsonl. `interruptible`
turns Ctrl-C into a checkpoint. `train_in_folder` claims the folder, resumes, trains, saves and describes.

Everything else (the loop, accumulation, several processes, devices) is the Trainer's. Introduced in notebook 09.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from gfm_lab import runs
from gfm_lab.checkpoints import quiet_files
from gfm_lab.model import GenomicPreTrainedModel
from gfm_lab.runs import Run, RunError
from gfm_lab.stats import stats_of, stats_text

__all__ = ["GuardedTrainer", "Recorder", "arguments", "train_in_folder"]

BITS = 1 / math.log(2)  # of one nat


def processes() -> int:
    """How many processes torchrun or accelerate started for this run: 1 without them."""
    return int(os.environ.get("WORLD_SIZE", 1))


def arguments(
    output: Path, device: torch.device, batch_size: int, accumulate: int = 1, **options: Any
) -> TrainingArguments:
    """TrainingArguments of a run in the folder `output`; `batch_size` counts over all processes and accumulation.

    AdamW with betas 0.9 and 0.95, and a cosine that ends at 1 % of the learning rate. Raises ValueError for a batch
    that cannot be shared evenly.
    """
    shares = processes() * accumulate
    if batch_size % shares:
        raise ValueError(
            f"batch_size {batch_size} cannot be shared evenly by {processes()} processes with accumulate={accumulate}: "
            f"choose a multiple of {shares}"
        )
    fixed = dict(
        output_dir=str(output / "checkpoints"),
        num_train_epochs=1,
        per_device_train_batch_size=batch_size // shares,
        gradient_accumulation_steps=accumulate,
        lr_scheduler_type="cosine_warmup_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.01},
        adam_beta1=0.9,
        adam_beta2=0.95,
        logging_strategy="no",  # `Recorder` decides when
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
    made = TrainingArguments(**(fixed | options))
    if processes() == 1:
        made._n_gpu = min(made.n_gpu, 1)  # several GPUs are for torchrun, not for DataParallel
    return made


class GuardedTrainer(Trainer):
    """The Trainer with our precision and weight decay; whole checkpoints; an end at the first NaN."""

    dtype = torch.float32
    save_files: Callable[[Path], Any] = staticmethod(lambda folder: None)  # what else belongs in a checkpoint
    last_loss: Tensor | float = math.nan

    def autocast_smart_context_manager(
        self, cache_enabled: bool | None = True
    ) -> contextlib.AbstractContextManager:
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.args.device.type, self.dtype)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Matrices and filters; not norms, biases, embedding tables, and what is marked as not to decay (Mamba's A)."""
        tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        marked = _marked(model)
        if isinstance(
            model, GenomicPreTrainedModel
        ):  # a copy, and a model that was loaded, have lost their marks
            with torch.device("meta"):
                marked |= _marked(type(model)(model.config))
        parameters = [(name, p) for name, p in model.named_parameters() if p.ndim > 1 and name not in marked]
        return [name for name, p in parameters if id(p) not in tables]

    def training_step(self, *arguments: Any, **options: Any) -> Tensor:
        self.last_loss = super().training_step(*arguments, **options)
        return self.last_loss

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """A loss that is not finite makes a norm that is not; the weights are still those of the step before."""
        norm = super()._clip_grad_norm(model)
        if math.isfinite(float(norm)):
            return norm
        whole = runs.checkpoints(self.folder)
        kept = f"the last good checkpoint is {whole[-1]}" if whole else "no checkpoint had been written yet"
        raise FloatingPointError(
            f"training stopped at step {self.state.global_step + 1:,}: loss {float(self.last_loss):.4g}, gradient norm "
            f"{float(norm):.4g}, learning rate {self._get_learning_rate():.3g}. The weights were not changed by this "
            f"step; {kept}. Resuming would come here again: start a new run with a lower learning_rate, a longer "
            f"warmup or precision='float32'"
        )

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """An LM head tied to the embedding is saved once; any other tensor that is missing or extra is an error."""
        tied = {*(getattr(self.model, "_tied_weights_keys", None) or {})}
        odd = [*({*load_result.missing_keys} - tied), *load_result.unexpected_keys]
        if odd:
            raise RunError(f"the checkpoint in {self.folder} is not of this model: tensors {', '.join(odd)}")

    @property
    def folder(self) -> Path:
        return Path(self.args.output_dir)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """The Trainer's own, into a folder for what is unfinished, which then gets its name in one step."""
        final, step = self.folder, self.state.global_step
        half, writes = final / runs.HALF, self.args.should_save
        needed, what = runs.checkpoint_size(final, self.model), f"the checkpoint of step {step}"
        if writes:
            shutil.rmtree(half, ignore_errors=True)
            runs.make_room(final, needed, what)
        self.accelerator.wait_for_everyone()
        self.args.output_dir = str(half)
        try:
            with runs.saving(final, needed, what):
                super()._save_checkpoint(model, trial)
                if writes:
                    self.save_files(half / f"checkpoint-{step}")
                self.accelerator.wait_for_everyone()
                if writes:
                    runs.finish_checkpoint(half / f"checkpoint-{step}", final / f"checkpoint-{step}", step)
        finally:
            self.args.output_dir = str(final)
            if writes:
                shutil.rmtree(half, ignore_errors=True)
        self.accelerator.wait_for_everyone()


def _marked(model: nn.Module) -> set[str]:
    """Names of the parameters that say of themselves that weight decay is not for them."""
    return {name for name, p in model.named_parameters() if getattr(p, "_no_weight_decay", False)}


class Recorder(TrainerCallback):
    """Decides when to log, validate and save; writes log.jsonl; stops when asked to.

    every: steps between two validations ("evaluate"), checkpoints ("save"; 0 for none) and lines ("log").
    loss: name and factor of the training loss in the log. needed: bytes of a checkpoint, to warn in time.
    """

    def __init__(
        self,
        path: Path,
        every: dict[str, int],
        log: list[dict[str, Any]],
        tokens_per_step: int | None,
        show: Callable[[int, dict[str, Any]], None],
        writes: bool,
        loss: tuple[str, float],
        needed: int,
    ) -> None:
        self.path, self.every, self.log, self.show, self.writes = path, every, log, show, writes
        self.tokens_per_step, self.loss, self.needed = tokens_per_step, loss, needed
        self.before = log[-1]["seconds"] if log else 0.0
        self.started = self.mark = time.perf_counter()
        self.line: dict[str, Any] = {}
        self.stop = self.warned = False

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.started = self.mark = time.perf_counter()

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        step, last = state.global_step, state.global_step >= state.max_steps
        due = {name: bool(n) and (last or step % n == 0) for name, n in self.every.items()}
        control.should_evaluate = due["evaluate"]
        control.should_save = due["save"] or self.stop
        # A line at every checkpoint, so that the log of a resumed run has the lines of an uninterrupted one.
        control.should_log = any(due.values()) or self.stop
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
        tokens, (name, factor) = self.tokens(state), self.loss
        self.line = {
            "step": state.global_step,
            "tokens": tokens,
            "learning_rate": logs["learning_rate"],
            name: round(logs["loss"] * factor, 6),
            "gradient_norm": round(float(logs.get("grad_norm", math.nan)), 6),
            "tokens_per_second": round((tokens - (self.log[-1]["tokens"] if self.log else 0)) / spent, 1),
        }
        if not control.should_evaluate:
            self.write()

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, metrics: dict[str, Any], **_: Any
    ) -> None:
        self.line.setdefault("step", state.global_step)
        self.line.setdefault("tokens", self.tokens(state))
        for name, value in metrics.items():
            # Bits say it all in pre-training: the loss beside them is theirs, not renormalised.
            score = name.startswith("eval_") and not name.endswith(("_second", "_runtime", "_time"))
            if score and not (name == "eval_loss" and "eval_bits" in metrics):
                self.line[name.replace("eval_", "valid_")] = round(float(value), 6)
        self.write()
        self.mark = time.perf_counter()

    def on_save(self, *_: Any, **__: Any) -> None:
        self.mark = time.perf_counter()

    def tokens(self, state: TrainerState) -> int:
        return (
            state.num_input_tokens_seen
            if self.tokens_per_step is None
            else self.tokens_per_step * state.global_step
        )

    def write(self) -> None:
        """One line, on disk before the checkpoint of its step is."""
        self.line["seconds"] = round(self.before + time.perf_counter() - self.started, 3)
        self.log.append(self.line)
        if self.writes:
            folder = self.path.parent / "checkpoints"
            with (
                runs.saving(folder, 0, "a line of log.jsonl"),
                open(self.path, "a", encoding="utf-8") as file,
            ):
                file.write(json.dumps(self.line) + "\n")
            free = runs.free_space(folder)
            if free < self.needed and self.every["save"] and not self.warned:
                self.warned = True
                warnings.warn(
                    f"the disk of {folder} is filling up: {free / runs.MB:,.1f} MB are free, the next checkpoint needs "
                    f"{self.needed / runs.MB:,.1f} MB. Free some now, or the run will stop there",
                    stacklevel=2,
                )
        self.show(self.line["step"], self.line)
        self.line = {}


@contextlib.contextmanager
def interruptible(recorder: Recorder) -> Iterator[None]:
    """The first Ctrl-C lets the step end and saves; the second one stops at once.

    In the main thread of a single process; among several processes the last checkpoint is what remains.
    """
    earlier = signal.getsignal(signal.SIGINT)
    if (
        threading.current_thread() is not threading.main_thread()
        or processes() > 1
        or earlier == signal.SIG_IGN
    ):
        yield
        return

    def handler(number: int, frame: Any) -> None:
        recorder.stop = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier or signal.default_int_handler)


@contextlib.contextmanager
def progress_of(
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
        if line and (step * 10 // steps > shown or any(name.startswith("valid_") for name in line)):
            shown = step * 10 // steps
            out = sys.stdout if notebook else sys.stderr  # Jupyter colours what goes to stderr red
            print(f"step {step:>7,} of {steps:,}  {_summary(line)}", file=out, flush=True)

    yield show_line


def _summary(line: Mapping[str, Any]) -> str:
    parts = [f"train {line[name]:.4f}" for name in ("train_bits", "train_loss") if name in line]
    parts += [
        f"{name.replace('_', ' ')} {value:.4f}" for name, value in line.items() if name.startswith("valid_")
    ]
    parts += [f"{line['tokens_per_second']:,.0f} tokens/s"] if "tokens_per_second" in line else []
    return "  ".join(parts)


def train_in_folder(
    model: nn.Module,
    tokenizer: Any,
    settings: TrainingArguments,
    about: dict[str, Any],
    every: dict[str, int],
    *,
    dtype: torch.dtype,
    resume: bool,
    progress: bool | None,
    tokens_per_step: int | None,
    loss: tuple[str, float],
    finish: Callable[[GuardedTrainer], tuple[nn.Module, dict[str, Any]]],
    baselines: Mapping[str, float] | None = None,
    **parts: Any,
) -> Run:
    """Train `model` and leave a run folder (see `gfm_lab.runs`); from its last checkpoint if `resume`.

    about: what the run is: kept in run.json and compared on resuming. finish: called after the last step, returns the
    model to be saved and what run.json should say of it. every["save"] = 0: no checkpoints, hence nothing to resume.
    parts: arguments of the Trainer.
    """
    output = Path(settings.output_dir).parent
    folder, log_path = output / "checkpoints", output / "log.jsonl"
    writes, steps, saves = settings.process_index == 0, settings.max_steps, bool(every["save"])
    settings.include_num_input_tokens_seen = "no" if tokens_per_step else "non_padding"
    if writes:
        earlier = runs.open_run(output, about, resume, resumable=saves)
        shutil.rmtree(folder / runs.HALF, ignore_errors=True)
        whole = runs.checkpoints(folder)
        if not (earlier or {}).get("finished"):
            size = runs.checkpoint_size(folder, model)
            spare = size * max(0, runs.KEEP + 1 - len(whole)) if saves else 0
            runs.make_room(
                folder, spare + size // 3, "checkpoints and the final model" if saves else "the model"
            )
        if earlier is None:
            machine = runs.describe_machine(settings.device)
            started = {"about": about, "command": runs.command(), "machine": machine, "finished": False}
            runs.write_json(output / "run.json", started)
        folder.mkdir(exist_ok=True)
    had_cache = model.config.__dict__.get("use_cache", ...)
    trainer = GuardedTrainer(model=model, args=settings, **parts)
    if had_cache is ...:  # the Trainer sets it
        model.config.__dict__.pop("use_cache", None)
    else:
        model.config.use_cache = had_cache
    trainer.remove_callback(PrinterCallback)
    trainer.model_accepts_loss_kwargs &= (
        "compute_loss_func" not in parts
    )  # the count of labels is for one of them
    trainer.dtype, trainer.save_files = dtype, tokenizer.save_pretrained
    trainer.accelerator.wait_for_everyone()
    facts = json.loads((output / "run.json").read_text(encoding="utf-8"))
    if facts["finished"] and resume:
        with quiet_files():
            model.load_state_dict(type(model).from_pretrained(output).state_dict())
        if writes:
            shutil.rmtree(folder, ignore_errors=True)
        return runs.finished_run(model.eval(), output)

    whole = runs.checkpoints(folder)
    checkpoint = whole[-1] if whole else None
    done = int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0
    log = runs.read_log(log_path, done) if checkpoint else []
    if writes:
        runs.rewrite_log(log_path, log)
    settings.eval_on_start = checkpoint is None
    if settings.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(settings.device)

    with progress_of(progress if writes else False, steps, done) as show, quiet_files():
        size = runs.checkpoint_size(folder, model)
        recorder = Recorder(log_path, every, log, tokens_per_step, show, writes, loss, size)
        trainer.add_callback(recorder)
        with interruptible(recorder) if saves else contextlib.nullcontext():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        step = trainer.state.global_step
        if recorder.stop and step < steps:
            raise KeyboardInterrupt(
                f"stopped at step {step:,} of {steps:,}; everything is saved in {folder / f'checkpoint-{step}'}. To go "
                f"on, call again with the same arguments and resume=True"
            )
        model.zero_grad(set_to_none=True)
        peak = runs.peak_memory_mib(settings.device)
        model, found = finish(trainer)
        model.eval()
        if writes:
            half = output / runs.HALF
            shutil.rmtree(half, ignore_errors=True)
            runs.make_room(folder, size // 3, "the final model")
            with runs.saving(folder, size // 3, "the final model"):
                model.save_pretrained(half)
                tokenizer.save_pretrained(half)
                runs.move_into(half, output)
                runs.plot_log(log, about["settings"].get("unit", "loss"), baselines).savefig(
                    output / "loss.png"
                )
                pairs = [(b, b["tokens"] - a["tokens"]) for a, b in itertools.pairwise(log)]
                training = sum(tokens / line["tokens_per_second"] for line, tokens in pairs)
                facts |= found | {
                    "finished": True,
                    "seconds": log[-1]["seconds"],
                    "tokens": log[-1]["tokens"],
                    "tokens_per_second": round(log[-1]["tokens"] / training, 1),
                    "peak_memory_mib": peak,
                }
                if "stats" in facts:
                    speed = facts["tokens_per_second"]
                    facts["stats"] = stats_of(
                        **facts["stats"], tokens_per_second=speed, peak_memory_mib=peak, processes=processes()
                    )
                    print(stats_text(facts["stats"]), flush=True)
                runs.write_json(output / "run.json", facts)
            shutil.rmtree(folder)
    trainer.accelerator.wait_for_everyone()
    return runs.finished_run(model, output)
