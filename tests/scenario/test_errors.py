"""Each mistake gives one clear error: what, where, why, and the next command. No traceback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.machine import Box, make_box

from devbox.model.ids import compute_instance_id

pytestmark = pytest.mark.scenario

DEBIAN = '[dev]\nrecipe = "debian"\n'
MOST_LINES = 12

# env file, command line, exit code, what the error must say. Nothing of these starts anything.
BEFORE = {
    "no such command": (DEBIAN, ["upp"], 2, ["upp", "up"]),
    "no such option": (DEBIAN, ["up", "--frob"], 2, ["--frob", "devbox up --help"]),
    "no number": (DEBIAN, ["logs", "-n", "abc"], 2, ["abc"]),
    "no such progress": (DEBIAN, ["up", "--progress", "loud"], 2, ["loud", "plain"]),
    "no such directory": (DEBIAN, ["-C", "/nope", "up"], 2, ["/nope"]),
    "no such file": (DEBIAN, ["-f", "nope.toml", "up"], 2, ["nope.toml", "devbox init"]),
    "no such template": (DEBIAN, ["init", "x", "--template", "nope"], 2, ["nope", "bare"]),
    "already a project": (DEBIAN, ["init"], 2, ["devbox.toml already exists"]),
    "no such container": (DEBIAN, ["up", "nope"], 2, ["nope", "known: dev"]),
    "no shell there": (DEBIAN, ["shell", "nope"], 2, ["nope", "known: dev"]),
    "no logs there": (DEBIAN, ["logs", "nope"], 2, ["nope", "devbox up"]),
    "no such task": (DEBIAN + '[tasks]\ntest = "x"\n', ["run", "tset"], 2, ["tset", "known: test"]),
    "no such base": (DEBIAN, ["run", "--base", "nope", "--", "true"], 2, ["base nope", "known: dev"]),
    "run what": (DEBIAN, ["run"], 2, ["devbox run TASK"]),
    "exec what": (DEBIAN, ["exec"], 2, ["devbox exec dev COMMAND"]),
    "nothing up to exec": (DEBIAN, ["exec", "--", "true"], 125, ["dev is not running", "devbox up"]),
    "nothing up to open": (DEBIAN, ["open"], 1, ["dev is not running", "devbox up"]),
    "nothing up to restart": (DEBIAN, ["restart"], 2, ["nothing is running", "devbox up"]),
    "clean without a yes": (DEBIAN, ["doctor", "--clean"], 2, ["devbox doctor --clean --yes"]),
    "empty file": (" \n", ["up"], 2, ["devbox.toml:1", "empty"]),
    "not TOML": ("[dev\n", ["up"], 2, ["devbox.toml:1", "invalid TOML"]),
    "unknown key": (DEBIAN + 'workspce = "/w"\n', ["up"], 2, ["devbox.toml:3", "workspace"]),
    "unknown table": ('[devv]\nrecipe = "debian"\n', ["up"], 2, ["devbox.toml:1", "did you mean dev?"]),
    "unknown recipe": ('[dev]\nrecipe = "pyhton"\n', ["up"], 2, ["devbox.toml:2", "did you mean python?"]),
    "version as a float": ('[dev]\nrecipe = "python"\nwith = { version = 3.10 }\n', ["up"], 2, ["3.10 becomes 3.1"]),
    "version that is none": ('[dev]\nrecipe = "python"\nwith = { version = "3.7" }\n', ["up"], 2, [":3", "3.8, 3.9"]),
    "unset variable": ('[dev]\nrecipe = "${x}"\n', ["up"], 2, ["devbox.toml:2", "x"]),
    "port that is none": (DEBIAN + 'ports = ["80000"]\n', ["up"], 2, ["devbox.toml:3", "65535"]),
    "size that is none": (DEBIAN + 'limits = { memory = "lots" }\n', ["up"], 2, ["devbox.toml:3", "512MiB"]),
    "cycle of needs": ('[service.x]\nrecipe = "redis"\nneeds = ["x"]\n', ["up"], 2, ["devbox.toml:3", "cycle"]),
    "two sources": (DEBIAN + 'image = "x"\n', ["up"], 2, ["recipe and image"]),
    "no env file there": (DEBIAN + 'env_files = ["x.env"]\n', ["up"], 2, ["devbox.toml:3", "x.env"]),
    "too new a file": ('[project]\nrequires = ">=999"\n', ["up"], 2, ["devbox.toml:2", "999"]),
    "command on this machine": (DEBIAN + 'secrets = { T = "cmd:pass t" }\n', ["up"], 1, ["pass t", "devbox trust"]),
    "hook": (DEBIAN + '[hooks]\nstarted = "make seed"\n', ["up"], 1, ["devbox.toml:4", "make seed", "devbox trust"]),
    "file outside": (DEBIAN + 'secrets = { T = "file:~/.netrc" }\n', ["up"], 1, [".netrc", "devbox trust"]),
}

# env file, exit code, what the error of `up` must say. A container is made, or nearly.
WHILE = {
    "variable of a secret": (DEBIAN + 'secrets = { T = "env:NOPE_X" }\n', 1, ["devbox.toml:1", "export NOPE_X="]),
    "file of a secret": (DEBIAN + 'secrets = { T = "file:nope" }\n', 1, ["nope", "not found"]),
    "user": (DEBIAN + 'user = "nobodyhere"\n', 1, ["devbox.toml:1", "user nobodyhere not found", "getent passwd"]),
    "setup that fails": (
        DEBIAN + '[dev.setup]\nrun = "echo why; exit 3"\n',
        1,
        ["exited with code 3", "| why", "shell dev"],
    ),
    "setup without its program": (DEBIAN + '[dev.setup]\nrun = "pip list"\n', 1, ["pip: not found", "packages ="]),
    "crash": (DEBIAN + 'command = "echo why; exit 3"\nports = [8000]\n', 1, [":1: dev keeps crashing", "exit code 3"]),
    "nothing listens": (
        DEBIAN + 'command = "sleep 100"\nhealth = { tcp = 8000, start_period = "1s" }\n',
        1,
        ["no server listens on port 8000", "0.0.0.0", "devbox logs dev"],
    ),
    "service without its program": (
        '[service.x]\nrecipe = "debian"\ncommand = ["nosuch"]\n',
        1,
        ["x keeps crashing", "cannot start the command"],
    ),
    "job": ('[service.x]\nrecipe = "debian"\nkind = "job"\ncommand = "exit 3"\n', 1, ["the job x failed", "logs x"]),
    "package": (
        DEBIAN + 'packages = ["nosuchpkg-xyz"]\n',
        1,
        [":1: packages", "package nosuchpkg-xyz not found", "trixie"],
    ),
}


def says(done: subprocess.CompletedProcess[bytes], code: int, parts: Sequence[str]) -> str:
    """Assert that the error is a sentence, details and a remedy, and contains these parts."""
    text = done.stderr.decode()
    assert done.returncode == code, text
    lines = text.splitlines()
    error = lines[next(at for at, line in enumerate(lines) if line.startswith("devbox: ")) :]
    assert len(error) <= MOST_LINES, text
    assert "Traceback" not in text
    assert "internal error" not in text
    told = "\n".join(error)
    assert not [part for part in parts if part not in told], told
    return told


def within(box: Box, prefix: Sequence[str], *words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run devbox behind another program, such as `unshare`."""
    argv = [*prefix, *box.argv(*words)]
    return subprocess.run(
        argv, cwd=cwd, env=box.environment(env), stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False
    )


