"""buildah runs in a build worker: a Dockerfile becomes a config, and the layers that the store does not have.

buildah has no access to the user's own containers: storage, configuration and temporary files are the store's. Host
settings for RUN come from its environment (proxy) and its runtime (CAs, mirrors): they are not stored in an image.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from devbox.errors import BakeFailed, CommandFailed
from devbox.host import environ, files, host_settings, process
from devbox.images.bake.apt import Tick
from devbox.images.bake.jobs import CONFIG_FILE, NEW_LAYERS, BuildJob, PruneJob
from devbox.images.bake.output import JobOutput
from devbox.images.bake.steps import SHELL
from devbox.images.dockerfile import cache, mountpoints, parse
from devbox.images.dockerfile.rewrite import ADDED, ARG_WINS, ENV_WINS
from devbox.images.layers import compression
from devbox.images.store.documents import SOURCE_DATE_EPOCH
from devbox.isolation import cgroups, namespaces, oci
from devbox.isolation.types import IdMap

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
# Without CAP_SYS_RESOURCE, root may not raise inherited limits; buildah's default would be higher.
_ULIMITS = ("nofile=20000:20000", "nproc=90000:90000")
_INHERITED = ("PATH", "LANG", "LC_ALL", "TERM", "USER", "LOGNAME", "XDG_RUNTIME_DIR")
_LAYERS = "2"  # incremented when an instruction produces another layer: invalidates buildah's cache
_STEP = re.compile(r"^(?:\[\d+/\d+\] )?STEP \d+/\d+: (.*)$")
_ERROR = re.compile(r"^Error: (?:building at STEP \".*\": )?")
_EXIT = re.compile(r"while running runtime: exit status|^time=\"|exit status \d+$")


def build(job: BuildJob, idmap: IdMap, output: JobOutput) -> None:
    """Build the image and write its new layers. The process is root of the store, in its own namespaces."""
    own, written = namespaces.find_runtime(), parse.read(job.dockerfile)
    runtime = wrap_runtime(
        own, job.place, ca_file=host_settings.find_ca_file(), dockerfile=written, rootless=idmap.rootless
    )
    if oci.is_crun(runtime):
        cgroups.prepare_view("none", runtime)
    program, env = process.find("buildah"), _prepare_environment(job, idmap)
    storage = format_storage_options(job)
    _remove_left_behind(program, storage, job, env)
    _remove_outdated(program, storage, job, env)
    before = cache.list_images(job.storage)
    reader = _BuildahProgress()
    with output.pipe_lines(reader.feed) as sink:
        command = [program, *storage, *format_build_options(job, runtime)]
        code = process.spawn(command, stdout=sink, stderr=sink, env=env).wait()
    built = files.read_text(f"{job.place}/built") or ""
    used = cache.list_images(job.storage) - before | cache.parse_used(output.read_all())
    used |= cache.find_with_parents(job.storage, built.strip().removeprefix("sha256:"))
    cache.record_uses(job.storage, job.use, used, all_of_it=code == 0)
    if code:
        messages = output.read_all().replace(f"{job.context}/", "")
        error = explain_failure(messages, written, os.path.basename(job.dockerfile))
        if job.terminal >= 0 and (left := _list_containers(program, storage, env)):
            output.wait_for_terminal(error.sentence, error.details)
            shell = [program, *storage, *format_shell_options(job, runtime, left[-1])]
            process.spawn(shell, stdin=job.terminal, stdout=job.terminal, stderr=job.terminal, env=env).wait()
            _remove_left_behind(program, storage, job, env)
        raise error
    output.report_progress(Tick("copying the image to the store"))
    inspection = [program, *storage, "inspect", "--type", "image", "--format", "{{.Config}}", built]
    config = process.run(inspection, purpose="inspect the image built by buildah", env=env).stdout
    files.write_atomic(f"{job.place}/{CONFIG_FILE}", config)
    diff_ids = cache.parse_image_document(config)["rootfs"].get("diff_ids") or []  # `FROM scratch` alone has no layer
    if any(not _has_layer(job, diff_id) for diff_id in diff_ids):
        layout = _create_placeholder_layout(
            f"{job.place}/new", [diff_id for diff_id in diff_ids if _has_layer(job, diff_id)]
        )
        process.run(
            [program, *storage, *format_push_options(built, layout)], purpose="copy the image built by buildah", env=env
        )
        _unpack(layout, diff_ids, os.path.join(job.place, NEW_LAYERS))


def format_push_options(image: str, destination: str) -> list[str]:
    """Return the arguments that write an image's layers into a layout, with the fastest compression. Pure.

    `dir:` would leave them uncompressed, but writes all layers, including those of a base of gigabytes.
    """
    packed = ("--compression-format", "zstd", "--compression-level", "1", "--force-compression=false")
    return ["push", "--quiet", "--format", "oci", *packed, image, f"oci:{destination}"]


def _has_layer(job: BuildJob, diff_id: str) -> bool:
    """Return whether the store has a layer, under any blob digest."""
    return diff_id in job.known or os.path.exists(f"{job.blobs}/{_strip_algorithm(diff_id)}")


def _create_placeholder_layout(destination: str, diff_ids: Iterable[str]) -> str:
    """Create a layout with placeholders for layers that must not be written: buildah checks only their names."""
    os.makedirs(f"{destination}/blobs/sha256")
    for digits in {_strip_algorithm(diff_id) for diff_id in diff_ids}:
        os.mknod(f"{destination}/blobs/sha256/{digits}")
    return destination


def _unpack(written: str, diff_ids: Sequence[str], target: str) -> None:
    """Decompress the written layers into `target`, each named by the digits of its verified diff id."""
    os.mkdir(target)
    blobs = f"{written}/blobs/sha256"
    manifest = _read_json(f"{blobs}/{_strip_algorithm(_read_json(f'{written}/index.json')['manifests'][0]['digest'])}")
    for diff_id, layer in zip(diff_ids, manifest["layers"], strict=True):
        packed, path = f"{blobs}/{_strip_algorithm(layer['digest'])}", f"{target}/{_strip_algorithm(diff_id)}"
        if os.path.getsize(packed) and not os.path.exists(path):
            with open(packed, "rb") as source, open(path, "wb") as out:
                shutil.copyfileobj(compression.open_unpacked(source, compression.ZSTD)[0], out, 1 << 20)


def prune(job: PruneJob, idmap: IdMap) -> None:
    """Remove images from the cache; needed parent images get a name, so that they stay."""
    program, env, storage = process.find("buildah"), _prepare_environment(job, idmap), format_storage_options(job)
    for image in job.kept:
        process.run([program, *storage, "tag", image, f"devbox/{image}"], purpose="tag the images in use", env=env)
    purpose = "remove unused images"
    process.run([program, *storage, "rmi", "--force", *job.images], purpose=purpose, env=env, check=False)


def format_storage_options(job: BuildJob | PruneJob) -> list[str]:
    """Return the storage options. Mounts, and buildah's knowledge of them, end with this worker."""
    return ["--root", f"{job.storage}/root", "--runroot", f"{job.place}/run"]


