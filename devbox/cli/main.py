"""Entry point, and the only module that exits. Errors become a message on stderr and an exit code."""

from __future__ import annotations

import gc
import os
import sys

from devbox.errors import FAILED, INTERRUPTED, DevboxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

COMPLETE, ACTIVATE = "__complete", "__activate"  # internal commands called by shells
BROKEN_PIPE = 141  # 128 + SIGPIPE, as for a program that does not catch the signal
_FEW_CYCLES = 200_000  # allocations before garbage collection: a command makes few, and exits before cycles matter


def main() -> NoReturn:
    """Run the command line of this process."""
    gc.set_threshold(_FEW_CYCLES)
    code = run(sys.argv[1:])
    gc.freeze()  # otherwise the interpreter collects all loaded objects at exit: a sixth of the time of `plan`
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Run a command line; return its exit code. Raises only BaseExceptions of the interpreter."""
    try:
        code = _run_command(argv)
        sys.stdout.flush()
    except DevboxError as error:
        return _fail(error.render(), error.exit_code)
    except KeyboardInterrupt:
        return _fail("devbox: interrupted", INTERRUPTED)
    except BrokenPipeError:
        _drop_stdout()
        return BROKEN_PIPE
    except OSError as error:
        from devbox.host.os_errors import from_os_error

        known = from_os_error(error)
        return _fail(known.render(), known.exit_code) if known else _report_unexpected(error)
    except Exception as error:  # noqa: BLE001 - last resort: print a message, not a traceback
        return _report_unexpected(error)
    return code


def _run_command(argv: Sequence[str]) -> int:
    if list(argv) == ["--version"]:
        from devbox.host.version import VERSION

        sys.stdout.write(f"devbox {VERSION}\n")
        return 0
    if argv and argv[0] == COMPLETE:
        return _complete(argv[1:])
    if argv and argv[0] == ACTIVATE:
        from devbox.cli.activate import activate

        return activate(argv[1:])
    from devbox.cli.parser import ParseError, load_handler, parse
    from devbox.commands.table.index import find, list_commands

    try:
        command, args = parse(argv, find)
    except ParseError:
        from devbox.cli.help import explain

        return explain(argv, list_commands())
    return load_handler(command)(args)


def _complete(words: Sequence[str]) -> int:
    """Print completion candidates for the shell."""
    from devbox.cli.completion import complete

    sys.stdout.writelines(f"{line}\n" for line in complete(words))
    return 0


def _drop_stdout() -> None:
    """Redirect stdout to /dev/null: the reader is gone, and flushing at exit would fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _fail(text: str, code: int) -> int:
    from devbox.cli.terminal import print_line

    print_line(text)
    return code


def _report_unexpected(error: Exception) -> int:
    from devbox.host import environ

    if environ.get("DEVBOX_DEBUG"):
        import traceback

        traceback.print_exc()
    sentence = f"devbox: internal error: {type(error).__name__}: {error}"
    return _fail(f"{sentence}\n  → run it again with DEVBOX_DEBUG=1 and report the traceback", FAILED)
