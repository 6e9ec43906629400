"""Small supervised networks on one-hot DNA: what a label can be predicted with when nothing was pre-trained.

    kind   reads                                                   for
    cnn    motifs by convolution, then which motif stands where    promoters, splice sites, expression
    mlp    every base at its place, all of them together           variants of one short sequence (an MPRA)

A `Predictor` is an ensemble: networks of one shape, trained from different seeds, whose answers are averaged. Each
trains for seconds to minutes on a CPU, and keeps the weights of the epoch that did best on the validation rows.
`forward` takes a one-hot matrix, relaxed or not, and is differentiable in it: attributions and gradient-guided design
need that.

Shapes: N sequences, B of them in a batch, L bases (one length for all), C classes, T numbers to predict.
Introduced in notebook 11; the baseline of notebook 08 and the oracles of notebook 13 are made by it.
"""

from __future__ import annotations

import copy
import difflib
import itertools
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfm_lab.checkpoints import CheckpointError, _manifest, _verify, checkpoint_dir
from gfm_lab.device import autocast

__all__ = ["KINDS", "Predictor", "join_predictors", "load_predictor", "predictor_names", "train_predictor"]

# What each kind is built from, and with what unless told otherwise.
KINDS: dict[str, dict[str, Any]] = {
    "cnn": {"width": 64, "kernel": 15, "layers": 3, "pool": 3, "bins": 10, "hidden": 64, "dropout": 0.2},
    "mlp": {"width": 256, "layers": 2, "dropout": 0.1},
}
TASKS = ("classification", "regression")
_BATCH = 512  # sequences at once when nothing is trained
_CODE = np.full(256, 255, np.uint8)  # A, C, G, T: 0 to 3; another letter of the DNA alphabet: 4, no base
_CODE[np.frombuffer(b"RYSWKMBDHVNryswkmbdhvn", np.uint8)] = 4
for _i, _base in enumerate("ACGT"):
    _CODE[[ord(_base), ord(_base.lower())]] = _i


# ---- The two networks: (B, L, 4) -> (B, outputs) ----


class CNN(nn.Module):
    """Convolutions find motifs, bins say where they stand: (B, L, 4) -> (B, outputs).

    The first layer's `width` filters of `kernel` bases are motif detectors (as in DeepBind, Alipanahi et al. 2015,
    doi:10.1038/nbt.3300). `layers` residual convolutions of 5 follow, each dilated twice as much as the last, with
    max-pooling by `pool` after the first layer alone. The mean and the largest value of each channel in each of `bins`
    equal stretches go to one hidden layer of `hidden` units: with one bin the network knows what stands in the
    sequence, with more also roughly where; bins=0 keeps every position.

    Introduced in notebook 11.
    """

    def __init__(
        self,
        length: int,
        outputs: int,
        width: int = 64,
        kernel: int = 15,
        layers: int = 3,
        pool: int = 3,
        bins: int = 10,
        hidden: int = 64,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.bins = bins
        self.first = nn.Sequential(
            nn.Conv1d(4, width, kernel, padding="same"),
            nn.MaxPool1d(pool) if pool > 1 else nn.Identity(),
            nn.BatchNorm1d(width),
            nn.GELU(),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, 5, padding="same", dilation=2**i),
                nn.BatchNorm1d(width),
                nn.GELU(),
                nn.Dropout1d(dropout / 2),  # whole channels
            )
            for i in range(layers)
        )
        places = 2 * bins if bins else length // pool
        self.last = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(width * places, hidden),
            nn.BatchNorm1d(hidden),  # without it, all hidden units may fall silent at high learning rates
            nn.GELU(),
            nn.Dropout(dropout),
        )
        self.out = nn.Linear(hidden, outputs)

    def forward(self, one_hot: Tensor) -> Tensor:
        x = self.first(one_hot.transpose(1, 2))  # (B, width, L // pool)
        for block in self.blocks:
            x = x + block(x)
        if self.bins:
            x = torch.cat([F.adaptive_avg_pool1d(x, self.bins), F.adaptive_max_pool1d(x, self.bins)], 1)
        return self.out(self.last(x.flatten(1)))


