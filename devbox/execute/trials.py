"""Where a gray release is kept between looks, and where people say what they want of it. One a stage's environment."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator

from devbox.errors import DevboxError
from devbox.frozen import dataclass
from devbox.gray.trial import Trial
from devbox.host import files
from devbox.host.paths import Paths
from devbox.model import codec, ids
from devbox.records import anchors
from devbox.records.hostkey import HostKey

FORMAT = 1
_BY_FILE = ("hold", "resume", "abort")
_MOMENT = 0.5  # seconds


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What somebody asked for: "hold", "resume", "abort" or "complete"."""

    what: str
    by: str


class Trials:
    """The gray release of one environment: the one under way, or the last that was."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self.directory = paths.trial(instance)
        self._file = f"{self.directory}/trial.json"
        self._wish = f"{self.directory}/wish.json"
        self._lock = f"{self.directory}/controller.lock"
        self._host = HostKey(paths)
        self._written = f"{anchors.directory_of(paths)}/trials/{instance}"

    def read(self) -> Trial | None:
        """What is known; None where there never was one, or another version of devbox wrote it.

        DevboxError if it is not what this host wrote last: nothing is deployed by the word of a file below DEVBOX_HOME.
        """
        text, written = files.read_text(self._file), (files.read_text(self._written) or "").split()
        if text and not written:
            return None
        if text and ids.sha256(text.encode()) not in written:
            raise DevboxError(f"{self._file} is not what devbox wrote", remedy=f"remove it: rm {self._file}")
        try:
            plain = json.loads(text) if text else {}
            return codec.load(Trial, plain["trial"]) if plain.get("format") == FORMAT else None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DevboxError(f"{self._file} is damaged", remedy=f"remove it: rm {self._file}") from None

    def write(self, trial: Trial) -> None:
        """Keep it. It tells where secrets are, so that nobody else reads it."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        text = json.dumps({"format": FORMAT, "trial": codec.dump(trial)})
        self._remember(ids.sha256(text.encode()))
        files.write_atomic(self._file, text, mode=0o600)

    def _remember(self, digest: str) -> None:
        """Remember what is about to be written next to the key of this host; a killed writer leaves what was before."""
        before = (files.read_text(self._written) or "").split()[:1]
        self._host.prepare()
        os.makedirs(os.path.dirname(self._written), mode=0o700, exist_ok=True)
        files.write_atomic(self._written, "\n".join((digest, *before)), mode=0o600)

    def ask(self, wish: Wish) -> None:
        """Say what is wanted; whoever controls it finds it at his next look. The last word counts."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        files.write_atomic(self._wish, json.dumps(codec.dump(wish)), mode=0o600)

    def asked(self) -> Wish | None:
        """What somebody said since this was asked last. Only a promotion completes, in its own process: no file can."""
        taken = f"{self._wish}.taken"
        try:
            os.rename(self._wish, taken)  # what is said from now on is heard next time
        except FileNotFoundError:
            return None
        with contextlib.suppress(ValueError, TypeError):
            wish = codec.load(Wish, json.loads(files.read_text(taken) or ""))
            return wish if wish.what in _BY_FILE else None
        return None

    @contextlib.contextmanager
    def controlled(self) -> Iterator[bool]:
        """Be the one who controls it; False where another process is. Whoever only asks holds it for a moment, too."""
        deadline = time.monotonic() + _MOMENT
        while True:
            with files.locked(self._lock, wait=False) as mine:
                if mine or time.monotonic() > deadline:
                    yield mine
                    return
            time.sleep(_MOMENT / 20)

    def controller(self) -> int | None:
        """The process that controls it; None where nobody does."""
        if not os.path.exists(self._lock):
            return None
        with files.locked(self._lock, shared=True, wait=False) as nobody:
            return None if nobody else files.lock_holder(self._lock)