def format_build_options(job: BuildJob, runtime: str) -> list[str]:
    """Return the arguments of a build. Pure."""
    images = [word for name, image in job.images.items() for word in ("--build-context", f"{name}={image}")]
    return [
        "build",
        *("--layers", "--format", "docker", "--identity-label=false", f"--timestamp={SOURCE_DATE_EPOCH}"),
        *_format_isolation_options(runtime),
        *(word for limit in _ULIMITS for word in ("--ulimit", limit)),
        *(["--force-rm=false"] if job.terminal >= 0 else []),  # a failed container can be inspected
        *images,
        *(word for name, value in job.args.items() for word in ("--build-arg", f"{name}={value}")),
        *(["--target", job.target] if job.target else []),
        *("--ignorefile", job.ignore, "--iidfile", f"{job.place}/built", "--file", job.dockerfile, job.context),
    ]


def format_shell_options(job: BuildJob, runtime: str, container: str) -> list[str]:
    """Return the arguments of a shell in the container of a failed instruction. Pure."""
    values = [word for name, value in job.args.items() for word in ("--env", f"{name}={value}")]
    return ["run", *_format_isolation_options(runtime), *values, "--tty", container, "--", *SHELL]


def _format_isolation_options(runtime: str) -> list[str]:
    crun = ["--runtime-flag", "cgroup-manager=disabled"] if oci.is_crun(runtime) else []
    return ["--isolation", "oci", "--runtime", runtime, *crun, "--network", "host"]


def _list_containers(program: str, storage: list[str], env: Mapping[str, str]) -> list[str]:
    """Return the ids of all containers, the newest last."""
    listed = process.run([program, *storage, "containers", "--quiet"], purpose="list failed build containers", env=env)
    return listed.stdout.decode().split()