class MLP(nn.Module):
    """Fully connected layers over all bases at once: (B, L, 4) -> (B, outputs).

    It can learn any dependence between places, and knows nothing that holds at more than one place: right for variants
    of one sequence, wrong for sequences that have nothing but motifs in common. `layers` hidden layers of `width`.

    Introduced in notebook 11.
    """

    def __init__(
        self, length: int, outputs: int, width: int = 256, layers: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        sizes = [4 * length, *[width] * layers]
        parts: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            parts += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.GELU(), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*parts)
        self.out = nn.Linear(sizes[-1], outputs)

    def forward(self, one_hot: Tensor) -> Tensor:
        return self.out(self.hidden(one_hot.flatten(1)))


# ---- The ensemble ----


class Predictor(nn.Module):
    """Networks of one shape that answer together. Made by `train_predictor` and `load_predictor`.

    members: the networks. task: "classification" or "regression". length: bases of a sequence, L. outputs: C or T.
    config: all that `save` writes as config.json. history: one dict for each member and epoch (not saved).

    Introduced in notebook 11.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.kind, self.task = config["kind"], config["task"]
        self.length, self.outputs = int(config["length"]), int(config["outputs"])
        make = {"cnn": CNN, "mlp": MLP}[self.kind]
        with torch.random.fork_rng(
            devices=[]
        ):  # these weights are replaced: the caller's random numbers stay
            self.members = nn.ModuleList(
                make(self.length, self.outputs, **config["options"]) for _ in range(config["ensemble"])
            )
        self.history: list[dict[str, float]] = []

    def forward(self, one_hot: Tensor) -> Tensor:
        """(B, L, 4), a row of zeros where the base is unknown -> log-probabilities (B, C), or values (B,) or (B, T).

        Differentiable in `one_hot`, which need not hold zeros and ones. Classes: the logarithm of the members' mean
        probability. Values: the members' mean, in the units of the labels. A predictor that was trained on both strands
        (`reverse_complement`) averages over them as well. Raises ValueError for another shape.
        """
        if one_hot.ndim != 3 or one_hot.shape[1:] != (self.length, 4):
            raise ValueError(
                f"one_hot has shape {tuple(one_hot.shape)}: this predictor reads (B, {self.length}, 4), "
                f"columns A, C, G, T"
            )
        strands = [one_hot]
        if self.config["reverse_complement"]:
            strands.append(one_hot.flip(1, 2))  # columns A, C, G, T: complementing is a flip
        found = torch.stack([member(strand).float() for strand in strands for member in self.members])
        if self.task == "classification":
            return found.log_softmax(-1).logsumexp(0) - math.log(len(found))
        values = found.mean(0)
        return values[:, 0] if self.outputs == 1 else values

    @torch.no_grad()
    def predict(self, sequences: Sequence[str]) -> np.ndarray:
        """Probabilities (N, C), or values (N,), or (N, T) where T numbers were learned, of sequences of L bases.

        Letters of the DNA alphabet that are no base (N, R, ...) count as unknown. Raises ValueError for another length
        or another letter, with the row.
        """
        codes = encode(sequences, self.length)
        was = self.training
        self.eval()
        try:
            parts = [self(_one_hot(codes[i : i + _BATCH])) for i in range(0, len(codes), _BATCH)]
        finally:
            self.train(was)
        if not parts:
            return np.zeros((0,) if self.task == "regression" and self.outputs == 1 else (0, self.outputs))
        found = torch.cat(parts)
        return (found.exp() if self.task == "classification" else found).numpy()

    def save(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> Path:
        """Write config.json and model.safetensors into `folder`, both whole or not at all; `dtype` of the weights.

        Raises FileExistsError if `folder` holds something else than a predictor.
        """
        from safetensors.torch import save_file

        folder = Path(folder)
        files = {"config.json", "model.safetensors"}
        if folder.exists() and any(folder.iterdir()) and not (folder / "config.json").exists():
            raise FileExistsError(f"{folder} holds other files than a predictor: give a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=".part-", dir=folder))
        try:
            weights = {
                name: (value.to(dtype) if value.is_floating_point() else value).contiguous()
                for name, value in self.state_dict().items()
            }
            save_file(weights, half / "model.safetensors", metadata={"format": "pt"})
            (half / "config.json").write_text(json.dumps(self.config, indent=1) + "\n", encoding="utf-8")
            # The library makes its file private.
            shutil.copymode(half / "config.json", half / "model.safetensors")
            for file in sorted(files, reverse=True):
                os.replace(half / file, folder / file)
        finally:
            shutil.rmtree(half, ignore_errors=True)
        return folder


def load_predictor(name_or_folder: str | os.PathLike[str]) -> Predictor:
    """A predictor from a shipped name (its files are verified) or from a folder that `Predictor.save` has written.

    Returns it in evaluation mode, in float32. Raises ValueError for neither a known name nor a folder, and
    `checkpoints.CheckpointError` for a missing, altered or foreign file. Introduced in notebook 11.
    """
    from safetensors.torch import load_file

    name = os.fspath(name_or_folder)
    if name in predictor_names():
        folder = checkpoint_dir() / name
        for file, expected in _manifest()["predictors"][name]["files"].items():
            _verify(folder / file, expected["sha256"])
    else:
        folder = Path(name).expanduser()
        if not folder.is_dir():
            near = difflib.get_close_matches(name, predictor_names(), 1, 0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(
                f"there is no predictor and no folder {name!r}; {hint}Shipped: {', '.join(predictor_names()) or 'none'}"
            )
    for file in ("config.json", "model.safetensors"):
        if not (folder / file).is_file():
            raise CheckpointError(f"{folder} is no predictor: {file} is missing")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        made = Predictor(config)
        weights = load_file(folder / "model.safetensors")
        made.load_state_dict(
            {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
        )
    except (ValueError, KeyError, TypeError, RuntimeError) as fault:
        reason = str(fault).splitlines()[0]
        raise CheckpointError(
            f"{folder} is no predictor that `Predictor.save` has written ({reason})"
        ) from None
    return made.eval()


def predictor_names() -> list[str]:
    """The names of the shipped predictors; empty where the package came without them."""
    return [*_manifest().get("predictors", {})]


# ---- Training ----


def train_predictor(
    train: tuple[Sequence[str], Any],
    valid: tuple[Sequence[str], Any],
    *,
    kind: str = "cnn",
    task: str = "classification",
    ensemble: int = 1,
    seed: int = 0,
    epochs: int = 20,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.01,
    patience: int | None = 5,
    averaging: float = 0.99,
    reverse_complement: bool = False,
    shift: int = 0,
    mutate: float = 0.0,
    weights: Any = None,
    class_weights: str | Sequence[float] | None = None,
    precision: str = "float32",
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> Predictor:
    """Train an ensemble of small networks on labelled sequences of one length.

    train, valid: (sequences, labels). Labels: classes 0, 1, ..., or numbers (N,) or (N, T).
    kind: "cnn" or "mlp"; `options` are those of `KINDS` (width, layers, dropout, ...).
    ensemble: members; member i is trained with seed `seed` + i, on the same rows.
    epochs: AdamW with the learning rate falling along a cosine to 1 % of `learning_rate` over all of them.
    averaging: the weights that are kept are a running mean of those of the steps, with this share of the old mean at
    each step (0: the last step's); it costs nothing and steadies the validation score.
    patience: training stops after so many epochs without a lower validation loss (None: never). The epoch with the
    lowest one is kept, so a score on `valid` is a little too good: report a test split.
    reverse_complement: train on either strand with equal chance, and average over both when predicting; only where the
    strand does not matter. shift: move each training sequence by up to so many bases (unknown bases come in at the
    end). mutate: share of training bases replaced by a random one.
    weights: (N,) how much each training row counts. class_weights: "balanced" or one number a class.
    precision: as for `device.precision_of`; "auto" measures whether bfloat16 pays. progress: called with one line an
    epoch, such as print.

    The same seed gives the same weights on the same machine with the same number of threads.

    Raises ValueError for sequences of several lengths or with other letters, labels that do not fit the task, a class
    of valid that train lacks, fewer than two classes, numbers that do not vary, and an unknown kind, task or option.
    Introduced in notebook 11.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no predictor {kind!r}: choose one of {', '.join(KINDS)}")
    if task not in TASKS:
        raise ValueError(f"there is no task {task!r}: choose one of {', '.join(TASKS)}")
    if unknown := sorted({*options} - {*KINDS[kind]}):
        raise ValueError(f"a {kind} has no option {unknown[0]!r}: choose among {', '.join(KINDS[kind])}")
    for name, value, least in (
        ("ensemble", ensemble, 1),
        ("epochs", epochs, 1),
        ("batch_size", batch_size, 2),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")
    if len(train[0]) < 2:
        raise ValueError(f"train has {len(train[0])} sequences: at least 2 are needed")
    length = len(train[0][0])
    parts = {"train": encode(train[0], length, "train"), "valid": encode(valid[0], length, "valid")}
    labels = {
        name: _labels(y, task, len(parts[name]), name)
        for name, y in (("train", train[1]), ("valid", valid[1]))
    }
    outputs = _outputs(labels, task)
    rows = None if weights is None else torch.as_tensor(np.asarray(weights, np.float32))
    if rows is not None and len(rows) != len(parts["train"]):
        raise ValueError(f"weights has {len(rows):,} numbers for {len(parts['train']):,} training rows")
    per_class = _class_weights(class_weights, labels["train"], outputs) if task == "classification" else None
    if task == "regression" and class_weights is not None:
        raise ValueError("class_weights are for classification; `weights` takes one number a row")

    made = Predictor(
        {
            "format": 1,
            "kind": kind,
            "task": task,
            "length": length,
            "outputs": outputs,
            "ensemble": ensemble,
            "reverse_complement": reverse_complement,
            "options": KINDS[kind] | options,
            "seed": seed,
        }
    )
    if task == "regression":
        scale = labels["train"].mean(0), labels["train"].std(0)
        labels = {name: (y - scale[0]) / scale[1] for name, y in labels.items()}

    def loss(found: Tensor, y: Tensor, w: Tensor | None = None) -> Tensor:
        if task == "classification":
            each = F.cross_entropy(found.float(), y, reduction="none")
            if per_class is not None:
                w = per_class[y] if w is None else w * per_class[y]
        else:
            each = (found.float() - y).square().mean(1)
        return each.mean() if w is None else (each * w).sum() / w.sum()

    for number in range(ensemble):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + number)
            member = type(made.members[0])(length, outputs, **made.config["options"])
            best = _fit(
                member,
                {name: (parts[name], labels[name]) for name in parts},
                loss,
                rows,
                np.random.default_rng([seed + number, 1]),
                dict(
                    epochs=epochs,
                    batch_size=batch_size,
                    learning_rate=learning_rate,
                    weight_decay=weight_decay,
                ),
                dict(patience=patience, averaging=averaging, precision=precision),
                dict(reverse_complement=reverse_complement, shift=shift, mutate=mutate),
                lambda line, number=number: (
                    made.history.append({"member": number, **line})
                    or (
                        progress
                        and progress(
                            f"member {number}: " + ", ".join(f"{k} {v:.4g}" for k, v in line.items())
                        )
                    )
                ),
            )
        made.members[number].load_state_dict(best)
        if task == "regression":  # the last layer answers in the units of the labels
            with torch.no_grad():
                out = made.members[number].out
                out.weight.mul_(scale[1][:, None])
                out.bias.copy_(out.bias * scale[1] + scale[0])
    return made.eval()


def join_predictors(predictors: Sequence[Predictor]) -> Predictor:
    """One ensemble of the members of several predictors of one shape, such as those trained on different folds.

    Raises ValueError for none, and for shapes that differ. Introduced in notebook 11.
    """
    if not predictors:
        raise ValueError("there is no predictor to join")
    first = predictors[0].config
    for other in predictors[1:]:
        for name in sorted({*first} - {"ensemble", "seed"}):
            if other.config[name] != first[name]:
                raise ValueError(
                    f"the predictors differ in {name}: {first[name]!r} and {other.config[name]!r}"
                )
    members = [member for part in predictors for member in part.members]
    made = Predictor({**first, "ensemble": len(members), "seed": [p.config["seed"] for p in predictors]})
    for mine, theirs in zip(made.members, members, strict=True):
        mine.load_state_dict(theirs.state_dict())
    return made.eval()


def _fit(
    member: nn.Module,
    data: dict[str, tuple[np.ndarray, Tensor]],
    loss: Callable[..., Tensor],
    rows: Tensor | None,
    random: np.random.Generator,
    optimisation: dict[str, Any],
    stopping: dict[str, Any],
    augmentation: dict[str, Any],
    log: Callable[[dict[str, float]], Any],
) -> dict[str, Tensor]:
    """The weights of one network at its best epoch."""
    (codes, y), (held_codes, held_y) = data["train"], data["valid"]
    epochs, size = optimisation["epochs"], optimisation["batch_size"]
    per_epoch = len(codes) // size or 1
    matrices = [p for p in member.parameters() if p.ndim > 1]
    others = [p for p in member.parameters() if p.ndim <= 1]  # biases and norms do not decay
    optimizer = torch.optim.AdamW(
        [{"params": matrices}, {"params": others, "weight_decay": 0.0}],
        lr=optimisation["learning_rate"],
        weight_decay=optimisation["weight_decay"],
    )
    steps = epochs * per_epoch
    warmup = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(1.0, (step + 1) / warmup) * (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)
        ),
    )
    mean = copy.deepcopy(member).eval()
    # Batch norms' statistics are averaged as well; their counters of steps are not numbers to average.
    old, new = ([v for v in m.state_dict().values() if v.is_floating_point()] for m in (mean, member))
    best, lowest, since, step = copy.deepcopy(member.state_dict()), math.inf, 0, 0
    for epoch in range(epochs):
        member.train()
        total = 0.0
        for batch in _batches(len(codes), size, random):
            x = _one_hot(_augmented(codes[batch], random, **augmentation))
            with autocast("cpu", stopping["precision"]):
                found = member(x)
            at = torch.from_numpy(batch)
            value = loss(found, y[at], None if rows is None else rows[at])
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(member.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += value.item()
            step += 1
            # The share grows with the number of steps: the first ones are soon forgotten.
            torch._foreach_lerp_(old, new, 1 - min(stopping["averaging"], step / (step + 10)))
        held = _loss_on(mean, held_codes, held_y, loss, stopping["precision"])
        log({"epoch": epoch + 1, "train_loss": total / per_epoch, "valid_loss": held})
        if not math.isfinite(held):
            raise FloatingPointError(
                f"the validation loss is {held} after epoch {epoch + 1}: lower learning_rate "
                f"(now {optimisation['learning_rate']:g})"
            )
        if held < lowest:
            best, lowest, since = copy.deepcopy(mean.state_dict()), held, 0
        else:
            since += 1
            if stopping["patience"] is not None and since >= stopping["patience"]:
                break
    return best


@torch.no_grad()
def _loss_on(
    member: nn.Module, codes: np.ndarray, y: Tensor, loss: Callable[..., Tensor], precision: str
) -> float:
    with autocast("cpu", precision):
        found = torch.cat(
            [member(_one_hot(codes[i : i + _BATCH])).float() for i in range(0, len(codes), _BATCH)]
        )
    return loss(found, y).item()


def _batches(rows: int, size: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows in random order; what is left over after the last whole batch waits for another epoch."""
    order = random.permutation(rows)
    for first in range(0, max(rows - size + 1, 1), size):
        yield order[first : first + size]


def _augmented(
    codes: np.ndarray, random: np.random.Generator, reverse_complement: bool, shift: int, mutate: float
) -> np.ndarray:
    """(B, L) codes as training sees them: on either strand, moved, with a few other bases."""
    if shift:
        rows, length = codes.shape
        wide = np.full((rows, length + 2 * shift), 4, np.uint8)
        wide[:, shift : shift + length] = codes
        first = random.integers(0, 2 * shift + 1, (rows, 1))
        codes = np.take_along_axis(wide, first + np.arange(length), 1)
    if mutate:
        changed = (random.random(codes.shape) < mutate) & (codes < 4)
        codes = np.where(changed, random.integers(0, 4, codes.shape, np.uint8), codes)
    if reverse_complement:
        turned = np.where(codes < 4, 3 - codes, codes)[:, ::-1]
        codes = np.where(random.random((len(codes), 1)) < 0.5, turned, codes)
    return codes


# ---- Sequences and labels ----


def encode(sequences: Sequence[str], length: int, name: str = "the input") -> np.ndarray:
    """(N, L) uint8: A, C, G, T as 0 to 3, other letters of the DNA alphabet as 4 (unknown).

    Raises ValueError for a sequence of another length or with another letter, with its row.
    """
    sequences = [*sequences]
    for row, sequence in enumerate(sequences):
        if len(sequence) != length:
            raise ValueError(
                f"row {row} of {name} has {len(sequence):,} bases, not {length:,}: cut or pad (with N) all to "
                f"one length"
            )
    if length == 0:
        raise ValueError(f"the sequences of {name} are empty")
    text = "".join(sequences).encode("ascii", "replace")
    codes = _CODE[np.frombuffer(text, np.uint8)].reshape(len(sequences), length)
    if (codes == 255).any():
        row, place = (int(i[0]) for i in np.nonzero(codes == 255))
        raise ValueError(f"row {row} of {name} has {sequences[row][place]!r} at {place}, which is not DNA")
    return codes


def _one_hot(codes: np.ndarray) -> Tensor:
    """(B, L) codes -> (B, L, 4); an unknown base is a row of zeros."""
    return torch.eye(5, 4)[torch.from_numpy(codes.astype(np.int64))]


def _labels(labels: Any, task: str, rows: int, name: str) -> Tensor:
    found = np.asarray(labels)
    if len(found) != rows or rows == 0:
        raise ValueError(f"{name} has {rows:,} sequences and {len(found):,} labels: it needs as many, not 0")
    if found.dtype.kind not in "biuf":
        raise ValueError(f"labels of {name} are {found[0]!r}, ...: they must be numbers")
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found.reshape(rows, -1)).all(1))[0])
        raise ValueError(f"the label in row {row} of {name} is {found[row]}: leave rows without a label out")
    if task == "regression":
        return torch.from_numpy(found.reshape(rows, -1).astype(np.float32))
    if found.ndim != 1 or (found != np.round(found)).any() or found.min() < 0:
        raise ValueError(
            f"labels of {name} are {found[0]}, ...: classes are whole numbers from 0; "
            f"measured numbers are task='regression'"
        )
    return torch.from_numpy(found.astype(np.int64))


def _outputs(labels: dict[str, Tensor], task: str) -> int:
    train, valid = labels["train"], labels["valid"]
    if task == "regression":
        if train.shape[1] != valid.shape[1]:
            raise ValueError(f"train has {train.shape[1]} numbers a sequence, valid {valid.shape[1]}")
        if bool((train.std(0) < 1e-8).any()):
            raise ValueError("the labels of train are all the same: there is nothing to learn")
        return train.shape[1]
    seen, unseen = {*train.tolist()}, {*valid.tolist()} - {*train.tolist()}
    if len(seen) < 2 or unseen:
        raise ValueError(
            f"train has the classes {sorted(seen)}, valid also {sorted(unseen)}: "
            f"at least two are needed, and each of valid's in train"
        )
    return int(train.max()) + 1


def _class_weights(given: str | Sequence[float] | None, labels: Tensor, classes: int) -> Tensor | None:
    if given is None:
        return None
    if isinstance(given, str):
        if given != "balanced":
            raise ValueError(f"class_weights is 'balanced' or one number a class, not {given!r}")
        counts = torch.bincount(labels, minlength=classes)
        return len(labels) / (counts.clamp(min=1) * (counts > 0).sum())
    if len(given) != classes:
        raise ValueError(f"class_weights has {len(given)} numbers for {classes} classes")
    return torch.tensor([float(w) for w in given])
