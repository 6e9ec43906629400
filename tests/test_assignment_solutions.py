"""Each exercise with drawn numbers, solved again: from its text alone, in plain Python, rounded as the text allows.

A template that asks for one thing and grades another, leaves out what the answer depends on, or is stricter than it
says, fails here. The package computes only what a text tells learners to compute with it.
"""

import ast
import json
import math
import re
from itertools import pairwise

import numpy as np
import pytest
import torch

from gfm_lab import MarkovModel, assignments, load_data, load_model
from gfm_lab.commands.run_cells import plain

KEY = b"a key for these tests only"
EVERY = [about for name in assignments.notebooks() for about in assignments.templates(name).values()]
PAIR = dict(zip("ACGTN", "TGCAN", strict=True))
SOLVE = {}


def solution(function):
    """Register text -> answer, or text -> the asked function."""
    SOLVE[function.__name__] = function
    return function


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---- Reading a text ----


def ints(pattern, text):
    """The whole numbers that a pattern finds once, commas in them allowed; one alone is no list."""
    found = [int(n.replace(",", "")) for n in re.search(pattern, text).groups()]
    return found if len(found) > 1 else found[0]


def lists(text):
    return [ast.literal_eval(found) for found in re.findall(r"\[.+?\]", text)]


def named(name, text):
    return ast.literal_eval(re.search(rf"`{name} = (.+?)`", text)[1])


def rows(text):
    """[(name, numbers)] of the rows of all tables, headers left out."""
    found = re.findall(r"^\| ([^|]+) \|(.+)\|$", text, re.MULTILINE)
    return [(name, [float(x) for x in numbers.split("|")]) for name, numbers in found]


def other_strand_of(dna):
    return "".join(PAIR[base] for base in reversed(dna))


def genome():
    return load_data("ecoli-k12").sequence


def rounded(values, digits=3):
    return [round(float(v), digits) for v in values]


# ---- The solutions ----


@solution
def mutation_scores(text):
    length, start = ints(r"the (\d+) bases", text), ints(r"position ([\d,]+) on", text)
    dna = genome()[start : start + length]
    model, tokenizer = load_model("ecoli-attention-mlm")
    ids = {base: tokenizer.convert_tokens_to_ids([base])[0] for base in "ACGT"}
    scores = []
    for place, base in re.findall(r"place (\d+) to (\w)", text):
        shown = [ids[b] for b in dna]
        shown[int(place)] = tokenizer.mask_token_id
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([shown])).logits[0, int(place)].log_softmax(-1)
        scores.append((log_p[ids[base]] - log_p[ids[dna[int(place)]]]) / math.log(2))
    return rounded(scores, 2)


@solution
def information(text):
    return rounded(2 + sum(x / 100 * math.log2(x / 100) for x in row if x) for _, row in rows(text))


@solution
def minus_strand(text):
    first, last = ints(r"positions ([\d,]+) to ([\d,]+),", text)
    return other_strand_of(genome()[first - 1 : last])


@solution
def record(text):
    stop, number = ints(r"to ([\d,]+) \(.* base number (\d+),", text)
    base = re.search(r"replaced by (\w)", text)[1]
    return [stop - number + 1, genome()[stop - number], PAIR[base]]


@solution
def bits(text):
    costs = []
    for name, row in rows(text):
        total = sum(math.exp(x) for x in row)
        costs.append(-math.log2(math.exp(row["ACGT".index(name[-1])]) / total))
    return rounded([*costs, sum(costs) / 3])


@solution
def shapes(text):
    batch, length, words, width = ints(r"shape \((\d+), (\d+)\), `table` \((\d+), (\d+)\)", text)
    hidden = torch.zeros(words, width)[torch.zeros(batch, length, dtype=torch.long)]
    logits = hidden @ torch.zeros(width, words)
    made = (hidden, logits, logits.sum(-1), hidden.mean(1), logits[:, -1], hidden.sum((0, 1)))
    return [tensor.shape for tensor in made]


@solution
def ranking(text):
    threshold = ints(r"score of (\d+) on", text)
    (_, labels), (_, scores) = rows(text)
    pairs = list(zip(labels, scores, strict=True))
    high, low = ([score for label, score in pairs if label == wanted] for wanted in (1, 0))
    wins = sum((p > n) + 0.5 * (p == n) for p in high for n in low)
    tp, fp = (sum(score >= threshold for score in part) for part in (high, low))
    fn, tn = len(high) - tp, len(low) - fp
    correlation = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return rounded([wins / len(high) / len(low), tp / (tp + fp), tp / (tp + fn), correlation])


@solution
def prevalence(text):
    found, false = (float(x) / 100 for x in re.findall(r"([\d.]+) %", text))
    others = ints(r"are ([\d,]+) others", text)
    return rounded([found / (found + false), found / (found + others * false)], 4)


@solution
def kmer_ids(text):
    k, stride, special = ints(r"k = (\d) and stride (\d)\..* and (\d+) special", text)
    digits = re.search(r"order (\w, \w, \w, \w)", text)[1].split(", ")

    def answer(sequence):
        found = []
        for start in range(0, len(sequence), stride):
            number, word = 0, sequence[start : start + k]
            for base in word:
                number = 4 * number + digits.index(base)
            found += [special + number] if len(word) == k else []
        return np.array(found)

    return answer


