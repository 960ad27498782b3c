"""Command lines and JSON log of the OCI runtime. Light: `exec` starts through this module alone."""

from __future__ import annotations

from devbox.errors import NOT_EXECUTABLE, NOT_FOUND, CommandFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

RUNTIME_FAILED = (255, 1)  # crun, runc: the command was not executed; also possible exit codes of a command
_MISSING = ("no such file or directory", "not found in $path", "executable file not found")
_NO_DIRECTORY = "chdir"
_crun_by_program: dict[str, bool] = {}  # by runtime of unknown name: whether it is crun
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}  # the runtime's own
_NOT_RUNNABLE = ("not executable", "permission denied", "exec format error", "is a directory")


def is_crun(runtime: str) -> bool:
    """Return whether the runtime is crun, by name or by its own report; others are used per the OCI specification.

    A runtime of unknown name, such as a wrapper, is asked once per process.
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
    """Return the runtime with its global flags. `cgroups` is the result of `cgroups.detect`."""
    argv = [runtime, "--root", oci_root]
    if log:
        argv += ["--log", log, "--log-format", "json"]
    if cgroups == "none" and is_crun(runtime):
        argv.append("--cgroup-manager=disabled")
    return argv


def replace_root(command: list[str], root: str) -> list[str]:
    """Replace `--root` in a command line from `build_global_argv`."""
    return [*command[:2], root, *command[3:]]


def build_run_argv(
    start: list[str], *, bundle: str, pid_file: str, oci_id: str, detach: bool, descriptors: int = 0
) -> list[str]:
    """Build `run` after the global flags; `descriptors` descriptors from 3 on stay open in the container's process."""
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
    """Build `exec` after the global flags: run `argv` in a running container, with no_new_privs. `user` is UID:GID.

    runc adds `env` to the container's environment, crun replaces it; only runc supports supplementary `groups`. With
    `pid_file` the runtime exits as soon as the process runs. A rootless caller joins the holder's user namespace first.
    See `translate_exit_code` for exit status 255.
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
    """Return the supplementary groups without the group of UID:GID itself."""
    own = user.partition(":")[2]
    return tuple(group for group in groups if str(group) != own)


def build_exec_document_argv(start: list[str], oci_id: str, document: str, *, pid_file: str = "") -> list[str]:
    """Build `exec` of a complete process document. `pid_file`: see `build_exec_argv`."""
    return [*start, "exec", *_build_detach_argv(pid_file), "--process", document, oci_id]


def _build_detach_argv(pid_file: str) -> list[str]:
    return ["--detach", "--pid-file", pid_file] if pid_file else []


def translate_exit_code(code: int, log: str) -> int:
    """Return the exit code to report: 126 or 127 if the runtime could not execute the command, 128+n for a signal."""
    if code < 0:
        return 128 - code
    if code in RUNTIME_FAILED:
        message = read_last_error(log).lower()
        if _NO_DIRECTORY in message:
            return code  # the directory is missing, not the command
        if any(phrase in message for phrase in _MISSING):
            return NOT_FOUND
        if any(phrase in message for phrase in _NOT_RUNNABLE):
            return NOT_EXECUTABLE
    return code


def read_last_error(log: str) -> str:
    """Return the last error in the runtime's JSON log; "" if there is none."""
    try:
        with open(log, encoding="utf-8", errors="replace") as source:
            lines = source.read().splitlines()
    except FileNotFoundError:
        return ""
    from devbox.model import jsontext

    message = ""
    for line in lines:
        try:
            entry = jsontext.loads(line)
        except ValueError:  # truncated: the runtime was killed while writing
            continue
        if isinstance(entry, dict) and entry.get("level") == "error":
            message = str(entry.get("msg", ""))
    return message