def _prepare_environment(job: BuildJob | PruneJob, idmap: IdMap) -> dict[str, str]:
    temporary = files.ensure_private_dir(f"{job.storage}/tmp", mode=0o700)  # noqa: S108 - in the store, with cache mounts
    configuration = f"{job.place}/containers.conf"
    files.write_atomic(configuration, "")  # hides the host's configuration
    storage = f"{job.place}/storage.conf"
    files.write_atomic(storage, '[storage]\ndriver = "overlay"\n[storage.options.overlay]\nmountopt = "nodev"\n')
    # Only basic variables: buildah reads passwords, formats and stores from its environment.
    env = {name: value for name in _INHERITED if (value := environ.get(name))}
    if ca_file := host_settings.find_ca_file():  # ADD of a URL is buildah's own request
        env["SSL_CERT_FILE"] = ca_file
    env |= {"HOME": job.place, "CONTAINERS_CONF": configuration, "CONTAINERS_STORAGE_CONF": storage}
    for name in host_settings.PROXY_VARIABLES:  # buildah passes on the variables that it has, in both cases
        if value := host_settings.read_setting(name):
            env |= {name: value, name.upper(): value}
    if idmap.rootless:
        env |= {"_CONTAINERS_USERNS_CONFIGURED": "done", "_CONTAINERS_ROOTLESS_UID": str(idmap.uids[0].outside)}
    return env | {"TMPDIR": temporary}


def explain_failure(output: str, dockerfile: str, name: str) -> BakeFailed:
    """Return the error with the failed instruction's line. Pure."""
    lines = [line for line in output.splitlines() if line.strip()]
    last, messages = "", lines
    for at, line in enumerate(lines):
        if match := _STEP.match(line):
            last, messages = match[1], lines[at + 1 :]
    messages = [_ERROR.sub("", line) for line in messages if not _EXIT.search(line)]
    number, last = parse.find_line(dockerfile, last, added=ADDED)
    place = f"{name}:{number}" if number else name
    sentence = f"{place}: {last} failed" if last else f"cannot build {place}"
    return BakeFailed(sentence, details="\n".join(messages[-8:]), remedy="run the build again: devbox up")


class _BuildahProgress:
    """Tracks buildah's progress: the current step, and its last line."""

    def feed(self, line: str) -> Tick | None:
        """Return the progress of one line of output."""
        match = _STEP.match(line)
        return Tick(match[1] if match else line) if line.strip() else None


def _remove_left_behind(program: str, storage: list[str], job: BuildJob, env: Mapping[str, str]) -> None:
    """Remove the containers of killed builds; no other build is running."""
    kept = f"{job.storage}/root/overlay-containers"
    if any(cache.read_list(f"{kept}/{name}.json") for name in ("containers", "volatile-containers")):
        try:
            process.run([program, *storage, "rm", "--all"], purpose="remove the containers of a killed build", env=env)
        except CommandFailed:
            return  # they only take up space


def _remove_outdated(program: str, storage: list[str], job: BuildJob, env: Mapping[str, str]) -> None:
    """Remove cached images of a devbox version whose layers for the same instructions differ."""
    mark = f"{job.storage}/layers"
    if files.read_text(mark) != _LAYERS:
        if cache.list_images(job.storage):
            purpose = "remove images of an older devbox"
            process.run([program, *storage, "rmi", "--all", "--force"], purpose=purpose, env=env)
        files.write_atomic(mark, _LAYERS)


def _read_json(path: str) -> dict[str, Any]:
    return cache.parse_image_document((files.read_text(path) or "").encode())


def _strip_algorithm(digest: str) -> str:
    return digest.removeprefix("sha256:")


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
    env: Mapping[str, str], mounts: list[dict[str, object]], *, place: str = "", program: str = "", nodev: str = ""
) -> str:
    """Build the script that edits the config.json of its bundle argument, then executes the runtime. Pure.

    `program`, if given, is run first to record in `place` the mount points created for the container. With `nodev`, the
    path of mount(8), only devices created by the runtime in `/dev` can be opened. crun drops the mount options of the
    root: a hook remounts it.
    """
    counted = rf"({ARG_WINS}|{ENV_WINS})(\d+)_(.+)"
    settings = {"env": dict(env), "mounts": mounts, "place": place, "mountpoints": program, "nodev": nodev}
    return _EDIT.format(added=json.dumps({**settings, "counted": counted, "arg_wins": ARG_WINS}))