@solution
def merges(text):
    tokens, new = list(re.search(r"`(\w+)`", text)[1]), []
    for _ in range(4):
        counts = {}
        for pair in pairwise(tokens):
            counts[pair] = counts.get(pair, 0) + 1
        best = sorted(counts, key=lambda pair: (-counts[pair], pair))[0]
        new.append("".join(best))
        merged = []
        while tokens:
            size = 2 if tuple(tokens[:2]) == best else 1
            merged.append("".join(tokens[:size]))
            tokens = tokens[size:]
        tokens = merged
    return [new, tokens]


@solution
def sinusoid(text):
    width, place = ints(r"with (\d+) channels.* position (\d+) of", text)
    channels = map(int, re.search(r"channels ([\d, ]+), counted", text)[1].split(","))
    waves = (math.sin, math.cos)
    return rounded(waves[c % 2](place / 10_000 ** ((c - c % 2) / width)) for c in channels)


@solution
def positions(text):
    first, padding = ints(r"position (\d+), the next.* gets the position (\d+)", text)

    def answer(mask):
        return [[first + sum(row[:i]) if real else padding for i, real in enumerate(row)] for row in mask]

    return answer


@solution
def causal_attention(text):
    q, k, v = (np.array(named(name, text), float) for name in "qkv")
    weights = np.exp(q @ k.T / math.sqrt(2)) * np.tri(4)
    return np.round(weights / weights.sum(1, keepdims=True) @ v, 3)


@solution
def score_counts(text):
    length, radius = ints(r"has ([\d,]+) tokens.* window of (\d+) tokens", text)
    both = sum(min(length - 1, i + radius) - max(0, i - radius) + 1 for i in range(length))
    back = sum(min(i, radius) + 1 for i in range(length))
    return [length**2, sum(range(length + 1)), both, back]


@solution
def causal_sums(text):
    u, k = named("u", text), named("k", text)
    return [sum(k[s] * u[t - s] for s in range(min(t + 1, len(k)))) for t in range(7)]


@solution
def reach(text):
    seen, found = 1, []
    for taps, apart in zip(*lists(text), strict=True):
        seen += (taps - 1) * apart
        found.append(seen)
    return found


@solution
def selective_states(text):
    rate, row = float(re.search(r"A = (-[\d.]+),", text)[1]), dict(rows(text))
    state, states, read = 0.0, [], []
    steps = zip(*(row[name] for name in ("u", "delta", "B", "C", "mask")), strict=True)
    for u, delta, b, c, real in steps:
        if real:
            state = math.exp(delta * rate) * state + delta * b * u
            read.append(c * state)
        states.append(state)
    return [rounded(states), rounded(read)]


@solution
def one_step(text):
    def together(state):
        for a, b in re.findall(r"\(([\d.]+), (-?[\d.]+)\)", text):
            state = float(a) * state + float(b)
        return state

    return rounded([together(1.0) - together(0.0), together(0.0)], 4)


@solution
def strand_average(text):
    letters = re.search(r"vocabulary is (\w, \w, \w, \w)", text)[1].split(", ")
    logits = [row for _, row in rows(text)]
    there, back = logits[:3], logits[3:]
    return [
        [(there[i][j] + back[2 - i][letters.index(PAIR[base])]) / 2 for j, base in enumerate(letters)]
        for i in range(3)
    ]


@solution
def other_strand(text):
    ids = {letter: int(number) for letter, number in re.findall(r"(\w) = (\d+)", text)}
    letters = {number: letter for letter, number in ids.items()}
    return lambda given: [ids[PAIR[letters[i]]] for i in given[::-1]]


@solution
def lookback(text):
    short, taps = ints(r"convolution of (\d+) taps.* convolutions of (\d+) taps", text)
    radii, apart = lists(text)
    return [sum(radii) + short - 1, sum((taps - 1) * step for step in apart) + short - 1]


@solution
def memory(text):
    layers, width, length, state, taps = ints(
        r"of (\d+) layers and width (\d+) have read ([\d,]+) tokens.* keeps (\d+) state.* of (\d+) taps", text
    )
    mamba, tokens = layers * 2 * width * (state + taps - 1), 1
    while layers * 2 * width * tokens <= mamba:
        tokens += 1
    return [layers * 2 * width * length, mamba, tokens]


@solution
def head_shapes(text):
    batch, length, width, words, classes = ints(
        r"^(\d+) sequences of (\d+) tokens .* with (\d+) channels and (\d+) tokens.* for (\d+) classes", text
    )
    return [(batch, length, words), (batch, classes), (batch, 1), (batch, width)]


@solution
def pooled(text):
    real = [row for name, row in rows(text) if name == "mask 1"]
    columns = list(zip(*real, strict=True))
    return [rounded(sum(c) / len(c) for c in columns), [max(c) for c in columns], real[-1]]


