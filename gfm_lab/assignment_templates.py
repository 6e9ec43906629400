"""The exercises whose numbers are drawn for each learner: one or two for every notebook.

Each function draws what varies and lets the package compute the answer, with the notebook's own definitions. A text
says everything that the answer depends on: order of letters, where counting starts, what happens at ties. How drawing
and grading work: `assignments.py`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gfm_lab.assignments import Draw, Function, Value, template
from gfm_lab.baselines import MarkovModel
from gfm_lab.checkpoints import load_model
from gfm_lab.data import load_data
from gfm_lab.embeddings import position_ids, sinusoidal_positions
from gfm_lab.generation import sampling_probabilities
from gfm_lab.metrics import auroc, mcc
from gfm_lab.mixers.convolution import receptive_field
from gfm_lab.mixers.mamba import selective_scan_reference
from gfm_lab.sequence import reverse_complement
from gfm_lab.splits import loci
from gfm_lab.tokenization import KmerTokenizer, merge_pair

LN2 = math.log(2)


@lru_cache(maxsize=1)
def _ecoli() -> Any:
    return load_data("ecoli-k12")


@lru_cache(maxsize=1)
def _masked_model() -> tuple[Any, Any]:
    model, tokenizer = load_model("ecoli-attention-mlm")
    return model.eval(), tokenizer


@lru_cache(maxsize=4)
def _markov(order: int) -> MarkovModel:
    return MarkovModel(order).fit(_ecoli().split("train"))


def _stretch(draw: Draw, length: int) -> tuple[int, str]:
    """(start, DNA) of a drawn stretch of E. coli's test region; the start counts from 0 in the genome."""
    low, high = _ecoli().splits["test"]
    start = draw.integer(low, high - length)
    return start, _ecoli().sequence[start : start + length]


def _other(draw: Draw, base: str) -> str:
    return draw.choice([letter for letter in "ACGT" if letter != base])


def _floats(values: Any) -> Any:
    """Nested lists of plain numbers."""
    return values.tolist() if hasattr(values, "tolist") else [float(v) for v in values]


def _rows(names: Any, table: Any, columns: Any = None) -> str:
    """A small Markdown table: a name in front of each row; the columns are numbered, or named."""
    columns = range(len(table[0])) if columns is None else columns
    lines = ["| | " + " | ".join(map(str, columns)) + " |", "|" + "---|" * (len(table[0]) + 1)]
    lines += [
        f"| {name} | " + " | ".join(map(str, row)) + " |" for name, row in zip(names, table, strict=True)
    ]
    return "\n".join(lines)


# ---- 00 anatomy ----


@template("00_anatomy")
def mutation_scores(draw: Draw) -> Value:
    start, dna = _stretch(draw, 88)
    places = sorted(draw.sample(range(10, 78), 3))
    changes = [(i, _other(draw, dna[i])) for i in places]
    model, tokenizer = _masked_model()
    ids = torch.tensor([tokenizer(dna)["input_ids"]] * len(changes))  # one copy for each hidden place
    rows = torch.arange(len(changes))
    ids[rows, places] = tokenizer.mask_token_id
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[rows, places].float()
    old, new = (
        tokenizer.convert_tokens_to_ids(bases)
        for bases in ([dna[i] for i in places], [b for _, b in changes])
    )
    answer = ((logits[rows, new] - logits[rows, old]) / LN2).tolist()
    told = ", ".join(f"place {i} to {base}" for i, base in changes)
    return Value(
        f"Take the 88 bases of *E. coli* from position {start:,} on (counted from 0, "
        "`load_data('ecoli-k12').sequence`) and the checkpoint `ecoli-attention-mlm`. For each of these three "
        "changes, hide the place (counted from 0 in the 88 bases) and read log2 P(new base) - log2 P(base that "
        f"stands there): {told}.",
        answer,
        "a list of three numbers, in bits, one decimal or more",
        tolerance=0.05,
    )


