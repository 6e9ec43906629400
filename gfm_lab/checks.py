"""Exercise checks: property tests that accept every correct solution and give a hint on a wrong one.

    from gfm_lab import checks
    check = checks.start("01_tokenization")
    check.kmers(my_kmers)

A check never raises, so "Run All" goes through an unsolved notebook. It prints one line that begins with

    [ok]                 the answer holds; what was tested stands behind it
    [hint]               not yet: what was tried, what came back, what to look at
    [not attempted yet]  the stub still says `...`

and a progress line for the notebook. `check.results` maps each exercise to one of those three words.
"""

from __future__ import annotations

import dis
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

OK, HINT, TODO = "ok", "hint", "not attempted yet"


class Hint(Exception):
    """Raised inside a check when an answer is wrong; its text is what the learner reads."""


class NotAttempted(Exception):
    """Raised inside a check when the answer is still the stub."""


_EXERCISES: dict[str, dict[str, Callable[[Any], str]]] = {}


def exercise(notebook: str) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
    """Register a check under its function's name, as an exercise of `notebook`, in the order of definition."""

    def register(check: Callable[[Any], str]) -> Callable[[Any], str]:
        _EXERCISES.setdefault(notebook, {})[check.__name__] = check
        return check

    return register


class Checks:
    """The checks of one notebook, one method an exercise: `check.kmers(my_kmers)`. Made by `start`."""

    def __init__(self, notebook: str) -> None:
        self.notebook = notebook
        self.results: dict[str, str] = dict.fromkeys(_EXERCISES[notebook], TODO)

    def __getattr__(self, name: str) -> Callable[[Any], None]:
        exercises = _EXERCISES[self.__dict__["notebook"]] if "notebook" in self.__dict__ else {}
        if name not in exercises:
            raise AttributeError(f"no exercise {name!r} in this notebook; there are: {', '.join(exercises)}")
        return lambda answer: self._run(name, answer)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.results]

    def _run(self, name: str, answer: Any) -> None:
        try:
            if is_stub(answer):
                raise NotAttempted
            status, text = OK, _EXERCISES[self.notebook][name](answer)
        except NotAttempted:
            status, text = TODO, "replace the three dots by your answer, then run the cell again"
        except Hint as hint:
            status, text = HINT, str(hint)
        except (
            Exception
        ) as error:  # the learner's own code failed: that is a hint too, never a crash of the notebook
            status, text = HINT, f"your code raised {type(error).__name__}: {error}"
        self.results[name] = status
        done = sum(result == OK for result in self.results.values())
        marks = "".join({OK: "■", HINT: "▨", TODO: "□"}[result] for result in self.results.values())
        print(f"[{status}] {name}: {text}")
        print(f"{self.notebook}  {marks}  {done} of {len(self.results)}")


def start(notebook: str) -> Checks:
    """The checks of one notebook, all still open.

    Args:
        notebook: its file name without the ending, such as "01_tokenization".

    Raises:
        ValueError: no exercises are known under that name.
    """
    if notebook not in _EXERCISES:
        raise ValueError(f"no exercises for {notebook!r}; known notebooks: {', '.join(_EXERCISES)}")
    return Checks(notebook)


def is_stub(answer: Any) -> bool:
    """True for `...` and for a function whose body does nothing (`...`, `pass` or a docstring alone)."""
    if answer is Ellipsis:
        return True
    code = getattr(answer, "__code__", None)
    if code is None:
        return False
    instructions = [i for i in dis.get_instructions(code) if i.opname not in ("RESUME", "NOP")]
    does_nothing = all(i.opname in ("LOAD_CONST", "RETURN_VALUE", "RETURN_CONST") for i in instructions)
    constants = [i.argval for i in instructions if i.opname in ("LOAD_CONST", "RETURN_CONST")]
    return does_nothing and all(value is None or value is Ellipsis for value in constants)


def _random_dna(rng: random.Random, length: int) -> str:
    return "".join(rng.choices("ACGT", k=length))


def _need(value: Any, kind: type | tuple[type, ...], what: str) -> None:
    if value is None:
        raise Hint("your function returned None; is a `return` missing?")
    if not isinstance(value, kind):
        names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise Hint(f"{what} should be a {names}, not a {type(value).__name__}")


# --- notebook 01: tokenization --------------------------------------------------------------------------------------

_01 = exercise("01_tokenization")


@_01
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


@_01
def kmers(answer: Any) -> str:
    """`answer(sequence, k, stride) -> list[str]`: all complete k-mers, from left to right, no tail."""
    rng = random.Random(1)
    cases = [("ATGTGCGCT", 3, 1), ("ATGTGCGCT", 3, 3), ("ATGTGCGCT", 4, 2), ("ATG", 3, 1), ("AT", 3, 1)]
    cases += [
        (_random_dna(rng, rng.randint(0, 60)), k, rng.randint(1, k)) for k in range(1, 9) for _ in range(6)
    ]
    for sequence, k, stride in cases:
        got = answer(sequence, k, stride)
        call = f"my_kmers({sequence!r}, {k}, {stride})"
        _need(got, (list, tuple), "the result")
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


@_01
def slips(answer: Any) -> str:
    """The set of letters of the statements of the lecture that are slips."""
    _need(answer, (set, frozenset, list, tuple, str), "the answer")
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


@_01
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


def merge_reference(tokens: list[str], pair: tuple[str, str]) -> list[str]:
    """One BPE merge by hand: every occurrence of `pair`, from left to right, becomes one token."""
    merged: list[str] = []
    i = 0
    while i < len(tokens):
        if tuple(tokens[i : i + 2]) == tuple(pair):
            merged.append(tokens[i] + tokens[i + 1])
            i += 2
        else:
            merged.append(tokens[i])
            i += 1
    return merged


@_01
def merge_step(answer: Any) -> str:
    """`answer(tokens) -> (pair, merged)`: one BPE step; any pair of the highest count is right."""
    rng = random.Random(3)
    cases = [list("ATATATCG"), list("AAAAA"), ["AT", "AT", "C", "AT", "AT"], list("ACGTTGCAAC")]
    cases += [list(_random_dna(rng, rng.randint(8, 40))) for _ in range(40)]
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
        if list(merged) != merge_reference(kept, pair):
            raise Hint(f"merging {pair} in {shown}: merge every occurrence from left to right, none twice")
    return f"{len(cases)} token lists, runs such as A A A A A included; ties may be broken either way"


@_01
def interpretation(answer: Any) -> str:
    """A written answer: the check only makes sure that there is one, then shows what a good one says."""
    _need(answer, str, "the answer")
    words = len(answer.split())
    if words < 25:
        raise Hint(
            f"{words} words so far; write three or four sentences (25 words at least), then compare with the rubric"
        )
    return (
        "thank you. Grade yourself, one point each: "
        "(1) the neighbours of a masked k-mer hold k-1 of its bases; "
        "(2) so the loss can fall by copying instead of by learning about DNA; "
        "(3) masking a run of neighbouring k-mers together, or tokens that do not overlap, closes the leak; "
        "(4) a low masked loss means nothing until the visible context is stated"
    )
