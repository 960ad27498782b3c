"""OCI runtime wrapper for buildah: adds settings that buildah cannot pass to a RUN, and cleans up afterwards.

buildah's variables for RUN become part of the image or of its cache key. The wrapper instead adds the host's CAs and
mirrors to the container's config.json just before the real runtime reads it, applies the precedence of ARG and ENV, and
removes mount points afterwards.

As root, buildah's containers have no user namespace and no cgroup device rules. Device nodes (of a base image, or from
an archive unpacked by ADD) are inaccessible because the root and all mounts are `nodev`.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from devbox.host import files, host_settings, process
from devbox.images.dockerfile.rewrite import ARG_WINS, ENV_WINS

_KERNELS = ("/proc", "/sys", "/dev")  # created by the runtime in every container
_MOST_LINKS = 40


def record_mountpoints(bundle: str, target: str) -> None:
    """Record this container's missing mount points, deepest first, and create their parent directories.

    crun would make those sticky.
    """
    config = json.loads(Path(bundle, "config.json").read_bytes())
    root = os.path.join(bundle, config["root"]["path"])
    made: set[str] = set()
    for mount in config.get("mounts", []):
        place = mount["destination"]
        if any(place == each or place.startswith(f"{each}/") for each in _KERNELS):
            continue
        with suppress(OSError):  # if a file is in the way, the runtime reports it
            made |= _make_missing(root, _list_parents(_resolve_path(root, place)))
    Path(target).write_text(json.dumps({"root": root, "made": sorted(made, key=len, reverse=True)}))


def remove_mountpoints(target: str) -> None:
    """Remove the recorded paths that are empty."""
    noted = json.loads(Path(target).read_bytes())
    for path in noted["made"]:
        with suppress(OSError):  # not empty, or removed by RUN
            _remove(noted["root"], path)
    os.unlink(target)


def _make_missing(root: str, parts: list[str]) -> set[str]:
    """Return the missing paths, after creating all but the last, top-down."""
    new = [path for path in parts if not os.path.lexists(root + path)]
    for path in new:
        if path != parts[-1]:
            _make(root, path)
    return set(new)


def _list_parents(path: str) -> list[str]:
    """Return the path and all its parent directories, without the root."""
    words = path.strip("/").split("/")
    return ["/" + "/".join(words[: at + 1]) for at in range(len(words)) if words[at]]


def _resolve_path(root: str, path: str) -> str:
    """Resolve a path inside the root; missing components resolve to themselves."""
    waiting, done, links = path.split("/")[::-1], list[str](), 0
    while waiting:
        word = waiting.pop()
        if word in ("", "."):
            continue
        if word == "..":
            done = done[:-1]
            continue
        place = os.path.join(root, *done, word)
        if os.path.islink(place) and links < _MOST_LINKS:
            leads_to = os.readlink(place)
            waiting += leads_to.split("/")[::-1]
            done, links = [] if leads_to.startswith("/") else done, links + 1
        else:
            done.append(word)
    return "/" + "/".join(done)


def _open_parent(root: str, path: str) -> tuple[int, str]:
    """Open the parent directory of a path, following no links; return it with the entry's name."""
    *above, name = path.strip("/").split("/")
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        for word in above:
            below = os.open(word, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = below
    except OSError:
        os.close(fd)
        raise
    return fd, name


def _make(root: str, path: str) -> None:
    fd, name = _open_parent(root, path)
    try:
        os.mkdir(name, 0o755, dir_fd=fd)
    finally:
        os.close(fd)


def _remove(root: str, path: str) -> None:
    fd, name = _open_parent(root, path)
    try:
        facts = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(facts.st_mode):
            os.rmdir(name, dir_fd=fd)
        elif stat.S_ISREG(facts.st_mode) and not facts.st_size:
            os.unlink(name, dir_fd=fd)
    finally:
        os.close(fd)


if __name__ == "__main__":
    os.umask(0o022)
    if sys.argv[1] == "note":
        record_mountpoints(*sys.argv[2:])
    else:
        remove_mountpoints(*sys.argv[2:])


# On the /dev tmpfs of every container, so that its mount point is not part of a layer.
CA_TARGET = "/dev/devbox-ca.crt"

# Only container creation and deletion are intercepted; everything else is passed to the runtime.
_WRAPPER = """#!/bin/sh
for id; do :; done
for word; do
    case $word in
        create | run) exec {python} -I -S {edit} {runtime} "$@" ;;
        delete)
            if [ -e {place}/made-"$id" ]; then {python} -I -S {mountpoints} remove {place}/made-"$id"; fi
            break ;;
        state | start | kill | exec) break ;;
    esac
done
exec {runtime} "$@"
"""
_EDIT = """import json, os, re, subprocess, sys
added = json.loads({added!r})
words = sys.argv[1:]
bundle = next((words[at + 1] for at, word in enumerate(words) if word in ("--bundle", "-b")), ".")
path = os.path.join(bundle, "config.json")
with open(path, encoding="utf-8", errors="surrogateescape") as source:
    config = json.load(source)
found = dict(each.partition("=")[::2] for each in config["process"].get("env") or ())
counted = re.compile(added["counted"])
later = sorted((int(match[2]), match[0]) for match in map(counted.fullmatch, found) if match)
wins = {{}}
for _, name in later:
    match, value = counted.fullmatch(name), found.pop(name)
    wins[match[3]] = value if match[1] == added["arg_wins"] else None
found |= {{name: value for name, value in wins.items() if value is not None}}
config["process"]["env"] = [f"{{name}}={{value}}" for name, value in ({{**added["env"], **found}}).items()]
if added["mountpoints"]:
    note = [sys.executable, "-I", "-S", added["mountpoints"], "note", bundle, f"{{added['place']}}/made-{{words[-1]}}"]
    subprocess.run(note, check=True)
config.setdefault("mounts", []).extend(added["mounts"])
if added["nodev"]:
    for mount in config["mounts"]:
        options = mount.get("options") or ()
        if mount.get("type") == "bind" or "bind" in options or "rbind" in options:
            mount["options"] = [*(each for each in options if each != "dev"), "nodev"]
    root = os.path.join(bundle, config["root"]["path"])
    remount = [added["nodev"], "-n", "-o", "remount,bind,nodev", root]
    config.setdefault("hooks", {{}}).setdefault("createContainer", []).append({{"path": remount[0], "args": remount}})
with open(f"{{path}}.new", "w", encoding="utf-8", errors="surrogateescape") as out:
    json.dump(config, out)
os.rename(f"{{path}}.new", path)
os.execv(words[0], words)
"""


def list_variables(ca_file: str) -> dict[str, str]:
    """Return environment variables for each RUN, which the image may override."""
    mirrors = {name: value for name in host_settings.MIRROR_VARIABLES if (value := host_settings.read_setting(name))}
    return mirrors | (dict.fromkeys(host_settings.CA_VARIABLES, CA_TARGET) if ca_file else {})


def wrap_runtime(runtime: str, place: str, *, ca_file: str, dockerfile: str, rootless: bool) -> str:
    """Write a wrapper of the runtime to `place`; return the runtime itself if there is nothing to add.

    `dockerfile`: the text given to buildah. `rootless`: the user namespace blocks devices anyway.
    """
    env, mounts = list_variables(ca_file), "--mount" in dockerfile
    if rootless and not (env or mounts or ARG_WINS in dockerfile):
        return runtime
    mount: dict[str, object] = {
        "destination": CA_TARGET,
        "type": "bind",
        "source": ca_file,
        "options": ["bind", "ro", "nosuid", "nodev"],
    }
    edit, wrapper, program = f"{place}/runtime.py", f"{place}/runtime", __file__
    script = build_edit_script(
        env,
        [mount] if ca_file else [],
        place=place,
        program=program if mounts else "",
        nodev="" if rootless else process.find("mount"),
    )
    files.write_atomic(edit, script)
    words = {"python": sys.executable, "edit": edit, "runtime": runtime, "place": place, "mountpoints": program}
    text = _WRAPPER.format(**{name: shlex.quote(word) for name, word in words.items()})
    files.write_atomic(wrapper, text, mode=0o755)
    return wrapper


def build_edit_script(
    env: Mapping[str, str],
    mounts: list[dict[str, object]],
    *,
    place: str = "",
    program: str = "",
    nodev: str = "",
) -> str:
    """Build the script that edits the config.json of its bundle argument, then executes the runtime. Pure.

    `program`, if given, is run first to record in `place` the mount points created for the container. With `nodev`, the
    path of mount(8), only devices created by the runtime in `/dev` can be opened. crun drops the mount options of the
    root: a hook remounts it.
    """
    counted = rf"({ARG_WINS}|{ENV_WINS})(\d+)_(.+)"
    told = {"env": dict(env), "mounts": mounts, "place": place, "mountpoints": program, "nodev": nodev}
    return _EDIT.format(added=json.dumps({**told, "counted": counted, "arg_wins": ARG_WINS}))
