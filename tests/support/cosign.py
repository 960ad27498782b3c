"""The cosign program: an independent verifier of devbox's signatures."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from support.machine import lacking

from devbox.attest.keys import PublicKey

OFFLINE = ["--insecure-ignore-tlog=true", "--allow-http-registry", "--allow-insecure-registry"]


class Cosign:
    """The program, without a network, for the images of one repository."""

    def __init__(self, place: Path) -> None:
        if shutil.which("cosign") is None:
            lacking("cosign is not installed")
        self.place = place
        self._env = {**os.environ, "HOME": str(place), "TUF_ROOT": str(place / "tuf")}
        self._run("trusted-root", "create", "--out", str(place / "root.json")).check_returncode()

    def verifies(self, at: str, key: PublicKey, *, type_: str = "") -> bool:
        """Whether it verifies the image's signature by this key, or its attestation of a type."""
        (self.place / "key.pub").write_text(key.pem)
        words = ["--key", str(self.place / "key.pub"), *OFFLINE, at]
        if not type_:
            return self._run("verify", *words).returncode == 0
        new = ["--new-bundle-format", "--trusted-root", str(self.place / "root.json"), "--type", type_]
        return self._run("verify-attestation", *new, *words).returncode == 0

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["cosign", *words], env=self._env, capture_output=True, text=True, check=False)
