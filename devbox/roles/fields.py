"""Kinds of values in the env file, each parsed from all accepted forms.

A parser takes the raw TOML value and returns the parsed one, or raises ValueError with the rest of the sentence "[dev]
ports: …". The JSON Schema next to each parser is for editors.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, WithJsonSchema

from devbox.host import signals
from devbox.model import codec
from devbox.model.container import Secret

_TOO_LARGE = 1 << 62  # of a whole number: twice as much must fit into 64 bits with a sign


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?`, or "" without a similar known word."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


_KNOWN = """
AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER
FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE
NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE
SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
NAMES = frozenset(_KNOWN.split())
ALL = "ALL"  # can only be dropped
_WRITTEN = re.compile(r"(-?)(?:CAP_)?([A-Z_]+)")


def parse_capability(text: str) -> str:
    """Normalize a capability ("NET_ADMIN", "-NET_RAW"); ValueError for one unknown to Linux."""
    match = _WRITTEN.fullmatch(text.strip().upper())
    sign, name = match.groups() if match else ("", text)
    if name == ALL and not sign:
        raise ValueError('"ALL" can only be dropped ("-ALL"); list the required capabilities ("NET_ADMIN")')
    if name not in NAMES and name != ALL:
        raise ValueError(f'expected a Linux capability such as "NET_ADMIN", got {text!r}{did_you_mean(name, NAMES)}')
    return f"{sign}{name}"


CommandItem = str | tuple[str, ...]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")  # programs use names that shells cannot set, such as discovery.type

NAME_RULE = "expected lower-case letters, digits, '-' and '_', a letter or digit first, at most 63 characters"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_PORTS = 65536
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_USER_OR_GROUP = r"(?:[A-Za-z_][A-Za-z0-9_.-]{0,62}\$?|[0-9]{1,10})"
_USER = re.compile(rf"{_USER_OR_GROUP}(?::{_USER_OR_GROUP})?")
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._:~=/^-]*")


class Model(BaseModel):
    """Base of the env file's tables: frozen, unknown keys rejected."""

    # Built on first use: few commands need all tables.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


def describe_type(value: object) -> str:
    """Return the type of a TOML value for messages."""
    names = {bool: "a boolean", int: "a number", float: "a number with a point", str: "a string", list: "a list"}
    return names.get(type(value), "a table" if isinstance(value, dict) else f"a {type(value).__name__}")


def parse_text(value: Any) -> str:
    """String; integers and booleans are accepted as written. Floats must be quoted, as their spelling is lost."""
    if isinstance(value, float):
        raise ValueError(f"{value} must be quoted: as a number, 3.10 becomes 3.1")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"expected a string, got {describe_type(value)}")
    if "\0" in value:
        raise ValueError("contains a null byte")
    return value


def parse_command(value: Any) -> tuple[str, ...]:
    """Command: a string is run by a shell, a list is an argument vector."""
    item = parse_command_item(value)
    return ("/bin/sh", "-c", item) if isinstance(item, str) else item


def parse_command_item(value: Any) -> CommandItem:
    """Parse one command; strings (shell) and lists stay distinct."""
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("is empty")
        return parse_text(value)
    if isinstance(value, list) and value:
        return tuple(parse_text(word) for word in value)
    raise ValueError(f'expected a command: "text for the shell" or ["program", "argument"], got {_format_value(value)}')


def parse_commands(value: Any) -> tuple[CommandItem, ...]:
    """Commands in order; the first failure ends the run. A single string is one command."""
    if isinstance(value, str):
        return (parse_command_item(value),)
    if not isinstance(value, list):
        raise ValueError(f"expected a list of commands, got {describe_type(value)}")
    return tuple(parse_command_item(item) for item in value)


def parse_duration(value: Any) -> float:
    """Duration in seconds: `90`, "500ms", "2m", "1h"."""
    if _is_finite_number(value) and value >= 0:
        return float(value)
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    seconds = float(match[1]) * _SECONDS[match[2]] if match else math.inf
    if not math.isfinite(seconds):
        raise ValueError(f'expected a duration such as "30s", "2m" or "1h", got {_format_value(value)}')
    return seconds


