"""The error of a bake whose locked packages can't be had: which, what there is instead, and the next command."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.errors import BakeFailed

_SHOWN = 7


def error(differing: Mapping[str, tuple[str, str]], *, base: str = "") -> BakeFailed:
    """The error. `differing`: a package → the version in the lock and the version there is, "" for none.

    `base` is the base system that all of them belong to; "" where they were added to one.
    """
    lines = [
        f"{name}: locked {locked or 'nothing'}, offered {offered or 'nothing'}"
        for name, (locked, offered) in sorted(differing.items())
    ]
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    names = f'"{base}"' if base else " ".join(sorted(differing))
    return BakeFailed(
        "packages can't be had as devbox.lock.toml has them",
        details="\n".join(lines[:_SHOWN] + more),
        remedy=f"take what there is: devbox lock --upgrade {names}; "
        "or point DEVBOX_MIRROR_DEBIAN at a mirror that has them",
    )
