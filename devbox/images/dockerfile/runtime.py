"""The OCI runtime as buildah is given it: each RUN gets the host's authorities and mirrors, which no image keeps.

buildah takes no variables for RUN but those that become part of the image or of what its cache goes by. So it is given
a program that adds them to the container's config.json, the last moment before the real runtime reads that.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping

from devbox.host import carry, files

# On the /dev that every container gets in memory: its mount point is in no layer.
CA_TARGET = "/dev/devbox-ca.crt"

# Only what begins a container needs the change; everything else goes straight to the runtime.
_WRAPPER = """#!/bin/sh
for word; do
    case $word in
        create | run) exec {python} -I -S {edit} {runtime} "$@" ;;
        state | start | kill | delete | exec) break ;;
    esac
done
exec {runtime} "$@"
"""
_EDIT = """import json, os, sys
added = json.loads({added!r})
words = sys.argv[1:]
bundle = next((words[at + 1] for at, word in enumerate(words) if word in ("--bundle", "-b")), ".")
path = os.path.join(bundle, "config.json")
with open(path, encoding="utf-8", errors="surrogateescape") as source:
    config = json.load(source)
env = config["process"].setdefault("env", [])
there = {{each.partition("=")[0] for each in env}}
env += [f"{{name}}={{value}}" for name, value in added["env"].items() if name not in there]
config.setdefault("mounts", []).extend(added["mounts"])
with open(f"{{path}}.new", "w", encoding="utf-8", errors="surrogateescape") as out:
    json.dump(config, out)
os.rename(f"{{path}}.new", path)
os.execv(words[0], words)
"""


def variables(ca_file: str) -> dict[str, str]:
    """What each RUN finds in its environment, unless the image sets it."""
    mirrors = {name: value for name in carry.MIRROR_VARIABLES if (value := carry.set_on_host(name))}
    return mirrors | (dict.fromkeys(carry.CA_VARIABLES, CA_TARGET) if ca_file else {})


def wrapped(runtime: str, place: str, *, ca_file: str) -> str:
    """A program in `place` that is the runtime and adds this; the runtime itself where there is nothing to add."""
    env = variables(ca_file)
    if not env:
        return runtime
    mount: dict[str, object] = {
        "destination": CA_TARGET,
        "type": "bind",
        "source": ca_file,
        "options": ["bind", "ro", "nosuid", "nodev"],
    }
    edit, wrapper = f"{place}/runtime.py", f"{place}/runtime"
    files.write_atomic(edit, edit_script(env, [mount] if ca_file else []))
    words = {"python": sys.executable, "edit": edit, "runtime": runtime}
    text = _WRAPPER.format(**{name: shlex.quote(word) for name, word in words.items()})
    files.write_atomic(wrapper, text, mode=0o755)
    return wrapper


def edit_script(env: Mapping[str, str], mounts: list[dict[str, object]]) -> str:
    """The program that adds this to the config.json of the bundle its words name, and becomes the runtime. Pure."""
    return _EDIT.format(added=json.dumps({"env": dict(env), "mounts": mounts}))
