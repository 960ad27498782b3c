"""A secret is available where the env file requests it, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.machine import Box

pytestmark = pytest.mark.scenario

PLANTED = {
    "TOKEN": "tok-4f9c1e77aa",
    "PHRASE": "correct horse battery",
    "KEY": "-----KEY-----\nline-one-51ab\nline-two-77fe",
}
FILE = """
[dev]
recipe = "debian"
command = 'echo "starting with $TOKEN"; cat /run/secrets/key; exec sleep infinity'
health = { command = 'echo "no luck with $PHRASE"; test -e /tmp/ready' }

[dev.secrets]
TOKEN = "env:SHOP_TOKEN"
PHRASE = "file:phrase"
KEY = { from = "cmd:cat key", file = "/run/secrets/key" }

[dev.setup]
run = ['echo "setting up with $TOKEN"; printf "%s\\n" "$PHRASE"; touch /tmp/ready']

[service.broken]
recipe = "debian"
command = 'echo "broken with $TOKEN"; exit 3'
restart = "no"
profiles = ["broken"]
secrets = { TOKEN = "env:SHOP_TOKEN" }
"""
COMMANDS = (
    ("ps",),
    ("plan",),
    ("config",),
    ("why", "image", "dev"),
    ("image", "ls"),
    ("image", "inspect", "dev"),
    ("trust", "--show"),
    ("snapshot", "ls"),
    ("doctor", "--offline"),
)


def test_a_planted_secret_is_found_nowhere(box: Box):
    project = box.project(FILE, files={"phrase": f"{PLANTED['PHRASE']}\n", "key": f"{PLANTED['KEY']}\n"})
    env = {"SHOP_TOKEN": PLANTED["TOKEN"]}
    box.ok("trust", cwd=project, env=env)
    told = [box.run("up", "--progress", "plain", cwd=project, env=env)]
    assert told[0].returncode == 0, told[0].stderr.decode()
    told.append(box.run("up", "broken", cwd=project, env=env | {"DEVBOX_PROFILES": "broken"}))
    assert told[-1].returncode == 1
    told.append(box.run("logs", cwd=project))
    assert told[-1].stdout.count(b"***") >= 4, "what was printed is logged, the values left out"
    told += [box.run(*words, "--json", cwd=project, env=env) for words in COMMANDS]
    told += [box.run(*words, cwd=project, env=env) for words in COMMANDS]

    inside = box.ok("exec", "--", "sh", "-c", 'echo "$TOKEN,$PHRASE,$KEY"; cat /run/secrets/key', cwd=project)
    assert inside == f"{PLANTED['TOKEN']},{PLANTED['PHRASE']},\n{PLANTED['KEY']}"
    assert box.run("exec", "--", "sh", "-c", "echo x > /run/secrets/key", cwd=project).returncode != 0

    values = [line for value in PLANTED.values() for line in value.splitlines() if line.strip("-") not in ("", "KEY")]
    assert found_in_outputs(values, [done.stdout + done.stderr for done in told]) == []
    assert found_on_disk(values, box.home) == []
    assert found_in_arguments(values) == []
    box.ok("down", cwd=project)
    assert found_on_disk(values, box.home) == []


def found_in_outputs(values: list[str], outputs: list[bytes]) -> list[str]:
    return [value for value in values for output in outputs if value.encode() in output]


def found_on_disk(values: list[str], home: Path) -> list[str]:
    """Everything that lasts: images, logs, records, locks."""
    found = []
    for directory, _, names in os.walk(home):
        if Path(directory).parts[len(home.parts) :][:1] in (("cache",), ("snapshots",)):
            continue  # what was downloaded, and the unpacked form of what lies in oci/
        for name in names:
            path = Path(directory, name)
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                found += [f"{value} in {path}" for value in values if value.encode() in data]
    return found


def found_in_arguments(values: list[str]) -> list[str]:
    """The arguments of every process on the host."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            arguments = Path("/proc", entry, "cmdline").read_bytes() if entry.isdigit() else b""
        except OSError:
            continue
        found += [f"{value} in {arguments!r}" for value in values if value.encode() in arguments]
    return found
