"""Trained models: the small ones that the course ships, and any folder that a run has left.

`load_model("ecoli-attention-mlm")` gives model and tokenizer, the files verified by checksum; `load_model("runs/mine")`
the same from a folder of your own. `checkpoints/README.md` lists the shipped ones; each has its card, its log and the
command that makes it again (`tools/make_checkpoints.py`). Nothing is downloaded, no code but ours is run, and no pickle
is opened: weights are safetensors. Introduced in notebook 00.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers

import gfm_lab.model
import gfm_lab.tokenization

__all__ = ["CheckpointError", "checkpoint_dir", "checkpoint_names", "load_model", "published_folder"]

_PACKAGE = Path(__file__).parent / "_checkpoints"  # where the wheel carries them
_CLONE = Path(__file__).parent.parent / "checkpoints"  # where a clone does


class CheckpointError(RuntimeError):
    """A checkpoint's file is missing, altered or of a kind that is not loaded; the message says what to do."""


def load_model(name_or_path: str | os.PathLike[str]) -> tuple[Any, Any]:
    """A trained model and its tokenizer, from a shipped checkpoint's name or from a folder.

    Args:
        name_or_path: one of `checkpoint_names()`; or a folder with config.json, model.safetensors and the tokenizer's
            files, as `training.pretrain` and `save_pretrained` leave it. A shipped name wins over a folder of that
            name: write "./name" for the folder.

    Returns:
        (model, tokenizer). The model is of the class that was saved, in float32, on the CPU, in evaluation mode.

    Raises:
        ValueError: neither a known name (the nearest one is suggested) nor a folder.
        CheckpointError: a file is missing, is not what the manifest says, or holds something else than a model that
            transformers or this package defines. Checksums are verified once per file and version.

    Introduced in notebook 00.
    """
    name = os.fspath(name_or_path)
    known = checkpoint_names()
    if name in known:
        folder = checkpoint_dir() / name
        for file, expected in _manifest()["checkpoints"][name]["files"].items():
            _verify(folder / file, expected["sha256"])
    else:
        folder = Path(name).expanduser()
        if name in _manifest().get("published", {}):
            raise ValueError(
                f"{name!r} is no language model: load it with gfm_lab.splice_cnn.load_splice_cnn()"
            )
        if not folder.is_dir():
            near = difflib.get_close_matches(name, known, 1, 0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(
                f"there is no checkpoint and no folder {name!r}; {hint}Shipped: {', '.join(known) or 'none'}"
            )
    kind = _class_of(folder)
    if not any(folder.glob("model*.safetensors")):
        others = [p.name for p in sorted(folder.iterdir()) if p.suffix in (".bin", ".pt", ".pth", ".ckpt")]
        more = f"; {others[0]} is a pickle, which could run any code and is not opened" if others else ""
        raise CheckpointError(
            f"{folder} holds no model.safetensors{more}: save the model with save_pretrained"
        )
    options = {"local_files_only": True, "trust_remote_code": False}
    # Shipped weights are stored in 16 bits; computing in them is slow, and coarse, on most CPUs.
    with quiet_files():
        model = kind.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, **options)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
    except (OSError, ValueError, KeyError) as fault:
        reason = str(fault).splitlines()[0]
        raise CheckpointError(
            f"{folder} holds a model but no tokenizer that loads ({reason}): save it there too, with "
            f"tokenizer.save_pretrained"
        ) from None
    return model.eval(), tokenizer


@contextlib.contextmanager
def quiet_files() -> Iterator[None]:
    """Without transformers' own bar for each file that it writes or reads."""
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


def checkpoint_names() -> list[str]:
    """The names of the shipped checkpoints; empty where the package came without them."""
    return list(_manifest()["checkpoints"])


def published_folder(name: str) -> Path:
    """The folder of a shipped model that others have trained and that has a module of its own, its files verified.

    Raises CheckpointError for a file that is missing or altered, and for a name that is not among them.
    """
    listed = _manifest().get("published", {})
    if name not in listed:
        raise CheckpointError(
            f"there is no published model {name!r} here; there are: {', '.join(listed) or 'none'}"
        )
    for file, expected in listed[name]["files"].items():
        _verify(checkpoint_dir() / name / file, expected["sha256"])
    return checkpoint_dir() / name


def checkpoint_dir() -> Path:
    """The folder of the shipped checkpoints: inside the installed package, else the clone's checkpoints/."""
    return _PACKAGE if (_PACKAGE / "manifest.json").is_file() else _CLONE


def _manifest() -> dict[str, Any]:
    path = checkpoint_dir() / "manifest.json"
    if not path.is_file():
        return {"checkpoints": {}}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise CheckpointError(f"{path} is not readable as JSON ({fault}); {_cure(path)}") from None


def _verify(path: Path, sha256: str) -> None:
    try:
        stat = path.stat()
    except OSError:
        raise CheckpointError(f"{path} is missing; {_cure(path)}") from None
    actual = _digest(path, stat.st_size, stat.st_mtime_ns)
    if actual != sha256:
        raise CheckpointError(f"{path} has been altered: sha256 {actual}, expected {sha256}; {_cure(path)}")


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    """The file's sha256; size and time are there so that an altered file is read again."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _cure(path: Path) -> str:
    """How to get a shipped file back."""
    if checkpoint_dir() == _PACKAGE:
        return "reinstall the wheel: pip install --force-reinstall --no-deps gfm_lab-*.whl"
    return f"get it back with `git checkout -- checkpoints/{path.relative_to(_CLONE).as_posix()}`"


def _class_of(folder: Path) -> type:
    """The model class that config.json names: one of ours, or one of transformers'."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        (architecture,) = config["architectures"]
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is no checkpoint: it has no config.json") from None
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(
            f"{path} does not name one model class under 'architectures': save the model with save_pretrained"
        ) from None
    kind = getattr(gfm_lab.model, architecture, None) or getattr(transformers, architecture, None)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise CheckpointError(
            f"{path} asks for the class {architecture!r}, which neither gfm_lab nor transformers defines; code that "
            f"comes with a checkpoint is not run"
        )
    return kind
