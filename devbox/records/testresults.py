"""What the tests said about images of one project on this machine: the newest run of each digest, a file each."""

from __future__ import annotations

import json
import os

from devbox.host import files
from devbox.host.paths import Paths
from devbox.model import codec
from devbox.model.evidence import TestEvidence

FORMAT = 1


class TestResults:
    """The results of one instance."""

    __test__ = False  # no class of tests, whatever pytest makes of its name

    def __init__(self, paths: Paths, instance: str) -> None:
        self._directory = paths.test_results(instance)

    def add(self, evidence: TestEvidence) -> None:
        """Keep what a run said; it takes the place of what an earlier one said of the same image."""
        os.makedirs(self._directory, mode=0o711, exist_ok=True)
        plain = {"format": FORMAT, "evidence": codec.dump(evidence)}
        files.write_atomic(self._path(evidence.digest), json.dumps(plain))

    def newest(self, digest: str) -> TestEvidence | None:
        """What the newest run said of an image; None where there was none that can be understood."""
        try:
            plain = json.loads(files.read_text(self._path(digest)) or "{}")
            return codec.load(TestEvidence, plain["evidence"]) if plain.get("format") == FORMAT else None
        except (ValueError, KeyError, AttributeError):
            return None

    def _path(self, digest: str) -> str:
        return f"{self._directory}/{digest.removeprefix('sha256:')}.json"
