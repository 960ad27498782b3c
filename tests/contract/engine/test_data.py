"""Lifetime of data: volumes, writable layers, the workspace, logs."""

from __future__ import annotations

import os

import pytest
from contract.engine.backend import Backend, image, needs

from devbox.engines import capabilities
from devbox.errors import EngineError
from devbox.model.container import Mount, Setup

SETUP = Setup(commands=("true",), inputs=())


def test_a_volume_starts_as_the_image_has_the_directory_and_outlives_its_container(backend: Backend) -> None:
    backend.network("a")
    mounts = (Mount(kind="volume", source="mail", target="/var/mail"),)
    backend.up("a", mounts=mounts)
    assert backend.sh("a", "stat -c '%U %G %a' /var/mail; echo kept > /var/mail/x") == ["root mail 2775"]
    backend.engine.remove(backend.instance, "a")
    backend.engine.tear_down(backend.instance, volumes=False)
    assert backend.engine.observe(backend.instance).volumes == ("mail",)
    backend.network("a")
    backend.up("a", mounts=mounts)
    assert backend.sh("a", "cat /var/mail/x") == ["kept"]
    backend.engine.tear_down(backend.instance, volumes=True)
    assert backend.engine.observe(backend.instance).volumes == ()


def test_a_writable_layer_is_removed_with_its_container(backend: Backend) -> None:
    backend.network("a")
    backend.up("a")
    backend.sh("a", "touch /made")
    backend.engine.remove(backend.instance, "a")
    backend.up("a")
    assert backend.sh("a", "ls -d /made 2>/dev/null || echo new") == ["new"]


def test_a_kept_writable_layer_is_reused_until_its_image_changes(backend: Backend) -> None:
    backend.network("dev")
    backend.up("dev", keep_top=True)
    backend.sh("dev", "touch /made")
    backend.engine.tear_down(backend.instance, volumes=False)
    assert backend.engine.observe(backend.instance).tops["dev"].image_key == "image-1"
    backend.network("dev")
    backend.up("dev", keep_top=True)
    assert backend.sh("dev", "ls -d /made 2>/dev/null || echo new") == ["/made"]
    backend.engine.remove(backend.instance, "dev", keep_top=True)
    backend.up("dev", keep_top=True, baked=image("image-2"))
    assert backend.sh("dev", "ls -d /made 2>/dev/null || echo new") == ["new"]


@needs(capabilities.SetupRecorder)
def test_a_kept_writable_layer_lasts_until_its_image_changes(backend: Backend) -> None:
    backend.network("dev")
    backend.up("dev", keep_top=True, setup=SETUP)
    backend.sh("dev", "touch /made")
    backend.engine.complete_setup(backend.instance, "dev", setup_key="key-1")
    backend.engine.tear_down(backend.instance, volumes=False)
    assert backend.engine.observe(backend.instance).tops["dev"].setup_key == "key-1"
    backend.network("dev")
    assert backend.up("dev", keep_top=True, setup=SETUP).setup_key == "key-1"
    assert backend.sh("dev", "ls -d /made 2>/dev/null || echo new") == ["/made"]
    backend.engine.remove(backend.instance, "dev", keep_top=True)
    assert backend.up("dev", keep_top=True, setup=SETUP, baked=image("image-2")).setup_key is None
    assert backend.sh("dev", "ls -d /made 2>/dev/null || echo new") == ["new"]


def test_files_made_in_the_workspace_belong_to_the_owner_of_the_project(backend: Backend) -> None:
    backend.network("dev")
    mount = Mount(kind="workspace", source=backend.instance.root, target="/workspace")
    backend.up("dev", mounts=(mount,), workdir="/workspace")
    backend.sh("dev", "touch made; mkdir deep; touch deep/er")
    for path in ("made", "deep", "deep/er"):
        facts = os.stat(f"{backend.instance.root}/{path}")
        assert (facts.st_uid, facts.st_gid) == (backend.instance.owner, backend.instance.group)


def test_logs_hold_both_streams_in_order(backend: Backend) -> None:
    backend.network("a", "b")
    backend.up("a", "sh", "-c", "echo one; echo two >&2; printf three", kind="job")
    backend.up("b", "echo", "four", kind="job")
    assert backend.log("a") == ["one", "two", "three"]
    assert backend.log("a", tail=1) == ["three"]
    lines = list(backend.engine.read_logs(backend.instance, ("b", "a"), follow=False, tail=None))
    assert [(line.container, line.text) for line in lines][-2:] == [("a", "three"), ("b", "four")]


def test_any_user_may_open_its_stdout_again(backend: Backend) -> None:
    backend.network("a")
    backend.up("a", "sh", "-c", "echo through the link > /dev/stdout", user="www-data", kind="job")
    assert backend.log("a") == ["through the link"]


