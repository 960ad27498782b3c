"""buildah at work, in a bake worker: a Dockerfile becomes an image in a directory.

It sees nothing of the user's own containers: storage, configuration and temporary files are the store's. What the
host's settings bring into RUN (proxy, authorities) is given by that configuration, which no image keeps.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping

from devbox.errors import BakeFailed, CommandFailed
from devbox.host import carry, environ, files, process
from devbox.images.apt import Tick
from devbox.images.dockerfile.text import line_of
from devbox.images.epoch import SOURCE_DATE_EPOCH
from devbox.images.job import BuildJob
from devbox.images.output import Output
from devbox.isolation import cgroups, contexts, oci
from devbox.isolation.types import IdMap

IMAGE = "image"
# On the /dev that every container gets in memory: its mount point is in no layer.
_CA_TARGET = "/dev/devbox-ca.crt"
# Without CAP_SYS_RESOURCE, root may not raise what it was given; buildah's own wish would be more.
_ULIMITS = ("nofile=20000:20000", "nproc=90000:90000")
_STEP = re.compile(r"^(?:\[\d+/\d+\] )?STEP \d+/\d+: (.*)$")
_ERROR = re.compile(r"^Error: (?:building at STEP \".*\": )?")
_EXIT = re.compile(r"while running runtime: exit status|^time=\"|exit status \d+$")


def build(job: BuildJob, idmap: IdMap, output: Output) -> None:
    """Build the image and leave it in `place`/image. The process is root of the store, in namespaces of its own."""
    runtime = contexts.runtime_program()
    if oci.is_crun(runtime):
        cgroups.prepare_view("none", runtime)
    program, env = process.find("buildah"), _environment(job, idmap)
    storage = storage_options(job)
    _remove_left_behind(program, storage, job, env)
    reader = _Steps()
    with output.lines(reader.feed) as sink:
        command = [program, *storage, *build_options(job, runtime)]
        code = process.spawn(command, stdout=sink, stderr=sink, env=env).wait()
    if code:
        raise failure(output.all(), _text(job.dockerfile), os.path.basename(job.dockerfile))
    os.mkdir(f"{job.place}/{IMAGE}")
    built = files.read_text(f"{job.place}/built") or ""
    kind = ("--quiet", "--disable-compression", "--format", "v2s2")
    push = [program, *storage, "push", *kind, built, f"dir:{job.place}/{IMAGE}"]
    output.tick(Tick("taking it over into the store"))
    process.run(push, purpose="take over what buildah built", env=env)


def storage_options(job: BuildJob) -> list[str]:
    """Where buildah keeps what it has. Mounts end with this worker, and so does what it knows of them."""
    return ["--root", f"{job.storage}/root", "--runroot", f"{job.place}/run"]


def build_options(job: BuildJob, runtime: str) -> list[str]:
    """The words of a build. Pure."""
    crun = ["--runtime-flag", "cgroup-manager=disabled"] if oci.is_crun(runtime) else []
    images = [word for name, image in job.images.items() for word in ("--build-context", f"{name}={image}")]
    return [
        "build",
        *("--layers", "--format", "docker", "--identity-label=false", f"--timestamp={SOURCE_DATE_EPOCH}"),
        *("--isolation", "oci", "--runtime", runtime, *crun, "--network", "host"),
        *(word for limit in _ULIMITS for word in ("--ulimit", limit)),
        *images,
        *(word for name, value in job.args.items() for word in ("--build-arg", f"{name}={value}")),
        *(["--target", job.target] if job.target else []),
        *("--ignorefile", job.ignore, "--iidfile", f"{job.place}/built", "--file", job.dockerfile, job.context),
    ]


def _environment(job: BuildJob, idmap: IdMap) -> dict[str, str]:
    temporary = files.private_dir(f"{job.storage}/tmp", mode=0o700)  # noqa: S108 - of the store; cache mounts lie in it
    configuration = f"{job.place}/containers.conf"
    files.write_atomic(configuration, settings(carry.ca_file()))
    storage = f"{job.place}/storage.conf"
    files.write_atomic(storage, '[storage]\ndriver = "overlay"\n')
    env = {**environ.snapshot(), "CONTAINERS_CONF": configuration, "CONTAINERS_STORAGE_CONF": storage}
    for name in carry.PROXY_VARIABLES:  # buildah hands on those that it has, in both cases
        if value := carry.set_on_host(name):
            env |= {name: value, name.upper(): value}
    if idmap.rootless:
        env |= {"_CONTAINERS_USERNS_CONFIGURED": "done", "_CONTAINERS_ROOTLESS_UID": str(idmap.uids[0].outside)}
    return env | {"TMPDIR": temporary}


def settings(ca_file: str) -> str:
    """containers.conf: the host's authorities and package mirrors in every RUN."""
    mirrors = {name: value for name in carry.MIRROR_VARIABLES if (value := carry.set_on_host(name))}
    variables = mirrors | (dict.fromkeys(carry.CA_VARIABLES, _CA_TARGET) if ca_file else {})
    lines = ["[containers]", f"env = {json.dumps([f'{name}={value}' for name, value in variables.items()])}"]
    if ca_file:
        lines.append(f"volumes = {json.dumps([f'{ca_file}:{_CA_TARGET}:ro'])}")
    return "\n".join([*lines, ""])


def failure(output: str, dockerfile: str, name: str) -> BakeFailed:
    """What went wrong, at which line. Pure."""
    lines = [line for line in output.splitlines() if line.strip()]
    last, said = "", lines
    for at, line in enumerate(lines):
        if match := _STEP.match(line):
            last, said = match[1], lines[at + 1 :]
    said = [_ERROR.sub("", line) for line in said if not _EXIT.search(line)]
    number = line_of(dockerfile, last)
    place = f"{name}:{number}" if number else name
    sentence = f"{place}: {last} failed" if last else f"{place} can't be built"
    return BakeFailed(sentence, details="\n".join(said[-8:]), remedy="devbox up runs it again")


class _Steps:
    """Follows buildah: the step it is at, and the last line of it."""

    def feed(self, line: str) -> Tick | None:
        """One line of its output."""
        match = _STEP.match(line)
        return Tick(match[1] if match else line) if line.strip() else None


def _remove_left_behind(program: str, storage: list[str], job: BuildJob, env: Mapping[str, str]) -> None:
    """Containers of builds that were killed. Nobody else builds now."""
    known = files.read_text(f"{job.storage}/root/overlay-containers/containers.json")
    if known and json.loads(known):
        try:
            process.run([program, *storage, "rm", "--all"], purpose="remove what a killed build left", env=env)
        except CommandFailed:
            return  # they cost room, and nothing else


def _text(path: str) -> str:
    return files.read_text(path) or ""
