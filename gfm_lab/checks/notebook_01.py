"""The exercises of notebook 01, tokenization."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import Any

from gfm_lab.checks import Hint, exercise, need, random_dna, written
from gfm_lab.tokenization import merge_pair

exercise_01 = exercise("01_tokenization")


@exercise_01
def prediction(answer: Any) -> str:
    """The number of overlapping 6-mers and of non-overlapping 6-mers that one substituted base changes."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Hint("give two numbers: (overlapping, non_overlapping)")
    overlapping, non_overlapping = answer
    if overlapping == 1:
        raise Hint(
            "in the overlapping tokenizer a base in the middle lies in more than one 6-mer: in how many?"
        )
    if overlapping in (5, 7):
        raise Hint("close: count the start positions of the 6-mers that cover one base, both ends included")
    if overlapping != 6:
        raise Hint(
            "overlapping: a 6-mer covers the base when it starts at the base or up to five bases before it"
        )
    if non_overlapping != 1:
        raise Hint(
            "non-overlapping 6-mers cut the sequence into pieces: one base lies in exactly one of them"
        )
    return "six and one; the experiment below shows what an inserted base does, which is another story"


@exercise_01
def kmers(answer: Any) -> str:
    """`answer(sequence, k, stride) -> list[str]`: all complete k-mers, from left to right, no tail."""
    rng = random.Random(1)
    cases = [("ATGTGCGCT", 3, 1), ("ATGTGCGCT", 3, 3), ("ATGTGCGCT", 4, 2), ("ATG", 3, 1), ("AT", 3, 1)]
    cases += [
        (random_dna(rng, rng.randint(0, 60)), k, rng.randint(1, k)) for k in range(1, 9) for _ in range(6)
    ]
    for sequence, k, stride in cases:
        got = answer(sequence, k, stride)
        call = f"my_kmers({sequence!r}, {k}, {stride})"
        need(got, (list, tuple), "the result")
        expected = [sequence[i : i + k] for i in range(0, len(sequence) - k + 1, stride)]
        if list(got) == expected:
            continue
        if any(len(token) != k for token in got):
            short = next(token for token in got if len(token) != k)
            raise Hint(
                f"{call} returned {short!r}, which is not {k} bases long: where must the last window start?"
            )
        if stride > 1 and list(got) == [sequence[i : i + k] for i in range(len(sequence) - k + 1)]:
            raise Hint(f"{call} moved by one base: the stride is not used")
        if list(got) == expected[:-1]:
            raise Hint(
                f"{call} lost the last k-mer {expected[-1]!r}: L bases hold L-k+1 windows, so mind the +1"
            )
        raise Hint(f"{call} returned {list(got)[:4]} ..., expected {expected[:4]} ...")
    return f"{len(cases)} sequences, k = 1 to 8, every stride: right, down to sequences shorter than k"


@exercise_01
def slips(answer: Any) -> str:
    """The set of letters of the statements of the lecture that are slips."""
    need(answer, (set, frozenset, list, tuple, str), "the answer")
    given, right = {str(a).strip().upper() for a in answer}, {"A", "B", "D"}
    reasons = {
        "A": "a vocabulary of 4^3 beside 6-letter substrings: how many different substrings of 6 letters are there?",
        "B": "a window of 3 that moves by 3: does any base lie in two tokens?",
        "D": "a vector keeps its length until some layer changes it: which layer would that be here?",
    }
    fair = {
        "C": "an id is an arbitrary row number; 42 is as good as any other",
        "E": "a one-hot vector is as long as the vocabulary and holds a single 1; a learned embedding is neither",
        "F": "4^6 = 4,096: count again",
    }
    unknown = given - right - set(fair)
    if unknown:
        raise Hint(f"there is no statement {', '.join(sorted(unknown))}; the statements are A to F")
    wrong = sorted(given - right)
    if wrong:
        raise Hint(f"{wrong[0]} is no slip: {fair[wrong[0]]}")
    missing = sorted(right - given)
    if missing:
        raise Hint(f"{len(missing)} still to find. Look for this: {reasons[missing[0]]}")
    return "three slips found, and three sound statements left in peace"


@exercise_01
def changed_tokens(answer: Any) -> str:
    """`answer(tokens_before, tokens_after) -> int`: how many positions hold a different token."""
    rng = random.Random(2)
    for _ in range(40):
        before = [rng.choice(["ATG", "TGC", "GCA", "CAT"]) for _ in range(rng.randint(1, 30))]
        after = [token if rng.random() < 0.7 else rng.choice(["AAA", "ATG"]) for token in before]
        expected = sum(a != b for a, b in zip(before, after, strict=True))
        got = answer(list(before), list(after))
        if got is None:
            raise Hint("your function returned None; is a `return` missing?")
        if got == expected:
            continue
        if got == len(set(before) ^ set(after)) or got == len(set(after) - set(before)):
            raise Hint("a set forgets positions and repeats: compare the two lists position by position")
        if got == len(before) - expected:
            raise Hint("you counted the positions that stayed the same")
        raise Hint(f"{before} against {after} differ at {expected} positions; you returned {got!r}")
    before = [1, 2, 3]
    if (got := answer(before, [1, 2])) is not None and got != 1:
        raise Hint(
            "lists of different length: [1, 2, 3] against [1, 2] should count the token that has no partner (1)"
        )
    if answer([1, 2], before) != 1:
        raise Hint(
            "lists of different length, the longer one second: [1, 2] against [1, 2, 3] should count 1"
        )
    return "40 random pairs of token lists, and lists of unequal length"


@exercise_01
def merge_step(answer: Any) -> str:
    """`answer(tokens) -> (pair, merged)`: one BPE step; any pair of the highest count is right."""
    rng = random.Random(3)
    cases = [list("ATATATCG"), list("AAAAA"), ["AT", "AT", "C", "AT", "AT"], list("ACGTTGCAAC")]
    cases += [list(random_dna(rng, rng.randint(8, 40))) for _ in range(40)]
    for tokens in cases:
        kept = list(tokens)
        got = answer(tokens)
        shown = " ".join(kept)
        if got is None:
            raise Hint("your function returned None; return the pair and the merged list")
        if tokens != kept:
            raise Hint("your function changed the list it was given: build a new one")
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise Hint("return two things: the pair (a, b), and the list of tokens after the merge")
        pair, merged = got
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise Hint(f"the pair should be two tokens, such as ('A', 'T'), not {pair!r}")
        pair = tuple(pair)
        counts = Counter(pairwise(kept))
        if counts[pair] != max(counts.values()):
            best = max(counts.values())
            raise Hint(
                f"in {shown} the pair {pair} occurs {counts[pair]} times, but another occurs {best} times"
            )
        if "".join(merged) != "".join(kept):
            raise Hint(
                f"after merging {pair} in {shown} the bases read differently: no base may be lost or doubled"
            )
        if list(merged) != merge_pair(kept, pair):
            raise Hint(f"merging {pair} in {shown}: merge every occurrence from left to right, none twice")
    return f"{len(cases)} token lists, runs such as A A A A A included; ties may be broken either way"


@exercise_01
def interpretation(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "the neighbours of a masked k-mer hold k-1 of its bases",
        "so the loss can fall by copying instead of by learning about DNA",
        "masking a run of neighbouring k-mers together, or tokens that do not overlap, closes the leak",
        "a low masked loss means nothing until the visible context is stated",
    )
