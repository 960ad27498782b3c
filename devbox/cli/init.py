"""`init` and `export devcontainer`: a project from a template or recipes; devcontainer.json from [dev]."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping

from devbox.cli import output, prompts
from devbox.cli.locate import locate
from devbox.cli.terminal import print_line
from devbox.commands.table.options import Args
from devbox.errors import UsageError
from devbox.host import safe_files
from devbox.host.environ import find_data_dir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.convert.detect import ProjectKind

DEFAULT_TEMPLATE = "bare"
DEFAULT_RECIPE = "debian"
ENV_FILE = "devbox.toml"
_SUMMARY = "template.txt"  # one-line description, not part of the project
_COMPOSE = "write its services as [service.NAME], the one you work in as [dev] (`devbox docs compose`)"
_DEV_CONTAINER = "write its image, packages and ports into [dev] (`devbox docs dev-containers`)"
_JETIFY = "it belongs to jetify's devbox; write its packages into [dev], its scripts as [tasks] (`devbox docs jetify`)"
# Files of other tools that describe the same project.
_OTHER_TOOLS = {
    **dict.fromkeys(("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"), _COMPOSE),
    **dict.fromkeys((".devcontainer/devcontainer.json", ".devcontainer.json"), _DEV_CONTAINER),
    "devbox.json": _JETIFY,
    "tox.ini": "write its environments as [test] and [test.matrix]",
    "noxfile.py": "write its sessions as [test] and [test.matrix]",
}
_LEFT_BY_PROGRAMS = ("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv", "node_modules")


def init(args: Args) -> int:
    """Create a project from a template or from recipes, or list the templates."""
    if args.get_flag("list"):
        for line in output.align_columns(list_templates().items(), width=output.find_data_width()):
            print_line(line, stream=sys.stdout)
        return 0
    target = os.path.join(args.get_text("directory") or ".", args.get_text("dir") or ".")
    _check_directory(target)
    origin, contents = _choose(args, target)
    _write(contents, target)
    if args.get_text("progress") != "quiet":
        print_line(f"✓ {origin}: {', '.join(_list_top(contents))} in {os.path.realpath(target)}")
        for sentence in _list_unread_files(target):
            print_line(f"· {sentence}")
        print_line(f"  → {_format_cd(target)}devbox up")
        print_line(f"    then: {' · '.join(_list_next_commands(contents))}")
    return 0


def _choose(args: Args, target: str) -> tuple[str, dict[str, bytes]]:
    """Return the description of the origin, and the contents of the files by path."""
    template, recipe, services = args.get_text("template"), args.get_text("recipe"), args.get_texts("service")
    if template and (recipe or services):
        raise UsageError(
            f"--template conflicts with {'--recipe' if recipe else '--service'}",
            remedy="a template has its own recipes and services",
        )
    if template:
        return template, _read_template(template)
    from devbox.convert.detect import detect_kind

    kind = detect_kind(target)
    if not recipe and not services and prompts.has_terminal() and not args.get_flag("yes"):
        return _ask(target, kind)
    if not recipe and not services and kind is None:
        return DEFAULT_TEMPLATE, _read_template(DEFAULT_TEMPLATE)
    return _compose(recipe, services, kind)


def _compose(recipe: str, services: tuple[str, ...], kind: ProjectKind | None) -> tuple[str, dict[str, bytes]]:
    """Return a file with a recipe (default: that of the detected kind) and services, all with default versions."""
    from devbox.convert import scaffold
    from devbox.envfile.recipes import describe_recipe

    scaffold.check_services(services)
    origin = f"{kind.file} found, recipe {kind.recipe}" if kind and not recipe else f"recipe {recipe or DEFAULT_RECIPE}"
    recipe = recipe or (kind.recipe if kind else DEFAULT_RECIPE)
    kind = kind if kind and kind.recipe == recipe else None
    chosen = scaffold.Scaffold(
        dev=scaffold.choose_recipe(describe_recipe(recipe, "")),
        services=scaffold.choose_services([describe_recipe(name, "") for name in dict.fromkeys(services)]),
        kind=kind,
    )
    return origin, {ENV_FILE: scaffold.render_file(chosen).encode()}


def _ask(target: str, kind: ProjectKind | None) -> tuple[str, dict[str, bytes]]:
    """Ask for a template or a recipe, and for names, versions and ports."""
    from devbox.cli import init_questions
    from devbox.convert import scaffold
    from devbox.envfile.load import derive_name

    choices = init_questions.Choices(list_templates())
    start = init_questions.ask_start(choices, kind, default=DEFAULT_TEMPLATE)
    name = derive_name(os.path.realpath(target))
    if start in choices.recipes:
        chosen = init_questions.ask_scaffold(choices, start, kind, name=name)
        return f"recipe {start}", {ENV_FILE: scaffold.render_file(chosen).encode()}
    contents = _read_template(start)
    _refuse_to_overwrite(_list_top(contents), target)  # before further questions
    contents[ENV_FILE] = init_questions.ask_template(contents[ENV_FILE].decode(), name=name).encode()
    return start, contents


def _list_next_commands(contents: Mapping[str, bytes]) -> list[str]:
    """Return the commands that the file provides for, in the order of their use."""
    import tomllib

    from devbox.envfile.stage_tables import DEFAULT_ORDER

    document = tomllib.loads(contents[ENV_FILE].decode())
    stages = document.get("stages") or [name for name in DEFAULT_ORDER if name in document.get("stage", {})]
    return [
        "devbox shell",
        *(["devbox run test"] if "test" in document.get("tasks", {}) and "test" not in document else []),
        *(["devbox test"] if "test" in document else []),
        *(["devbox build"] if "image" in document else []),
        *([f"devbox promote {stages[0]}"] if stages else []),
        *(["README.md"] if "README.md" in contents else []),
    ]


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


def _check_directory(target: str) -> None:
    plain = os.path.normpath(target)
    if os.path.lexists(plain) and (os.path.islink(plain) or not os.path.isdir(plain)):
        raise UsageError(f"{target} is not a directory", remedy="choose another directory: devbox init DIR")
    _refuse_to_overwrite([ENV_FILE], target)


def copy(name: str, target: str) -> list[str]:
    """Copy a template to a directory, created if missing; return the names at its top."""
    contents = _read_template(name)
    _write(contents, target)
    return _list_top(contents)


def _list_top(contents: Mapping[str, bytes]) -> list[str]:
    """Return the names of files and directories at the top."""
    return list(dict.fromkeys(path.partition("/")[0] for path in contents))


def _read_template(name: str) -> dict[str, bytes]:
    """Return the files of a template by path, without caches of programs run in a checkout."""
    known = list_templates()
    if name not in known:
        raise UsageError(f"template {name} not found", remedy=f"known: {', '.join(known)}")
    source = os.path.join(find_data_dir("templates"), name)
    found = {}
    for directory, children, files in os.walk(source):
        children[:] = sorted(child for child in children if child not in _LEFT_BY_PROGRAMS)
        for file in files:
            path = os.path.join(directory, file)
            with open(path, "rb") as data:
                found[os.path.relpath(path, source)] = data.read()
    del found[_SUMMARY]
    return dict(sorted(found.items()))


def _write(contents: Mapping[str, bytes], target: str) -> None:
    """Write files into a directory, created if missing. If interrupted, remove what was written."""
    _refuse_to_overwrite(_list_top(contents), target)
    created = _make_directories(target)
    root, written = os.path.realpath(target), []
    mode = 0o666 & ~_read_umask()  # regardless of the permissions of the installed files
    try:
        for path, data in contents.items():
            written.append(path)
            safe_files.write(root, path, data, mode=mode)
    except BaseException:
        _remove(written, root, created)
        raise


def _make_directories(target: str) -> list[str]:
    """Create a directory and its missing parents; return the created ones, innermost first."""
    missing = []
    at = os.path.abspath(target)
    while not os.path.isdir(at):
        missing.append(at)
        at = os.path.dirname(at)
    os.makedirs(target, exist_ok=True)
    return missing


def _remove(written: list[str], root: str, created: list[str]) -> None:
    """Remove written files, and the directories that were created for them and are empty now."""
    for path in written:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(root, path))
    inner = sorted({os.path.dirname(path) for path in written} - {""}, key=len, reverse=True)
    for directory in [*(os.path.join(root, path) for path in inner), *created]:
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def _refuse_to_overwrite(brought: Iterable[str], target: str) -> None:
    taken = [entry for entry in brought if os.path.lexists(os.path.join(target, entry))]
    if taken:
        raise UsageError(
            f"cannot write to {os.path.realpath(target)}: {', '.join(taken)} already exists",
            remedy="edit devbox.toml, or choose another directory: devbox init DIR"
            if ENV_FILE in taken
            else "choose another directory: devbox init DIR",
        )


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