def parse_size(value: Any) -> int:
    """Size in bytes: `1048576`, "512MiB", "2g". As in other container tools, "M" and "MB" are powers of 1024."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    size: float = value if type(value) is int else 0
    if match:
        size = float(match[1]) * 1024 ** _POWERS[match[2].lower()]
    if not 0 < size < _TOO_LARGE:
        raise ValueError(f'expected a size such as "512MiB" or "2GiB", got {_format_value(value)}')
    return int(size)


def parse_strings(value: Any) -> tuple[str, ...]:
    """List of strings."""
    if not isinstance(value, list):
        raise ValueError(f"expected a list of strings, got {describe_type(value)}")
    return tuple(parse_text(item) for item in value)


def parse_text_table(value: Any) -> dict[str, str]:
    """Table of strings."""
    if not isinstance(value, dict):
        raise ValueError(f"expected a table, got {describe_type(value)}")
    return {key: _parse_named(key, item) for key, item in value.items()}


def parse_environment(value: Any) -> dict[str, str]:
    """Table of environment variables."""
    table = parse_text_table(value)
    for key in table:
        if not _VARIABLE.fullmatch(key):
            raise ValueError(f"expected the name of an environment variable, got {key!r}")
    return table


def parse_references(value: Any) -> dict[str, str]:
    """Environment variables fetched at start: "env:NAME", "file:PATH" or "cmd:COMMAND"."""
    table = parse_environment(value)
    for key, reference in table.items():
        kind, _, rest = reference.partition(":")
        if kind not in ("env", "file", "cmd") or not rest.strip():
            raise ValueError(f'{key}: expected "env:NAME", "file:PATH" or "cmd:COMMAND"')
    return table


def parse_secrets(value: Any) -> dict[str, Secret]:
    """NAME = REFERENCE: a variable; NAME = { from = REFERENCE, file = PATH }: an in-memory file of the container.

    References "env:NAME", "file:PATH" and "cmd:COMMAND" are fetched at container start.
    """
    if not isinstance(value, dict):
        raise ValueError(f"expected a table, got {describe_type(value)}")
    references: dict[str, Any] = {}
    files: dict[str, str] = {}
    for name, item in value.items():
        references[name] = item
        if isinstance(item, dict):
            if set(item) != {"from", "file"}:
                raise ValueError(f'{name}: expected {{ from = "cmd:…", file = "/run/secrets/{name.lower()}" }}')
            references[name], files[name] = item["from"], parse_path(item["file"])
    known = parse_references(references)
    return {name: Secret(reference=reference, file=files.get(name, "")) for name, reference in known.items()}


def parse_capabilities(value: Any) -> tuple[str, ...]:
    """Linux capabilities to add or to drop ("-NET_RAW", "-ALL")."""
    return tuple(parse_capability(item) for item in parse_strings(value))


def parse_user(value: Any) -> str:
    """User of the image: `NAME`, `UID`, `NAME:GROUP` or `UID:GID`."""
    text = parse_text(value)
    if not _USER.fullmatch(text):
        raise ValueError(f'expected a user of the image such as "app", 1000 or "app:staff", got {text!r}')
    return text


def parse_packages(value: Any) -> tuple[str, ...]:
    """Names of distribution packages."""
    names = parse_strings(value)
    for name in names:
        if not _PACKAGE.fullmatch(name):
            raise ValueError(f"expected the name of a package, got {name!r}")
    return names


def _parse_line(value: Any) -> str:
    """Parse a single-line text, for line-based formats."""
    text = parse_text(value)
    if _CONTROL.search(text):
        raise ValueError(f"{text!r} contains a line break or another control character")
    return text


def parse_path(value: Any) -> str:
    """Absolute path in a container, without `..`."""
    text = _parse_line(value)
    if not text.startswith("/") or ".." in text.split("/"):
        raise ValueError(f'expected an absolute path without "..", got {text!r}')
    return text.rstrip("/") or "/"


def parse_inner_path(value: Any) -> str:
    """Path below the project directory."""
    text = _parse_line(value)
    if not text or text.startswith(("/", "~")) or ".." in text.split("/"):
        raise ValueError(f'expected a path below the project directory, without "..", got {text!r}')
    return text


def parse_inner_paths(value: Any) -> tuple[str, ...]:
    """Paths or globs below the project directory."""
    return tuple(parse_inner_path(item) for item in parse_strings(value))


def parse_whole(value: Any) -> int:
    """Integer, also as a string from a variable."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _TOO_LARGE:
        return value
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value.strip()):
        return int(value)
    raise ValueError(f"expected an integer, got {_format_value(value)}")


def parse_number(value: Any) -> float:
    """Number, also as a string from a variable."""
    if _is_finite_number(value):
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}(\.\d+)?", value.strip()):
        return float(value)
    raise ValueError(f"expected a number, got {_format_value(value)}")


