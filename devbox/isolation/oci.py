"""The OCI runtime's command line, and what its JSON log means. Light: `exec` starts through this file alone."""

from __future__ import annotations

from devbox.errors import NOT_EXECUTABLE, NOT_FOUND, CommandFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

RUNTIME_FAILED = (255, 1)  # crun, runc: the command was not executed; also what a command may say itself
_MISSING = ("no such file or directory", "not found in $path", "executable file not found")
_NO_DIRECTORY = "chdir"
_crun_by_program: dict[str, bool] = {}  # runtimes of unknown names: whether they are crun
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}  # the runtime's own
_NOT_RUNNABLE = ("not executable", "permission denied", "exec format error", "is a directory")


def is_crun(runtime: str) -> bool:
    """Whether the runtime is crun, by name or as it says itself; others are used by the letter of the OCI contract.

    One process asks a runtime of an unknown name, as a wrapper may have, once.
    """
    name = runtime.rpartition("/")[2]
    if name in ("crun", "runc"):
        return name == "crun"
    if runtime not in _crun_by_program:
        _crun_by_program[runtime] = _reports_crun(runtime)
    return _crun_by_program[runtime]


def _reports_crun(runtime: str) -> bool:
    from devbox.host import programs

    try:
        return b"crun version" in programs.call([runtime, "--version"], purpose="ask the OCI runtime for its version")
    except (CommandFailed, OSError):
        return False


def build_global_argv(runtime: str, oci_root: str, cgroups: str, log: str = "") -> list[str]:
    """The runtime with its global flags. `cgroups` is what `cgroups.detect` said."""
    argv = [runtime, "--root", oci_root]
    if log:
        argv += ["--log", log, "--log-format", "json"]
    if cgroups == "none" and is_crun(runtime):
        argv.append("--cgroup-manager=disabled")
    return argv


def replace_root(command: list[str], root: str) -> list[str]:
    """A command line that begins as `global_argv` does, with another `--root`."""
    return [*command[:2], root, *command[3:]]


def build_run_argv(
    start: list[str], *, bundle: str, pid_file: str, oci_id: str, detach: bool, descriptors: int = 0
) -> list[str]:
    """`run` after the global flags. So many descriptors from 3 on stay open in the container's process."""
    mode = [*(["--detach"] if detach else []), *(["--preserve-fds", str(descriptors)] if descriptors else [])]
    return [*start, "run", *mode, "--bundle", bundle, "--pid-file", pid_file, oci_id]


def build_exec_argv(
    start: list[str],
    oci_id: str,
    argv: Sequence[str],
    *,
    user: str,
    groups: Sequence[int] = (),
    cwd: str,
    env: Sequence[str] = (),
    tty: bool = False,
    pid_file: str = "",
) -> list[str]:
    """`exec` after the global flags: run `argv` in a running container, with no_new_privs. `user` is UID:GID.

    `env` is added to the container's own by runc, and replaces it with crun; supplementary `groups` only runc knows.
    With `pid_file` the runtime ends as soon as the process runs. A rootless caller joins the holder's user namespace
    first. `exit_code` tells what an exit of 255 meant, by the log.
    """
    command = [*start, "exec", "--no-new-privs", "--cwd", cwd, "--user", user]
    for group in list_additional_groups(user, groups):
        command += ["--additional-gids", str(group)]
    if tty:
        command.append("--tty")
    command += _build_detach_argv(pid_file)
    for variable in env:
        command += ["--env", variable]
    return [*command, oci_id, *argv]


def list_additional_groups(user: str, groups: Sequence[int]) -> tuple[int, ...]:
    """The supplementary groups beside the group of UID:GID itself."""
    own = user.partition(":")[2]
    return tuple(group for group in groups if str(group) != own)


def build_exec_document_argv(start: list[str], oci_id: str, document: str, *, pid_file: str = "") -> list[str]:
    """`exec` of a whole process document, which says all the rest. `pid_file`: see `exec_argv`."""
    return [*start, "exec", *_build_detach_argv(pid_file), "--process", document, oci_id]


def _build_detach_argv(pid_file: str) -> list[str]:
    return ["--detach", "--pid-file", pid_file] if pid_file else []


def translate_exit_code(code: int, log: str) -> int:
    """The exit code for a person: 126 or 127 where the runtime could not execute the command, 128+n for a signal."""
    if code < 0:
        return 128 - code
    if code in RUNTIME_FAILED:
        said = read_last_error(log).lower()
        if _NO_DIRECTORY in said:
            return code  # not the command is missing
        if any(phrase in said for phrase in _MISSING):
            return NOT_FOUND
        if any(phrase in said for phrase in _NOT_RUNNABLE):
            return NOT_EXECUTABLE
    return code


def read_last_error(log: str) -> str:
    """The last error in the runtime's JSON log; empty when there is none."""
    try:
        with open(log, encoding="utf-8", errors="replace") as source:
            lines = source.read().splitlines()
    except FileNotFoundError:
        return ""
    from devbox.model import jsontext

    said = ""
    for line in lines:
        try:
            entry = jsontext.loads(line)
        except ValueError:  # it was killed in the middle of a line
            continue
        if isinstance(entry, dict) and entry.get("level") == "error":
            said = str(entry.get("msg", ""))
    return said
