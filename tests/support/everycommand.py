"""A project with one of everything, and one call of every command."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.machine import Box

_GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")

FILES = {
    "devbox.toml": """
vars = { v = "1" }
stages = ["live"]
[project]
name = "shop"
[dev]
recipe = "own"
env_files = ["settings.env"]
secrets = { TOKEN = "file:secret.txt" }
setup = { run = ["true"], inputs = ["in/**"] }
[tool.true]
from = "dev"
command = "true"
[tool.docker]
dockerfile = "docker/Dockerfile"
[tool.packed]
tarball = "in/root.tar"
[tasks.checked]
run = ["true"]
inputs = ["in/**"]
outputs = ["in/*.txt"]
[base.small]
recipe = "own"
[build]
from = "small"
inputs = ["in/**", "devbox.toml"]
run = ["mkdir dist; cp in/a.txt dist/"]
output = ["dist"]
[image]
from = "small"
copy = { dist = "/dist" }
[image.process.web]
command = ["sleep", "infinity"]
[test]
from = "dev"
command = "echo '<testsuite><testcase name=\\"a\\"/></testsuite>' > report.xml"
coverage = [".coverage"]
junit = ["report.xml"]
[test.matrix]
v = ["1", "2"]
[approvers]
ann = "keys/ann.pub"
[stage.live]
strategy = { kind = "recreate" }
gates = [{ kind = "sbom", vulnerabilities = "keys/known.txt" }]
[install.shipped]
from = "image"
files = { "INSTALLED" = "/dist/a.txt" }
""",
    "devbox.local.toml": "",
    "recipes/own.toml": """
description = "Debian, by a recipe of the project"
[[steps]]
op = "bootstrap"
distribution = "debian"
suite = "trixie"
[config]
env = { LANG = "C.UTF-8" }
""",
    "settings.env": "A=b\n",
    "secret.txt": "s3cret\n",
    "in/a.txt": "a\n",
    "keys/ann.pub": "no key\n",
    "keys/known.txt": "CVE-2026-1 none@1\n",
    "docker/Dockerfile": "FROM scratch\nCOPY a /a\n",
    "docker/.dockerignore": "b\n",
    "docker/a": "a",
    "in/root.tar": "",
    ".gitignore": "*.log\n",
}

# What each command is called with. Some need what is not there: they read the project before they say so.
CALLS: dict[str, tuple[tuple[str, ...], ...]] = {
    "trust": (("--show",), ()),
    "lock": (("--upgrade", "none"),),
    "update": (("none",),),
    "outdated": (("none",),),
    "add": (("less",),),
    "rm": (("less",),),
    "search": (("less",),),
    "login": (("localhost:9", "--username", "ann", "--password-stdin"),),
    "logout": (("localhost:9",),),
    "up": ((), ("--locked",)),
    "init": (("made",), ()),
    "ps": ((), ("--stage", "live")),
    "logs": ((), ("--build",)),
    "open": ((),),
    "shell": (("dev",),),
    "exec": (("--", "true"), ("--user", "0", "--", "true")),
    "run": (("checked",), ("--", "true")),
    "tool": (("true",),),
    "debug": (("none", "--", "true"),),
    "test": (("--list",), ("--report", "out/report.xml", "--coverage", "out/cov"), ("--against", "release")),
    "snapshot save": (("one",), ()),
    "snapshot ls": ((),),
    "snapshot restore": (("one", "-y"),),
    "snapshot rm": (("one", "-y"),),
    "volume ls": ((),),
    "volume show": (("none",),),
    "snapshot show": (("one",),),
    "release rm": (("none", "-y"),),
    "volume rm": (("none",),),
    "plan": ((),),
    "why": (("image", "dev"), ("build",), ("cells",)),
    "config": ((), ("--schema",)),
    "recipe ls": ((),),
    "recipe show": (("own",),),
    "doctor": (("--offline",),),
    "export devcontainer": ((), ("--stdout",)),
    "hook": (("bash",),),
    "completion": (("bash",),),
    "docs": (("--path",),),
    "build": ((),),
    "install": (("shipped",),),
    "promote": (("live",),),
    "rollback": (("live",),),
    "release ls": ((),),
    "release log": ((),),
    "release rebuild": (("--yes",),),
    "release refresh": ((),),
    "release show": ((),),
    "release sign": ((),),
    "release revoke": ((),),
    "release hold": (("live",),),
    "release resume": (("live",),),
    "release abort": (("live",),),
    "release report": (("live",),),
    "release status": (("live",),),
    "approve": (("live",),),
    "verify": ((),),
    "image ls": ((),),
    "image inspect": (("dev",),),
    "image sbom": (("dev",),),
    "image verify": ((),),
    "image du": ((),),
    "image gc": (("-y",),),
    "image history": (("dev",),),
    "image tag": (("dev", "team/app:1"),),
    "ls": ((),),
    "top": ((),),
    "stats": ((),),
    "port": ((),),
    "wait": (("none",),),
    "events": (("none",),),
    "inspect": (("dev",), ("none",)),
    "cp": (("/etc/hostname", "none:/tmp"),),
    "bake": ((),),
    "image rm": (("none",),),
    "image export": (("dev", "out/dev.tar"),),
    "image import": (("out/dev.tar",),),
    "image pull": (("dev",),),
    "image push": (("dev", "127.0.0.1:9/x"),),
    "key create": (("ann",),),
    "key ls": ((),),
    "key show": (("ann",),),
    "key export": (("ann",),),
    "key import": (("eve", "keys/ann.pub"),),
    "key rm": (("ann", "--yes"),),
    "restart": (("dev",),),
    "stop": ((),),
    "down": ((),),
}


def words(name: str, call: tuple[str, ...]) -> list[str]:
    """The command line of a call."""
    return [*name.split(), *call]


def project_in(box: Box, place: Path) -> Path:
    """The project, in a repository of git; what it installs goes to `place`."""
    text = FILES["devbox.toml"].replace("INSTALLED", str(place / "installed.txt"))
    project = box.project(text, files={name: text for name, text in FILES.items() if name != "devbox.toml"})
    subprocess.run([*_GIT, "init", "-q"], cwd=project, check=True)
    subprocess.run([*_GIT, "add", "-A"], cwd=project, check=True)
    subprocess.run([*_GIT, "commit", "-qm", "one"], cwd=project, check=True)
    return project