def _is_finite_number(value: Any) -> bool:
    """True if a value is a number that a float can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) <= sys.float_info.max


def parse_signal(value: Any) -> str:
    """Name of a signal without SIG: "TERM"."""
    number = signals.find_number(parse_text(value))
    if number is None:
        raise ValueError(f'expected the name of a signal such as "TERM", "INT" or "RTMIN+3", got {value!r}')
    return signals.find_name(number)


def check_name(name: str) -> None:
    """Raise ValueError for an invalid host or directory name."""
    if not _NAME.fullmatch(name) or name == "localhost":
        raise ValueError(f"invalid name {name!r}: {NAME_RULE}")


def parse_named_paths(value: Any) -> dict[str, str]:
    """Volumes: name → mount point."""
    table = parse_text_table(value)
    for name, target in table.items():
        check_name(name)
        if parse_path(target) == "/":
            raise ValueError(f"cannot mount {name} over /")
    return {name: parse_path(target) for name, target in table.items()}


def _parse_named(key: str, value: Any) -> str:
    try:
        return parse_text(value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _format_value(value: object) -> str:
    return repr(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else describe_type(value)


def parse_egress(value: Any) -> tuple[str, ...]:
    """Host names: `pypi.org`; `*.debian.org` for all subdomains; `pypi.org:443` for a single port."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a list of host names, got {describe_type(value)}")
    entries = []
    for item in map(parse_text, value):
        name, colon, port = item.lower().partition(":")
        labels = name.removeprefix("*.").split(".")
        if not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
            raise ValueError(f"expected a host name such as pypi.org, *.debian.org or pypi.org:443, got {item}")
        if colon and not (port.isdecimal() and port.isascii() and 0 < int(port) < _PORTS):
            raise ValueError(f"{item}: expected a port from 1 to 65535 after the colon")
        entries.append(item.lower())
    return tuple(dict.fromkeys(entries))


def build_annotations(
    parser: Callable[[Any], Any], schema: dict[str, Any]
) -> tuple[PlainValidator, PlainSerializer, WithJsonSchema]:
    """Return the annotations of a value parsed by `parser` from input that matches `schema`."""
    return PlainValidator(parser), PlainSerializer(codec.dump, return_type=Any), WithJsonSchema(schema)


_STRING = {"type": "string"}
_STRINGS = {"type": "array", "items": _STRING}
_SCALAR = {"type": ["string", "integer", "boolean"]}
_TABLE = {"type": "object", "additionalProperties": _SCALAR}
COMMAND_SCHEMA = {"oneOf": [_STRING, {**_STRINGS, "minItems": 1}]}

Text = Annotated[str, *build_annotations(parse_text, _SCALAR)]
Texts = Annotated[tuple[str, ...], *build_annotations(parse_strings, _STRINGS)]
TextTable = Annotated[dict[str, str], *build_annotations(parse_text_table, _TABLE)]
Environment = Annotated[dict[str, str], *build_annotations(parse_environment, _TABLE)]
_REFERENCE = {"type": "string", "pattern": "^(env|file|cmd):"}
_SECRET_FILE = {
    "type": "object",
    "properties": {"from": _REFERENCE, "file": {"type": "string", "pattern": "^/"}},
    "required": ["from", "file"],
    "additionalProperties": False,
}
Secrets = Annotated[
    dict[str, Secret],
    *build_annotations(
        parse_secrets, {"type": "object", "additionalProperties": {"oneOf": [_REFERENCE, _SECRET_FILE]}}
    ),
]
Command = Annotated[tuple[str, ...], *build_annotations(parse_command, COMMAND_SCHEMA)]
Commands = Annotated[
    tuple[CommandItem, ...],
    *build_annotations(parse_commands, {"oneOf": [_STRING, {"type": "array", "items": COMMAND_SCHEMA}]}),
]
Duration = Annotated[float, *build_annotations(parse_duration, {"type": ["string", "number"]})]
Size = Annotated[int, *build_annotations(parse_size, {"type": ["string", "integer"]})]
Whole = Annotated[int, *build_annotations(parse_whole, {"type": ["integer", "string"]})]
Number = Annotated[float, *build_annotations(parse_number, {"type": ["number", "string"]})]
Signal = Annotated[str, *build_annotations(parse_signal, _STRING)]
User = Annotated[str, *build_annotations(parse_user, {"type": ["string", "integer"]})]
Packages = Annotated[tuple[str, ...], *build_annotations(parse_packages, _STRINGS)]
Path = Annotated[str, *build_annotations(parse_path, {"type": "string", "pattern": "^/"})]
InnerPath = Annotated[str, *build_annotations(parse_inner_path, _STRING)]
InnerPaths = Annotated[tuple[str, ...], *build_annotations(parse_inner_paths, _STRINGS)]
Capabilities = Annotated[tuple[str, ...], *build_annotations(parse_capabilities, _STRINGS)]
Egress = Annotated[tuple[str, ...], *build_annotations(parse_egress, _STRINGS)]
NamedPaths = Annotated[
    dict[str, str], *build_annotations(parse_named_paths, {"type": "object", "additionalProperties": _STRING})
]
Restart = Literal["no", "on-failure", "always"]
Kind = Literal["service", "job"]
