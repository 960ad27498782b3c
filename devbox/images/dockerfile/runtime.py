"""OCI runtime wrapper for buildah: adds settings that buildah cannot pass to a RUN, and cleans up afterwards.

buildah's variables for RUN become part of the image or of its cache key. The wrapper instead adds the host's CAs and
mirrors to the container's config.json just before the real runtime reads it, applies the precedence of ARG and ENV, and
removes mount points afterwards.

As root, buildah's containers have no user namespace and no cgroup device rules. Device nodes (of a base image, or from
an archive unpacked by ADD) are inaccessible because the root and all mounts are `nodev`.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping

from devbox.host import files, host_settings, process
from devbox.images.dockerfile import mountpoints
from devbox.images.dockerfile.rewrite import ARG_WINS, ENV_WINS

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
    edit, wrapper, program = f"{place}/runtime.py", f"{place}/runtime", mountpoints.__file__
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
