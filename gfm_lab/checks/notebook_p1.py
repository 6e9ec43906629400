"""The exercises of notebook p1, DNA for engineers."""

from __future__ import annotations

import random
from typing import Any

from gfm_lab.checks import Hint, exercise, random_dna, written
from gfm_lab.sequence import reverse_complement

exercise_p1 = exercise("p1_dna_for_engineers")


@exercise_p1
def prediction(answer: Any) -> str:
    """Stops among 1,025 codons: by chance, 48 or about that, and in the frame that the cell reads, 1."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Hint("give two numbers: (stops by chance, stops in the right frame)")
    if not all(isinstance(number, (int, float)) for number in answer):
        raise Hint("give two numbers, not text")
    chance, right = answer
    if 15 <= chance <= 17:
        raise Hint("1,025 / 64 is for one stop codon; how many of the 64 are stops?")
    if 340 <= chance <= 343:
        raise Hint("a third? There are three stop codons among 64, not among 9")
    if not 38 <= chance <= 58:
        raise Hint(f"{chance} is far off: 3 of 64 triplets are stops. What share of 1,025 is that?")
    if right == 0:
        raise Hint("none at all in the right frame? Something has to tell the ribosome where the gene ends")
    if right != 1:
        raise Hint("in the right frame the first stop ends the protein: how many can there be in one gene?")
    return (
        "about 48 by chance, and one, the last codon, in the right frame; the genome's own number comes next"
    )


@exercise_p1
def vcf(answer: Any) -> str:
    """`answer(read, start, stop, strand, i, base) -> (pos, ref, alt)`, as in a VCF: 1-based, forward strand."""
    rng = random.Random(4)
    tried = 0
    for strand in "+-":
        for _ in range(40):
            genome = random_dna(rng, 60)
            start = rng.randrange(0, 40)
            stop = rng.randrange(start + 1, 60)
            read = genome[start:stop] if strand == "+" else reverse_complement(genome[start:stop])
            i = rng.randrange(len(read))
            base = rng.choice([letter for letter in "ACGT" if letter != read[i]])
            got = answer(read, start, stop, strand, i, base)
            _compare(got, genome, read, start, stop, strand, i, base)
            tried += 1
    return f"{tried} variants on both strands: each one, put into the forward strand, changes the text as it should"


def _compare(got: Any, genome: str, read: str, start: int, stop: int, strand: str, i: int, base: str) -> None:
    """Raise the hint that fits unless `got` is the record of this change."""
    if got is None:
        raise Hint("your function returned None; is a `return` missing?")
    if not isinstance(got, (tuple, list)) or len(got) != 3:
        raise Hint("return three things: pos, ref, alt")
    case = f"for read={read!r} cut from [{start}, {stop}) on strand {strand}, i={i} -> {base}"
    index = start + i if strand == "+" else stop - 1 - i
    expected = (read[i], base)
    if strand == "-":
        expected = (reverse_complement(read[i]), reverse_complement(base))
    pos, alleles = got[0], (got[1], got[2])
    if (pos, alleles) == (index + 1, expected):
        return
    if alleles == expected[::-1]:
        raise Hint(f"{case}: REF is what the reference has, ALT what it becomes; yours are swapped")
    if strand == "+" and alleles != expected:
        raise Hint(
            f"{case}: on the forward strand REF and ALT are the letters of `read` and `base` themselves"
        )
    if pos == index + 1 and alleles == (read[i], base):
        raise Hint(
            f"one bug found: POS {pos} is right. But the forward strand has {genome[index]!r} there, not "
            f"{read[i]!r}: on which strand are REF and ALT written?"
        )
    if pos == index and alleles == expected:
        more = "one bug found: the letters are right. " if strand == "-" else ""
        raise Hint(f"{more}{case}: {pos} is where Python finds the base, counted from 0. POS counts from 1")
    if pos == index and strand == "-":
        raise Hint(f"{case}: both bugs are still there. Look at POS first: what does it count from?")
    if strand == "-" and pos in (start + i, start + i + 1):
        raise Hint(f"{case}: on the reverse strand, read[0] lies at the right end of [start, stop)")
    if strand == "-" and pos == stop - i + 1:
        raise Hint(f"{case}: POS is one too large; `stop - 1 - i` is the index from 0")
    raise Hint(f"{case}: expected POS {index + 1}, REF {expected[0]}, ALT {expected[1]}; got {tuple(got)}")


@exercise_p1
def interpretation(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "small is a mean: over other changes in the same variant, and over the letters put there",
        "single substitutions were tried, not several together, nor insertions and deletions, which "
        "would change the distance between the boxes",
        "one reporter, strain and condition: other conditions may need those bases",
        "small is compared with something: the band of the shuffled data, which a few of those bars exceed",
    )
