#!/usr/bin/env python3
"""Which rows of each table's test split have a near copy in its training split (`make data` prints the report).

    python tools/data_leaks.py      one to two minutes on one core; writes data/leaks.json and data/README.md

Every split column of every table of sequences, with `gfm_lab.splits`: exact copies (either strand), and near
ones. Genomes have their own table, of shared 31-mers. Nothing here is random.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from data_readme import readme_text  # noqa: E402

from gfm_lab.data import SequenceTable, data_names, load_data  # noqa: E402
from gfm_lab.splits import leaks, near_leaks  # noqa: E402

DATA = ROOT / "data"
IDENTITY = 0.9
# Libraries of variants of one sequence are compared place by place: differences up to which two are near.
LIBRARIES = {"lac-mpra": 2, "splice-mpra": 1, "yeast-ars": 2}

WHY = {
    (
        "species-panel",
        "split",
    ): "Windows of two splits are at least 5 kb apart; what is left are repeats within a "
    "genome, and a few stretches that E. coli and K. pneumoniae share. Of 2,000 windows too few to move a score.",
    (
        "human-splice-sites",
        "split",
    ): "Genes are apart, but repeats of the genome stand in many of them. Every near copy "
    "is a decoy, none a real site: a model may learn to know a repeat, and so a negative, by heart.",
    (
        "human-promoters",
        "split",
    ): "Splits lie apart on each chromosome, but repeats stand everywhere, and mostly in the "
    "negatives: none of the near copies is a promoter. Knowing repeats is part of the task as it is posed.",
    (
        "fly-promoters",
        "split",
    ): "Train and test are different chromosomes; what is left are repeats and gene families "
    "with copies on both, most of them among the negatives.",
    (
        "lac-mpra",
        "split",
    ): "Variants of one promoter, split at random as supplied: every test variant has relatives in "
    "training, half of them within the number of bases in the last column. The split asks for interpolation.",
    (
        "splice-mpra",
        "split",
    ): "The library nearly fills the space of nine bases, so every test site has a training site "
    "one base away. The supplied split asks for interpolation.",
    (
        "splice-mpra",
        "split_block",
    ): "One base from training as well, by design; but no training site has the held-out "
    "pair of bases, so this split asks what the two do together.",
    (
        "arabidopsis-expression",
        "split",
    ): "Split by position. DNA windows show hardly any copies; related proteins are "
    "far more frequent (see the column `paralog`), and they are the leak to report here.",
    (
        "yeast-ars",
        "split",
    ): "Variants that differ at two bases or fewer were joined before splitting, so none is left; "
    "all are still variants of one origin, and the last column says how near the nearest is.",
    (
        "yeast-ars",
        "split_block",
    ): "By design the test variants' relatives, with one of the two stretches intact, may be "
    "in training; no training variant is mutated in both.",
}


def examine(table: SequenceTable, column: str) -> dict[str, Any]:
    """Counts for one split column: test rows with an equal, or a near, row in train; the nearest in libraries."""
    splits = table.frame[column].tolist()
    test = splits.count("test")
    found = leaks(table.sequences, splits)
    equal = sorted(found.loc[found["split"] == "test", "row"])
    differences = LIBRARIES.get(table.name)
    length = len(table.sequences[0])
    floor = 0.5 if differences else IDENTITY
    near = near_leaks(table.sequences, splits, identity=floor, aligned=differences is not None)
    near = near[(near["split"] == "test") & (near["match_split"] == "train")]
    nearest, positive = None, None
    if differences:
        apart = ((1 - near["identity"]) * length).round().astype(int)
        nearest = int(apart.median())
        near = near[apart <= differences]
    if table.label_column == "label" and set(table.labels) == {0, 1}:
        positive = int((table.labels[near["row"]] == 1).sum())
    return {
        "table": table.name,
        "split": column,
        "test": test,
        "equal": len(equal),
        "near": len(near),
        "near_class_1": positive,
        "how": f"at most {differences} of {length} bases differ"
        if differences
        else f"identity >= {IDENTITY:g}",
        "nearest": nearest,
        "why": WHY[table.name, column],
    }


def main() -> int:
    """Compute, print and write; 0 if all went well."""
    manifest = json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))
    rows = []
    for name in data_names():
        table = load_data(name)
        if isinstance(table, SequenceTable):
            for column in [c for c in table.frame.columns if c.startswith("split")]:
                rows.append(examine(table, column))
                print({k: v for k, v in rows[-1].items() if k != "why"}, flush=True)
    of = {name: manifest["tables"][name]["files"]["table.tsv.gz"]["content_sha256"] for name in WHY_TABLES}
    result = {"format": 1, "tables": of, "leaks": rows}
    write(DATA / "leaks.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    baselines = DATA / "baselines.json"
    known = json.loads(baselines.read_text(encoding="utf-8")) if baselines.exists() else None
    write(DATA / "README.md", readme_text(manifest, known, result))
    return 0


WHY_TABLES = sorted({name for name, _ in WHY})


def write(path: Path, text: str) -> None:
    """Write under a temporary name, then rename: no half-written file."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(text.encode("utf-8"))  # bytes: the same line ends on every system
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main())