@template("00_anatomy")
def information(draw: Draw) -> Value:
    rows = []
    for _ in range(4):
        a, b, c = sorted(draw.sample(range(2, 99), 3))
        rows.append([a, b - a, c - b, 100 - c])
    p = np.array(rows) / 100
    return Value(
        "A model's guesses at four hidden places, in percent. How much information, in bits, does "
        f"each row hold (2 minus its entropy)?\n\n{_rows(['place 1', 'place 2', 'place 3', 'place 4'], rows, 'ACGT')}",
        _floats(2 + (p * np.log2(np.where(p > 0, p, 1))).sum(1)),
        "a list of four numbers",
        tolerance=0.005,
    )


# ---- p1 DNA for engineers ----


@template("p1_dna_for_engineers")
def minus_strand(draw: Draw) -> Value:
    start, dna = _stretch(draw, draw.integer(30, 45))
    return Value(
        "An annotation file that counts from 1 and includes both ends says: *E. coli*, positions "
        f"{start + 1:,} to {start + len(dna):,}, strand minus. Give the bases as this strand is read, from 5' to 3'.",
        reverse_complement(dna),
        "a text of capital letters",
    )


@template("p1_dna_for_engineers")
def record(draw: Draw) -> Value:
    start, dna = _stretch(draw, 120)
    number = draw.integer(5, 110)
    here = len(dna) - number  # the number-th base of the minus strand, as an index of the plus strand
    new = _other(draw, reverse_complement(dna)[number - 1])
    return Value(
        f"A gene lies on the minus strand of *E. coli*. In Python's counting it takes the bases {start:,} to "
        f"{start + len(dna):,} (from 0, the end not included). Its base number {number}, counted from 1 along the "
        f"gene, is replaced by {new} (as the gene is read). Write the change as a VCF record does: POS (from 1), REF "
        "and ALT, on the plus strand.",
        [start + here + 1, dna[here], reverse_complement(new)],
        "a list such as `[4200000, 'A', 'G']`",
    )


# ---- p2 PyTorch for biologists ----


@template("p2_pytorch_for_biologists")
def bits(draw: Draw) -> Value:
    logits = [draw.numbers(4, -3, 3) for _ in range(3)]
    came = [draw.choice("ACGT") for _ in range(3)]
    target = torch.tensor(["ACGT".index(base) for base in came])
    each = F.cross_entropy(torch.tensor(logits, dtype=torch.double), target, reduction="none") / LN2
    names = [f"then came {base}" for base in came]
    return Value(
        "Three rows of logits, and the base that came. How many bits does each row cost, and how "
        f"many on average?\n\n{_rows(names, logits, 'ACGT')}",
        [*each.tolist(), each.mean().item()],
        "a list of four numbers: three costs and their mean",
        tolerance=0.002,
    )


@template("p2_pytorch_for_biologists")
def shapes(draw: Draw) -> Value:
    b, length, d, v = draw.sample(range(2, 40), 4)
    return Value(
        f"`ids` has the shape ({b}, {length}), `table` ({v}, {d}), `head` ({d}, {v}); with `hidden = table[ids]` and "
        "`logits = hidden @ head`, what are the shapes of (1) `hidden`, (2) `logits`, (3) "
        "`logits.softmax(-1).sum(-1)`, (4) `hidden.mean(dim=1)`, (5) `logits[:, -1]`, (6) `hidden.sum(dim=(0, 1))`?",
        [[b, length, d], [b, length, v], [b, length], [b, d], [b, v], [d]],
        "a list of six tuples",
    )


# ---- p3 evaluating honestly ----


@template("p3_evaluating_honestly")
def ranking(draw: Draw) -> Value:
    while True:
        labels, scores = draw.integers(12, 0, 1), draw.integers(12, 0, 9)
        threshold = draw.integer(4, 7)
        guess = [int(s >= threshold) for s in scores]
        hits = sum(a * b for a, b in zip(labels, guess, strict=True))
        if 4 <= sum(labels) <= 8 and 3 <= sum(guess) <= 9 and hits:
            break
    answer = [auroc(labels, scores), hits / sum(guess), hits / sum(labels), mcc(labels, guess)]
    return Value(
        f"Twelve items, label and score. Calls are positive from a score of {threshold} on ({threshold} included). "
        "Give the AUROC of the scores (ties count half), and the precision, the recall and the Matthews correlation "
        f"of the calls.\n\n{_rows(['label', 'score'], [labels, scores])}",
        [float(a) for a in answer],
        "a list of four numbers",
        tolerance=0.002,
    )


