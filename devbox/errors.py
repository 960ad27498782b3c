"""The error tree. An error holds a sentence, details, a remedy and an exit code; only `cli/main.py` exits."""

from __future__ import annotations

# Exit codes of DESIGN §3.
FAILED = 1
USAGE = 2
WOULD_CHANGE = 3
CANNOT_RUN = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
INTERRUPTED = 130


class DevboxError(Exception):
    """What went wrong, for a person.

    `sentence` says what and why in one sentence; `where` is `file:line` when a file is to blame; `details` are at
    most a few lines (a command's last output); `remedy` is the next command or edit; `retryable` says whether the
    same call may succeed later without a change. Sentence and remedy are one line each, whatever they quote.
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
        """The text for stderr: the sentence, then details and remedy when there are any.

        All of it may quote a file, an image or a program: nothing in it moves the cursor of a terminal.
        """
        head = f"{self.where}: {self.sentence}" if self.where else self.sentence
        lines = [f"devbox: {head}"]
        lines += [f"  | {line}" for line in self.details.strip().splitlines()[-8:]]
        if self.remedy:
            lines.append(f"  → {self.remedy}")
        return "\n".join(map(to_one_line, lines))


def to_one_line(text: str) -> str:
    """A text without colours, and with what does not print, line ends too, as an escape."""
    if text.isprintable():
        return text
    import re

    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return "".join(
        char if char.isprintable() or char == "\t" else char.encode("unicode_escape").decode() for char in plain
    )


class UsageError(DevboxError):
    """The command line asks for something that does not exist or does not fit."""

    exit_code = USAGE


class EnvFileError(DevboxError):
    """The env file (or a recipe it uses) is wrong; `where` says file and line."""

    exit_code = USAGE


class NotSupported(EnvFileError):
    """The file asks for something that this version can't do. An error only where it is used."""


class NotTrusted(DevboxError):
    """The file wants something of this machine that the user has not allowed."""


class NotLocked(DevboxError):
    """The lock lacks something the file wants, or has something else, and is not to be written (`--locked`)."""


class HostError(DevboxError):
    """This machine lacks something devbox needs: a program, a kernel feature, a permission."""


class CommandFailed(DevboxError):
    """A program devbox started failed. `details` are its last lines."""


class HookFailed(CommandFailed):
    """A hook failed. They come last: the containers are up."""


class BakeFailed(DevboxError):
    """A step of an image could not be made."""


class BlobDamaged(BakeFailed):
    """A blob of the store is not what its name says. It is gone now, to be had anew."""


class InstallConflict(DevboxError):
    """A file that is to be put onto the host is in somebody's way, or was changed there by hand."""


class LedgerDamaged(DevboxError):
    """The ledger of releases is not what devbox wrote: an entry was changed, taken away, or is an old copy."""


class TargetLocked(DevboxError):
    """Another devbox moves a release into that stage just now."""

    retryable = True


class Denied(DevboxError):
    """A release may not go where somebody wants it to go: a gate, the order of stages, a revocation."""


class RegistryError(DevboxError):
    """A registry refuses, lacks what was asked for, or sends something else."""


class RegistryUnavailable(RegistryError):
    """A registry can't be reached just now, or broke off; what was transferred is kept. `after`: in so many seconds.

    `is_silent`: it said nothing, or too little, for as long as anybody waits.
    """

    retryable = True
    after = 0.0
    is_silent = False


class SigningError(DevboxError):
    """A key can't be read or used, or something was not signed as it must be."""


class EngineError(DevboxError):
    """A container could not be started, stopped or reached."""


class RouterUnavailable(EngineError):
    """The router of a stage does not answer just now: it is being started again, or gone."""

    retryable = True


class VerifyFailed(EngineError):
    """A release that got the traffic of a stage was not well: the stage goes back to what it ran before."""


class PortTaken(EngineError):
    """Another program holds a host port that was free when it was chosen."""


class NotReady(DevboxError):
    """A container started but did not become ready in time."""


class RolledBack(DevboxError):
    """A release that was shifted to step by step was not good enough, or a person stopped it. All is as before."""


class CannotRun(DevboxError):
    """`exec`, `run`, `shell` or `tool` could not run the command at all."""

    exit_code = CANNOT_RUN


class Interrupted(DevboxError):
    """The person pressed Ctrl-C."""

    exit_code = INTERRUPTED
