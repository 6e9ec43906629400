"""The exercises of notebook p1, DNA for engineers."""

from __future__ import annotations

from typing import Any

from gfm_lab.checks import Hint, exercise, written

exercise_p1 = exercise("p1_dna_for_engineers")

LAC_START, LAC_STOP = 366_343, 366_418  # the wild type of lac-mpra in ecoli-k12, reverse strand


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
    return "about 48 by chance, and one, the last codon, in the right frame"


@exercise_p1
def record(answer: Any) -> str:
    """The VCF record (POS, REF, ALT) of the lac promoter's base 64, an A at -11 on the reverse strand, made a C."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 3:
        raise Hint("give three things: (POS, REF, ALT)")
    pos, *alleles = answer
    if isinstance(pos, bool) or not isinstance(pos, int) or not all(isinstance(a, str) for a in alleles):
        raise Hint('POS is a whole number, REF and ALT are letters, as in (366_000, "A", "C")')
    ref, alt = (allele.upper() for allele in alleles)
    if (pos, ref, alt) == (LAC_STOP - 64, "T", "G"):
        return "POS counts from 1, and the forward strand's T becomes a G: partners of the A and the C"
    if (ref, alt) == ("G", "T"):
        raise Hint("REF is what the reference has, ALT what it becomes; yours are swapped")
    letters, place = (ref, alt) == ("T", "G"), pos == LAC_STOP - 64
    if place and (ref, alt) == ("A", "C"):
        raise Hint(
            f"one bug found: POS {pos:,} is right. But the forward strand has another letter there than "
            "the promoter: which?"
        )
    if pos == LAC_STOP - 1 - 64:
        found = "one bug found: the letters are right. " if letters else "both bugs are still there. "
        raise Hint(f"{found}{pos:,} is where Python finds the base, counting from 0; POS counts from 1")
    if pos == LAC_STOP + 1 - 64:
        raise Hint(f"{pos:,} is one too large: stop - 1 - i is the index from 0, and POS is one more")
    if pos in (LAC_START + 64, LAC_START + 65):
        raise Hint("on the reverse strand, base 0 lies at the right end of [start, stop)")
    if not letters:
        raise Hint(f"{ref} to {alt}? The promoter's A becomes a C; what are their partners?")
    raise Hint(f"the letters are right; POS {pos:,} is not: repair what `broken` gave")


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