@template("p3_evaluating_honestly")
def prevalence(draw: Draw) -> Value:
    found, false = draw.integer(600, 950), draw.integer(10, 120)
    others = draw.integer(50, 2000)
    s, f = found / 1000, false / 1000
    return Value(
        f"At its threshold a splice-site model finds {found / 10:.1f} % of the donors and takes {false / 10:.1f} % "
        "of the other GTs for donors. What is its precision (1) on a test with as many donors as others, (2) where "
        f"there are {others:,} others for each donor?",
        [s / (s + f), s / (s + f * others)],
        "a list of two shares between 0 and 1",
        tolerance=0.0002,
    )


# ---- 01 tokenization ----


@template("01_tokenization", points=3)
def kmer_ids(draw: Draw) -> Function:
    k, order = draw.integer(3, 6), "".join(draw.sample("ACGT", 4))
    stride, offset = draw.integer(2, k), draw.integer(3, 12)

    def reference(sequence: str) -> list[int]:
        starts = range(0, len(sequence) - k + 1, stride)
        words = [sequence[i : i + k] for i in starts]
        return [offset + sum(order.index(b) * 4 ** (k - 1 - i) for i, b in enumerate(word)) for word in words]

    return Function(
        f"A model reads k-mers with k = {k} and stride {stride}. Its letters have the order {', '.join(order)} "
        f"(digits 0, 1, 2, 3; the first base of a word is the most significant digit), and {offset} special tokens "
        f"stand in front, so that {order[0] * k} has the id {offset}. A last window that is not complete is left "
        "out. Write the function from a sequence of A, C, G and T to the list of ids.",
        "def kmer_ids(sequence):",
        "The ids of the k-mers of a sequence, from left to right, as a list.",
        reference,
        tuple((draw.dna(length),) for length in (k - 1, k, k + stride - 1, 37, 60, 101)),
    )


@template("01_tokenization")
def merges(draw: Draw) -> Value:
    word = draw.dna(3)
    letters = list("".join(draw.choice([word, word, draw.dna(2), draw.dna(1)]) for _ in range(9)))
    tokens, pairs = list(letters), []
    for _ in range(4):
        neighbours = list(pairwise(tokens))
        pair = min(set(neighbours), key=lambda p: (-neighbours.count(p), p))
        tokens = merge_pair(tokens, pair)
        pairs.append("".join(pair))
    return Value(
        f"Start from the single letters of `{''.join(letters)}` and take four BPE steps. Each joins the pair of "
        "neighbours that occurs most often, counted as (token, next token) at every place; of pairs that are equally "
        "frequent, the one that comes first in the alphabet, as a pair of texts. Merge from left to right.",
        [pairs, tokens],
        "a list of two lists: the four new tokens in order, and the tokens of the sequence at the end",
    )


# ---- 02 embeddings ----


@template("02_embeddings")
def sinusoid(draw: Draw) -> Value:
    dim, place = 2 * draw.integer(8, 40), draw.integer(20, 400)
    channels = sorted(draw.sample(range(0, dim), 4))
    return Value(
        f"Sinusoidal positions with {dim} channels, as in the notebook (sine in even channels, cosine in odd ones, "
        f"the constant 10000): the values at position {place} of the channels {', '.join(map(str, channels))}, counted "
        "from 0.",
        [float(sinusoidal_positions(place + 1, dim)[place, c]) for c in channels],
        "a list of four numbers",
        tolerance=0.002,
    )


