"""Dockerfiles with BuildKit's semantics, rewritten for buildah: owner of WORKDIR, order of ARG and ENV, mounts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devbox.images.dockerfile import mountpoints, parse
from devbox.images.dockerfile.buildah import build_edit_script
from devbox.images.dockerfile.rewrite import ADDED, BaseSettings, adapt_dockerfile
from devbox.model import image
from devbox.model.image import FromDockerfile, Run, compute_step_key

MADE = "COPY --from=devbox-empty"


def test_issue9_ms4_workdir_is_the_users_and_all_of_several_are_made() -> None:
    written = (
        "FROM a AS one\nWORKDIR /x\nWORKDIR y z\nUSER ann:users\nWORKDIR /w\nFROM one\nWORKDIR v\nFROM b\nWORKDIR /b\n"
    )
    assert adapt_dockerfile(written, begun={"b": BaseSettings(user=":7")}).splitlines() == [
        "FROM a AS one",
        f'{MADE} [".", "/x/"]',
        "WORKDIR /x",
        f'{MADE} [".", "y z/"]',
        "WORKDIR y z",
        "USER ann:users",
        f'{MADE} --chown=ann:users [".", "/w/"]',
        "WORKDIR /w",
        "FROM one",
        f'{MADE} --chown=ann:users [".", "v/"]',
        "WORKDIR v",
        "FROM b",
        f'{MADE} --chown=0:7 [".", "/b/"]',
        "WORKDIR /b",
    ]
    assert (
        adapt_dockerfile("FROM a\nUSER $U:${G}\nWORKDIR /x\n").splitlines()[2]
        == f'{MADE} --chown=${{U:-0}}:${{G:-0}} [".", "/x/"]'
    )
    plain = "FROM a\nUSER root\nWORKDIR /x\nRUN y\n"
    assert adapt_dockerfile(plain) == plain


def test_issue9_ms4_an_error_names_the_line_of_the_original() -> None:
    meant = adapt_dockerfile("FROM a\nUSER ann\nWORKDIR /x\nENV A=1\nARG A=2\nENV A=3\nRUN false\n")
    assert parse.find_line(meant, "RUN false", added=ADDED) == (7, "RUN false")
    assert parse.find_line(meant, f'{MADE} --chown=ann [".", "/x/"]', added=ADDED) == (3, "WORKDIR /x")


def test_issue9_ms4_the_later_of_arg_and_env_counts() -> None:
    written = (
        "ARG O=outer\nFROM a\nARG B=$A\nARG A=1\nENV X=$A Y='$A' Z=\"it's ${A}\" \\\n  W=\\$A\nENV A=${A}2\n"
        "COPY $A /$AB\nARG A O G N\nLABEL l=$A g=${G:-x}\n"
    )
    meant = adapt_dockerfile(written, {"G": "it's"}, {"a": BaseSettings(env=frozenset("AOGN"))})
    assert meant.splitlines() == [
        "ARG O=outer",
        "FROM a",
        "ARG B=$A",
        "ARG A=1 DEVBOX_ARG_1_A=1",
        "ENV X=$DEVBOX_ARG_1_A Y='$A' Z=\"it's ${DEVBOX_ARG_1_A}\" \\",
        "  W=\\$A",
        "ARG DEVBOX_ENV_2_A=1",
        "ENV A=${DEVBOX_ARG_1_A}2",
        "COPY $A /$AB",
        "ARG A O G N DEVBOX_ARG_3_O='outer' DEVBOX_ARG_4_G='it'\"'\"'s'",
        "LABEL l=$A g=${DEVBOX_ARG_4_G:-x}",
    ]
    plain = "FROM a\nARG A=1\nENV A=2\nRUN x\n"
    assert adapt_dockerfile(plain) == plain


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ENV P=C:\\x", "ENV P=C:'\\'x"),
        ('ENV P="a`"b\\ $A" Q=`$A R=\'`\\\'', "ENV P=\"a\"'\"'\"b\"'\\'\" $A\" Q='$'A R='`\\'"),
        ("ENV A=it`'s `\n  B=\\", "ENV A=it\"'\"s   B='\\'\n"),
        ('COPY ["a\\\\b", "/c"]', 'COPY ["a\\\\b", "/c"]'),
        ("RUN echo \\ `\n  x", "RUN echo \\ `\n  x"),
    ],
)
def test_issue9_ms4_a_backslash_is_a_character_where_another_escapes(written: str, meant: str) -> None:
    assert adapt_dockerfile(f"# escape=`\nFROM a\n{written}\n") == f"# escape=`\nFROM a\n{meant}\n"


def test_issue9_ms4_run_has_the_later_of_arg_and_env(tmp_path: Path) -> None:
    env = ["PATH=/bin", "A=env", "B=env", "DEVBOX_ARG_1_A=old", "DEVBOX_ARG_10_A=new", "DEVBOX_ARG_2_B=arg"]
    config = {"process": {"env": [*env, "DEVBOX_ENV_3_B=1"]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    script = tmp_path / "edit.py"
    script.write_text(build_edit_script({"C": "host", "A": "host"}, []))
    words = [sys.executable, "-I", "-S", str(script), "/bin/true", "create", "--bundle", str(tmp_path), "id"]
    subprocess.run(words, check=True)
    found = json.loads((tmp_path / "config.json").read_text())["process"]["env"]
    assert sorted(found) == ["A=new", "B=env", "C=host", "PATH=/bin"]


def test_a_build_of_root_mounts_no_devices(tmp_path: Path) -> None:
    mounts = [
        {"destination": "/dev", "type": "tmpfs", "options": ["nosuid"]},
        {"destination": "/a", "type": "bind", "options": ["rbind", "dev", "ro"]},
        {"destination": "/dev/b", "options": ["bind"]},
    ]
    config = {"process": {}, "root": {"path": "rootfs"}, "mounts": mounts}
    (tmp_path / "config.json").write_text(json.dumps(config))
    script = tmp_path / "edit.py"
    script.write_text(build_edit_script({}, [], nodev="/bin/mount"))
    words = [sys.executable, "-I", "-S", str(script), "/bin/true", "run", "-b", str(tmp_path), "id"]
    subprocess.run(words, check=True)
    edited = json.loads((tmp_path / "config.json").read_text())
    options = [["nosuid"], ["rbind", "ro", "nodev"], ["bind", "nodev"]]
    assert [each["options"] for each in edited["mounts"]] == options
    args = ["/bin/mount", "-n", "-o", "remount,bind,nodev", f"{tmp_path}/rootfs"]
    assert edited["hooks"]["createContainer"] == [{"path": "/bin/mount", "args": args}]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A container whose root has a directory, and a link out of it."""
    (tmp_path / "rootfs/there").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "rootfs/link").symlink_to("/there")
    places = ("/proc", "/new/deep/x", "/there/y", "/link/z", "/one/file", "/there")
    mounts = [{"destination": place} for place in places]
    (tmp_path / "config.json").write_text(json.dumps({"root": {"path": "rootfs"}, "mounts": mounts}))
    return tmp_path


