"""Put data/ and checkpoints/ into the wheel, as gfm_lab/_data and gfm_lab/_checkpoints, and what else notebooks read.

Hatchling calls this when it builds a wheel (see pyproject.toml). A plain `force-include` would copy the tables into an
editable installation as well, where they would go stale, and take the downloads in data/.sources along.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LEFT_OUT = {".fai", ".gzi"}  # indices that reading makes
# Folder in the wheel -> what goes into it (`gfm_lab.data.shipped_dir`).
READ_BY_NOTEBOOKS = {
    "_results": ("benchmarks/results", ("**/*.json", "**/*.csv")),
    "_recordings": ("tests/fixtures", ("caduceus_*.safetensors",)),
}


class CustomBuildHook(BuildHookInterface):
    """Adds every file of both folders but hidden ones and indices. Raises FileNotFoundError where one is missing."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        for name in ("data", "checkpoints"):
            folder = Path(self.root) / name
            if not (folder / "manifest.json").is_file():
                raise FileNotFoundError(f"{folder / 'manifest.json'} is missing: git brings {name}/ back")
            for path in sorted(folder.rglob("*")):
                inside = path.relative_to(folder)
                hidden = any(part.startswith(".") for part in inside.parts)
                if path.is_file() and not hidden and path.suffix not in LEFT_OUT:
                    build_data["force_include"][str(path)] = f"gfm_lab/_{name}/{inside.as_posix()}"
        for target, (name, patterns) in READ_BY_NOTEBOOKS.items():
            folder = Path(self.root) / name
            found = sorted(path for pattern in patterns for path in folder.glob(pattern))
            if not found:
                raise FileNotFoundError(f"{folder} has nothing to ship: git brings {name}/ back")
            for path in found:
                build_data["force_include"][str(path)] = (
                    f"gfm_lab/{target}/{path.relative_to(folder).as_posix()}"
                )