@template("02_embeddings", points=3)
def positions(draw: Draw) -> Function:
    padding = draw.integer(0, 99)
    offset = padding + draw.integer(1, 900)

    def reference(mask: list[list[int]]) -> list[list[int]]:
        real = torch.tensor(mask)
        return torch.where(real == 1, position_ids(real, offset), padding).tolist()

    lengths = draw.integers(5, 3, 9)
    calls = []
    for length in lengths:
        left, right = draw.integer(0, length - 1), draw.integer(0, length - 1)
        calls.append(([[0] * left + [1] * (length - left), [1] * (length - right) + [0] * right],))
    return Function(
        f"A model gives its first real token the position {offset}, the next {offset + 1}, and so on; padding, which "
        f"may stand on either side, gets the position {padding}. Write the function from a mask (a list of rows, 1 "
        "at real tokens, 0 at padding) to the positions (a list of rows, or an array or tensor).",
        "def positions(mask):",
        "The position of every token, (B, L), from a mask (B, L) given as a list of lists.",
        reference,
        tuple(calls),
    )


# ---- 03 attention ----


@template("03_attention")
def causal_attention(draw: Draw) -> Value:
    q, k, v = (draw.table(4, 2, -3, 3) for _ in range(3))
    tensors = [torch.tensor([rows], dtype=torch.double) for rows in (q, k, v)]
    out = F.scaled_dot_product_attention(*tensors, is_causal=True)[0]
    told = "\n".join(f"- `{name} = {rows}`" for name, rows in (("q", q), ("k", k), ("v", v)))
    return Value(
        f"One head, four positions, two channels:\n\n{told}\n\nGive the output (4, 2) of *causal* scaled dot-product "
        "attention: position i sees the positions 0 to i, and scores are divided by the root of the number of "
        "channels.",
        out.tolist(),
        "a list of four rows of two numbers",
        tolerance=0.002,
    )


@template("03_attention")
def score_counts(draw: Draw) -> Value:
    length, radius = draw.integer(300, 5000), draw.integer(8, 128)
    steps = np.arange(length)
    left = np.minimum(steps, radius)
    return Value(
        f"A sequence has {length:,} tokens. How many scores, pairs of a query and a key it may see, are there (1) in "
        f"full attention, (2) in causal attention, (3) with a window of {radius} tokens to either side and the token "
        f"itself, (4) with a causal window: the token itself and the {radius} before it? Exact numbers: windows are "
        "cut off at the ends.",
        [
            length**2,
            length * (length + 1) // 2,
            int((left + left[::-1] + 1).sum()),
            int((left + 1).sum()),
        ],
        "a list of four whole numbers",
    )


# ---- 04 convolution and Hyena ----


@template("04_convolution_and_hyena")
def causal_sums(draw: Draw) -> Value:
    u, k = draw.integers(7, -5, 5), draw.integers(draw.integer(3, 9), -4, 4)
    return Value(
        f"`u = {u}` and `k = {k}`. Give the causal convolution y[t] = sum over s <= t of k[s] u[t - s], for t from 0 "
        "to 6; where k has no entry, it is 0.",
        [int(n) for n in np.convolve(u, k)[: len(u)]],
        "a list of seven whole numbers",
    )


@template("04_convolution_and_hyena")
def reach(draw: Draw) -> Value:
    kernels, dilations = draw.integers(4, 2, 15), draw.integers(4, 1, 30)
    return Value(
        f"Four convolutions stand one upon the other, with {kernels} taps, first layer first, {dilations} steps "
        "apart. How many inputs can one output see after one, two, three and four layers, itself included?",
        [receptive_field(kernels[: n + 1], dilations[: n + 1]) for n in range(4)],
        "a list of four whole numbers",
    )


# ---- 05 state spaces and Mamba ----


@template("05_state_spaces_and_mamba")
def selective_states(draw: Draw) -> Value:
    u, written, read = (draw.integers(5, -3, 3) for _ in range(3))
    delta, rate = draw.numbers(5, 0.1, 2), -draw.numbers(1, 0.2, 2)[0]
    padding = draw.integer(1, 3)
    mask = [int(t != padding) for t in range(5)]
    steps = torch.tensor(delta, dtype=torch.double) * torch.tensor(mask)
    as_row = [torch.tensor(x, dtype=torch.double).view(1, 1, 5) for x in (u, written, read)]
    states = []
    for t in range(1, 6):
        _, h = selective_scan_reference(
            as_row[0][..., :t],
            steps[None, None, :t],
            torch.tensor([[rate]], dtype=torch.double),
            as_row[1][..., :t],
            as_row[2][..., :t],
        )
        states.append(h.item())
    y = [states[t] * read[t] for t in range(5) if mask[t]]
    told = _rows(["u", "delta", "B", "C", "mask"], [u, delta, written, read, mask])
    return Value(
        f"Mamba's recurrence with one channel and one state number, A = {rate}, the state 0 before the first step. "
        f"A is made discrete by the exponential, B by Euler's step, and padding (mask 0) leaves the state unmoved:\n\n"
        f"{told}\n\nGive the state after each of the five steps, and y at the four "
        "real tokens (what C reads from the state: no skip D, no gate).",
        [states, y],
        "a list of two lists, five and four numbers",
        tolerance=0.002,
    )