def private(script: str) -> list[str]:
    """A mount namespace of its own in which a script runs first."""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", f'{script}; exec "$@"', "sh"]


@pytest.mark.parametrize("what", BEFORE)
@pytest.mark.as_root
def test_before_anything_runs(box: Box, what: str):
    text, words, code, parts = BEFORE[what]
    project = box.project(text)
    says(box.run(*words, cwd=project), code, parts)


@pytest.mark.parametrize("what", WHILE)
def test_while_something_starts(box: Box, what: str):
    text, code, parts = WHILE[what]
    project = box.project(text)
    says(box.run("up", cwd=project), code, parts)
    box.ok("down", "-v", cwd=project)


@pytest.mark.as_root
def test_outside_of_a_project(box: Box, tmp_path: Path):
    says(box.run("up", cwd=tmp_path), 2, ["devbox.toml not found", "devbox init"])


@pytest.mark.as_root
def test_a_taken_port_is_reported_with_its_process(box: Box):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        project = box.project(DEBIAN + f'ports = ["{port}:80"]\n')
        says(box.run("up", cwd=project), 1, ["devbox.toml:1", f"pid {os.getpid()}", f"kill {os.getpid()}", "[80]"])


def test_a_port_of_another_project_names_the_project(any_box: Box):
    box = any_box
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    first, second = (box.project(DEBIAN + f'ports = ["{port}:80"]\n') for _ in range(2))
    box.ok("up", "-d", cwd=first)
    says(box.run("up", cwd=second), 1, [f"the devbox project {first}", f"devbox -C {first} down"])


