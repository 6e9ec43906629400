"""The exercises of notebook 12, variants."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import torch

from gfm_lab.checks import Hint, exercise, need, written
from gfm_lab.sequence import reverse_complement

exercise_12 = exercise("12_practical_variants")

ROWS = (
    ("20\t1000226\trs376678365\tA\tT\t100\tPASS\tAF=0.002", [("20", 1000225, "A", "T")]),
    ("20\t1\t.\tG\tC\t.\t.\t.", [("20", 0, "G", "C")]),
    (
        "X\t501\trs7\tA\tC,AT,G\t.\tPASS\tAC=1,2,3",
        [("X", 500, "A", "C"), ("X", 500, "A", "AT"), ("X", 500, "A", "G")],
    ),
    ("7\t42\t.\tCAG\tC\t.\t.\tDP=3\tGT\t0|1", [("7", 41, "CAG", "C")]),
    ("3\t77\t.\tT\tTGA,<DEL>\t.\t.\tEND=99", [("3", 76, "T", "TGA")]),
    ("3\t78\t.\tT\t*\t.\t.\t.", []),
    ("3\t79\t.\tT\t.\t.\t.\t.", []),
)


@exercise_12
def my_variants(answer: Any) -> str:
    """`answer(line) -> list of (chrom, position from 0, ref, alt)`: one VCF row."""
    for line, expected in ROWS:
        got = answer(line)
        got = [tuple(variant) for variant in got]
        what = f"for the row {' '.join(line.split()[:5])}"
        if got == expected:
            continue
        if any(len(variant) != 4 for variant in got):
            raise Hint(f"{what}: each variant is (chrom, position, ref, alt), four things")
        if any(isinstance(variant[1], str) for variant in got):
            raise Hint(f"{what}: the position is still text; int(...) makes a number of it")
        moved = [(c, p - 1, r, a) for c, p, r, a in got]
        if moved == expected:
            raise Hint(f"{what}: VCF counts from 1 and Python from 0: take 1 off")
        alts = [variant[3] for variant in got]
        if any("," in alt for alt in alts):
            raise Hint(f"{what}: ALT lists several alternatives, separated by commas: one variant for each")
        if any(set(alt) - set("ACGT") for alt in alts):
            odd = next(alt for alt in alts if set(alt) - set("ACGT"))
            raise Hint(f"{what}: {odd!r} is no sequence, so there is nothing to score: leave it out")
        if sorted(got) == sorted(expected):
            raise Hint(f"{what}: keep the order of the row")
        raise Hint(f"{what}: expected {expected}, got {got}")
    return (
        f"{len(ROWS)} rows, among them several alternatives, a deletion, <DEL>, * and no alternative at all"
    )


@exercise_12
def my_scores(answer: Any) -> str:
    """`answer(logits, ref) -> four numbers`: log P(base) - log P(ref) in nats, in the order A, C, G, T."""
    generator = torch.Generator().manual_seed(1)
    for trial in range(8):
        logits = 2 * torch.randn(10, generator=generator)
        ref = "ACGT"[trial % 4]
        got = answer(logits.clone(), ref)
        got = np.asarray([float(value) for value in got])
        if got.shape != (4,):
            raise Hint(f"return four numbers, for A, C, G and T; these are {got.size}")
        log_p = logits.double().log_softmax(0).numpy()
        own = 5 + "ACGT".index(ref)
        right = log_p[5:9] - log_p[own]
        p = np.exp(log_p)

        def same(other: np.ndarray, got: np.ndarray = got) -> bool:
            return bool(np.allclose(got, other, atol=1e-3))

        if same(right):
            continue
        if same(-right):
            raise Hint("the sign: a less likely alternative should score below 0, so P(ref) is subtracted")
        if same(right / math.log(2)):
            raise Hint("that is in bits; the convention here is the natural logarithm, nats")
        if same(p[5:9] - p[own]):
            raise Hint("a difference of probabilities; the score is the difference of their logarithms")
        if same(p[5:9] / p[own]):
            raise Hint("that is the ratio P(alt) / P(ref): take its logarithm")
        if same(log_p[5:9]):
            raise Hint("these are log P(base); subtract that of the reference")
        if same(log_p[0:4] - log_p["ACGT".index(ref)]):
            raise Hint("ids 0 to 4 are special tokens; A, C, G and T are ids 5 to 8")
        if abs(got["ACGT".index(ref)]) > 1e-3:
            raise Hint(f"the reference against itself should score 0, not {got['ACGT'.index(ref)]:.3f}")
        raise Hint(f"for ref {ref}: expected {right.round(3)}, got {got.round(3)}")
    return "8 tables of logits: four scores each, 0 for the reference, all from one pass"


@exercise_12
def my_turned(answer: Any) -> str:
    """`answer(position, ref, alt, length) -> (position, ref, alt)` of the same change on the other strand."""
    random_ = random.Random(4)
    for trial in range(60):
        length = random_.randint(8, 30)
        text = "".join(random_.choice("ACGT") for _ in range(length))
        size = 1 if trial < 20 else random_.randint(1, 4)
        at = random_.randint(0, length - size)
        ref = text[at : at + size]
        alt = "".join(random_.choice("ACGT") for _ in range(1 if trial < 20 else random_.randint(1, 4)))
        got = answer(at, ref, alt, length)
        if len(tuple(got)) != 3:
            raise Hint("return three things: position, ref, alt")
        p, r, a = got
        need(p, int, "the position")
        other = reverse_complement(text)
        case = f"{text}, position {at}, {ref}>{alt}"
        if (r, a) == (ref, alt):
            raise Hint(f"{case}: the letters of the other strand are the complements")
        if r != reverse_complement(ref) and r == reverse_complement(ref)[::-1]:
            raise Hint(
                f"{case}: {ref} reads {reverse_complement(ref)} on the other strand: in reverse order too"
            )
        if r != reverse_complement(ref) or a != reverse_complement(alt):
            raise Hint(
                f"{case}: ref should become {reverse_complement(ref)}, and alt {reverse_complement(alt)}"
            )
        if not 0 <= p <= length - size or other[p : p + size] != r or p != length - at - size:
            right = length - at - size
            if p == length - at - 1:
                raise Hint(
                    f"{case}: right for one base. The first base of a longer ref is the last one on the other strand: "
                    f"its place is {right}, not {p}"
                )
            if p == length - at:
                raise Hint(f"{case}: the last of {length} places is {length - 1}: off by one")
            raise Hint(f"{case}: the other strand reads {other}, and {r} stands at {right} there, not at {p}")
        mutated = text[:at] + alt + text[at + size :]
        assert other[:p] + a + other[p + size :] == reverse_complement(mutated)
    return (
        "60 variants: applied to the other strand, each gives the reverse complement of the mutated sequence"
    )


ROUTES = ("trained head", "mutation count", "language models")


@exercise_12
def my_prediction(answer: Any) -> str:
    """The three routes to lac expression, the best first."""
    need(answer, (list, tuple), "the prediction")
    unknown = [name for name in answer if name not in ROUTES]
    if unknown or len(set(answer)) != 3:
        raise Hint(f"list all three, the best first: {', '.join(ROUTES)}")
    if tuple(answer) == ROUTES:
        return (
            "as the table below shows; why the zero-shot scores come last is the question of the next section"
        )
    return f"noted: {', '.join(answer)}. The next table says; compare, and ask what you had assumed"


@exercise_12
def my_interpretation(answer: Any) -> str:
    """What may be said to the clinic about one variant of uncertain significance."""
    return written(
        answer,
        "a log-likelihood ratio says how unusual the base is in DNA like the model's training data, not that it harms",
        "the splice network was trained on this very gene: its confidence is not a held-out result",
        "what stands beside the number: a PWM, the distribution of the score over common variants, an interval",
        "what would decide: an assay (minigene or RNA of the patient), segregation, population frequency",
    )
