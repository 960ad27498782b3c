"""`devbox.lock.toml`: the lockfile, sorted, one package per line for readable diffs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from devbox.errors import EnvFileError
from devbox.host import safe_files
from devbox.model.spec import Lockfile, Versions

FORMAT = 1
_HEAD = """\
# What the images of {env_file} are made from. devbox writes this file; commit it.
# `devbox update NAME` renews an image, a recipe, a base system or a package; `devbox update` all.
format = {format}
"""
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def get_path(root: str, env_file: str) -> str:
    """Return the lockfile's path for an env file: `devbox.lock.toml` next to `devbox.toml`."""
    return f"{root}/{env_file.removesuffix('.toml')}.lock.toml"


def read(place: str) -> Lockfile | None:
    """Read the lockfile; None if missing."""
    root, _, name = place.rpartition("/")
    text = safe_files.read_text(root, name)
    if text is None:
        return None
    import tomllib

    try:
        plain = tomllib.loads(text)
        newer = plain["format"] > FORMAT
        lock = Lockfile(
            recipes=_check_texts(plain.get("recipes", {})),
            references=_check_texts(plain.get("references", {})),
            tarballs=_check_texts(plain.get("tarballs", {})),
            bases={base: _check_texts(found) for base, found in plain.get("base", {}).items()},
            images={
                image: {step: _check_texts(found) for step, found in steps.items()}
                for image, steps in plain.get("image", {}).items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EnvFileError(
            f"cannot parse {name}: {error}",
            remedy=f"revert manual changes or a merge, or create it again: rm {name}; devbox lock",
        ) from None
    if newer:
        raise EnvFileError(
            f"{name} was written by a newer devbox (format {plain['format']})",
            remedy="upgrade devbox: pip install -U devbox-pipeline",
        )
    return lock


def write(place: str, lock: Lockfile, *, env_file: str) -> None:
    """Write the lockfile, owned by the project's owner."""
    root, _, name = place.rpartition("/")
    safe_files.write(root, name, render(lock, env_file=env_file))


def render(lock: Lockfile, *, env_file: str) -> str:
    """Return the file's text. Pure."""
    parts = [_HEAD.format(env_file=env_file, format=FORMAT)]
    parts += [_format_table("recipes", lock.recipes)] if lock.recipes else []
    parts += [_format_table("references", lock.references)] if lock.references else []
    parts += [_format_table("tarballs", lock.tarballs)] if lock.tarballs else []
    parts += [_format_table(f"base.{_format_key(name)}", lock.bases[name]) for name in sorted(lock.bases)]
    for image in sorted(lock.images):
        steps = lock.images[image]
        parts += [
            _format_table(f"image.{_format_key(image)}.{_format_key(step)}", steps[step]) for step in sorted(steps)
        ]
    return "\n".join(parts)


def _format_table(name: str, values: Mapping[str, str]) -> str:
    lines = "".join(f"{_format_key(key)} = {_format_text(values[key])}\n" for key in sorted(values))
    return f"[{name}]\n{lines}"


def _format_key(text: str) -> str:
    return text if _BARE.fullmatch(text) else _format_text(text)


def _format_text(text: str) -> str:
    """Format a TOML basic string. JSON's escapes are valid in TOML, except for DEL."""
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _check_texts(plain: Any) -> Versions:
    if not all(isinstance(value, str) for value in plain.values()):
        raise TypeError("invalid version: expected a string")
    return dict(plain)
