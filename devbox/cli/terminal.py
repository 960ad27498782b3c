"""Capabilities of the user's terminal. Standard library only."""

from __future__ import annotations

import os
import sys

from devbox.host import environ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

DEFAULT_WIDTH = 80
_COLORS = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "bold": "1",
    "dim": "2",
}


def is_interactive() -> bool:
    """True if a program may get a terminal: stdin and stdout are one."""
    return os.isatty(0) and os.isatty(1)


def find_shell_terminal(*, asked_for: bool) -> int | None:
    """Return the terminal's descriptor for `--shell-on-fail`; None unless asked for. UsageError without a terminal."""
    if not asked_for:
        return None
    if is_interactive():
        return 0
    from devbox.errors import UsageError

    raise UsageError(
        "--shell-on-fail requires a terminal", remedy="omit --shell-on-fail: the error shows the step's log"
    )


def find_prompt_terminal(*, progress: str) -> int | None:
    """Return the terminal's descriptor for prompts; None without a terminal or for JSON progress."""
    return 0 if os.isatty(0) and os.isatty(2) and progress != "json" else None


def is_live(stream: TextIO) -> bool:
    """True if lines can be redrawn: a terminal with cursor movement, not a CI log."""
    return stream.isatty() and environ.get("TERM") != "dumb" and not environ.get("CI")


def has_color(stream: TextIO) -> bool:
    """True if output is colored. NO_COLOR overrides FORCE_COLOR; both override the stream's type."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environ.get("TERM") != "dumb"


def has_unicode(stream: TextIO) -> bool:
    """True if the stream supports Unicode. An explicit C locale counts as no, although Python could write UTF-8."""
    locale = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG")
    encoding = (stream.encoding or "").lower()
    return encoding.startswith("utf") and (not locale or "utf" in locale.lower())


def get_width(stream: TextIO) -> int:
    """Return the columns of the terminal behind a stream."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or DEFAULT_WIDTH
    except (OSError, ValueError):
        return DEFAULT_WIDTH


def paint(text: str, color: str, *, when: bool) -> str:
    """Return the text in a color, if enabled."""
    return f"\x1b[{_COLORS[color]}m{text}\x1b[0m" if when and color else text


def to_ascii(text: str) -> str:
    """Replace devbox's own symbols for a terminal without UTF-8; other unsupported characters become `?`."""
    for sign, plain in (("✓", "ok"), ("✗", "!!"), ("→", "->"), ("—", "-"), ("·", "-"), ("…", "...")):
        text = text.replace(sign, plain)
    return text.encode("ascii", "replace").decode()


def print_line(text: str, *, stream: TextIO | None = None) -> None:
    """Print one whole line in one write, by default on stderr."""
    out = stream or sys.stderr
    out.write(f"{text if has_unicode(out) else to_ascii(text)}\n")
    out.flush()
