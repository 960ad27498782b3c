"""Stores a gray release between looks, and the requests of users about it. One for each stage environment.

The files lie in the configuration directory (`records/hostfiles.py`): nothing below DEVBOX_HOME has a release deployed,
held or aborted.
"""

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
from devbox.model import codec, jsontext
from devbox.records.hostfiles import HostFiles

FORMAT = 1
_BY_FILE = ("hold", "resume", "abort")
_MOMENT = 0.5  # seconds


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a user requested: "hold", "resume", "abort" or "complete". `began`: of the trial; 0 for any."""

    what: str
    by: str
    began: float = 0.0


class Trials:
    """The gray release of one environment: the one under way, or the last that was."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._file = f"{paths.trial(instance)}/trial.json"
        self._wish = f"{paths.trial(instance)}/wish.json"
        self._lock = f"{paths.trial(instance)}/controller.lock"
        self._files = HostFiles(paths)
        self.log = paths.promotion_log(instance)

    def read(self) -> Trial | None:
        """Read it; None if there is none, or if another version wrote it. DevboxError if it is damaged."""
        text = self._files.read(self._file)
        try:
            plain = jsontext.loads(text) if text else {}
            return codec.load(Trial, plain["trial"]) if plain.get("format") == FORMAT else None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DevboxError(f"{self._file} is damaged", remedy=f"remove it: rm {self._file}") from None

    def write(self, trial: Trial) -> None:
        """Write it, readable by its owner only: it has references to secrets."""
        self._files.write(self._file, json.dumps({"format": FORMAT, "trial": codec.dump(trial)}))

    def begin_log(self) -> contextlib.AbstractContextManager[int]:
        """Open the log of a detached promotion, emptied, through no link; a descriptor."""
        return self._files.opened(self.log)

    def ask(self, wish: Wish) -> None:
        """Leave a request for the controller's next look. It replaces one that was not taken yet, but no abort."""
        with self._files.locked(f"{self._wish}.lock"):
            before = self.pending()
            if before is None or (before.what, before.began) != ("abort", wish.began):
                self._files.write(self._wish, json.dumps(codec.dump(wish)))

    def pending(self) -> Wish | None:
        """The request that was not taken yet, if any."""
        with contextlib.suppress(ValueError, TypeError):
            return codec.load(Wish, jsontext.loads(files.read_text(self._wish) or ""))
        return None

    def asked(self, trial: Trial | None = None) -> Wish | None:
        """Take the pending request, if any. None if it is about another trial than this one.

        Only a promotion completes a gray release, in its own process: no file does.
        """
        taken = f"{self._wish}.taken"
        try:
            os.rename(self._wish, taken)  # later requests are for the next look
        except FileNotFoundError:
            return None
        with contextlib.suppress(ValueError, TypeError):
            wish = codec.load(Wish, jsontext.loads(files.read_text(taken) or ""))
            mine = trial is None or wish.began in (0.0, trial.began)
            return wish if mine and wish.what in _BY_FILE else None
        return None

    @contextlib.contextmanager
    def controlled(self) -> Iterator[bool]:
        """Hold the lock of its controller; False if another process does. `controller` holds it for a moment, too."""
        deadline = time.monotonic() + _MOMENT
        while True:
            with self._files.locked(self._lock, wait=False) as mine:
                if mine or time.monotonic() > deadline:
                    yield mine
                    return
            time.sleep(_MOMENT / 20)

    def controller(self) -> int | None:
        """Return the process that controls it; None without one."""
        if not os.path.exists(self._lock):
            return None
        with files.locked(self._lock, shared=True, wait=False) as is_free:
            return None if is_free else files.lock_holder(self._lock)