def test_inside_a_running_container(box: Box):
    project = box.project(DEBIAN)
    box.ok("up", cwd=project)
    says(box.run("exec", "nope", "--", "true", cwd=project), 125, ["container nope not found", "known: dev"])
    says(box.run("exec", "-u", "nobodyhere", "--", "true", cwd=project), 125, ["user nobodyhere not found"])
    says(box.run("exec", "-w", "/nope", "--", "true", cwd=project), 125, ["/nope", "devbox shell dev"])
    assert box.run("exec", "--", "nosuch", cwd=project).returncode == 127
    assert box.run("exec", "--", "/etc/passwd", cwd=project).returncode == 126
    says(box.run("open", cwd=project), 1, ["publishes no port", "ports = [8000]"])


@pytest.mark.as_root
def test_state_that_is_damaged_or_of_a_newer_devbox(box: Box):
    project = box.project(DEBIAN + "ports = [8000]\n")
    box.ok("up", "-d", cwd=project)
    record = box.home / "projects" / compute_instance_id(os.path.realpath(project), "devbox.toml")
    (record / "ports.json").write_text("{")
    says(box.run("restart", cwd=project), 1, [f"rm {record}/ports.json"])
    (record / "ports.json").write_text('{"format": 99}')
    says(box.run("restart", cwd=project), 1, ["newer devbox", "upgrade devbox"])
    (record / "ports.json").unlink()
    (record / "last.json").write_text("{")
    (state,) = (Path(path) for path in _runtime_files(box, record.name))
    state.write_text(json.dumps(json.loads(state.read_text()) | {"format": 99}))
    says(box.run("ps", cwd=project), 1, ["newer devbox", "devbox down"])
    state.write_text("{")
    for words in (["ps"], ["up"], ["restart"]):
        says(box.run(*words, cwd=project), 1, [f"{state} is damaged", "devbox down, then devbox up"])
    box.ok("down", cwd=project)
    assert box.json("ps", cwd=project) == []
    idmap = box.home / "idmap.json"
    was = idmap.read_text()
    idmap.write_text("{")
    told = says(box.run("up", cwd=project), 1, [f"{idmap} is damaged", "echo"])
    subprocess.run(["sh", "-c", told.partition("most likely content: ")[2]], check=True)
    assert idmap.read_text() == was, "the remedy mends it"


def _runtime_files(box: Box, instance: str) -> list[str]:
    from devbox.host.paths import hash_name

    tag = hash_name(str(box.home))
    return [
        str(path) for base in ("/run", "/dev/shm") for path in Path(base).glob(f"devbox-0/{tag}/{instance}/state.json")
    ]


def test_a_missing_program_names_its_package(box: Box):
    project = box.project(DEBIAN)
    hide = "for name in pasta nft catatonit; do mount --bind /dev/null $(command -v $name); done"
    says(within(box, private(hide), "up", cwd=project), 1, ["catatonit is not installed", "apt-get install catatonit"])
    said = within(box, private(hide), "doctor", "--offline", cwd=project)
    assert said.returncode == 1
    for package in ("passt", "nftables", "catatonit"):
        assert f"sudo apt-get install {package}" in said.stdout.decode()
    says(box.run("up", cwd=project, env={"DEVBOX_RUNTIME": "nope"}), 1, ["program nope not found", "unset"])


@pytest.mark.as_root
def test_a_home_that_can_not_be_used(box: Box, tmp_path: Path):
    project = box.project(DEBIAN)
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file/below"):
        says(box.run("up", cwd=project, env={"DEVBOX_HOME": str(home)}), 1, ["Not a directory", "devbox doctor"])
        said = box.run("doctor", "--offline", cwd=project, env={"DEVBOX_HOME": str(home)})
        assert (said.returncode, b"is not a directory" in said.stdout) == (1, True)
    disk = tmp_path / "disk"
    disk.mkdir()
    read_only = private(f"mount -t tmpfs -o ro tmpfs {disk}")
    says(within(box, read_only, "up", cwd=project, DEVBOX_HOME=f"{disk}/home"), 1, ["Read-only", f"{disk}/home"])
    tiny = private(f"mount -t tmpfs -o size=8k,nr_inodes=10 tmpfs {disk}")
    says(within(box, tiny, "up", cwd=project, DEVBOX_HOME=f"{disk}/home"), 1, ["No space left", "df -h"])


