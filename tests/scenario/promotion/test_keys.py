"""`devbox key`: how keys are stored and shown, and a release that is signed, approved and revoked with keys."""

from __future__ import annotations

import json
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from support import keyed
from support.machine import Box, destroy, make_box

PASSPHRASE = {"DEVBOX_KEY_PASSPHRASE": "correct horse"}
STAGING = """
[stage.staging]
gates = [{ kind = "signature" }, { kind = "approval", from = ["ann"] }]
"""


@pytest.fixture(scope="module", params=["root-crun", pytest.param("user-crun", marks=pytest.mark.long)])
def shared(request: pytest.FixtureRequest) -> Iterator[Box]:
    made = make_box(request.param)
    yield made
    destroy(made)


@pytest.fixture
def box(shared: Box) -> Iterator[Box]:
    yield shared
    shutil.rmtree(shared.home / "keys", ignore_errors=True)
    shared.clear()


@pytest.fixture
def place(box: Box) -> Path:
    """A directory that the box's user can read."""
    path = Path(tempfile.mkdtemp(dir=box.home.parent))
    path.chmod(0o755)
    return path


@pytest.fixture
def shop(box: Box) -> Path:
    return keyed.project(box, keyed.text("staging", more=STAGING))


def test_a_key_is_kept_encrypted_and_its_owner_s_alone(box: Box):
    here = box.home.parent
    public = box.ok("key", "create", "ci", cwd=here, env=PASSPHRASE)
    kept = box.home / "keys/ci.key"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert box.ok("key", "export", "ci", cwd=here) == public
    assert box.ok("key", "export", "ci", "--private", cwd=here) == kept.read_text()
    (row,) = box.json("key", "ls", cwd=here)
    assert (row["name"], row["type"], row["kept"]) == ("ci", "ecdsa-p256", "encrypted")


@pytest.mark.long
def test_a_key_moves_to_another_name(box: Box, place: Path):
    here = box.home.parent
    public = box.ok("key", "create", "ci", "--type", "ed25519", cwd=here, env=PASSPHRASE)
    (place / "ci.key").write_text(box.ok("key", "export", "ci", "--private", cwd=here))
    assert box.run("key", "import", "copy", place / "ci.key", cwd=here).returncode == 1
    wrong = {"DEVBOX_KEY_PASSPHRASE": "another"}
    assert box.run("key", "import", "copy", place / "ci.key", cwd=here, env=wrong).returncode == 1
    assert box.ok("key", "import", "copy", place / "ci.key", cwd=here, env=PASSPHRASE) == public


@pytest.mark.long
def test_a_passphrase_comes_from_a_file_or_a_command(box: Box, place: Path):
    here = box.home.parent
    (place / "word").write_text("correct horse\n")
    box.ok("key", "create", "one", cwd=here, env={"DEVBOX_KEY_PASSPHRASE": f"file:{place}/word"})
    box.ok("key", "create", "two", cwd=here, env={"DEVBOX_KEY_PASSPHRASE": "cmd:echo correct horse"})
    for name in ("one", "two"):
        (place / name).write_text(box.ok("key", "export", name, "--private", cwd=here))
        box.ok("key", "import", f"{name}-copy", place / name, cwd=here, env=PASSPHRASE)


def test_without_a_terminal_nothing_is_asked(box: Box):
    done = box.run("key", "create", "ci", cwd=box.home.parent)
    assert done.returncode == 1
    assert b"DEVBOX_KEY_PASSPHRASE" in done.stderr
    assert box.json("key", "ls", cwd=box.home.parent) == []


def test_on_a_terminal_a_passphrase_is_asked_for_twice_and_not_shown(box: Box):
    program, *words = box.argv("key", "create", "ci")
    seen = pexpect.spawn(program, words, cwd=box.home.parent, env=box.environment(), timeout=60, encoding="utf-8")
    try:
        for prompt in ("Passphrase of the key ci: ", "Repeat the passphrase of the key ci: "):
            seen.expect_exact(prompt)
            seen.sendline("correct horse")
        seen.expect(pexpect.EOF)
        assert "correct horse" not in seen.before
    finally:
        seen.close()
    assert seen.exitstatus == 0


def test_a_release_is_signed_verified_approved_and_revoked(box: Box, shop: Path):
    assert box.run("verify", cwd=shop).returncode != 0
    built = json.loads(box.ok("build", "--json", cwd=shop))
    assert built["signed_by"] == "ci"
    found = json.loads(box.ok("verify", "--json", cwd=shop))
    assert found["image"] == built["digest"]
    assert {each["what"] for each in found["findings"]} == {"signature", "provenance", "bill (SPDX)"}
    assert {each["by"] for each in found["findings"]} == {"ci"}
    assert box.run("verify", "--public-key", "keys/ann.pub", cwd=shop).returncode == 1
    assert box.run("approve", "staging", "--key", "ci", cwd=shop).returncode == 2
    box.ok("approve", "staging", "--key", "ann", cwd=shop)
    (approval,) = _findings(box, shop, "approval")
    assert (approval["verdict"], approval["by"], approval["predicate"]["release"]) == ("ok", "ann", built["release"])
    box.ok("release", "revoke", "-y", built["release"], "--reason", "leaks", "--key", "ann", cwd=shop)
    assert box.run("verify", cwd=shop).returncode == 1
    (revoked,) = _findings(box, shop, "revocation")
    assert revoked["predicate"]["reason"] == "leaks"


def test_a_build_that_has_to_sign_fails_before_it_builds(box: Box, shop: Path):
    box.ok("key", "rm", "ci", "--yes", cwd=shop)
    (shop / "keys/ci.pub").write_text(box.ok("key", "create", "ci", cwd=shop, env=PASSPHRASE))
    done = box.run("build", cwd=shop, env={"DEVBOX_KEY_PASSPHRASE": "another"})
    assert done.returncode == 1
    assert b"wrong passphrase" in done.stderr
    assert box.json("release", "ls", cwd=shop) == []


@pytest.mark.long
def test_the_builder_cannot_approve(box: Box, shop: Path):
    (shop / "keys/ci.pub").write_text((shop / "keys/ann.pub").read_text())
    box.ok("build", cwd=shop)
    done = box.run("approve", "staging", cwd=shop)
    assert (done.returncode, b"built this release" in done.stderr) == (1, True)


def _findings(box: Box, shop: Path, what: str) -> list[dict[str, object]]:
    found = json.loads(box.run("verify", "--json", cwd=shop).stdout)["findings"]
    return [each for each in found if each["what"] == what]
