"""The images that a user pulled or imported by name: `image gc` keeps them until `image rm`.

Images that projects need are kept without this; those of the store's index also have names that bakes gave.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable

from devbox.errors import DevboxError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.model import jsontext

FORMAT = 1
_DIGEST = re.compile("sha256:[0-9a-f]{64}")


class NamedImages:
    """The record of one store: name → digest of the image."""

    def __init__(self, paths: Paths) -> None:
        self._path = paths.named_images
        self._lock = paths.lock("named-images")

    def all(self) -> dict[str, str]:
        """Every kept name and its digest. A damaged record is an error: a collection must not guess."""
        text = files.read_text(self._path)
        if text is None:
            return {}
        try:
            plain = jsontext.loads(text)
            if plain["format"] == FORMAT:
                images = {str(name): str(digest) for name, digest in plain["images"].items()}
                if all(map(_DIGEST.fullmatch, images.values())):
                    return images
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        raise DevboxError(f"{self._path} is damaged", remedy=f"remove it, and pull again what it kept: rm {self._path}")

    def keep(self, images: Iterable[tuple[str, str]]) -> None:
        """Keep these names and digests, a name's newest digest."""
        with files.locked(self._lock):
            self._write(self.all() | dict(images))

    def drop(self, name: str) -> bool:
        """No longer keep an image for the sake of this name; True if it was kept."""
        with files.locked(self._lock):
            known = self.all()
            if name not in known:
                return False
            del known[name]
            self._write(known)
        return True

    def _write(self, images: dict[str, str]) -> None:
        os.makedirs(os.path.dirname(self._path), mode=0o711, exist_ok=True)
        files.write_atomic(self._path, json.dumps({"format": FORMAT, "images": images}))
