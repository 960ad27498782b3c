"""Build hook of the wheel: adds man pages, completion scripts and, if `make docs` built it, the documentation site."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.utils import get_reproducible_timestamp


class CustomBuildHook(BuildHookInterface[Any]):
    """See `BuildHookInterface`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files to the build; an editable installation uses those of the checkout."""
        if version == "editable":
            return
        sys.path[:0] = [self.root, f"{self.root}/packaging"]
        import generated

        self._scratch = tempfile.TemporaryDirectory(prefix="devbox-build-")
        place = self._scratch.name
        for name in generated.write(place, date=get_reproducible_timestamp()):
            build_data["shared_data"][f"{place}/{name}"] = name
        if os.path.isdir(f"{self.root}/site"):
            build_data["force_include"][f"{self.root}/site"] = "devbox/data/site"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the generated files."""
        if version != "editable":
            self._scratch.cleanup()
