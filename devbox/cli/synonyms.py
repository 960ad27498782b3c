"""What to type instead of a word that other tools know as a command."""

from __future__ import annotations

import difflib
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Words of Docker, Compose, kubectl, npm, tox, jetify's devbox, Kamal and Argo that are not commands here, with the
# command that does it, or a reason.
INSTEAD = {
    "activate": "devbox shell, or at each cd: devbox hook",
    "apply": "devbox up",
    "attach": "devbox logs -f NAME, or a shell in it: devbox shell NAME",
    "audit": "versions of packages: devbox outdated",
    "auth": "devbox login REGISTRY",
    "bash": "devbox shell",
    "buildx": "devbox build, or only the images of containers: devbox bake",
    "cache": "devbox image du, or devbox image gc",
    "cd": "cd to the project; `devbox shell` starts in its workspace",
    "ci": "devbox test --locked",
    "clean": "devbox doctor --prune",
    "cluster-info": "devbox ls",
    "commit": "devbox build: images are built from devbox.toml, not from running containers",
    "compose": "devbox up, devbox ps, devbox down: without the word compose",
    "container": "devbox ps, devbox stop NAME, devbox logs NAME: without the word container",
    "context": "devbox has no contexts: it runs on this host",
    "convert": "devbox init reads Compose files and dev containers: devbox init; for other tools: devbox export",
    "create": "devbox up, or a new project: devbox init",
    "delete": "devbox down",
    "deploy": "devbox promote STAGE",
    "describe": "devbox ps --json, or devbox config",
    "destroy": "devbox down -v",
    "devenv": "devbox shell, or devbox up",
    "diff": "devbox plan",
    "dlx": "devbox run -- COMMAND",
    "edit": "edit devbox.toml, then: devbox up",
    "env": "devbox exec -- env",
    "flake": "write [base.NAME] packages in devbox.toml: devbox recipe ls",
    "generate": "devbox export devcontainer",
    "get": "devbox ps",
    "global": "devbox is project-scoped; for tools on PATH: [tool.NAME] and devbox hook",
    "i": "devbox add PACKAGE",
    "import": "devbox image import FILE",
    "info": "devbox doctor, about a package: devbox search PACKAGE",
    "integrate": "devbox hook",
    "kill": "devbox stop NAME",
    "label": "write settings in devbox.toml, then: devbox up",
    "link": "mount a directory with mounts of a table in devbox.toml, then: devbox up",
    "load": "devbox image import FILE",
    "make": "devbox run TASK",
    "manifest": "devbox inspect IMAGE",
    "network": "devbox manages one network per project: devbox ps shows addresses",
    "new": "devbox init",
    "nix": "devbox add PACKAGE, or devbox recipe ls",
    "node": "devbox exec -- node",
    "npm": "devbox exec -- npm",
    "patch": "edit devbox.toml, then: devbox up",
    "pause": "devbox stop NAME",
    "pip": "devbox exec -- pip",
    "plugin": "recipes are in recipes/ of the project: devbox recipe ls",
    "port-forward": "set ports in the container's table, then: devbox up; devbox port prints addresses",
    "publish": "devbox promote STAGE",
    "python": "devbox exec -- python",
    "refresh": "devbox up",
    "reload": "devbox up",
    "remove": "devbox rm PACKAGE, or devbox down NAME",
    "rename": "rename the table in devbox.toml, then: devbox up",
    "rmi": "devbox image rm NAME",
    "rollout": "devbox promote STAGE, devbox release status, devbox rollback STAGE",
    "run-script": "devbox run TASK",
    "save": "devbox image export IMAGE FILE",
    "scale": "set replicas in [[image.process]] or the stage, then: devbox promote STAGE",
    "script": "devbox run TASK",
    "secret": "list secrets in devbox.toml, then: devbox trust",
    "secrets": "list secrets in devbox.toml, then: devbox trust",
    "service": "devbox ps, devbox up NAME, devbox stop NAME",
    "services": "devbox ps, devbox up NAME, devbox stop NAME",
    "set": "edit devbox.toml, then: devbox up",
    "sh": "devbox shell",
    "ssh": "devbox shell NAME",
    "stack": "devbox up, or devbox promote STAGE",
    "swarm": "devbox manages this host only: devbox up",
    "sync": "devbox up --watch",
    "system": "devbox doctor, or devbox image du",
    "task": "devbox run TASK",
    "tox": "devbox test",
    "undeploy": "devbox down --stage STAGE",
    "undo": "devbox rollback STAGE",
    "uninstall": "devbox rm PACKAGE, or files on the host: devbox install --uninstall",
    "unpause": "devbox up NAME",
    "use": "devbox run -- COMMAND, or devbox shell",
    "validate": "devbox config",
    "volume create": "set volumes in the container's table, then: devbox up",
    "volume prune": "devbox volume ls, then: devbox volume rm NAME",
    "watch": "devbox up --watch",
    "x": "devbox run -- COMMAND",
}
# Options of other tools that no command here has, or not this one: "COMMAND --option" before "--option".
OPTIONS = {
    "--all-namespaces": "everything on this host: devbox ls",
    "--context": "devbox has no contexts: omit it",
    "--debug": "DEVBOX_DEBUG=1 devbox COMMAND",
    "--filter": "name containers instead, or filter the output of --json with jq",
    "--format": "use --json; it contains all fields",
    "--namespace": "stages have their own names: use --stage NAME",
    "--no-cache": "versions of packages: devbox update",
    "--no-color": "NO_COLOR=1 devbox COMMAND",
    "--output": "use --json; it contains all fields",
    "--project-name": "set name in [project] of devbox.toml",
    "--pure": "omit it: containers see only variables of devbox.toml",
    "--remove-orphans": "omit it: `up` removes containers that are not in the file",
    "--rmi": "devbox down, then: devbox image gc",
    "--scale": "set replicas of a stage in devbox.toml, then: devbox promote STAGE",
    "--verbose": "use --progress plain",
    "--volume": "set mounts or volumes in devbox.toml",
    "--wait": "omit it: `up` waits until containers are ready",
    "-H": "devbox manages this host only: omit it",
    "-V": "devbox --version",
    "-v": "devbox --version",
    "build -t": "devbox build, then: devbox image push RELEASE REF",
    "down -t": "omit it, or set stop_timeout of the container in devbox.toml",
    "exec -d": "devbox exec NAME -- sh -c 'COMMAND &'",
    "image gc -a": "devbox image gc",
    "image ls -q": "devbox image ls --json",
    "init --force": "devbox init does not replace files: move them away before",
    "restart -t": "omit it, or set stop_timeout of the container in devbox.toml",
    "run --rm": "omit it: `run` removes its container",
    "run --list": "devbox config",
    "run -d": "write a container in devbox.toml, then: devbox up -d",
    "run -p": "set ports in devbox.toml, then: devbox up",
    "shell -c": "devbox shell -- COMMAND",
    "stop -t": "omit it, or set stop_timeout of the container in devbox.toml",
    "test -e": "select cells: devbox test -k python=3.13",
}
_SIMILAR = 0.7


def suggest(word: str, known: Iterable[str]) -> str:
    """Return what to type instead of an unknown command: by meaning, else by spelling, else a help page."""
    if found := INSTEAD.get(word.lower()):
        return found
    group, _, last = word.lower().rpartition(" ")
    names = [name.removeprefix(f"{group} ") for name in known if name.startswith(f"{group} " if group else "")]
    swapped = [name for name in names if sorted(name) == sorted(last)]  # `stauts`: difflib prefers `stats`
    near = swapped[:1] or difflib.get_close_matches(last, names, n=1, cutoff=_SIMILAR)
    return " ".join(each for each in ("devbox", "" if near else "help", group, *near) if each)


def suggest_option(message: str, command: str) -> str:
    """Return what to do instead of the unknown option that an error names; "" if it is of no other tool."""
    words = re.findall(r"(?<=option: )-[-\w]+", message)
    return next((found for word in words for key in (f"{command} {word}", word) if (found := OPTIONS.get(key))), "")
