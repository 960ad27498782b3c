"""The part of the v2 cgroup tree that is an ordinary user's own, and how a process of the user gets into it.

Either systemd's user manager gives one: a scope for each instance. Or whoever started this session has: some group
above this process belongs to the user, has no process of its own, and offers what limits need. From outside of such a
part nobody but root may put a process into it; systemd does it for a user who asks.
"""

from __future__ import annotations

import contextlib
import os
import time

from devbox.errors import CommandFailed, EngineError, HostError
from devbox.host import programs

_ROOT = "/sys/fs/cgroup"
_CONTROLLERS = ("cpu", "memory", "pids")
_SUPERVISOR, _GUESTS = ".supervisor", ".guests"  # beside containers, whose names begin with a letter
_MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_PATIENCE = 10.0
_PAUSE = 0.002


def is_available() -> bool:
    """Whether this user can have groups with limits."""
    return not find_obstacle()


def find_obstacle() -> tuple[str, str] | None:
    """Why this user can have no groups with limits, and what mends it; None where nothing is in the way."""
    if not os.path.exists(f"{_ROOT}/cgroup.controllers"):
        return (
            "this machine has control groups v1, which are root's alone",
            "boot with systemd.unified_cgroup_hierarchy=1",
        )
    if _can_use_manager() or _find_delegated_group():
        return None
    if not os.path.exists(_get_bus_path()):
        return (
            "no systemd user manager runs for this user",
            "sudo apt-get install dbus-user-session; sudo loginctl enable-linger $USER",
        )
    delegate = r"printf '[Service]\nDelegate=cpu memory pids\n' | sudo systemctl edit --stdin user@.service"
    return f"systemd's user manager was not given {', '.join(_CONTROLLERS)}", f"{delegate}; then log in anew"


def create_instance_group(instance: str) -> str:
    """The group of an instance (`HOME/INSTANCE`), made where needed; "" when this user can have none.

    This process becomes a member of a leaf of it.
    """
    try:
        group = _ensure_scope(instance) if _can_use_manager() else f"{_find_delegated_group()}/devbox/{instance}"
        _enter_leaf(group, _SUPERVISOR)
        _enable_controllers(group)
    except (OSError, HostError, CommandFailed):
        return ""
    return group


def rejoin_instance_group(group: str) -> None:
    """Make this process the supervisor in an instance's group that stands; EngineError where it can't be from here."""
    ensure_access(group)
    _enter_leaf(group, _SUPERVISOR)


def ensure_access(group: str) -> None:
    """See to it that this process may put its children into a container's group, below `group`; EngineError if not."""
    common = os.path.commonpath((_read_own_group(), group))
    if os.access(f"{_ROOT}{common}/cgroup.procs", os.W_OK):
        return
    try:
        _attach(os.path.basename(group), _GUESTS)  # where systemd knows no such unit, it says so
    except (HostError, CommandFailed) as error:
        raise EngineError(
            f"from this session no process can be put into the instance's control group {group}",
            details=error.details or error.sentence,
            remedy="devbox down, then devbox up in this session",
        ) from None


def _ensure_scope(instance: str) -> str:
    """The instance's scope of systemd's user manager, new or as a killed supervisor left it."""
    unit = f"devbox-{instance.replace('/', '-')}.scope"
    properties = ("2", "PIDs", "au", "1", str(os.getpid()), "Delegate", "b", "true")
    with contextlib.suppress(CommandFailed):
        _call("StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", *properties, "0")
    deadline = time.monotonic() + _PATIENCE
    while os.path.basename(_read_own_group()) != unit:
        if time.monotonic() > deadline:
            raise HostError(f"systemd's user manager did not make {unit}", remedy=f"systemctl --user status {unit}")
        with contextlib.suppress(CommandFailed):  # it is there already, or is being made
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
    """Whether systemd's user manager runs, can be asked, and has been given the controllers itself."""
    uid = os.geteuid()
    group = f"/user.slice/user-{uid}.slice/user@{uid}.service"
    if not (os.path.exists(_get_bus_path()) and _has_controllers(group)):
        return False
    try:
        return bool(programs.find("busctl"))
    except HostError:
        return False


def _find_delegated_group() -> str:
    """The topmost group above this process in which this user may make groups with limits; "" without one."""
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
    """Whether it offers its controllers to groups below, or can: one with processes of its own can't."""
    return set(_CONTROLLERS) <= set(_read(group, "cgroup.subtree_control").split()) or not _read(group, "cgroup.procs")


def _enter_leaf(group: str, leaf: str) -> None:
    directory = f"{_ROOT}{group}/{leaf}"
    os.makedirs(directory, exist_ok=True)
    if _read_own_group() != f"{group}/{leaf}":
        _write(f"{directory}/cgroup.procs", str(os.getpid()))


def _enable_controllers(group: str) -> None:
    """Hand the controllers down to the groups below `group`, from the topmost of this user's that lacks them."""
    above = os.path.dirname(group)
    if not _has_controllers(group) and _can_manage(above):
        _enable_controllers(above)
    if not set(_CONTROLLERS) <= set(_read(group, "cgroup.subtree_control").split()):
        _write(f"{_ROOT}{group}/cgroup.subtree_control", " ".join(f"+{name}" for name in _CONTROLLERS))


def _read_own_group() -> str:
    """The v2 group of this process."""
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