@pytest.mark.as_root
def test_a_disk_that_fills_up_while_baking(box: Box, tmp_path: Path):
    project = box.project(DEBIAN)
    small = private(f"mount -t tmpfs -o size=48m tmpfs {tmp_path}")
    home = {"DEVBOX_HOME": f"{tmp_path}/home"}
    says(within(box, small, "up", cwd=project, **home), 1, ["the disk is full", "df -h", "DEVBOX_HOME"])
    _take_down(box, project, home)


@pytest.mark.parametrize("mirror", ["http://127.0.0.1:9/debian", "http://no-such-host.invalid/debian"])
@pytest.mark.as_root
def test_a_mirror_that_does_not_answer(box: Box, tmp_path: Path, mirror: str):
    project = box.project(DEBIAN)
    env = {"DEVBOX_HOME": str(tmp_path / "home"), "DEVBOX_MIRROR_DEBIAN": mirror}
    parts = ["cannot reach the package mirror", mirror, "devbox doctor", "DEVBOX_MIRROR_DEBIAN"]
    says(box.run("up", cwd=project, env=env), 1, parts)
    said = box.run("doctor", cwd=project, env=env).stdout.decode()
    assert f"cannot reach {mirror}" in said
    assert "correct DEVBOX_MIRROR_DEBIAN" in said
    _take_down(box, project, env)


def _take_down(box: Box, project: Path, env: dict[str, str]) -> None:
    """Leave nothing of a home that the box does not know."""
    box.ok("down", "-v", cwd=project, env=env)


class TestAnOrdinaryUser:
    @pytest.fixture
    def user(self, boxes: dict[str, Box]) -> Box:
        if "user-crun" not in boxes:
            boxes["user-crun"] = make_box("user-crun")
        return boxes["user-crun"]

    def test_a_file_that_can_not_be_read(self, user: Box):
        project = user.project(DEBIAN)
        (project / "devbox.toml").chmod(0)
        says(user.run("up", cwd=project), 2, ["devbox.toml", "cannot read the file", "Permission denied"])

    def test_a_file_of_another_user(self, user: Box):
        project = user.project(DEBIAN)
        os.chown(project / "devbox.toml", 54321, 54321)
        says(user.run("up", cwd=project), 2, ["belongs to uid 54321", "devbox -f"])

    def test_a_home_that_is_closed(self, user: Box):
        project = user.project(DEBIAN)
        says(user.run("up", cwd=project, env={"DEVBOX_HOME": "/root/x"}), 1, ["Permission denied", "devbox doctor"])
        said = user.run("doctor", "--offline", cwd=project, env={"DEVBOX_HOME": "/root/x"})
        assert (said.returncode, b"is not writable" in said.stdout) == (1, True)

    def test_an_inaccessible_tun_device_and_missing_ids_are_reported_with_remedies(self, user: Box):
        project = user.project(DEBIAN)
        (user.home.parent / "tun").chmod(0o600)
        try:
            says(
                user.run("up", cwd=project),
                1,
                ["devbox-test may not open /dev/net/tun", "sudo setfacl -m u:devbox-test:rw /dev/net/tun"],
            )
            said = user.run("doctor", "--offline", cwd=project)
            assert (said.returncode, b"setfacl -m u:devbox-test:rw /dev/net/tun" in said.stdout) == (1, True)
        finally:
            (user.home.parent / "tun").chmod(0o666)
        user.run("down", "-v", cwd=project)
        no_ids = private("mount --bind /dev/null /etc/subuid")
        says(within(user, no_ids, "up", cwd=project), 1, ["/etc/subuid", "sudo usermod --add-subuids"])

    def test_issue9_c23_an_inaccessible_tun_device_is_reported_before_any_bake(self, user: Box):
        isolated = DEBIAN + 'isolation = "isolated"\n'
        baked, other = user.project(isolated), user.project(DEBIAN + 'packages = ["ed"]\n')
        user.ok("up", cwd=baked)
        user.ok("down", cwd=baked)
        (user.home.parent / "tun").chmod(0o600)
        try:
            said = user.run("up", cwd=other)
            says(said, 1, ["devbox-test may not open /dev/net/tun", "sudo setfacl -m u:devbox-test:rw /dev/net/tun"])
            assert b"bake" not in said.stderr
            user.ok("up", cwd=baked)
            assert user.ok("exec", "--", "echo", "inside", cwd=baked) == "inside\n"
        finally:
            (user.home.parent / "tun").chmod(0o666)

    def test_a_port_below_1024(self, user: Box):
        if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 1024:
            pytest.skip("every user may open low ports here")
        project = user.project(DEBIAN + 'ports = ["81:80"]\n')
        says(user.run("up", cwd=project), 1, ["81", "above 1023"])
