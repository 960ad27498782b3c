"""What to type instead of a word that other tools know as a command."""

from __future__ import annotations

import difflib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Words of Docker, Compose, kubectl, npm, tox, jetify's devbox, Kamal and Argo that are not commands here, with the
# command that does it, or a reason.
INSTEAD = {
    "attach": "devbox logs -f NAME, or a shell in it: devbox shell NAME",
    "apply": "devbox up",
    "auth": "devbox login REGISTRY",
    "bash": "devbox shell",
    "cd": "cd to the project; `devbox shell` starts in its workspace",
    "clean": "devbox doctor --prune",
    "commit": "devbox build: images are built from devbox.toml, not from running containers",
    "compose": "devbox up, devbox ps, devbox down: without the word compose",
    "container": "devbox ps, devbox stop NAME, devbox logs NAME: without the word container",
    "context": "devbox has no contexts: it runs on this host",
    "create": "devbox up, or a new project: devbox init",
    "delete": "devbox down",
    "deploy": "devbox promote STAGE",
    "destroy": "devbox down -v",
    "diff": "devbox plan",
    "describe": "devbox ps --json, or devbox config",
    "edit": "edit devbox.toml, then: devbox up",
    "env": "devbox exec -- env",
    "flake": "write [base.NAME] packages in devbox.toml: devbox recipe ls",
    "generate": "devbox export devcontainer",
    "get": "devbox ps",
    "global": "devbox is project-scoped; for tools on PATH: [tool.NAME] and devbox hook",
    "kill": "devbox stop NAME",
    "load": "devbox image import FILE",
    "network": "devbox manages one network per project: devbox ps shows addresses",
    "new": "devbox init",
    "pause": "devbox stop NAME",
    "publish": "devbox promote STAGE",
    "rename": "rename the table in devbox.toml, then: devbox up",
    "rmi": "devbox image rm NAME",
    "rollout": "devbox promote STAGE, devbox release status, devbox rollback STAGE",
    "save": "devbox image export IMAGE FILE",
    "scale": "set replicas in [[image.process]] or the stage, then: devbox promote STAGE",
    "secret": "list secrets in devbox.toml, then: devbox trust",
    "secrets": "list secrets in devbox.toml, then: devbox trust",
    "services": "devbox ps, devbox up NAME, devbox stop NAME",
    "set": "edit devbox.toml, then: devbox up",
    "sync": "devbox up --watch",
    "system": "devbox doctor, or devbox image du",
    "task": "devbox run TASK",
    "undo": "devbox rollback STAGE",
    "undeploy": "devbox down --stage STAGE",
    "unpause": "devbox up NAME",
    "use": "devbox run -- COMMAND, or devbox shell",
    "validate": "devbox config",
    "watch": "devbox up --watch",
}
_SIMILAR = 0.6


def suggest(word: str, known: Iterable[str]) -> str:
    """Return what to type instead of an unknown command: by meaning, else by spelling, else a help page."""
    if found := INSTEAD.get(word.lower()):
        return found
    group, _, last = word.lower().rpartition(" ")
    names = [name.removeprefix(f"{group} ") for name in known if name.startswith(f"{group} " if group else "")]
    near = difflib.get_close_matches(last, names, n=1, cutoff=_SIMILAR)
    return " ".join(each for each in ("devbox", "" if near else "help", group, *near) if each)