def test_issue9_ms4_mount_points_of_run_are_removed(bundle: Path) -> None:
    root, noted = bundle / "rootfs", bundle / "made"
    mountpoints.record_mountpoints(str(bundle), str(noted))
    assert (root / "new/deep").stat().st_mode & 0o7777 == 0o755
    for name in ("new/deep/x", "there/y", "there/z"):  # the runtime's part
        (root / name).mkdir()
    (root / "one/file").touch()
    (root / "one/kept").touch()  # RUN's
    mountpoints.remove_mountpoints(str(noted))
    assert sorted(str(each.relative_to(root)) for each in root.rglob("*")) == ["link", "one", "one/kept", "there"]
    assert not noted.exists()


def test_issue9_ms4_no_link_of_run_is_followed_when_mount_points_go(bundle: Path) -> None:
    root, noted = bundle / "rootfs", bundle / "made"
    mountpoints.record_mountpoints(str(bundle), str(noted))
    (bundle / "outside/deep/x").mkdir(parents=True)
    (root / "new").rename(root / "moved")
    (root / "new").symlink_to("../outside")
    mountpoints.remove_mountpoints(str(noted))
    assert (bundle / "outside/deep/x").is_dir()
    assert os.readlink(root / "new") == "../outside"


def test_issue9_ms4_images_of_older_builds_are_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    build, run = FromDockerfile(path="Dockerfile", content="sha256:1"), Run(commands=("true",))
    new = [compute_step_key("", each) for each in (build, run)]
    monkeypatch.setattr(image, "_BAKERS", {})
    assert compute_step_key("", build) != new[0]
    assert compute_step_key("", run) == new[1]


def test_issue9_ms4_volumes_come_last() -> None:
    meant = adapt_dockerfile("FROM a\nVOLUME /a \\\n  /b\nRUN x\nFROM b\nVOLUME /c\nRUN y\nCMD z\n")
    assert meant.split("\n") == [
        *("FROM a", "", "", "RUN x", "VOLUME /a   /b", "FROM b", "", "RUN y", "CMD z", "", "VOLUME /c", ""),
    ]
    assert parse.find_line(meant, "RUN y", added=ADDED) == (7, "RUN y")


def test_the_program_of_mount_points_runs_without_devbox(bundle: Path) -> None:
    """It replaces the OCI runtime, with neither site-packages nor PYTHONPATH."""
    argv = [sys.executable, "-I", "-S", mountpoints.__file__, "note", str(bundle), str(bundle / "made")]
    subprocess.run(argv, check=True, capture_output=True, cwd="/")
    assert (bundle / "made").exists()
