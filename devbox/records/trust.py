"""Which projects may make this machine do something for them: trusted once, until what they ask for changes.

A record holds the hash of everything that was shown. It lies in the configuration directory: nothing runs on the host
because of a file below DEVBOX_HOME. `projects/ID/trust.json` there changes with it, for shells to see, and allows
nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence

from devbox.host import files
from devbox.host.paths import Paths
from devbox.model import jsontext
from devbox.model.ids import key_of
from devbox.model.resolved import HostAccess
from devbox.records.hostfiles import HostFiles
from devbox.records.hostkey import HostKey

FORMAT = 1
FORMAT_OF_SIGNAL = 2  # earlier versions read what is allowed there, and find nothing


class TrustRecord:
    """What the user has allowed one instance."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._path = f"{paths.host_project(instance)}/trust.json"
        self._signal = paths.trust(instance)
        self._files = HostFiles(paths)
        self._stages = f"{paths.host_state}/stages/{instance}"
        self._host = HostKey(paths)

    def covers(self, wanted: Sequence[HostAccess]) -> bool:
        """Whether exactly this was allowed. Nothing wanted needs no trust."""
        return not wanted or self._said("allowed") == _key(wanted)

    def activates(self, offered: Sequence[HostAccess]) -> bool:
        """Whether a shell may be set up with exactly this. Only what was allowed by hand counts, were it nothing."""
        return self._said("shell") == _key(offered)

    def installs(self, wanted: Sequence[HostAccess]) -> bool:
        """Whether exactly this may be put onto the host."""
        return not wanted or self._said("install") == _key(wanted)

    def promotes(self, wanted: Sequence[HostAccess]) -> bool:
        """Whether stages may have exactly this of the host."""
        return not wanted or files.read_text(self._stages) == _key(wanted)

    def allow(
        self,
        wanted: Sequence[HostAccess],
        *,
        shell: Sequence[HostAccess] = (),
        install: Sequence[HostAccess] = (),
        stages: Sequence[HostAccess] = (),
    ) -> None:
        """Remember that the user allows this, and what shells, installs and stages may have."""
        self._allow_stages(stages)
        keys = {"allowed": wanted, "shell": shell, "install": install}
        plain = {"format": FORMAT, **{name: _key(access) for name, access in keys.items()}}
        self._files.write(self._path, json.dumps(plain))
        os.makedirs(os.path.dirname(self._signal), mode=0o711, exist_ok=True)
        signal = {"format": FORMAT_OF_SIGNAL, "changed": key_of(plain)}
        files.write_atomic(self._signal, json.dumps(signal), mode=0o600)

    def revoke(self) -> bool:
        """Forget it; whether there was something to forget."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._stages)
        was_there = self._files.exists(self._path)
        self._files.remove(self._path)
        return was_there

    def _allow_stages(self, wanted: Sequence[HostAccess]) -> None:
        if wanted:
            self._host.prepare()
            os.makedirs(os.path.dirname(self._stages), mode=0o700, exist_ok=True)
            files.write_atomic(self._stages, _key(wanted), mode=0o600)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._stages)

    def _said(self, what: str) -> str:
        """The key of what was allowed; a file that can't be understood allows nothing."""
        try:
            plain = jsontext.loads(self._files.read(self._path) or "{}")
        except ValueError:
            return ""
        return str(plain.get(what, "")) if isinstance(plain, dict) and plain.get("format") == FORMAT else ""


def _key(wanted: Sequence[HostAccess]) -> str:
    """The identity of what is asked for. Where in the file it stands does not matter."""
    return key_of(sorted([access.container, access.variable, access.reference, access.path] for access in wanted))
