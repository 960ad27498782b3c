"""dpkg's files, read: stanzas of `Name: value` lines, continued by lines that begin with a space. Pure."""

from __future__ import annotations

from collections.abc import Iterator

STATUS = "var/lib/dpkg/status"
_INSTALLED = "install ok installed"


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """The fields of each stanza, their first lines only."""
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] not in " \t#")
        if fields:
            yield fields


def installed(status: str) -> Iterator[dict[str, str]]:
    """The stanzas of packages that are installed."""
    return (fields for fields in stanzas(status) if fields.get("Status") == _INSTALLED)
