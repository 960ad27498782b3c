"""`init` and `export devcontainer`: a project from a template without overwriting; devcontainer.json from [dev]."""

from __future__ import annotations

import json
import os
import shlex
import sys

from devbox.cli import output
from devbox.cli.locate import locate
from devbox.cli.terminal import print_line
from devbox.commands.table.options import Args
from devbox.errors import UsageError
from devbox.host import safe_files
from devbox.host.environ import find_data_dir

DEFAULT_TEMPLATE = "bare"
_SUMMARY = "template.txt"  # one-line description, not part of the project
_COMPOSE = "write its services as [service.NAME], the one you work in as [dev]"
_DEV_CONTAINER = "write its image, packages and ports into [dev]; `devbox export devcontainer` writes one from [dev]"
# Files of other tools that describe the same project.
_OTHER_TOOLS = {
    **dict.fromkeys(("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"), _COMPOSE),
    **dict.fromkeys((".devcontainer/devcontainer.json", ".devcontainer.json"), _DEV_CONTAINER),
    "devbox.json": "it belongs to jetify's devbox; write its packages into [dev], its scripts as [tasks]",
    "tox.ini": "write its environments as [test] and [test.matrix]",
    "noxfile.py": "write its sessions as [test] and [test.matrix]",
}
_LEFT_BY_PROGRAMS = ("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv", "node_modules")


def init(args: Args) -> int:
    """Copy a template, or list the templates."""
    if args.get_flag("list"):
        for line in output.align_columns(list_templates().items(), width=output.find_data_width()):
            print_line(line, stream=sys.stdout)
        return 0
    name = args.get_text("template") or DEFAULT_TEMPLATE
    directory = args.get_text("dir") or "."
    target = os.path.join(args.get_text("directory") or ".", directory)
    created = copy(name, target)
    if args.get_text("progress") != "quiet":
        print_line(f"✓ {name}: {', '.join(created)} in {os.path.realpath(target)}")
        for sentence in _list_unread_files(target):
            print_line(f"· {sentence}")
        print_line(f"  → {_format_cd(target)}devbox up")
    return 0


def _list_unread_files(target: str) -> list[str]:
    """Return one sentence per file of another tool in the directory."""
    existing = [name for name in _OTHER_TOOLS if os.path.isfile(os.path.join(target, name))]
    return [f"devbox does not read {name}: {_OTHER_TOOLS[name]}" for name in existing]


def _format_cd(target: str) -> str:
    """Return the `cd` command to the directory."""
    if os.path.realpath(target) == os.path.realpath("."):
        return ""
    return f"cd {shlex.quote(os.path.normpath(target))} && "


def list_templates() -> dict[str, str]:
    """Return the shipped templates with their descriptions."""
    root = find_data_dir("templates")
    found = {}
    for name in sorted(os.listdir(root)):
        summary = os.path.join(root, name, _SUMMARY)
        if os.path.isfile(summary):
            with open(summary, encoding="utf-8") as source:
                found[name] = source.read().strip()
    return found


def copy(name: str, target: str) -> list[str]:
    """Copy a template to a directory, created if missing; return the copied names."""
    known = list_templates()
    if name not in known:
        raise UsageError(f"template {name} not found", remedy=f"known: {', '.join(known)}")
    source = os.path.join(find_data_dir("templates"), name)
    brought = [entry for entry in _list_entries(source) if entry != _SUMMARY]
    _refuse_to_overwrite(brought, target)
    os.makedirs(target, exist_ok=True)
    root = os.path.realpath(target)
    for entry in brought:
        _copy_entry(os.path.join(source, entry), root, entry)
    return brought


def _list_entries(directory: str) -> list[str]:
    """Return the entries of a template, without caches of programs run in a checkout."""
    return sorted(entry for entry in os.listdir(directory) if entry not in _LEFT_BY_PROGRAMS)


def _refuse_to_overwrite(brought: list[str], target: str) -> None:
    plain = os.path.normpath(target)
    if os.path.lexists(plain) and (os.path.islink(plain) or not os.path.isdir(plain)):
        raise UsageError(f"{target} is not a directory", remedy="choose another directory: devbox init DIR")
    taken = [entry for entry in brought if os.path.lexists(os.path.join(target, entry))]
    if taken:
        raise UsageError(
            f"cannot write to {os.path.realpath(target)}: {', '.join(taken)} already exists",
            remedy="choose another directory: devbox init DIR",
        )


def _copy_entry(source: str, root: str, path: str) -> None:
    """Copy with permissions by the user's umask, regardless of those of the installed files."""
    if os.path.isdir(source):
        for entry in _list_entries(source):
            _copy_entry(os.path.join(source, entry), root, f"{path}/{entry}")
        return
    with open(source, "rb") as data:
        safe_files.write(root, path, data.read(), mode=0o666 & ~_read_umask())


def _read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


FILE = ".devcontainer/devcontainer.json"
_MARK = "// Written by `devbox export devcontainer` from "


def devcontainer(args: Args) -> int:
    """Write the file (data: its path) or print it; report unsupported parts of [dev] on stderr."""
    from devbox.convert.devcontainer import build_document
    from devbox.envfile.load import load

    location = locate(args)
    plain, missing = build_document(load(location.root, file=location.env_file))
    text = f"{_MARK}{location.env_file}; run it again when that changes.\n{json.dumps(plain, indent=2)}\n"
    if args.get_flag("stdout"):
        sys.stdout.write(text)
    else:
        _refuse_foreign(location.root)
        safe_files.write(location.root, FILE, text)
        print_line(f"{location.root}/{FILE}", stream=sys.stdout)
    for sentence in missing:
        print_line(f"· not converted: {sentence}")
    return 0


def _refuse_foreign(root: str) -> None:
    """Raise UsageError for a hand-written file, or one that is a link."""
    try:
        with safe_files.open_regular(root, FILE, links=False) as source:
            is_own = source.readline(len(_MARK)) == _MARK.encode()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(
            f"cannot write {root}/{FILE}: {error.strerror}", remedy="devbox export devcontainer --stdout"
        ) from None
    if not is_own:
        raise UsageError(
            f"{root}/{FILE} already exists and was not written by devbox",
            remedy="move it, or compare it with: devbox export devcontainer --stdout",
        )
