"""The cgroup v2 subtree that is delegated to an ordinary user.

systemd's user manager provides a scope per instance. Otherwise, an ancestor group of this session may belong to the
user, contain no processes and offer the required controllers. Only root may move a process into such a subtree from
outside; systemd does it on request.
"""

from __future__ import annotations

import contextlib
import os
import time

from devbox.errors import CommandFailed, EngineError, HostError
from devbox.host import programs

_ROOT = "/sys/fs/cgroup"
_CONTROLLERS = ("cpu", "memory", "pids")
_SUPERVISOR, _GUESTS = ".supervisor", ".guests"  # next to container groups, whose names start with a letter
_MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_PATIENCE = 10.0
_PAUSE = 0.002


def is_available() -> bool:
    """Return whether this user can create groups with limits."""
    return not find_obstacle()


def find_obstacle() -> tuple[str, str] | None:
    """Return (reason, remedy) if this user cannot create groups with limits, else None."""
    if not os.path.exists(f"{_ROOT}/cgroup.controllers"):
        return (
            "the host uses control groups v1, which only root can use",
            "boot with systemd.unified_cgroup_hierarchy=1",
        )
    if _can_use_manager() or _find_delegated_group():
        return None
    if not os.path.exists(_get_bus_path()):
        return (
            "no systemd user manager is running for this user",
            "sudo apt-get install dbus-user-session; sudo loginctl enable-linger $USER",
        )
    delegate = r"printf '[Service]\nDelegate=cpu memory pids\n' | sudo systemctl edit --stdin user@.service"
    return (
        f"controllers not delegated to systemd's user manager: {', '.join(_CONTROLLERS)}",
        f"{delegate}; then log in again",
    )


def create_instance_group(instance: str) -> str:
    """Create the group of an instance (`HOME/INSTANCE`) if needed; return "" if this user cannot have one.

    This process joins a leaf of the group.
    """
    try:
        group = _ensure_scope(instance) if _can_use_manager() else f"{_find_delegated_group()}/devbox/{instance}"
        _enter_leaf(group, _SUPERVISOR)
        _enable_controllers(group)
    except (OSError, HostError, CommandFailed):
        return ""
    return group


def rejoin_instance_group(group: str) -> None:
    """Join an instance's existing group as its supervisor; raise EngineError if this session is not permitted to."""
    ensure_access(group)
    _enter_leaf(group, _SUPERVISOR)


def ensure_access(group: str) -> None:
    """Ensure that this process may move its children into `group`; raise EngineError if not."""
    common = os.path.commonpath((_read_own_group(), group))
    if os.access(f"{_ROOT}{common}/cgroup.procs", os.W_OK):
        return
    try:
        _attach(os.path.basename(group), _GUESTS)  # systemd reports an unknown unit
    except (HostError, CommandFailed) as error:
        raise EngineError(
            f"cannot move processes of this session into the instance's control group {group}",
            details=error.details or error.sentence,
            remedy="devbox down, then devbox up in this session",
        ) from None


def _ensure_scope(instance: str) -> str:
    """Return the instance's scope in systemd's user manager: a new one, or one left by a killed supervisor."""
    unit = f"devbox-{instance.replace('/', '-')}.scope"
    properties = ("2", "PIDs", "au", "1", str(os.getpid()), "Delegate", "b", "true")
    with contextlib.suppress(CommandFailed):
        _call("StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", *properties, "0")
    deadline = time.monotonic() + _PATIENCE
    while os.path.basename(_read_own_group()) != unit:
        if time.monotonic() > deadline:
            raise HostError(f"systemd's user manager did not create {unit}", remedy=f"systemctl --user status {unit}")
        with contextlib.suppress(CommandFailed):  # exists already, or is being created
            _attach(unit, _SUPERVISOR)
            return os.path.dirname(_read_own_group())
        time.sleep(_PAUSE)
    return _read_own_group()


def _attach(unit: str, leaf: str) -> None:
    _call("AttachProcessesToUnit", "ssau", unit, f"/{leaf}", "1", str(os.getpid()))


def _call(method: str, signature: str, *arguments: str) -> None:
    bus = f"--address=unix:path={_get_bus_path()}"
    argv = [programs.find("busctl"), bus, "call", *_MANAGER, method, signature, *arguments]
    programs.call(argv, purpose=f"ask systemd's user manager for a control group ({method})")


def _get_bus_path() -> str:
    return f"/run/user/{os.geteuid()}/bus"


def _can_use_manager() -> bool:
    """Return whether systemd's user manager runs, is reachable, and has the controllers."""
    uid = os.geteuid()
    group = f"/user.slice/user-{uid}.slice/user@{uid}.service"
    if not (os.path.exists(_get_bus_path()) and _has_controllers(group)):
        return False
    try:
        return bool(programs.find("busctl"))
    except HostError:
        return False


def _find_delegated_group() -> str:
    """Return the topmost ancestor group in which this user may create groups with limits; "" without one."""
    own, found = _read_own_group(), ""
    while own not in ("", "/"):
        if _can_manage(own) and _has_controllers(own) and _is_free(own):
            found = own
        own = os.path.dirname(own)
    return found


def _can_manage(group: str) -> bool:
    files = ("cgroup.procs", "cgroup.subtree_control")
    return all(os.access(f"{_ROOT}{group}/{name}", os.W_OK) for name in ("", *files))


def _has_controllers(group: str) -> bool:
    return set(_CONTROLLERS) <= set(_read(group, "cgroup.controllers").split())


def _is_free(group: str) -> bool:
    """True if the group delegates its controllers or can; a group with processes of its own cannot."""
    return set(_CONTROLLERS) <= set(_read(group, "cgroup.subtree_control").split()) or not _read(group, "cgroup.procs")


def _enter_leaf(group: str, leaf: str) -> None:
    directory = f"{_ROOT}{group}/{leaf}"
    os.makedirs(directory, exist_ok=True)
    if _read_own_group() != f"{group}/{leaf}":
        _write(f"{directory}/cgroup.procs", str(os.getpid()))


def _enable_controllers(group: str) -> None:
    """Enable the controllers for the children of `group`, starting at the user's topmost ancestor without them."""
    above = os.path.dirname(group)
    if not _has_controllers(group) and _can_manage(above):
        _enable_controllers(above)
    if not set(_CONTROLLERS) <= set(_read(group, "cgroup.subtree_control").split()):
        _write(f"{_ROOT}{group}/cgroup.subtree_control", " ".join(f"+{name}" for name in _CONTROLLERS))


def _read_own_group() -> str:
    """Return the v2 group of this process."""
    with open("/proc/self/cgroup", encoding="utf-8") as source:
        return next((line[3:].rstrip("\n") for line in source if line.startswith("0::")), "/")


def _read(group: str, name: str) -> str:
    try:
        with open(f"{_ROOT}{group}/{name}", encoding="ascii") as source:
            return source.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as target:
        target.write(text)
