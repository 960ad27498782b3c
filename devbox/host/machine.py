"""What this machine has to give just now."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def available_memory() -> int:
    """Bytes that programs could take without swapping, as the kernel reckons; no bound where it does not say."""
    with open("/proc/meminfo", encoding="ascii") as source:
        for line in source:
            name, _, rest = line.partition(":")
            if name == "MemAvailable":
                return int(rest.split()[0]) * 1024
    return 1 << 62
