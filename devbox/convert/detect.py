"""The kind of an existing project, by its files: the recipe, commands and packages that `init` proposes."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable

from devbox.host import safe_files
from devbox.model import jsontext
from devbox.model.frozen import dataclass

_LARGEST = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ProjectKind:
    """A kind of project. `file` is the one that shows it; `setup` runs again when one of `inputs` changes."""

    file: str
    recipe: str
    packages: tuple[str, ...] = ()
    setup: str = ""
    inputs: tuple[str, ...] = ()
    command: str = ""
    port: int = 0
    test: str = ""  # command of the task "test"


def detect_kind(directory: str) -> ProjectKind | None:
    """Return the kind of project in a directory; None if no file shows it."""
    for file, describe in _KINDS.items():
        if os.path.isfile(os.path.join(directory, file)):
            return describe(directory, file)
    return None


def _describe_node(directory: str, file: str) -> ProjectKind:
    scripts = _read_scripts(directory, file)
    script = next((name for name in ("dev", "start") if name in scripts), "")
    locked = _has(directory, "package-lock.json")
    return ProjectKind(
        file=file,
        recipe="node",
        setup="npm ci" if locked else "npm install",
        inputs=(file, "package-lock.json") if locked else (file,),
        command=f"npm run {script}" if script else "",
        port=3000 if script else 0,
        test="npm test" if "test" in scripts else "",
    )


def _describe_python(directory: str, file: str) -> ProjectKind:
    required = "requirements.txt"
    if _has(directory, required):
        return ProjectKind(file=file, recipe="python", setup=f"pip install -r {required}", inputs=(required,))
    if _is_package(directory, file):
        return ProjectKind(file=file, recipe="python", setup="pip install -e .", inputs=(file,))
    return ProjectKind(file=file, recipe="python")


def _is_package(directory: str, file: str) -> bool:
    """True if pip can install the project: pyproject.toml may contain nothing but settings of tools."""
    try:
        document = tomllib.loads(_read(directory, file).decode())
    except (OSError, ValueError):
        return False
    return "project" in document or "build-system" in document


def _describe_go(directory: str, file: str) -> ProjectKind:
    test = "go test ./..."
    if _has(directory, "go.sum"):
        return ProjectKind(file=file, recipe="go", setup="go mod download", inputs=(file, "go.sum"), test=test)
    return ProjectKind(file=file, recipe="go", test=test)


def _describe_rust(directory: str, file: str) -> ProjectKind:
    test = "cargo test"
    if _has(directory, "Cargo.lock"):
        return ProjectKind(
            file=file, recipe="rust", setup="cargo fetch --locked", inputs=(file, "Cargo.lock"), test=test
        )
    return ProjectKind(file=file, recipe="rust", test=test)


def _describe_java(_directory: str, file: str) -> ProjectKind:
    return ProjectKind(file=file, recipe="java", packages=("maven",), test="mvn test")


def _describe_php(directory: str, file: str) -> ProjectKind:
    inputs = (file, "composer.lock") if _has(directory, "composer.lock") else (file,)
    return ProjectKind(file=file, recipe="php", packages=("composer",), setup="composer install", inputs=inputs)


# The first file that exists decides: a Python project with a package.json for its assets has to name its recipe.
_KINDS: dict[str, Callable[[str, str], ProjectKind]] = {
    "package.json": _describe_node,
    "pyproject.toml": _describe_python,
    "requirements.txt": _describe_python,
    "go.mod": _describe_go,
    "Cargo.toml": _describe_rust,
    "pom.xml": _describe_java,
    "composer.json": _describe_php,
}


def _has(directory: str, file: str) -> bool:
    return os.path.isfile(os.path.join(directory, file))


def _read(directory: str, file: str) -> bytes:
    with safe_files.open_regular(os.path.realpath(directory), file) as source:
        return source.read(_LARGEST)


def _read_scripts(directory: str, file: str) -> dict[str, object]:
    """Return the scripts of package.json; none if it is unreadable, as devbox does not depend on it."""
    try:
        content = jsontext.loads(_read(directory, file))
    except (OSError, ValueError):
        return {}
    scripts = content.get("scripts") if isinstance(content, dict) else None
    return scripts if isinstance(scripts, dict) else {}
