"""A training run on disk: its folder, its log, checkpoints that are whole or absent, and a disk that may be full.

    output/
      model.safetensors  config.json  tokenizer files    the model, once the run has ended
      run.json      settings, seed, command, hardware, data; at the end seconds, tokens/s and peak memory
      log.jsonl     one JSON object a line, one line a step
      loss.png      the log as a figure
      checkpoints/  the last two while the run goes on, removed at its end

Nothing here trains: `gfm_lab.training` does, and calls these functions. Introduced in notebook 09.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["DiskFull", "Run", "RunError", "read_log"]

KEEP = 2  # checkpoints
MARK = "complete.json"  # in a checkpoint: written last, lists every file and its size
HALF = "unfinished"  # what is being written lies here until it is whole
MB = 1_000_000


class RunError(ValueError):
    """An output folder cannot be used as asked for; the message says what lies there and what to do."""


class DiskFull(OSError):
    """There is no room for what has to be saved; the message says how much is needed and what is safe already."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.ENOSPC, message)


@dataclass
class Run:
    """What `pretrain` and `finetune` return.

    model: the trained model, in evaluation mode. output: its folder. log: one dict for each line of log.jsonl.
    settings: what the run was asked for. seconds: wall time with validation and saving. tokens_per_second: of
    training alone. peak_memory_mib: on a GPU what torch had allocated, on a CPU the largest resident memory of the
    whole process. kept_step, predictions: of `finetune`, the step whose weights were kept, and its scores of
    the validation rows, (N, labels). stats: of `pretrain(..., stats=True)`, what the run cost the machine.
    Introduced in notebook 09.
    """

    model: Any
    output: Path
    log: list[dict[str, Any]]
    settings: dict[str, Any]
    seconds: float
    tokens_per_second: float
    peak_memory_mib: float | None
    kept_step: int | None = None
    stats: dict[str, Any] | None = None
    predictions: np.ndarray | None = field(default=None, repr=False)

    def frame(self) -> pd.DataFrame:
        """The log as a table, one row a step; empty where a step has no such number."""
        import pandas as pd

        return pd.DataFrame(self.log)

    @property
    def metrics(self) -> dict[str, float]:
        """The last validation, or that of the step that was kept: name -> value."""
        scored = [line for line in self.log if any(name.startswith("valid_") for name in line)]
        kept = [line for line in scored if line["step"] == self.kept_step] or scored
        last = kept[-1] if kept else {}
        return {n.removeprefix("valid_"): value for n, value in last.items() if n.startswith("valid_")}

    def plot(self, baselines: Mapping[str, float] | None = None) -> Figure:
        """The loss curves; `baselines` maps a name to the height of a horizontal line. Introduced in notebook 09."""
        return plot_log(self.log, self.settings.get("unit", "loss"), baselines)

    def __repr__(self) -> str:
        found = ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        step = self.log[-1]["step"] if self.log else 0
        return f"Run({self.output.name!r}: step {step:,}; valid {found}; {self.seconds:,.0f} s)"


# ---- Files that are whole or absent ----


