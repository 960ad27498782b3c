"""What lasts and what does not: volumes, tops, the workspace, logs."""

from __future__ import annotations

import os

from contract.engine.backend import Backend, image

from devbox.model.container import Mount, Setup

SETUP = Setup(commands=("true",), inputs=())


def test_a_volume_starts_as_the_image_has_the_directory_and_outlives_its_container(backend: Backend) -> None:
    backend.network("a")
    mounts = (Mount(kind="volume", source="mail", target="/var/mail"),)
    backend.up("a", mounts=mounts)
    assert backend.sh("a", "stat -c '%U %G %a' /var/mail; echo kept > /var/mail/x") == ["root mail 2775"]
    backend.engine.remove(backend.instance, "a")
    backend.engine.teardown(backend.instance, volumes=False)
    assert backend.engine.observe(backend.instance).volumes == ("mail",)
    backend.network("a")
    backend.up("a", mounts=mounts)
    assert backend.sh("a", "cat /var/mail/x") == ["kept"]
    backend.engine.teardown(backend.instance, volumes=True)
    assert backend.engine.observe(backend.instance).volumes == ()


def test_a_top_goes_with_its_container(backend: Backend) -> None:
    backend.network("a")
    backend.up("a")
    backend.sh("a", "touch /made")
    backend.engine.remove(backend.instance, "a")
    backend.up("a")
    assert backend.sh("a", "ls -d /made 2>/dev/null || echo new") == ["new"]


def test_a_kept_top_lasts_until_its_image_changes(backend: Backend) -> None:
    backend.network("dev")
    backend.up("dev", keep_top=True, setup=SETUP)
    backend.sh("dev", "touch /made")
    backend.engine.setup_done(backend.instance, "dev", setup_key="key-1")
    backend.engine.teardown(backend.instance, volumes=False)
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
    lines = list(backend.engine.logs(backend.instance, ("b", "a"), follow=False, tail=None))
    assert [(line.container, line.text) for line in lines][-2:] == [("a", "three"), ("b", "four")]


def test_any_user_may_open_its_stdout_again(backend: Backend) -> None:
    backend.network("a")
    backend.up("a", "sh", "-c", "echo through the link > /dev/stdout", user="www-data", kind="job")
    assert backend.log("a") == ["through the link"]
