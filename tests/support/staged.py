"""A small service, its releases, and a stage target that a test drives in its own process."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from support.machine import Box

FILE = """
[project]
name = "greeter"

[base.os]
recipe = "debian"

[build]
from = "os"
inputs = ["greeter/**"]
run = ["mkdir dist && cp greeter/* dist/"]
output = ["dist"]

[image]
from = "os"
copy = { dist = "/srv" }
workdir = "/srv"

[image.process.migrate]
kind = "job"
command = "echo migrated by $(cat version); ! grep -q broken version"

[image.process.web]
command = "grep -q crash version && exit 3; exec perl app.pl"
ports = [8000]
health = { http = "/healthz", port = 8000, interval = "1s" }
replicas = 2

[image.process.worker]
command = "exec sleep 1000"

[stage.staging]
env = { LEVEL = "info" }
secrets = { TOKEN = "env:STAGING_TOKEN" }
"""

_GRAY_FILE = (
    """
stages = ["gray", "production"]
"""
    + FILE.partition("[image.process.migrate]")[0]
    + """
[image.process.web]
command = "exec perl app.pl"
ports = [8000]
health = { http = "/healthz", port = 8000, interval = "1s" }
{replicas}
[stage.gray]
into = "production"

[stage.gray.strategy]
kind = "gray"
{strategy}
[stage.production]
env = { LEVEL = "info" }
"""
)

# One connection after the other; a POST says its name in the log, once for each time that it is executed.
APP = r"""
use IO::Socket::INET;
$| = 1;
$SIG{TERM} = sub { exit 0 };
open my $file, '<', 'version' or die; my $version = <$file>; chomp $version;
my $socket = IO::Socket::INET->new(LocalPort => 8000, Listen => 512, ReuseAddr => 1) or die;
while (1) {
    my $client = $socket->accept or next;
    my ($method, $path, $length) = ('', '', 0);
    while (my $line = <$client>) {
        ($method, $path) = ($1, $2) if $line =~ m{^(\w+) (\S+) HTTP};
        $length = $1 if $line =~ m{^content-length: *(\d+)}i;
        last if $line =~ /^\r?\n?$/;
    }
    next unless $method;
    read $client, my $body, $length if $length;
    print "executed $path\n" if $method eq 'POST';
    my $answer = "$version $ENV{LEVEL}";
    print $client "HTTP/1.1 200 OK\r\nContent-Length: " . length($answer) . "\r\nConnection: close\r\n\r\n$answer";
    close $client;
}
"""


def gray_file(strategy: str, *, replicas: int = 0) -> str:
    """The env file of the project with a gray stage before production. `replicas`: 0 for the default.

    `strategy`: the lines of its strategy but the kind, each with its end.
    """
    listed = f"replicas = {replicas}\n" if replicas else ""
    return _GRAY_FILE.replace("{replicas}\n", f"{listed}\n").replace("{strategy}", strategy)


_DRIVER = """
import sys, json
from dataclasses import replace
from devbox.model import codec
from devbox.model.stage import Deployment, Strategy
from devbox.project import open_project, prepare
from devbox.records.releases import Releases
from devbox.deploy.targets.local import LocalTarget

verb, release, changes = sys.argv[1:4]
opened = open_project(".")
stage = prepare(opened).stages["staging"]
changes = json.loads(changes)
if kind := changes.pop("strategy", ""):
    stage = replace(stage, strategy=Strategy(kind=kind))
stage = replace(stage, **changes)
environment = LocalTarget(opened, "staging")
show = lambda event: print(event, flush=True)
if verb == "deploy":
    environment.deploy(Deployment(release=Releases(opened.paths, opened.id).find(release), stage=stage), show)
seen = environment.observe()
json.dump(codec.dump(seen), sys.stderr)
"""


def project(box: Box, text: str = FILE) -> Path:
    """The project, at its version 1."""
    return box.project(text, "greeter", {"greeter/app.pl": APP, "greeter/version": "1\n"})


def built(box: Box, path: Path, version: str) -> dict[str, Any]:
    """A release of another version."""
    (path / "greeter/version").write_text(f"{version}\n")
    made: dict[str, Any] = box.json("build", cwd=path)
    return made


def start(box: Box, path: Path, verb: str, release: str = "", **changes: Any) -> subprocess.Popen[bytes]:
    """Do something with the stage, in a process of its own."""
    return subprocess.Popen(
        [*box.argv()[:-2], "-c", _DRIVER, verb, release, json.dumps(changes)],
        cwd=path,
        env=box.environment({"STAGING_TOKEN": "geheim"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def deploy(box: Box, path: Path, release: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Deploy a release to the stage; return the observation."""
    running = start(box, path, "deploy", release["release"], **changes)
    out, said = running.communicate(timeout=300)
    assert running.returncode == 0, f"{out.decode()}\n{said.decode()}"
    seen: dict[str, Any] = json.loads(said.decode().splitlines()[-1])
    return seen


def observe(box: Box, path: Path) -> dict[str, Any]:
    """The observed state of the stage."""
    out, said = start(box, path, "observe").communicate(timeout=60)
    assert said, out
    seen: dict[str, Any] = json.loads(said)
    return seen


def executed(box: Box, path: Path) -> list[str]:
    """The POSTs that replicas executed, by their logs."""
    lines = box.ok("logs", "--stage", "staging", "web", cwd=path).splitlines()
    return [line.rpartition("executed /")[2] for line in lines if "executed /" in line]


def killed_at(box: Box, path: Path, release: str, *, step: int, op: str = "", **changes: Any) -> bool:
    """Begin a deployment that is killed when its step of that number (of an op) begins; False where it has fewer."""
    running = start(box, path, "deploy", release, **changes)
    assert running.stdout is not None
    seen = 0
    for line in running.stdout:
        if line.startswith(f"StepStarted(id='{op}".encode()):
            if seen == step:
                os.kill(running.pid, 9)
                running.communicate()
                return True
            seen += 1
    running.communicate()
    return False
