"""What an image is there for, in a few words: the packages that its file names, with their versions. Pure."""

from __future__ import annotations

from devbox.model.image import FromDockerfile, FromRegistry, FromTarball, ImageSpec, Packages


def of(image: ImageSpec) -> str:
    """`postgresql-17 17.12-0+deb13u1`, `docker.io/library/redis:8`; empty where no step says it."""
    words: list[str] = []
    for step in image.steps:
        match step:
            case Packages():
                words += [f"{name} {(step.pins or {}).get(name, '')}".rstrip() for name in step.names]
            case FromRegistry():
                words.append(step.reference)
            case FromDockerfile() | FromTarball():
                words.append(step.path)
            case _:
                pass
    return ", ".join(words)
