"""The masking playground: what is masked, what can still be read, and who guesses it. Introduced in notebook 09."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from gfm_lab import plots
from gfm_lab.baselines import MarkovModel
from gfm_lab.checkpoints import load_model
from gfm_lab.data import load_data
from gfm_lab.explorers.explorer import Control, Explorer, View, one_thread
from gfm_lab.explorers.picture import Picture
from gfm_lab.objectives import IGNORED, MaskedLMCollator
from gfm_lab.tokenization import KmerTokenizer, NucleotideTokenizer

__all__ = ["Guesses", "Masks", "guesses", "masked", "masking"]

BASES, AROUND = (
    60,
    34,
)  # shown, and visible to both models on either side: 128 together, what the model was trained on
PITCH, LEFT = 15, 124
NUCLEOTIDES = "nucleotides"
TOKENS = {NUCLEOTIDES: 1, "overlapping 3-mers": 3, "overlapping 6-mers": 6}
SHOWN = {"80/10/10": (0.8, 0.1, 0.1), "always [MASK]": (1.0, 0.0, 0.0)}
PATTERNS = ("independent", "contiguous")
FATES = {"mask": "#555555", "other": "#D55E00", "same": "#56B4E9", "plain": plots.FAINT}


class Masks(NamedTuple):
    """One stretch under one mask.

    ids, shown, labels (T,): the tokens, what the model sees, and -100 or what it has to say. hidden (bases,): whether
    every token that spells a base was chosen; leaked (bases,): of these, whether one chosen token is shown unchanged.
    """

    ids: np.ndarray
    shown: np.ndarray
    labels: np.ndarray
    hidden: np.ndarray
    leaked: np.ndarray

    @property
    def chosen(self) -> np.ndarray:
        """(T,) which tokens have a label."""
        return self.labels != IGNORED


class Guesses(NamedTuple):
    """P(A), P(C), P(G), P(T) at every base, (bases, 4), nan where nothing is hidden: the model's and counted words'."""

    model: np.ndarray
    markov: np.ndarray


def masked(
    tokenizer: Any,
    k: int,
    dna: str,
    rate: float,
    pattern: str,
    replace: tuple[float, float, float],
    together: bool,
    seed: int,
) -> Masks:
    """`dna` as `MaskedLMCollator` masks it, and the bases that no unmasked token spells.

    tokenizer: one token for each base (k = 1), or overlapping words of k. Raises the collator's own errors.
    """
    ids = tokenizer.encode_array(dna).astype(np.int64)
    collate = MaskedLMCollator(tokenizer, rate, pattern, replace, together, seed)
    batch = collate([{"input_ids": ids, "index": 0}])
    shown, labels = batch["input_ids"][0].numpy(), batch["labels"][0].numpy()
    chosen = labels != IGNORED
    spelled, told = np.zeros(len(dna), bool), np.zeros(len(dna), bool)
    for i in range(len(ids)):
        spelled[i : i + k] |= not chosen[i]
        told[i : i + k] |= chosen[i] and shown[i] == labels[i]
    return Masks(ids, shown, labels, ~spelled, ~spelled & told)


def guesses(model: Any, tokenizer: Any, markov: Any, dna: str, hidden: np.ndarray) -> Guesses:
    """What a masked model of nucleotides and a MarkovModel say of the hidden bases of `dna`, all hidden together."""
    ids = tokenizer.encode_array(dna).astype(np.int64)
    ids[hidden] = tokenizer.mask_token_id
    bases = tokenizer.convert_tokens_to_ids([*"ACGT"])
    with one_thread():
        scores = model(input_ids=torch.from_numpy(ids)[None]).logits[0]
        ours = scores[:, bases].softmax(-1).double().numpy()
    ours[~hidden] = np.nan
    return Guesses(ours, markov.masked_probabilities(dna, hidden))


def masking(model: Any = None, tokenizer: Any = None, markov: Any = None) -> Explorer:
    """A stretch of E. coli under a mask: tokens, labels, bases really hidden, and guesses beside counted words.

    The guesses are those of an evaluation: all hidden bases are [MASK], whatever training would show, and 34 more bases
    on either side are visible. Controls: start (in the test region), tokens, rate, pattern, shown (80/10/10 or always
    [MASK]), together (80/10/10 drawn once a run), seed, which (hidden base whose guesses are written out).

    Args:
        model, tokenizer: a masked model of nucleotides and its tokenizer. None: the shipped ecoli-attention-mlm.
        markov: a fitted MarkovModel. None: order 8, fitted to the training region when the playground is opened.

    Raises ValueError for a model without its tokenizer. Introduced in notebook 09.
    """
    if (model is None) != (tokenizer is None):
        raise ValueError("give model and tokenizer together, or neither for the shipped ecoli-attention-mlm")
    if model is None:
        model, tokenizer = load_model("ecoli-attention-mlm")
    model.eval()
    genome = load_data("ecoli-k12")
    if markov is None:  # the strength that tuning on the validation region, joint protocol, chooses
        markov = MarkovModel(8, strength=128.0).fit(genome.split("train"))
    test = genome.split("test")
    tokenizers = {
        name: KmerTokenizer.dnabert(k) if k > 1 else NucleotideTokenizer() for name, k in TOKENS.items()
    }

    @lru_cache(maxsize=64)
    def guess(start: int, hidden: bytes) -> Guesses:
        around = np.zeros(BASES + 2 * AROUND, bool)
        around[AROUND:-AROUND] = np.frombuffer(hidden, bool)
        dna = test[start - AROUND : start + BASES + AROUND]
        both = guesses(model, tokenizer, markov, dna, around)
        return Guesses(*(p[AROUND:-AROUND] for p in both))

    def look(s: dict[str, Any]) -> View:
        dna, k = test[s["start"] : s["start"] + BASES], TOKENS[s["tokens"]]
        tok = tokenizers[s["tokens"]]
        made = masked(tok, k, dna, s["rate"], s["pattern"], SHOWN[s["shown"]], s["together"], s["seed"])
        return _view(s, tok, k, dna, made, guess(s["start"], made.hidden.tobytes()), markov)

    def adjust(s: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return {"together": {"disabled": s["shown"] != "80/10/10"}}

    controls = [
        Control("tokens", "Tokens", "choice", NUCLEOTIDES, (*TOKENS,)),
        Control("pattern", "Pattern", "choice", "independent", PATTERNS),
        Control("rate", "Mask share", "number", 0.15, low=0.05, high=0.5, step=0.05),
        Control("shown", "Chosen tokens are shown as", "choice", "80/10/10", (*SHOWN,)),
        Control("together", "Drawn once a run", "tick", False),
        Control("seed", "Seed", "whole", 10, low=0, high=99),
        Control("start", "Start", "whole", 12_000, low=AROUND, high=len(test) - BASES - AROUND),
        Control("which", "Hidden base to read", "whole", 1, low=1, high=BASES),
    ]
    explorer = Explorer("Masking playground", controls, look, adjust)
    look(explorer.settings())
    return explorer


def _view(s: dict[str, Any], tok: Any, k: int, dna: str, made: Masks, guess: Guesses, markov: Any) -> View:
    chosen, hidden = int(made.chosen.sum()), np.flatnonzero(made.hidden)
    fates = _fates(made, tok.mask_token_id)
    kinds = {kind: fates.count(kind) for kind in ("mask", "other", "same")}
    sentences = [
        f"{chosen} of {len(made.ids)} tokens are chosen: {kinds['mask']} shown as [MASK], {kinds['other']} as another "
        f"token, {kinds['same']} as they are.",
    ]
    read = int(made.leaked.sum())
    if k == 1:
        sentences.append(f"Each has a label: {chosen} bases to guess.")
    else:
        sentences.append(
            f"Bases that no unchosen word spells: {len(hidden)} of {len(dna)}"
            + (
                f"; of these an unchanged chosen word tells {read}."
                if len(hidden)
                else ": all can be copied."
            )
        )
    if len(hidden):
        truth = np.array(["ACGT".index(dna[i]) for i in hidden])
        rows = np.arange(len(hidden))
        bits = [-np.log2(p[hidden][rows, truth]).mean() for p in guess]
        right = [int((p[hidden].argmax(1) == truth).sum()) for p in guess]
        who = "the model" if k == 1 else "a model of nucleotides"
        counted = f"counted words (Markov, order {markov.order}) {bits[1]:.2f} and {right[1]}"
        sentences.append(
            f"All of these hidden: {who} needs {bits[0]:.2f} bits a base and has {right[0]} right, {counted}. "
            "So few bases decide nothing; 2 bits is knowing nothing."
        )
        at = hidden[min(s["which"], len(hidden)) - 1]
        told = ["  ".join(f"{b} {p[at][i]:.0%}" for i, b in _ranked(p[at])) for p in guess]
        sentences.append(f"Base {at}, truly {dna[at]}. Model: {told[0]}. Markov: {told[1]}.")
    else:
        at = None
    picture = _draw(tok, k, dna, made, fates, guess, at)
    alt = (
        f"Masking of {s['tokens']}, {s['pattern']}, {s['rate']:.0%}: the DNA, the tokens as the model sees them with "
        f"the chosen ones framed, the labels, the bases that stay hidden, and for each a column with the probabilities "
        f"of A, C, G and T by the model and by a Markov model. {' '.join(sentences)}"
    )
    return View(picture, tuple(sentences), alt)


def _ranked(p: np.ndarray) -> list[tuple[int, str]]:
    return [(int(i), "ACGT"[i]) for i in np.argsort(-p, kind="stable")]


def _fates(made: Masks, mask_id: int) -> list[str]:
    """For each token what became of it: "plain", or, if chosen, "mask", "same" or "other"."""
    kinds = np.select(
        [~made.chosen, made.shown == mask_id, made.shown == made.ids], ["plain", "mask", "same"], "other"
    )
    return kinds.tolist()


def _draw(
    tok: Any, k: int, dna: str, made: Masks, fates: list[str], guess: Guesses, at: int | None
) -> Picture:
    row = 24
    width = LEFT + PITCH * len(dna) + 14
    tokens_at, labels_at = 52, 52 + row * k + 6
    hidden_at = labels_at + (28 if k == 1 else 0)
    columns_at = hidden_at + 34
    high = 74
    picture = Picture(width, columns_at + 2 * (high + 12) + 26)
    label = lambda y, text: picture.text(LEFT - 8, y, text, 12, anchor="end", bold=True)  # noqa: E731
    at_x = lambda i: LEFT + i * PITCH  # noqa: E731

    for i in range(0, len(dna), 10):
        picture.text(at_x(i + 0.5), 9, str(i), 11, "#555555")
    label(30, "DNA")
    picture.bases(LEFT, 18, dna, PITCH, size=12)
    label(tokens_at + row * k / 2, "the model sees")
    for i, fate in enumerate(fates):
        y, token = tokens_at + row * (i % k), tok.convert_ids_to_tokens(int(made.shown[i]))
        shown = "" if fate == "mask" and k == 1 else ("[MASK]" if fate == "mask" and k > 3 else token)
        if fate == "mask" and k == 3:
            shown = "?"
        if k == 1:
            fill = FATES["mask"] if fate == "mask" else plots.NUCLEOTIDE_COLORS[token]
            edge = None if fate == "plain" else plots.INK
            picture.box(at_x(i) + 1, y, PITCH - 2, row - 3, fill, edge, 2.5)
            picture.text(
                at_x(i + 0.5), y + 10, "?" if fate == "mask" else shown, 12, "#FFFFFF", bold=True, mono=True
            )
        else:
            ink = plots.INK if fate == "plain" else "#FFFFFF" if fate != "same" else plots.INK
            picture.box(
                at_x(i) + 1, y, k * PITCH - 2, row - 3, FATES[fate], plots.INK, 0.6 if fate == "plain" else 2
            )
            picture.text(at_x(i + k / 2), y + 10, shown, 12, ink, bold=fate != "plain", mono=True)
    if k == 1:
        label(labels_at + 11, "labels")
        for i in np.flatnonzero(made.chosen):
            picture.bases(at_x(i), labels_at, dna[i], PITCH, height=21, size=12)
        _legend(
            picture,
            LEFT,
            picture.height - 10,
            "?: [MASK]. Dark frame: a chosen token, and in the columns (from below A, C, G, T) the truth.",
        )
    else:
        _legend(
            picture, LEFT, picture.height - 10,
            "Chosen words: grey [MASK], orange another, blue unchanged. "
            "Columns, from below: A, C, G, T; dark frame: the truth.",
        )  # fmt: skip
    label(hidden_at + 12, "really hidden")
    for i in range(len(dna)):
        if made.hidden[i]:
            picture.box(
                at_x(i) + 1, hidden_at, PITCH - 2, 22, "#56B4E9" if made.leaked[i] and k > 1 else "#555555"
            )
            picture.text(at_x(i + 0.5), hidden_at + 11, "?", 12, "#FFFFFF", bold=True, mono=True)
        else:
            picture.box(at_x(i) + 1, hidden_at + 9, PITCH - 2, 4, plots.FAINT)
    ours = "the model says" if k == 1 else "base model says"  # no model of k-mers ships with the course
    for n, (who, p) in enumerate(zip((ours, "Markov says"), guess, strict=True)):
        bottom = columns_at + n * (high + 12) + high
        label(bottom - high / 2, who)
        picture.line([(LEFT, bottom), (at_x(len(dna)), bottom)], "#888888", 0.8)
        for i in np.flatnonzero(made.hidden):
            y = float(bottom)
            for b, share in zip("ACGT", p[i], strict=True):
                size = float(share) * high
                y -= size
                true = b == dna[i]
                picture.box(at_x(i) + 1.5, y, PITCH - 3, size, plots.NUCLEOTIDE_COLORS[b])
                if size >= 11:
                    picture.text(at_x(i + 0.5), y + size / 2, b, 11, "#FFFFFF", bold=true, mono=True)
            at_y = bottom - high * float(p[i][: "ACGT".index(dna[i]) + 1].sum())
            size = high * float(p[i]["ACGT".index(dna[i])])
            picture.box(at_x(i) + 1.5, at_y, PITCH - 3, size, "none", plots.INK, 2)
    if at is not None:
        y = columns_at + 2 * (high + 12) - 4
        picture.line(
            [(at_x(at + 0.5) - 5, y), (at_x(at + 0.5), y - 7), (at_x(at + 0.5) + 5, y)], plots.INK, 2
        )
    return picture


def _legend(picture: Picture, x: float, y: float, text: str) -> None:
    picture.text(x, y, text, 12, "#555555", "start")
