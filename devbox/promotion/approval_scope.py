"""Scope of an approval: the parts of a deployment, so that a later change can be named. Pure.

Short values that are not secrets are kept as text, others as digests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from devbox.model import codec, ids
from devbox.model.stage import Deployment, Stage

_LONGEST = 100  # characters of a value kept as text
_SHOWN = 3  # changes in a sentence
_OPAQUE = ("env", "secrets")  # values kept as digests
_PLACED = ("name", "order", "where", "gates", "strategy", "env", "secrets", "replicas")  # covered elsewhere, or a place


def list_parts(
    deployment: Deployment,
    *,
    order: Sequence[str],
    keys: Mapping[str, str],
    services: Mapping[str, str] | None = None,
    home: Stage | None = None,
) -> dict[str, str]:
    """Return the parts of a deployment by name. `order`: all stages. `keys`: builders and approvers, by fingerprint.

    `services`: those behind the release, with the digests of their tables. `home`: the stage that owns the environment,
    if that is another one: its replicas, variables and secrets apply, and its parts are covered as well, except for its
    gates. Fields added to stages, strategies or processes by later versions are covered without a change here.
    """
    found = {"image": deployment.release.image, "order of stages": ", ".join(order), **keys, **(services or {})}
    found |= _flatten("needs", codec.dump(deployment.release.config.needs))
    for number, gate in enumerate(deployment.stage.gates, start=1):
        found |= _flatten(f"gates.{number}.{gate.op}", codec.dump(gate))
    found |= _list_stage_parts(deployment)
    if home is not None and home.name != deployment.stage.name:
        own = _list_stage_parts(Deployment(release=deployment.release, stage=home))
        found |= {f"{home.name}: {name}": value for name, value in own.items()}
    return found


def _list_stage_parts(deployment: Deployment) -> dict[str, str]:
    """Return the parts of a stage without its gates: processes, strategy and other fields."""
    found: dict[str, str] = {}
    for name, process in deployment.processes.items():
        plain = codec.dump(process)
        found[f"replicas.{name}"] = str(plain.pop("replicas"))
        found |= _flatten(f"process.{name}", plain)
    stage = codec.dump(deployment.stage)
    found |= _flatten("strategy", stage["strategy"])
    for key, value in stage.items():
        if key not in _PLACED:
            found |= _flatten(key, value)
    # An external need without variables has no values below its name.
    bare = [need for need, variables in deployment.stage.external.items() if not variables]
    return found | {f"external.{need}": "no variables" for need in bare}


def compute_digest(covered: Mapping[str, str]) -> str:
    """Return the digest of all parts."""
    return ids.compute_key(dict(covered))


def list_differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return the parts that differ: name, before, now; "" for a missing part."""
    names = sorted({*before, *now})
    return [(name, before.get(name, ""), now.get(name, "")) for name in names if before.get(name) != now.get(name)]


def explain_void(approved: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Explain why an approval of these parts does not cover the current deployment; "" if it does."""
    found = [_describe_difference(*each) for each in list_differences(approved, now)]
    more = f" and {len(found) - _SHOWN} more changes" if len(found) > _SHOWN else ""
    return f"approved {', '.join(found[:_SHOWN])}{more}" if found else ""


def format_difference(name: str, before: str, now: str) -> str:
    """Format a difference on one line."""
    if _is_digest(before) and _is_digest(now) and name != "image":
        return f"{name}: changed"
    return f"{name}: {_shorten(before) or '—'} → {_shorten(now) or '—'}"


def _describe_difference(name: str, before: str, now: str) -> str:
    home, separator, own = name.partition(": ")
    name = f"{own} of {home}" if separator else name
    if not now:
        return f"with {name}, which was removed"
    if not before:
        return f"without {name}, which is new"
    if _is_digest(before) and _is_digest(now):
        return f"with another {name}"
    return f"with {name} = {_shorten(before)}, now {_shorten(now)}"


def _flatten(name: str, value: Any) -> dict[str, str]:
    return dict(_walk_leaves(name, value))


def _walk_leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield every value below a name, except None and empty values, the possible defaults of new fields."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if name.rpartition(".")[2] in _OPAQUE:
                yield f"{name}.{key}", ids.compute_key(each)
            else:
                yield from _walk_leaves(f"{name}.{key}", each)
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for number, each in enumerate(value, start=1):
            yield from _walk_leaves(f"{name}.{number}", each)
    elif value not in (None, []):
        yield name, _format_leaf(value)


def _format_leaf(value: Any) -> str:
    if isinstance(value, list) and all(_is_plain(each) for each in value):
        text = ", ".join(map(_format_leaf, value))
    elif isinstance(value, bool) or not isinstance(value, str | int | float):
        text = ids.encode_canonical_json(value).decode()
    else:
        text = f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
    return text if len(text) <= _LONGEST and text.isprintable() and not _is_digest(text) else ids.compute_key(value)


def _is_plain(value: Any) -> bool:
    """True if a comma-separated list of such values is unambiguous."""
    if isinstance(value, str):
        return ", " not in value and not value.startswith("[")
    return isinstance(value, int | float)


def _is_digest(value: str) -> bool:
    return value.startswith("sha256:")


def _shorten(value: str) -> str:
    return value[:19] if _is_digest(value) else value