@template("05_state_spaces_and_mamba")
def one_step(draw: Draw) -> Value:
    steps = [(a, b) for a, b in zip(draw.numbers(4, 0.1, 0.9), draw.numbers(4, -3, 3), strict=True)]
    a, b = 1.0, 0.0
    for next_a, next_b in steps:
        a, b = next_a * a, next_a * b + next_b
    return Value(
        f"Four steps h -> a h + b, in this order, as (a, b): {', '.join(map(str, steps))}. Which single step (a, b) "
        "does what the four do together?",
        [a, b],
        "a list of two numbers, four decimals or more",
        tolerance=0.0005,
    )


# ---- 06 both strands ----


@template("06_both_strands")
def strand_average(draw: Draw) -> Value:
    there, back = draw.table(3, 4, -9, 9), draw.table(3, 4, -9, 9)
    letters = "".join(draw.sample("ACGT", 4))
    complement = [letters.index(reverse_complement(letter)) for letter in letters]
    mean = (np.array(there) + np.array(back)[::-1][:, complement]) / 2
    names = ("position 0", "position 1", "position 2")
    return Value(
        f"A model's vocabulary is {', '.join(letters)}, the columns in this order. For three positions it gave the "
        f"logits\n\n{_rows(names, there, letters)}\n\nand, for the same DNA read from the other "
        f"strand,\n\n{_rows(names, back, letters)}\n\nGive the average of both as logits of the first strand.",
        mean.tolist(),
        "a list of three rows of four numbers",
        tolerance=1e-6,
    )


@template("06_both_strands", points=3)
def other_strand(draw: Draw) -> Function:
    known = dict(zip("ACGTN", draw.sample(range(3, 40), 5), strict=True))
    back = {known[a]: known[b] for a, b in zip("ACGTN", "TGCAN", strict=True)}

    def reference(ids: list[int]) -> list[int]:
        return [back[i] for i in reversed(ids)]

    told = ", ".join(f"{letter} = {number}" for letter, number in known.items())
    return Function(
        f"A tokenizer has the ids {told}. Write the function from the ids of a sequence to the ids of its reverse "
        "complement. N stays N.",
        "def other_strand(ids):",
        "The ids of the other strand, read 5' to 3', as a list.",
        reference,
        tuple(([known[draw.choice("ACGTN")] for _ in range(length)],) for length in (1, 2, 9, 20, 33)),
    )


# ---- 07 choosing a mixer ----


@template("07_choosing_a_mixer")
def lookback(draw: Draw) -> Value:
    radii, taps, apart = draw.integers(3, 4, 64), draw.integer(3, 15), draw.integers(3, 1, 32)
    short = draw.integer(2, 6)
    return Value(
        f"Three layers stand on a shared causal convolution of {short} taps, one step apart. How many tokens *back* "
        f"can the last layer look at most, (1) with causal sliding windows of the radii {radii}, (2) with causal "
        f"convolutions of {taps} taps that are {apart} steps apart?",
        [sum(radii) + short - 1, receptive_field([taps] * 3, apart) - 1 + short - 1],
        "a list of two whole numbers",
    )