@solution
def words_to_mask(text):
    length, k = ints(r"of (\d+) bases.* (\d)-mers", text)
    bases = map(int, re.search(r"shows it: (.+)\?", text)[1].split(", "))
    return [[start for start in range(length - k + 1) if base in range(start, start + k)] for base in bases]


@solution
def shown_and_labels(text):
    row, mask_id = dict(rows(text)), ints(r"has the id (\d+)", text)
    rate, hidden, other = (float(x) for x in re.findall(r"u[12] below ([\d.]+)\)", text))
    words = list(range(*ints(r"range\((\d+), (\d+)\)", text)))
    shown = [int(n) for n in row["ids"]]
    labels = [-100] * len(shown)
    for t in range(1, len(shown) - 1):
        if row["u1"][t] < rate:
            labels[t] = shown[t]
            if row["u2"][t] < hidden:
                shown[t] = mask_id
            elif row["u2"][t] < other:
                shown[t] = words[int(row["u3"][t] * len(words))]
    return [shown, labels]


@solution
def sampling(text):
    (scores,) = lists(text)
    temperature, kept = float(re.search(r"temperature ([\d.]+),", text)[1]), ints(r"k = (\d)\?", text)
    sizes = np.exp(np.array(scores) / temperature)
    few = sizes * (np.array(scores) >= sorted(scores)[-kept])
    return [np.round(sizes / sizes.sum(), 3), np.round(few / few.sum(), 3)]


@solution
def markov_bits(text):
    order, length, start = ints(r"of order (\d) on.* the (\d+) bases from position ([\d,]+) on", text)
    train, dna = load_data("ecoli-k12").split("train"), genome()[start : start + length]
    own, none = (MarkovModel(n).fit(train).bits_per_base(dna) for n in (order, 0))
    return rounded([own, none, 2**own], 5)


@solution
def locus_numbers(text):
    start, stop, gap = named("start", text), named("stop", text), ints(r"within (\d+) bases", text)
    numbers, end = [0], stop[0]
    for first, last in zip(start[1:], stop[1:], strict=True):
        apart = first - end > gap
        numbers.append(numbers[-1] + apart)
        end = last if apart else max(end, last)
    return [numbers, numbers[-1] + 1, max(map(numbers.count, numbers))]


@solution
def composition_auroc(text):
    start, stop = ints(r"bases (\d+) to (\d+) \(", text)
    letters = re.search(r"share of (.+) in this", text)[1].split(" and ")
    frame = load_data("human-promoters").frame
    counts = {
        kind: np.array([sum(map(s[start:stop].count, letters)) for s in part.sequence])
        for kind, part in frame[frame.split == "test"].groupby("kind")
    }
    above = counts["promoter"][:, None]
    wins = (((above > counts[k]) + 0.5 * (above == counts[k])).mean() for k in ("random", "gc_matched"))
    return rounded(wins, 4)


@solution
def vcf_row(text):
    pos, ref, alts = re.search(r"`chr20 (\d+) \. (\w+) (\S+) \. PASS \.`", text).groups()
    place, length = int(pos) - 1, ints(r"of ([\d,]+) bases", text)
    alts = [alt for alt in alts.split(",") if re.fullmatch("[ACGT]+", alt)]
    back = length - place - len(ref)
    return [
        [[place, ref, alt] for alt in alts],
        [[back, other_strand_of(ref), other_strand_of(alt)] for alt in alts],
    ]


@solution
def base_scores(text):
    (logits,) = lists(text)
    first, ref = ints(r"ids (\d+) to", text), re.search(r"has (\w) there", text)[1]
    own = logits[first : first + 4]
    share = sum(map(math.exp, own)) / sum(map(math.exp, logits))
    return [rounded(x - own["ACGT".index(ref)] for x in own), round(share, 3)]


@solution
def accepted(text):
    temperature, row = float(re.search(r"temperature is ([\d.]+):", text)[1]), dict(rows(text))
    chains = zip(row["now"], row["then"], row["chance"], strict=True)
    return [
        i
        for i, (now, then, chance) in enumerate(chains)
        if then >= now or chance < math.exp(then / temperature) / math.exp(now / temperature)
    ]


@solution
def honest_report(text):
    count, row = ints(r"Choose (\d)", text), dict(rows(text))
    best = sorted(zip(row["oracle"], row["judge"], strict=True), reverse=True)[:count]
    promised, judged = (sum(scores) / count for scores in zip(*best, strict=True))
    return rounded([judged, promised - judged])


# ---- Graded ----


@pytest.mark.parametrize("about", EVERY, ids=lambda t: f"{t.notebook}-{t.name}")
def test_what_the_text_asks_for_is_what_is_graded_right(about):
    for number in range(2 if about.name in ("mutation_scores", "markov_bits", "composition_auroc") else 40):
        variant = assignments.exercise(about, f"s{number}", KEY)
        answer = SOLVE[about.name](variant.text)
        if isinstance(variant, assignments.Function):
            answer = [answer(*json.loads(json.dumps(call))) for call in variant.calls]
        assert assignments.difference(variant.answer, plain(answer), variant.tolerance) is None, (
            f"learner s{number}: {variant.text}"
        )
