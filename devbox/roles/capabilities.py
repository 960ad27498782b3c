"""Linux capabilities as a person writes them: with or without CAP_, and with a minus where one is taken away."""

from __future__ import annotations

import re

from devbox.roles.suggest import did_you_mean

_KNOWN = """
AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER
FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE
NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE
SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
NAMES = frozenset(_KNOWN.split())
ALL = "ALL"  # can be taken away, and never given
_WRITTEN = re.compile(r"(-?)(?:CAP_)?([A-Z_]+)")


def parse_capability(text: str) -> str:
    """The capability ("NET_ADMIN", "-NET_RAW") from however it is written; ValueError for what Linux does not know."""
    match = _WRITTEN.fullmatch(text.strip().upper())
    sign, name = match.groups() if match else ("", text)
    if name == ALL and not sign:
        raise ValueError('"ALL" can only be taken away ("-ALL"); name the capabilities that are needed ("NET_ADMIN")')
    if name not in NAMES and name != ALL:
        raise ValueError(f'{text!r} is no capability of Linux, such as "NET_ADMIN"{did_you_mean(name, NAMES)}')
    return f"{sign}{name}"