@template("07_choosing_a_mixer")
def memory(draw: Draw) -> Value:
    layers, width = draw.integer(2, 24), 32 * draw.integer(2, 24)
    state, taps, length = draw.choice([8, 16, 32, 64]), draw.integer(3, 5), draw.integer(1_000, 90_000)
    inside = 2 * width
    attention, mamba = 2 * layers * length * width, layers * inside * (state + taps - 1)
    return Value(
        f"Two causal models of {layers} layers and width {width} have read {length:,} tokens of one sequence. How "
        "many numbers does each keep in order to read on? (1) Attention keeps a key and a value, each as wide as "
        "the model, for every token in every layer. (2) Mamba works on twice the width; in each layer it keeps "
        f"{state} state numbers a channel, and what its convolution of {taps} taps still has to see. (3) From how "
        "many tokens on does attention keep more than Mamba?",
        [attention, mamba, mamba // (2 * layers * width) + 1],
        "a list of three whole numbers",
    )


# ---- 08 output heads ----


@template("08_output_heads")
def head_shapes(draw: Draw) -> Value:
    b, length, d, v, classes = draw.sample(range(2, 200), 5)
    return Value(
        f"{b} sequences of {length} tokens go through a body with {d} channels and {v} tokens in its vocabulary. What "
        f"leaves (1) a language model head, (2) a classification head for {classes} classes, (3) a regression head "
        "for one number, (4) an embedding head? The heads (2) to (4) pool over the positions.",
        [[b, length, v], [b, classes], [b, 1], [b, d]],
        "a list of four tuples",
    )


@template("08_output_heads")
def pooled(draw: Draw) -> Value:
    hidden, mask = draw.table(6, 3, -9, 9), [1] * 6
    for place in draw.sample(range(1, 6), draw.integer(1, 3)):
        mask[place] = 0
    real = np.array(hidden)[np.array(mask) == 1]
    names = [f"mask {m}" for m in mask]
    return Value(
        "The hidden states of one sequence, one row a position, with the mask (1: a real token, 0: padding). Pool "
        f"over the real tokens.\n\n{_rows(names, hidden)}",
        [real.mean(0).tolist(), real.max(0).tolist(), real[-1].tolist()],
        "a list of three lists of three numbers: the mean, the maximum, and the last real token",
        tolerance=0.002,
    )


# ---- 09 masked language modeling ----


@template("09_masked_language_modeling")
def words_to_mask(draw: Draw) -> Value:
    k, length = draw.integer(3, 8), draw.integer(60, 200)
    bases = sorted(
        [
            draw.integer(0, k - 2),
            *draw.sample(range(k, length - k), 2),
            draw.integer(length - k + 1, length - 1),
        ]
    )
    tokenizer = KmerTokenizer(k)
    return Value(
        f"A sequence of {length} bases is read as overlapping {k}-mers (stride 1, no special tokens, tokens counted "
        "from 0). For each of these bases (from 0), which tokens have to be masked so that none shows it: "
        f"{', '.join(map(str, bases))}?",
        [list(tokenizer.token_at(base, "A" * length)) for base in bases],
        "a list of four lists of token numbers, from left to right",
    )


@template("09_masked_language_modeling")
def shown_and_labels(draw: Draw) -> Value:
    first, count = draw.integer(4, 12), 14
    words, mask_id = list(range(first, first + 8)), draw.integer(1, 3)
    ids = [draw.choice(words) for _ in range(count)]
    rate, hide, other = draw.integer(20, 45) / 100, draw.integer(50, 70) / 100, draw.integer(10, 25) / 100
    changed = round(hide + other, 2)  # as the text says it: 0.63 + 0.2 is a little above 0.83
    uniform = [draw.numbers(count, 0, 0.999, 3) for _ in range(3)]
    maskable = [True] * count
    for place in (0, count - 1):
        maskable[place] = False
    shown, labels = list(ids), [-100] * count
    for t in range(count):
        if not maskable[t] or uniform[0][t] >= rate:
            continue
        labels[t] = ids[t]
        if uniform[1][t] < hide:
            shown[t] = mask_id
        elif uniform[1][t] < changed:
            shown[t] = words[int(uniform[2][t] * len(words))]
    told = _rows(["ids", "u1", "u2", "u3"], [ids, *uniform])
    return Value(
        f"The masking rule of the notebook with other shares: {rate:.0%} are chosen (u1 below {rate}); of these "
        f"{hide:.0%} are hidden (u2 below {hide}), {other:.0%} are shown as another token (u2 below "
        f"{changed}), and the rest stays. The other token is `words[int(u3 * len(words))]` with "
        f"`words = list(range({first}, {first + 8}))`; the mask has the id {mask_id}. The first and the last place "
        f"are special tokens and never chosen.\n\n{told}\n\nWhat does the model see, and what are the labels (-100: "
        "none)?",
        [shown, labels],
        f"a list of two lists of {count} whole numbers",
    )


# ---- 10 autoregressive modeling ----


@template("10_autoregressive_modeling")
def sampling(draw: Draw) -> Value:
    scores = [n / 10 for n in draw.sample(range(-30, 31), 4)]
    temperature, top_k = draw.integer(4, 18) / 10, draw.choice([2, 3])
    return Value(
        f"The scores of the next base are {scores} for A, C, G, T. With which probabilities is it drawn (1) at "
        f"temperature {temperature}, (2) at temperature {temperature} with top-k, k = {top_k}?",
        [
            sampling_probabilities(scores, temperature).tolist(),
            sampling_probabilities(scores, temperature, top_k).tolist(),
        ],
        "a list of two lists of four probabilities",
        tolerance=0.002,
    )


@template("10_autoregressive_modeling")
def markov_bits(draw: Draw) -> Value:
    order, length = draw.integer(1, 4), draw.integer(300, 600)
    start, dna = _stretch(draw, length)
    value = _markov(order).bits_per_base(dna)
    other = _markov(0).bits_per_base(dna)
    return Value(
        f"Fit the package's `MarkovModel` of order {order} on the training region of *E. coli* (`split('train')`, all "
        f"other settings as they are). How many bits per base does it need for the {length} bases from position "
        f"{start:,} on (counted from 0 in `sequence`)? How many does order 0 need? And what is the perplexity per "
        f"base of order {order}?",
        [value, other, 2**value],
        "a list of three numbers, five decimals or more",
        tolerance=0.00005,
    )


# ---- 11 practical promoters ----


@template("11_practical_promoters")
def locus_numbers(draw: Draw) -> Value:
    numbers: list[int] = []
    while not 4 <= len(set(numbers)) <= 9:  # neither one locus nor twelve
        start, stop, place, gap = [], [], draw.integer(1_000, 90_000), draw.integer(20, 120)
        for _ in range(12):
            place += draw.choice([draw.integer(0, 80), draw.integer(150, 400), draw.integer(400, 900)])
            start.append(place)
            stop.append(place + draw.choice([draw.integer(40, 90), draw.integer(100, 400)]))
        numbers = loci(["chr"] * 12, start, stop, gap=gap).tolist()
    return Value(
        f"Twelve intervals of one chromosome, from 0, the end not included, sorted by start:\n\n`start = {start}`\n\n"
        f"`stop = {stop}`\n\nRows that overlap, or lie within {gap} bases of the locus so far, are one locus. Number "
        "the loci from 0. Then give the number of independent loci, and the rows of the largest one (how many it "
        "has).",
        [numbers, max(numbers) + 1, max(numbers.count(n) for n in numbers)],
        "a list of the list of twelve numbers and the two counts",
    )


@lru_cache(maxsize=1)
def _promoters() -> Any:
    return load_data("human-promoters").frame


@template("11_practical_promoters")
def composition_auroc(draw: Draw) -> Value:
    letters = draw.choice(["C", "G", "CG"])
    window, start = draw.integer(40, 160), draw.integer(0, 40)
    frame = _promoters()
    rows = frame[(frame.split == "test") & frame.kind.isin(["promoter", "random"])]
    matched = frame[(frame.split == "test") & frame.kind.isin(["promoter", "gc_matched"])]

    def found(part: Any) -> float:
        share = [sum(s[start : start + window].count(b) for b in letters) / window for s in part.sequence]
        return float(auroc(part.label.to_numpy(), np.array(share)))

    return Value(
        f"In `load_data('human-promoters').frame`, take the test rows and cut the bases {start} to {start + window} "
        f"(from 0, the end not included) out of each sequence. What AUROC does the share of {' and '.join(letters)} "
        "in this piece alone reach (1) for kind `promoter` against `random`, (2) for `promoter` against `gc_matched`?",
        [found(rows), found(matched)],
        "a list of two numbers, four decimals",
        tolerance=0.0002,
    )


# ---- 12 practical variants ----


@template("12_practical_variants")
def vcf_row(draw: Draw) -> Value:
    pos, ref = draw.integer(10_000, 60_000_000), draw.dna(draw.integer(1, 3))
    alts = [_other(draw, ref[0]) + ref[1:], ref + draw.dna(draw.integer(1, 3)), ref[0] + draw.dna(4)]
    strange = draw.sample(["<DEL>", "*", "<INS>", "<DUP>"], draw.integer(1, 2))
    alts = draw.sample([*dict.fromkeys(alts), *strange], len(dict.fromkeys(alts)) + len(strange))
    row = f"chr20 {pos} . {ref} {','.join(alts)} . PASS ."
    return Value(
        f"A made-up row of a VCF, with spaces in place of its tabs: `{row}`. List its variants, in the order of ALT, "
        "with the position counted from 0; leave out those that are no sequence. Then give the same variants as they "
        "stand on the reverse complement of a chromosome of 64,444,167 bases.",
        [
            [[pos - 1, ref, alt] for alt in alts if set(alt) <= set("ACGT")],
            [
                [64_444_167 - (pos - 1) - len(ref), reverse_complement(ref), reverse_complement(alt)]
                for alt in alts
                if set(alt) <= set("ACGT")
            ],
        ],
        "two lists of `[position, ref, alt]`, in a list",
    )


@template("12_practical_variants")
def base_scores(draw: Draw) -> Value:
    logits, ref = draw.numbers(10, -6, 6), draw.choice("ACGT")
    first = draw.integer(2, 6)
    log_p = torch.tensor(logits, dtype=torch.double).log_softmax(-1)[first : first + 4]
    return Value(
        f"At a hidden place a model gives its ten tokens the logits `{logits}`; the ids {first} to {first + 3} are "
        f"A, C, G, T. The reference has {ref} there. Give log P(base) - log P({ref}) in nats for A, C, G and T, and "
        "the probability that the model gives to the four bases together.",
        [(log_p - log_p["ACGT".index(ref)]).tolist(), log_p.exp().sum().item()],
        "a list of a list of four numbers and one number",
        tolerance=0.002,
    )


# ---- 13 practical design ----


@template("13_practical_design")
def accepted(draw: Draw) -> Value:
    while True:
        now, then = draw.numbers(14, -2, 2, 2), draw.numbers(14, -2, 2, 2)
        chance, temperature = draw.numbers(14, 0, 0.99, 2), draw.integer(2, 12) / 10
        ratio = np.exp((np.array(then) - np.array(now)) / temperature)
        if (np.abs(ratio - np.array(chance)) > 0.003).all():  # no step hangs on rounding
            break
    told = _rows(["now", "then", "chance"], [now, then, chance])
    return Value(
        "Fourteen chains, each with its objective now, the objective after the proposed step, and a random number. "
        f"The temperature is {temperature}: a sequence's weight is proportional to exp(objective / temperature). Which "
        f"chains, numbered from 0, take their step by the Metropolis rule?\n\n{told}",
        [int(i) for i in np.flatnonzero(np.array(chance) < ratio)],
        "a list of their numbers, in rising order",
    )


@template("13_practical_design")
def honest_report(draw: Draw) -> Value:
    n = draw.integer(3, 6)
    oracle = [v / 100 for v in draw.sample(range(-100, 400), 14)]
    judge = draw.numbers(14, -1, 3, 2)
    best = sorted(range(14), key=lambda i: -oracle[i])[:n]
    promised, judged = (float(np.mean([scores[i] for i in best])) for scores in (oracle, judge))
    return Value(
        f"Fourteen designs were scored by the oracle that guided them and by a judge that did not. Choose {n} without "
        "looking at the judge, the ones the oracle likes best. Give (1) the judge's mean over them, (2) by how much "
        f"the oracle promised more.\n\n{_rows(['oracle', 'judge'], [oracle, judge])}",
        [judged, promised - judged],
        "a list of two numbers",
        tolerance=0.002,
    )
