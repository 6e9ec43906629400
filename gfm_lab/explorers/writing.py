"""The sampling playground: one prompt, four settings, and what is drawn from them. Introduced in notebook 10."""

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
from gfm_lab.generation import generate, sampling_probabilities

__all__ = ["Draws", "draws", "sampling"]

LENGTH, LONGEST = 40, 40  # bases written, and at most in the prompt: more would take longer than a slider may
PITCH, LEFT, HIGH = 22, 20, 120


class Draws(NamedTuple):
    """The next base after a prompt, and what is written on.

    scores (4,): the model's, of A, C, G, T. before, after (4,): its probabilities, and those that are drawn from.
    markov (4,): of counted words, for comparison. text: the bases written after the prompt.
    """

    scores: np.ndarray
    before: np.ndarray
    after: np.ndarray
    markov: np.ndarray
    text: str


def draws(
    model: Any,
    tokenizer: Any,
    markov: Any,
    prompt: str,
    temperature: float = 1.0,
    top_k: int = 4,
    top_p: float = 1.0,
    seed: int = 0,
    length: int = LENGTH,
) -> Draws:
    """What a causal model of nucleotides says of the base after `prompt`, filtered, and `length` bases drawn.

    top_k = 4 and top_p = 1 keep all. Raises ValueError for an empty prompt, a letter that is no base (with its place),
    or a setting out of range.
    """
    if not prompt:
        raise ValueError("type a prompt of at least one base: A, C, G or T")
    for place, letter in enumerate(prompt, start=1):
        if letter not in "ACGTacgt":
            raise ValueError(
                f"letter {place} of the prompt is {letter!r}: the model has to be told A, C, G or T"
            )
    options = dict(temperature=temperature, top_k=top_k, top_p=top_p)
    bases = tokenizer.convert_tokens_to_ids([*"ACGT"])
    with one_thread():
        ids = torch.tensor(tokenizer(prompt)["input_ids"])[None]
        scores = model(input_ids=ids).logits[0, -1, bases].double().numpy()
        text = generate(model, tokenizer, length, prompt=prompt, seed=seed, **options)[0]
    # The row after the prompt: what stands there is not read, so any base will do.
    counted = markov.probabilities(prompt + "A")[-1]
    return Draws(
        scores, sampling_probabilities(scores), sampling_probabilities(scores, **options), counted, text
    )