def write_json(path: Path, content: Any) -> None:
    """Write to a temporary file, then rename it: whoever reads `path` sees the old or the new, never a half."""
    half = path.with_name(path.name + ".part")
    with open(half, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(half, path)


def read_log(path: str | Path, until: int | None = None) -> list[dict[str, Any]]:
    """The lines of a log.jsonl, up to step `until`. A last line cut short by a kill is left out."""
    lines: list[dict[str, Any]] = []
    path = Path(path)
    if path.exists():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
    return [line for line in lines if until is None or line["step"] <= until]


def rewrite_log(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Replace the log by `lines`: what a run that is resumed does with the steps after its checkpoint."""
    half = path.with_name(path.name + ".part")
    half.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    os.replace(half, path)


def move_into(source: Path, target: Path) -> None:
    """Move everything in `source` into `target`, replacing files of the same name, and remove `source`."""
    for file in sorted(source.iterdir()):
        if file.is_dir():
            shutil.rmtree(target / file.name, ignore_errors=True)
        os.replace(file, target / file.name)
    source.rmdir()


# ---- Checkpoints ----


def finish_checkpoint(half: Path, final: Path, step: int) -> None:
    """Mark the checkpoint in `half` as whole and give it its name; keep the newest `KEEP`."""
    sizes = {file.name: file.stat().st_size for file in sorted(half.iterdir()) if file.is_file()}
    write_json(half / MARK, {"step": step, "files": sizes})
    if final.exists():  # the same step once more, after a resume
        shutil.rmtree(final)
    os.replace(half, final)
    for old in checkpoints(final.parent)[:-KEEP]:
        shutil.rmtree(old)


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first. One without its mark, or with a file cut short, is not listed."""
    whole: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        try:
            mark = json.loads((path / MARK).read_text(encoding="utf-8"))
            if all((path / name).stat().st_size == size for name, size in mark["files"].items()):
                whole.append((int(mark["step"]), path))
        except (OSError, ValueError, KeyError):
            continue
    return [path for _, path in sorted(whole)]


def folder_size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.exists() else 0


def checkpoint_size(folder: Path, model: Any) -> int:
    """Bytes of the next checkpoint: as the last one, or weights and the optimizer's two averages of each."""
    whole = checkpoints(folder)
    if whole:
        return folder_size(whole[-1]) + MB
    return 3 * sum(p.numel() * p.element_size() for p in model.parameters()) + MB


def free_space(folder: Path) -> int:
    """Bytes that can still be written where `folder` is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def make_room(folder: Path, needed: int, what: str) -> None:
    """Raise DiskFull unless `needed` bytes are free; if they are not, the older checkpoint makes way first."""
    whole = checkpoints(folder)
    if free_space(folder) < needed and len(whole) > 1:
        shutil.rmtree(whole[0])
    if free_space(folder) < needed:
        raise _disk_full(folder, needed, what)


@contextlib.contextmanager
def saving(folder: Path, needed: int, what: str) -> Iterator[None]:
    """What is written inside is reported as DiskFull if it fails for want of space.

    torch and safetensors raise errors of their own then, without a number: they count if the text says so, or if less
    than `needed` bytes are free.
    """
    try:
        yield
    except DiskFull:
        raise
    except (OSError, RuntimeError, SafetensorError) as fault:
        full = isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))
        if full or "No space left" in str(fault) or free_space(folder) < needed:
            raise _disk_full(folder, needed, what) from fault
        raise


def _disk_full(folder: Path, needed: int, what: str) -> DiskFull:
    whole, free = checkpoints(folder), free_space(folder)
    kept = f"{whole[-1]} is whole: go on from there with resume=True" if whole else "no step is lost"
    return DiskFull(
        f"no room for {what}: it needs {needed / MB:,.1f} MB in {folder}, where {free / MB:,.1f} MB are free. Free at "
        f"least {max(needed - free, MB) / MB:,.1f} MB, or choose an output folder on another disk; {kept}"
    )


# ---- The folder of a run ----


def describe_machine(device: Any) -> dict[str, Any]:
    """Hardware and versions, as they are stored in run.json."""
    import torch
    import transformers

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": device.type,
        "name": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def peak_memory_mib(device: Any) -> float | None:
    """Peak memory in MiB: of torch on a GPU, of the process on a CPU; None where the system does not tell."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def open_run(
    output: Path, about: dict[str, Any], resume: bool, resumable: bool = True
) -> dict[str, Any] | None:
    """Claim `output` for a run described by `about` (settings, data, model); its run.json if it was begun before.

    A run that is not resumable and was cut off starts anew. Raises RunError if the folder holds anything else,
    another run, or this run and resume is False.
    """
    path = output / "run.json"
    if output.exists() and not output.is_dir():
        raise RunError(f"{output} is a file: choose a folder for the run")
    inside = sorted(file.name for file in output.iterdir()) if output.exists() else []
    if not path.exists():
        if inside:
            names = ", ".join(inside[:4]) + (", ..." if len(inside) > 4 else "")
            raise RunError(
                f"{output} is not empty and holds no run ({names}): choose a new folder, or empty this one"
            )
        output.mkdir(parents=True, exist_ok=True)
        return None
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        different = differences(earlier["about"], json.loads(json.dumps(about)))
    except (ValueError, KeyError, TypeError):
        raise RunError(f"{path} cannot be read as the description of a run: choose a new folder") from None
    if not resumable and not different and not earlier.get("finished"):
        return None
    if not resume:
        state = "a finished run" if earlier.get("finished") else "a run that was interrupted"
        other = f" with other settings ({'; '.join(different)})" if different else " with the same settings"
        raise RunError(
            f"{output} already holds {state}{other}: choose a new folder"
            + ("" if different or not resumable else ", or pass resume=True to go on with it")
        )
    if different:
        raise RunError(
            f"{output} holds a run that differs from what resume=True is asked to go on with: "
            f"{'; '.join(different)}. Give the values of that run, or choose a new folder"
        )
    return earlier


def command() -> str:
    """How this process was started, without the folder of its program."""
    if "ipykernel" in sys.modules or not sys.argv or not sys.argv[0]:
        return "in a notebook or an interactive session"
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def finished_run(model: Any, output: Path) -> Run:
    """The `Run` of a folder whose run has ended."""
    facts = json.loads((output / "run.json").read_text(encoding="utf-8"))
    return Run(
        model=model,
        output=output,
        log=read_log(output / "log.jsonl"),
        settings=facts["about"]["settings"],
        seconds=facts["seconds"],
        tokens_per_second=facts["tokens_per_second"],
        peak_memory_mib=facts["peak_memory_mib"],
        kept_step=facts.get("kept_step"),
        stats=facts.get("stats"),
    )


def precision_of_run(output: Path) -> str:
    """The precision a run began with, "auto" if there is none: measured again it might come out otherwise."""
    try:
        facts = json.loads((output / "run.json").read_text(encoding="utf-8"))
        return facts["about"]["settings"]["precision"]
    except (OSError, ValueError, KeyError):
        return "auto"


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """What differs between two nested settings, one short sentence each."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in [*old, *(key for key in new if key not in old)]:
            inner = f"{name}.{key}" if name else str(key)
            found += differences(old.get(key), new.get(key), inner)
        return found
    if old == new:
        return []
    return [f"{name.removeprefix('settings.')} was {_short(old)}, now {_short(new)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def plot_log(
    log: Sequence[Mapping[str, Any]], unit: str = "loss", baselines: Mapping[str, float] | None = None
) -> Figure:
    """Figure of a log: training and validation over steps, and the baselines as dashed lines."""
    import matplotlib.pyplot as plt

    from gfm_lab import plots

    with plt.rc_context():
        plots.use_style()
        figure, axes = plt.subplots()
        heights: list[float] = [*(baselines or {}).values()]
        for names, label, look in (
            (("train_bits", "train_loss"), "training", dict(alpha=0.7)),
            (("valid_bits", "valid_loss"), "validation", dict(marker="o", markersize=4)),
        ):
            points = [(line["step"], line[name]) for line in log for name in names if name in line]
            if points:
                axes.plot(*zip(*points, strict=True), label=label, **look)
                heights += [value for step, value in points if step]
        for i, (name, height) in enumerate((baselines or {}).items()):
            axes.axhline(height, linestyle="--", color=plots.PALETTE[2 + i % 4], label=f"{name} {height:.3f}")
        if heights:  # the first steps are far above all that matters
            low, high = min(heights), float(np.quantile(heights, 0.98))
            axes.set_ylim(low - 0.05 * (high - low + 0.1), high + 0.1 * (high - low + 0.1))
        axes.set(xlabel="step", ylabel=unit)
        axes.legend()
    plt.close(figure)  # it is shown by whoever asked for it, not by pyplot
    return figure
