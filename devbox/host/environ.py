"""The only reader of the process environment."""

from __future__ import annotations

import os
import pwd


def get(name: str, default: str = "") -> str:
    """An environment variable, or `default` where it is unset or empty."""
    return os.environ.get(name) or default


def copy_environment() -> dict[str, str]:
    """A copy of the whole environment, to hand to a program."""
    return dict(os.environ)


def count_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def read_available_memory() -> int:
    """Bytes that programs could take without swapping, as the kernel reckons; no bound where it does not say."""
    with open("/proc/meminfo", encoding="ascii") as source:
        for line in source:
            name, _, rest = line.partition(":")
            if name == "MemAvailable":
                return int(rest.split()[0]) * 1024
    return 1 << 62


def get_user_name() -> str:
    """The name of the effective user; its number where the machine knows no name, as in many a CI container."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def find_data_dir(name: str) -> str:
    """The directory of shipped files called `name`: in a checkout beside the package, in a wheel inside it."""
    shipped = f"{_PACKAGE}/data/{name}"
    return shipped if os.path.isdir(shipped) else f"{os.path.dirname(_PACKAGE)}/{name}"
