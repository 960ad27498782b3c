"""The exception tree: a sentence, details, a remedy and an exit code. Only `cli/main.py` exits."""

from __future__ import annotations

# Exit codes of DESIGN §3.
FAILED = 1
USAGE = 2
WOULD_CHANGE = 3
CANNOT_RUN = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
SIGNALED = 128  # plus the number of the signal
INTERRUPTED = 130


class DevboxError(Exception):
    """An error to show to the user.

    `sentence` states problem and cause; `where` is `file:line` if a file is to blame; `details` are a few lines at most
    (the last output of a command); `remedy` is the next command or edit; `retryable`: the same call may succeed later
    without a change. Sentence and remedy are one line each, whatever text they quote.
    """

    exit_code = FAILED
    retryable = False

    def __init__(
        self, sentence: str, *, where: str = "", details: str = "", remedy: str = "", exit_code: int | None = None
    ) -> None:
        self.sentence = to_one_line(sentence)
        super().__init__(self.sentence)
        self.where = where
        self.details = details
        self.remedy = to_one_line(remedy)
        if exit_code is not None:
            self.exit_code = exit_code

    def render(self) -> str:
        """Return the text for stderr: the sentence, then details and remedy, if any.

        Control characters in quoted text are escaped, so that they cannot move the terminal cursor.
        """
        head = f"{self.where}: {self.sentence}" if self.where else self.sentence
        lines = [f"devbox: {head}"]
        lines += [f"  | {line}" for line in self.details.strip().splitlines()[-8:]]
        if self.remedy:
            lines.append(f"  → {self.remedy}")
        return "\n".join(map(to_one_line, lines))


def to_one_line(text: str) -> str:
    """Return the text on one line: colours removed, other unprintable characters and line ends escaped."""
    if text.isprintable():
        return text
    import re

    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return "".join(
        char if char.isprintable() or char == "\t" else char.encode("unicode_escape").decode() for char in plain
    )


class UsageError(DevboxError):
    """An invalid command line."""

    exit_code = USAGE


class EnvFileError(DevboxError):
    """An invalid env file or recipe; `where` is file and line."""

    exit_code = USAGE


class NotSupported(EnvFileError):
    """An env-file setting that this version does not support; raised only where the setting is used."""


class NotTrusted(DevboxError):
    """A host access requested by the env file but not allowed by the user."""


class NotLocked(DevboxError):
    """A missing or outdated lockfile entry while `--locked` forbids writing the lockfile."""


class HostError(DevboxError):
    """A missing host requirement: a program, a kernel feature or a permission."""


class CommandFailed(DevboxError):
    """A failed child process; `details` are its last output lines."""


class HookFailed(CommandFailed):
    """A failed hook. Hooks run last: the containers are up."""


class BakeFailed(DevboxError):
    """A failed build step of an image."""


class BlobDamaged(BakeFailed):
    """A blob in the store that does not match its digest; the blob has been removed and is fetched again next time."""


class InstallConflict(DevboxError):
    """A file to install that already exists on the host or was modified there by hand."""


class LedgerDamaged(DevboxError):
    """A ledger modified outside devbox: an entry was changed, removed or replaced by an old copy."""


class TargetLocked(DevboxError):
    """A concurrent promotion to the same stage."""

    retryable = True


class Denied(DevboxError):
    """A promotion refused by a gate, the stage order or a revocation."""


class RegistryError(DevboxError):
    """A registry that refuses a request, does not have the object or sends an unexpected one."""


class RegistryUnavailable(RegistryError):
    """A registry that cannot be reached or dropped the connection; data transferred so far is kept.

    `after`: seconds to wait before a retry. `is_silent`: the registry sent too little data before the timeout.
    """

    retryable = True
    after = 0.0
    is_silent = False


class SigningError(DevboxError):
    """A key that cannot be read or used, or a missing or invalid signature."""


class EngineError(DevboxError):
    """A container that cannot be started, stopped or reached."""


class RouterUnavailable(EngineError):
    """A stage's router that does not respond: it is restarting or stopped."""

    retryable = True


class VerifyFailed(EngineError):
    """A release that failed verification after receiving the stage's traffic: the stage is rolled back."""


class PortTaken(EngineError):
    """A host port taken by another program after devbox had chosen it."""


class NotReady(DevboxError):
    """A container that started but did not become ready in time."""


class RolledBack(DevboxError):
    """A gray release that failed its analysis or was stopped by an operator. The previous release is restored."""


class CannotRun(DevboxError):
    """A command of `exec`, `run`, `shell` or `tool` that cannot be started."""

    exit_code = CANNOT_RUN
