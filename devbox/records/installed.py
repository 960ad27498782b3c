"""Installed files on this host: one record per install, of all projects, and the change in progress.

The records are in the configuration directory: they determine which host files are replaced and removed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from typing import Any, TypeVar

from devbox.errors import DevboxError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.model import codec, jsontext
from devbox.model.install import Journal, Manifest
from devbox.records.host_files import HostFiles

INSTALLED_FORMAT = 1
_JOURNAL = "journal"

T = TypeVar("T")


class InstalledRecords:
    """The manifests of a DEVBOX_HOME. Writers hold `lock`."""

    def __init__(self, paths: Paths) -> None:
        self._directory = paths.installed_records
        self._files = HostFiles(paths)
        self.lock = paths.lock("install")

    def list_manifests(self) -> list[Manifest]:
        """Return all manifests."""
        names = [name for name in self._files.list_names(self._directory) if name.endswith(".json")]
        found = (self._read(Manifest, name.removesuffix(".json")) for name in names if name != f"{_JOURNAL}.json")
        return [manifest for manifest in found if manifest is not None]

    def find(self, instance: str, name: str) -> Manifest | None:
        """Return the manifest of an install of an instance; None if there is none."""
        return self._read(Manifest, f"{instance}-{name}")

    def store(self, manifest: Manifest) -> None:
        """Record the manifest of an install."""
        self._write(f"{manifest.instance}-{manifest.name}", manifest)

    def forget(self, instance: str, name: str) -> None:
        """Remove the record of an uninstalled install."""
        self._drop(f"{instance}-{name}")

    def read_journal(self) -> Journal | None:
        """Return the change that an interrupted devbox left; None if there is none."""
        return self._read(Journal, _JOURNAL)

    @property
    def is_interrupted(self) -> bool:
        """Whether a change is in progress, or was interrupted."""
        return self._files.exists(f"{self._directory}/{_JOURNAL}.json")

    def begin(self, journal: Journal) -> None:
        """Record the change that is about to happen."""
        self._write(_JOURNAL, journal)

    def end(self) -> None:
        """Remove the record of the completed change."""
        self._drop(_JOURNAL)

    def _read(self, cls: type[T], name: str) -> T | None:
        path = f"{self._directory}/{name}.json"
        text = self._files.read(path)
        if text is None:
            return None
        try:
            plain: dict[str, Any] = jsontext.loads(text)
            if plain["format"] == INSTALLED_FORMAT:
                return codec.load(cls, plain["record"])
        except (ValueError, KeyError, TypeError):
            raise DevboxError(
                f"{path} is damaged: the files it records are unknown", remedy=f"inspect it, then: rm {path}"
            ) from None
        raise DevboxError(
            f"{path} was written by a newer devbox (format {plain['format']})",
            remedy="upgrade devbox: pip install -U devbox-pipeline",
        )

    def _write(self, name: str, record: Manifest | Journal) -> None:
        plain = {"format": INSTALLED_FORMAT, "record": codec.dump(record)}
        self._files.write(f"{self._directory}/{name}.json", json.dumps(plain))

    def _drop(self, name: str) -> None:
        self._files.remove(f"{self._directory}/{name}.json")


NAMED_IMAGES_FORMAT = 1
_DIGEST = re.compile("sha256:[0-9a-f]{64}")


class NamedImages:
    """The record of one store: name → digest of the image."""

    def __init__(self, paths: Paths) -> None:
        self._path = paths.named_images
        self._lock = paths.lock("named-images")

    def read_images(self) -> dict[str, str]:
        """Return all names with their digests. A damaged record is an error: garbage collection must not guess."""
        text = files.read_text(self._path)
        if text is None:
            return {}
        try:
            plain = jsontext.loads(text)
            if plain["format"] == NAMED_IMAGES_FORMAT:
                images = {str(name): str(digest) for name, digest in plain["images"].items()}
                if all(map(_DIGEST.fullmatch, images.values())):
                    return images
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        raise DevboxError(f"{self._path} is damaged", remedy=f"remove it, then pull its images again: rm {self._path}")

    def store(self, images: Iterable[tuple[str, str]]) -> None:
        """Keep these names with their newest digests."""
        with files.lock_file(self._lock):
            self._write(self.read_images() | dict(images))

    def drop(self, name: str) -> bool:
        """Stop keeping an image under this name; return True if it was kept."""
        with files.lock_file(self._lock):
            known = self.read_images()
            if name not in known:
                return False
            del known[name]
            self._write(known)
        return True

    def _write(self, images: dict[str, str]) -> None:
        os.makedirs(os.path.dirname(self._path), mode=0o711, exist_ok=True)
        files.write_atomic(self._path, json.dumps({"format": NAMED_IMAGES_FORMAT, "images": images}))