def sampling(model: Any = None, tokenizer: Any = None, markov: Any = None) -> Explorer:
    """The next base before and after temperature, top-k and top-p, beside counted words; and 40 bases drawn so.

    Controls: prompt (up to 40 bases), temperature, top_k (4: all), top_p (1: all), seed.

    Args:
        model, tokenizer: a causal model of nucleotides and its tokenizer. None: the shipped ecoli-conv-ar.
        markov: a fitted MarkovModel. None: order 6, fitted to the training region when the playground is opened.

    Raises ValueError for a model without its tokenizer. Introduced in notebook 10.
    """
    if (model is None) != (tokenizer is None):
        raise ValueError("give model and tokenizer together, or neither for the shipped ecoli-conv-ar")
    if model is None:
        model, tokenizer = load_model("ecoli-conv-ar")
    model.eval()
    genome = load_data("ecoli-k12")
    if markov is None:  # the strength that tuning on the validation region chooses
        markov = MarkovModel(6, strength=128.0).fit(genome.split("train"))
    test = genome.split("test")
    real = [test[i : i + LENGTH] for i in range(0, len(test) - LENGTH, len(test) // 400)]
    usual = np.quantile([markov.bits_per_base(piece) for piece in real], [0.05, 0.95])

    @lru_cache(maxsize=256)
    def draw(prompt: str, temperature: float, top_k: int, top_p: float, seed: int) -> Draws:
        return draws(model, tokenizer, markov, prompt, temperature, top_k, top_p, seed)

    def look(s: dict[str, Any]) -> View:
        if len(s["prompt"]) > LONGEST:
            raise ValueError(
                f"the prompt has {len(s['prompt'])} bases, and there is room for {LONGEST}: type fewer"
            )
        made = draw(s["prompt"].upper(), s["temperature"], s["top_k"], s["top_p"], s["seed"])
        return _view(s, made, markov, usual)

    controls = [
        Control("prompt", "Prompt", "text", "ATGAAACGCATT"),
        Control("temperature", "Temperature", "number", 1.0, low=0.0, high=2.0, step=0.05),
        Control("top_k", "Top-k (4: all)", "whole", 4, low=1, high=4),
        Control("top_p", "Top-p (1: all)", "number", 1.0, low=0.05, high=1.0, step=0.05),
        Control("seed", "Seed", "whole", 0, low=0, high=99),
    ]
    explorer = Explorer("Sampling playground", controls, look)
    look(explorer.settings())
    return explorer


def _view(s: dict[str, Any], made: Draws, markov: Any, usual: np.ndarray) -> View:
    kept = int((made.after > 0).sum())
    words = {made.text[i : i + 6] for i in range(len(made.text) - 5)}
    bits = markov.bits_per_base(made.text)
    row = lambda p: "  ".join(f"{b} {x:.0%}" for b, x in zip("ACGT", p, strict=True))  # noqa: E731
    kind = f"T {s['temperature']:.2f}, top-k {s['top_k']}, top-p {s['top_p']:.2f}"
    sentences = (
        f"Next base, the model: {row(made.before)}. Drawn from ({kind}): {row(made.after)}; "
        f"{kept} of 4 bases left. Markov, order {markov.order}: {row(made.markov)}.",
        f"Written: {made.text}.",
        f"Different 6-mers in it: {len(words)} of {len(made.text) - 5}. "
        f"Bits per base under the Markov model: {bits:.2f}; nine in ten real stretches of this length "
        f"have {usual[0]:.2f} to {usual[1]:.2f}.",
    )
    alt = (
        f"After the prompt {s['prompt'].upper()}: three groups of bars with the probabilities of A, C, G and T for the "
        f"next base, by the model, as drawn from with {kind}, and by a Markov model; below, the bases written. "
        f"{' '.join(sentences)}"
    )
    return View(_draw(s["prompt"].upper(), made, kind, markov), sentences, alt)


def _draw(prompt: str, made: Draws, kind: str, markov: Any) -> Picture:
    width = 2 * LEFT + PITCH * LENGTH
    picture = Picture(width, HIGH + 178)
    groups = (
        ("the model, as it is", "", made.before),
        ("what is drawn from", kind, made.after),
        ("counted words", f"Markov, order {markov.order}", made.markov),
    )
    each = (width - 2 * LEFT) / 3
    for n, (title, note, p) in enumerate(groups):
        left, bottom = LEFT + n * each, 46 + HIGH
        picture.text(left, 10, title, 13, bold=True, anchor="start")
        picture.text(left, 27, note, 12, "#555555", anchor="start")
        for share in (0.5, 1.0):
            y = bottom - HIGH * share
            picture.line([(left, y), (left + 216, y)], "#CCCCCC", 0.8, dashed=True)
            picture.text(left + 221, y, f"{share:.1f}", 11, "#555555", "start")
        for i, (base, share) in enumerate(zip("ACGT", p, strict=True)):
            x, size = left + 8 + i * 52, HIGH * float(share)
            picture.box(x, bottom - size, 40, size, plots.NUCLEOTIDE_COLORS[base])
            picture.text(x + 20, bottom + 12, base, 14, bold=True, mono=True)
            number = f"{share:.0%}"
            if size > 20:
                picture.text(x + 20, bottom - size + 10, number, 12, "#FFFFFF", bold=True)
            else:
                picture.text(x + 20, bottom - size - 9, number, 12)
        picture.line([(left, bottom), (left + 216, bottom)], plots.INK, 1)
    y = HIGH + 80
    picture.text(LEFT, y, "the prompt", 13, bold=True, anchor="start")
    picture.bases(LEFT, y + 10, prompt, PITCH)
    picture.text(LEFT, y + 56, f"{len(made.text)} bases written after it", 13, bold=True, anchor="start")
    picture.bases(LEFT, y + 66, made.text, PITCH)
    return picture