@needs(capabilities.SnapshotOpener)
def test_a_copy_of_a_volume_is_another_volume(backend: Backend) -> None:
    backend.network("a")
    backend.up("a", mounts=(Mount(kind="volume", source="v", target="/v"),))
    backend.sh("a", "echo one > /v/f; chown 7:8 /v/f; chmod 750 /v")
    backend.engine.stop(backend.instance, "a")
    assert backend.engine.open_snapshots(backend.instance).copy_volume("v", "v@feat%2Fx") > 0
    assert backend.engine.observe(backend.instance).volumes == ("v", "v@feat%2Fx")
    backend.engine.remove(backend.instance, "a")
    backend.up("a", mounts=(Mount(kind="volume", source="v@feat%2Fx", target="/v"),))
    assert backend.sh("a", "stat -c '%u %g' /v/f; stat -c %a /v; cat /v/f; echo two > /v/f") == ["7 8", "750", "one"]
    backend.engine.remove(backend.instance, "a")
    backend.up("a", mounts=(Mount(kind="volume", source="v", target="/v"),))
    assert backend.sh("a", "cat /v/f") == ["one"]


@needs(capabilities.SnapshotOpener)
def test_a_snapshot_brings_volumes_back_whole_and_outlives_them(backend: Backend) -> None:
    backend.network("a")
    mounts = (Mount(kind="volume", source="v", target="/v"), Mount(kind="volume", source="w", target="/w"))
    backend.up("a", mounts=mounts)
    backend.sh(
        "a", "echo one > /v/f; chown 7:8 /v/f; ln -s f /v/l; mkdir -m 700 /v/d; touch -d @1 /v/d; echo one > /w/f"
    )
    backend.engine.stop(backend.instance, "a")
    kept = backend.engine.open_snapshots(backend.instance)
    assert kept.list_all() == ()
    assert kept.save("feat/x", ("v", "w")).volumes == ("v", "w")
    assert [(each.name, each.volumes) for each in kept.list_all()] == [("feat/x", ("v", "w"))]

    backend.up("a", mounts=mounts)
    backend.sh("a", "rm -r /v/*; echo two > /v/g; echo two > /w/f")
    backend.engine.tear_down(backend.instance, volumes=True)
    kept.restore("feat/x")
    backend.network("a")
    backend.up("a", mounts=mounts)
    assert backend.sh("a", "ls /v; stat -c '%u %g' /v/f; readlink /v/l; stat -c '%a %Y' /v/d; cat /v/f /w/f") == [
        *("d", "f", "l", "7 8", "f", "700 1", "one", "one")
    ]
    kept.delete("feat/x")
    assert kept.list_all() == ()
    with pytest.raises(EngineError, match="snapshot not found: feat/x"):
        kept.restore("feat/x")


@needs(capabilities.SnapshotOpener)
def test_a_snapshot_that_is_saved_again_is_the_new_one(backend: Backend) -> None:
    backend.network("a")
    mounts = (Mount(kind="volume", source="v", target="/v"),)
    backend.up("a", mounts=mounts)
    kept = backend.engine.open_snapshots(backend.instance)
    for text in ("one", "two"):
        backend.sh("a", f"echo {text} > /v/f; touch /v/{text}")
        kept.save("s", ("v",))
        backend.sh("a", "rm /v/*")
    backend.engine.stop(backend.instance, "a")
    kept.restore("s")
    backend.up("a", mounts=mounts)
    assert backend.sh("a", "ls /v; cat /v/f") == ["f", "two", "two"]
    kept.delete("s")


@needs(capabilities.SnapshotOpener)
def test_nothing_starts_on_volumes_of_which_some_are_restored(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.network("a")
    mounts = (Mount(kind="volume", source="v", target="/v"), Mount(kind="volume", source="w", target="/w"))
    backend.up("a", mounts=mounts)
    backend.sh("a", "touch /v/f /w/f")
    backend.engine.stop(backend.instance, "a")
    kept = backend.engine.open_snapshots(backend.instance)
    kept.save("s", ("v", "w"))
    rename = os.rename

    def killed(old: str, new: str) -> None:
        if new.endswith("/w"):
            raise KeyboardInterrupt
        rename(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            kept.restore("s")
    with pytest.raises(EngineError, match="restoring the snapshot s was interrupted"):
        backend.up("a", mounts=mounts)
    kept.restore("s")
    backend.up("a", mounts=mounts)
    assert backend.sh("a", "ls /v /w") == ["/v:", "f", "", "/w:", "f"]
    kept.delete("s")
