"""Failed and falsified transfers: a pull or push ends with one error, an intact store and no repeated work."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from contract.registry.stores import Store
from support import layouts
from support.machine import REPOSITORY, lacking
from support.registry import Registry

from devbox.errors import BlobDamaged, RegistryError, RegistryUnavailable
from devbox.images.archive import exporter
from devbox.images.bake.pulled import Puller
from devbox.images.registry.reference import Reference
from devbox.model.image import FromRegistry

SIZE = 2_000_000
KILLS = 10
MOST_TRIES = 200  # of a user who retries each interrupted transfer


def until_done(work: Callable[[], object]) -> None:
    """Retry while the registry is down."""
    for _ in range(MOST_TRIES):
        try:
            work()
        except RegistryUnavailable:
            continue
        return
    raise AssertionError("it never came to an end")


def intact(store: Store) -> bool:
    """True if every blob matches its name and no unfinished file is among them."""
    place = Path(store.paths.oci, "blobs/sha256")
    return all(hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name for blob in place.iterdir())


def killed(registry: Registry, every: int) -> list[int]:
    """Restart the registry after each `every` bytes, ten times; return the byte counts of the restarts.

    A blob is longer than that: a client that restarts it each time never finishes.
    """
    kills: list[int] = []

    def kill() -> None:
        kills.append(registry.wire.sent + registry.wire.received)
        registry.restart()
        if len(kills) < KILLS:
            registry.wire.after(every, kill)

    registry.wire.after(every, kill)
    return kills


def test_a_push_survives_ten_kills_of_the_registry(store: Store, other: Store, name: Reference, logged_in: Registry):
    image = layouts.image(store.oci, size=SIZE, seed=20, layers=3)
    kills = killed(logged_in, SIZE // 5)
    until_done(lambda: store.push(image, name))
    assert len(kills) == KILLS
    assert other.pull(name, all_platforms=True) == image
    assert intact(other)
    assert other.blobs() == store.blobs()


def test_a_pull_survives_ten_kills_and_resumes(store: Store, other: Store, name: Reference, logged_in: Registry):
    image = layouts.image(store.oci, size=SIZE, seed=21, layers=3)
    store.push(image, name)
    kills = killed(logged_in, SIZE // 5)
    until_done(lambda: other.pull(name, all_platforms=True))
    assert len(kills) == KILLS
    assert intact(other)
    assert other.blobs() == store.blobs()
    assert not os.listdir(other.paths.partial_blobs)


def test_a_lying_blob_is_refused_and_the_store_stays_as_it_was(
    store: Store, other: Store, name: Reference, logged_in: Registry
):
    layer = layouts.layer(store.oci, {"data": layouts.noise(SIZE, 22)})
    image = layouts.manifest(store.oci, layer)
    store.push(image, name)
    kept = logged_in.blob(layer[0].digest)
    whole = kept.read_bytes()
    kept.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(RegistryError, match="unexpected content of sha256:"):
        other.pull(name)
    assert intact(other)
    assert not other.oci.read_refs()
    assert not os.listdir(other.paths.partial_blobs)
    kept.write_bytes(whole)
    assert other.pull(name) == image


def test_a_pull_downloads_a_truncated_blob_again(store: Store, other: Store, name: Reference):
    layer, diff_id = layouts.layer(store.oci, {"data": layouts.noise(SIZE, 28)})
    image = layouts.manifest(store.oci, (layer, diff_id))
    store.push(image, name)
    for desired in (name, name._replace(tag="", digest=image.digest)):
        other.pull(desired)
        os.truncate(other.oci.get_blob_path(layer.digest), SIZE // 2)
        other.pull(desired)
        assert intact(other)


@pytest.mark.parametrize("length", [SIZE // 2, 2 * SIZE], ids=["shorter", "other-bytes"])
def test_a_damaged_blob_in_the_store_is_distinguished_from_a_bad_image_and_pulled_again(
    store: Store, other: Store, name: Reference, length: int
):
    layer, diff_id = layouts.layer(store.oci, {"data": layouts.noise(2 * SIZE, 29)})
    top = layouts.manifest(store.oci, (layer, diff_id))
    store.push(top, name)
    other.pull(name)
    blob = Path(other.oci.get_blob_path(layer.digest))
    harmed = blob.read_bytes()[:length].ljust(layer.size if length > SIZE else 0, b"x")
    blob.write_bytes(harmed)
    with pytest.raises(BlobDamaged, match=f"removed the damaged copy of {layer.digest}"):
        Puller(other.paths).prepare(top, "sha256:1")
    assert not blob.exists()
    blob.write_bytes(harmed)
    made = Puller(other.paths).pull(FromRegistry(reference=str(name)), "sha256:2", lambda _: None)
    assert made.digest == top.digest
    assert intact(other)


def test_a_truncated_blob_is_reported_and_its_received_part_kept(
    store: Store, other: Store, name: Reference, logged_in: Registry
):
    layer = layouts.layer(store.oci, {"data": layouts.noise(SIZE, 23)})
    image = layouts.manifest(store.oci, layer)
    store.push(image, name)
    kept = logged_in.blob(layer[0].digest)
    whole = kept.read_bytes()
    kept.write_bytes(whole[: SIZE // 2])
    with pytest.raises(RegistryUnavailable):
        other.pull(name)
    assert intact(other)
    assert not other.oci.read_refs()
    kept.write_bytes(whole)
    logged_in.wire.reset()
    assert other.pull(name) == image
    assert logged_in.wire.received < SIZE  # the first half was there
    assert intact(other)


def test_a_lying_manifest_is_refused(store: Store, other: Store, name: Reference, logged_in: Registry):
    image = layouts.image(store.oci, seed=24)
    store.push(image, name)
    kept = logged_in.blob(image.digest)
    kept.write_bytes(kept.read_bytes().replace(b'"linux"', b'"linus"'))
    with pytest.raises(RegistryError):
        other.pull(name._replace(tag="", digest=image.digest))
    assert not other.oci.read_refs()
    assert intact(other)


def test_a_wrong_password_and_a_missing_image_leave_the_store_as_it_was(
    store: Store,
    other: Store,
    name: Reference,
    logged_in: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    image = layouts.image(store.oci, seed=26)
    store.push(image, name)
    with pytest.raises(RegistryError, match=r"image .* not found on"):
        other.pull(name._replace(repository="nobody/nothing"))
    monkeypatch.setenv("DOCKER_CONFIG", str(logged_in.login(tmp_path / "wrong", password="guess")))
    with pytest.raises(RegistryError, match="invalid password of ann"):
        other.pull(name)
    with pytest.raises(RegistryError, match="invalid password of ann"):
        store.push(image, name._replace(tag="2"))
    assert not other.blobs()
    assert not other.oci.read_refs()
    assert intact(store)
    assert str(name._replace(tag="2")) not in store.oci.read_refs()


@pytest.mark.parametrize("way", ["pull", "import"])
def test_a_full_disk_is_said_and_the_store_is_intact(
    store: Store, name: Reference, logged_in: Registry, tmp_path: Path, way: str
):
    if os.geteuid() != 0:
        lacking("only root can mount a small tmpfs")
    image, file = layouts.image(store.oci, size=4 * SIZE, seed=25), tmp_path / "app.tar"
    if way == "pull":
        store.push(image, name)
    else:
        with file.open("wb") as out:
            exporter.export(image, paths=store.paths, kind="oci", name="", out=out, on_transfer=lambda _: None)
    source, small = name if way == "pull" else file, tmp_path / "small"
    small.mkdir()
    # In a mount namespace of its own: nothing is mounted on the host.
    script = (
        f"mount -t tmpfs -o size=6m,mode=755 none {small}; "
        f"{sys.executable} -m devbox image {way} {source}; code=$?; "
        f"ls {small}/home/tmp; cd {small}/home/oci/blobs/sha256 2>/dev/null && "
        "for blob in *; do echo $blob ' '$blob | sha256sum -c --status || echo damaged $blob; done; "
        "exit $code"
    )
    env = {**os.environ, "DEVBOX_HOME": str(small / "home"), "DEVBOX_RUNTIME_DIR": str(tmp_path / "run")}
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    done = subprocess.run(argv, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout.strip()  # no blob is damaged, and nothing half done lies about
