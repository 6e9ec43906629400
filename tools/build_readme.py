"""Write the README's syllabus table and the anatomy figure; nothing in them is typed.

    python tools/build_readme.py            # rewrite README.md's table and slides/figures/anatomy.svg
    python tools/build_readme.py --check    # exit 1 when the table is not what the notebooks and measurements say

Run times come from notebooks/measured.json, which tools/build_notebooks.py writes. A learner's minutes are estimated
from the notebook itself, by the rule in `learner_minutes`: an estimate, and called one in the README.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from build_notebooks import NOTEBOOKS, ROOT, is_exercise, read_source, sources, tags

BEGIN, END = "<!-- syllabus:begin (tools/build_readme.py) -->", "<!-- syllabus:end -->"
FIGURE = ROOT / "slides" / "figures" / "anatomy.svg"
WORDS_A_MINUTE, SECONDS_A_LINE = 180, 5
# An exercise where code is written, one whose answer is a value or a few sentences, and a quiz of lettered choices.
MINUTES_TO_CODE, MINUTES_TO_ANSWER, MINUTES_A_QUIZ = 6, 3, 2

# The plan of record: file name, question, real data.
SYLLABUS = (
    ("00_anatomy", "What happens to one stretch of DNA inside a model?", "E. coli promoter"),
    ("p1_dna_for_engineers", "Strands, genes, promoters, splice sites, coordinates", "E. coli, human chr20"),
    ("p2_pytorch_for_biologists", "Tensors, modules, cross-entropy, the training loop", "k-mer counts"),
    ("p3_evaluating_honestly", "When may I believe a score?", "fly and human promoters"),
    ("01_tokenization", "What does a model see?", "E. coli, human chr20"),
    ("02_embeddings", "How do tokens become geometry and order?", "k-mers of E. coli"),
    ("03_attention", "How do positions talk?", "human splice sites"),
    ("04_convolution_and_hyena", "Can a convolution see a megabase?", "E. coli"),
    ("05_state_spaces_and_mamba", "Can a recurrence choose what to remember?", "E. coli"),
    ("06_both_strands", "DNA has no reading direction: must the model know?", "E. coli"),
    ("07_choosing_a_mixer", "Which one, when?", "E. coli and recall tasks"),
    ("08_output_heads", "How does one body serve four tasks?", "splice sites, MPRA, expression"),
    ("09_masked_language_modeling", "How does DNABERT learn?", "E. coli"),
    ("10_autoregressive_modeling", "How does HyenaDNA write DNA?", "E. coli"),
    ("11_practical_promoters", "Can I run a model on my question?", "fly and human promoters"),
    ("12_practical_variants", "Does this mutation matter?", "MPRA, 1000 Genomes"),
    ("13_practical_design", "Can a model write DNA that does something?", "lac MPRA, yeast ARS"),
)


def learner_minutes(path: Path) -> int:
    """Estimated minutes for a learner, by the rates above, rounded up to five. Folded code (`figure`) is not read."""
    cells = read_source(path).cells
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    code = [cell for cell in cells if cell.cell_type == "code" and "figure" not in tags(cell)]
    lines = sum(len(cell.source.splitlines()) for cell in code)
    minutes = words / WORDS_A_MINUTE + lines * SECONDS_A_LINE / 60
    for cell in filter(is_exercise, code):
        if "check.quiz(" in cell.source or "check.placement(" in cell.source:
            minutes += MINUTES_A_QUIZ
        else:
            writes = any(line.startswith(("def ", "class ")) for line in cell.source.splitlines())
            minutes += MINUTES_TO_CODE if writes else MINUTES_TO_ANSWER
    return 5 * math.ceil(minutes / 5)


def measured() -> dict[str, dict[str, float]]:
    path = NOTEBOOKS / "measured.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def table() -> str:
    """The syllabus as a Markdown table: every planned notebook, ready ones with their minutes and measured run time."""
    known, runs = {path.stem: path for path in sources()}, measured()
    unlisted = sorted(set(known) - {name for name, *_ in SYLLABUS})
    if unlisted:
        raise SystemExit(f"notebooks without a line in SYLLABUS: {', '.join(unlisted)}")
    rows = [
        "| | notebook | the question | real data | status | your time | run time |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, question, data in SYLLABUS:
        number, _, topic = name.partition("_")
        title = topic.replace("_", " ")
        if name in known:
            run = runs[name]
            title = f"[{title}](notebooks/{name}.ipynb)"
            minutes = learner_minutes(known[name])
            status = f"ready | about {minutes} min | {run['run_seconds']} s, {run['peak_mib']:,} MiB"
        else:
            status = "planned | | "
        rows.append(f"| {number} | {title} | {question} | {data} | {status} |")
    ready = [runs[name] for name in known if name in runs]
    cores = sorted({int(run["cores"]) for run in ready})
    rows += [
        "",
        f"Run times: measured by `make notebooks`, no GPU, {' or '.join(map(str, cores))} cores, "
        "kernel start included, with the kernel's peak memory. Your time: estimated from the text "
        f"({WORDS_A_MINUTE} words a minute, {SECONDS_A_LINE} seconds a line of code that is not folded, "
        f"{MINUTES_TO_CODE} minutes an exercise that asks for code, {MINUTES_TO_ANSWER} for an answer, "
        f"{MINUTES_A_QUIZ} a quiz).",
    ]
    return "\n".join(rows)


def replaced(text: str) -> str:
    start, stop = text.find(BEGIN), text.find(END)
    if start < 0 or stop < start:
        raise SystemExit(f"README.md has lost its markers: put {BEGIN} and {END} around the syllabus")
    return text[: start + len(BEGIN)] + "\n" + table() + "\n" + text[stop:]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the README's syllabus and the anatomy figure.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 when the syllabus is stale"
    )
    options = parser.parse_args(arguments)
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    if options.check:
        fresh = replaced(text) == text and FIGURE.exists()
        print("README.md: " + ("up to date" if fresh else "STALE, run `python tools/build_readme.py`"))
        return int(not fresh)
    temporary = readme.with_name(".README.md.tmp")
    temporary.write_text(replaced(text), encoding="utf-8")
    os.replace(temporary, readme)

    import matplotlib

    matplotlib.use("Agg")
    from gfm_lab import plots

    plots.use_style()
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    plots.anatomy().savefig(FIGURE, metadata={"Date": None}, facecolor="white")
    print(f"wrote README.md and {FIGURE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
