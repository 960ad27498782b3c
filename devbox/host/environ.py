"""The only module that reads the process environment."""

from __future__ import annotations

import os


def get(name: str, default: str = "") -> str:
    """Return an environment variable, or `default` if it is unset or empty."""
    return os.environ.get(name) or default


NATIVE_ENGINE = "native"


def put(name: str, value: str) -> None:
    """Set a variable of this process, as its caller could have."""
    os.environ[name] = value


def get_engine_name() -> str:
    """Return the name of the container engine; commands with a fast path of the native engine check it first."""
    return get("DEVBOX_ENGINE", NATIVE_ENGINE)


def copy_environment() -> dict[str, str]:
    """Return a copy of the whole environment, for a program."""
    return dict(os.environ)


def count_cores() -> int:
    """Return the number of cores available to this process."""
    return len(os.sched_getaffinity(0))


def read_available_memory() -> int:
    """Return the kernel's estimate of available memory in bytes; unlimited if it does not report one."""
    with open("/proc/meminfo", encoding="ascii") as source:
        for line in source:
            name, _, rest = line.partition(":")
            if name == "MemAvailable":
                return int(rest.split()[0]) * 1024
    return 1 << 62


def get_user_name() -> str:
    """Return the effective user's name, or uid if it has no name, as in many CI containers."""
    import pwd  # not on the hot path

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def find_data_dir(name: str) -> str:
    """Return a directory of shipped files: in a checkout next to the package, in a wheel inside it."""
    shipped = f"{_PACKAGE}/data/{name}"
    return shipped if os.path.isdir(shipped) else f"{os.path.dirname(_PACKAGE)}/{name}"
