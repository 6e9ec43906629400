"""Write the README's table of published families: what loads, compared with what, how close, in how many lines.

    python tools/families_table.py            # rewrite README.md's table
    python tools/families_table.py --check    # exit 1 when the table is not what the tests recorded

Nothing in the table is typed but what each family is. The error is the largest difference of a logit that
tests/test_pretrained.py found and recorded in tests/fixtures/families.json; the lines are those of the family's key map
in gfm_lab/pretrained.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README, RECORD = ROOT / "README.md", ROOT / "tests" / "fixtures" / "families.json"
BEGIN, END = "<!-- families:begin (tools/families_table.py) -->", "<!-- families:end -->"
RECORD_ANEW = "GFM_LAB_WRITE=1 python -m pytest tests/test_pretrained.py"

# family: (published models that it loads, what it was compared with)
ABOUT = {
    "bert": ("DNABERT-3 to DNABERT-6", "transformers' BertForMaskedLM"),
    "esm": ("Nucleotide Transformer v1", "transformers' EsmForMaskedLM"),
    "gpt2": ("GPT-2 and what is built like it", "transformers' GPT2LMHeadModel"),
    "longformer": ("Longformer", "transformers' LongformerForMaskedLM"),
    "dnabert2": ("DNABERT-2", "the authors' code, recorded"),
    "nucleotide-transformer-v2": ("Nucleotide Transformer v2", "the authors' code, recorded"),
    "hyenadna": ("HyenaDNA", "the authors' code, recorded"),
    "mamba": ("Mamba and what is built like it", "transformers' MambaForCausalLM"),
    "caduceus": ("Caduceus-PS and Caduceus-Ph", "the authors' code, recorded"),
}


def table(key_map_lines: dict[str, int], record: dict[str, dict[str, float]]) -> str:
    """The families as a Markdown table, in the order of `key_map_lines` (family -> lines of its key map).

    Raises:
        SystemExit: a family without a measurement, without a description here, or measured with another key map.
    """
    rows = [
        "| family | loads | compared with | largest logit error | lines of key map |",
        "|---|---|---|---|---|",
    ]
    for family, lines in key_map_lines.items():
        if family not in ABOUT:
            raise SystemExit(
                f"family {family!r} has no line in ABOUT of {Path(__file__).name}: say what it loads"
            )
        if family not in record:
            raise SystemExit(f"family {family!r} is not in {RECORD.name}: measure it with {RECORD_ANEW}")
        measured = record[family]
        if measured["key_map_lines"] != lines:
            raise SystemExit(
                f"family {family!r} was measured with {measured['key_map_lines']} lines of key map and now has "
                f"{lines}: measure it anew with {RECORD_ANEW}"
            )
        error = measured["largest_logit_error"]
        loads, reference = ABOUT[family]
        rows.append(f"| `{family}` | {loads} | {reference} | {f'{error:.1e}' if error else '0'} | {lines} |")
    unknown = sorted(record.keys() - key_map_lines.keys())
    if unknown:
        raise SystemExit(
            f"{RECORD.name} measures what gfm_lab/pretrained.py does not have: {', '.join(unknown)}"
        )
    return "\n".join(rows)


def current() -> str:
    """The table of the families that the package has now."""
    from gfm_lab.pretrained import FAMILIES

    record = json.loads(RECORD.read_text(encoding="utf-8"))
    return table({family: len(keys) for family, keys in FAMILIES.items()}, record)


def replaced(text: str, new: str) -> str:
    """`text` with `new` between the markers. Raises SystemExit if the markers are not there, in order."""
    start, stop = text.find(BEGIN), text.find(END)
    if start < 0 or stop < start:
        raise SystemExit(
            f"README.md has lost its markers: put {BEGIN} and {END} around the table of families"
        )
    return text[: start + len(BEGIN)] + "\n" + new + "\n" + text[stop:]


def main(arguments: list[str] | None = None, readme: Path = README) -> int:
    parser = argparse.ArgumentParser(description="Write the README's table of published families.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the table is stale")
    options = parser.parse_args(arguments)
    text = readme.read_text(encoding="utf-8")
    new = replaced(text, current())
    if options.check:
        fresh = new == text
        print(
            "README.md: families "
            + ("up to date" if fresh else "STALE, run `python tools/families_table.py`")
        )
        return int(not fresh)
    temporary = readme.with_name(f".{readme.name}.tmp")
    temporary.write_text(new, encoding="utf-8")
    os.replace(temporary, readme)
    print(f"wrote the table of families into {readme.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
