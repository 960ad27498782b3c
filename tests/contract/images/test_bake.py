"""Contract of the image store: real bakes of a small Debian."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from devbox.errors import BakeFailed
from devbox.host.paths import Paths
from devbox.images.baker import BakeEvent
from devbox.images.image_store import ImageStore
from devbox.model.image import Bootstrap, Files, ImageConfig, ImageSpec, KeyedImage, Packages, Run, key_image

BASE = ImageSpec(
    name="base",
    parent=None,
    steps=(
        Bootstrap(distribution="debian", suite="trixie"),
        Files(contents={"/bin/greet": "#!/bin/sh\necho hello\n"}, modes={"/bin/greet": 0o755}),
    ),
    config=ImageConfig(env={"GREETING": "hello"}, command=("greet",)),
)
IMAGES = {
    "base": BASE,
    "app": ImageSpec(
        name="app",
        parent="base",
        steps=(
            Packages(names=("less",), purge=("/usr/bin/less*",)),
            Run(commands=("greet > /opt/said", ("rm", "/bin/greet")), env={"X": "y"}, caches={"c": "/root/.cache"}),
        ),
        config=ImageConfig(),
    ),
}


def image(*steps: Packages | Run | Files, name: str = "extra") -> KeyedImage:
    """An image on the base."""
    return key_image(name, {"base": BASE, name: ImageSpec(name=name, parent="base", steps=steps, config=ImageConfig())})


def quiet(_: BakeEvent) -> None:
    """Discard progress events."""


def wait_until(met: Callable[[], bool]) -> None:
    """Poll a condition; a test fails when it is not met in time."""
    deadline = time.monotonic() + 30
    while not met():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.02)


def descendants(ancestor: int) -> set[int]:
    """The processes below a process."""
    parents: dict[int, int] = {}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    found = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {ancestor}


def names(processes: set[int]) -> set[str]:
    """The names of running processes; others may be zombies."""
    found = set()
    for pid in processes:
        with contextlib.suppress(OSError):
            name, _, state = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(") ")
            if state[0] not in "ZX":
                found.add(name.removesuffix(".avx2"))
    return found


def test_a_bake_can_be_read_by_skopeo_and_a_second_one_does_nothing(store: ImageStore, paths: Paths) -> None:
    baked = store.bake(key_image("app", IMAGES), quiet)
    ref = f"oci:{paths.oci}:app-{baked.key.removeprefix('sha256:')[:12]}"
    seen = json.loads(subprocess.run(["skopeo", "inspect", ref], capture_output=True, check=True).stdout)
    assert seen["Digest"] == baked.digest
    assert seen["Layers"] == [layer.digest for layer in baked.layers]
    events: list[BakeEvent] = []
    assert store.bake(key_image("app", IMAGES), events.append) == baked
    assert [event.state for event in events] == ["cached"] * 4
    assert store.find(baked.key) == baked


def test_layers_hold_what_the_steps_did_and_nothing_else(store: ImageStore, homes: Path) -> None:
    baked = store.bake(key_image("app", IMAGES), quiet)
    run, packages, greet, base = (Path(lower) for lower in store.list_lowers(baked))
    assert (run / "opt/said").read_text() == "hello\n"
    assert (run / "usr/bin/greet").is_char_device()
    assert not any((run / "root/.cache").iterdir())
    for closed in ("cache/signed/debian-trixie", "cache/run"):  # else any user could run what is set-uid in there
        assert (homes / closed).stat().st_mode & 0o077 == 0
    assert (packages / "usr/share/doc/less/copyright").exists()
    assert not (packages / "usr/share/man").exists()
    assert not (packages / "usr/bin/less").exists()
    assert not list(packages.glob("var/cache/apt/archives/*.deb"))
    assert (greet / "usr/bin/greet").stat().st_mode & 0o777 == 0o755
    assert (run / "opt/said").stat().st_uid == 0
    assert (base / "etc/apt/sources.list").read_text().count("deb.debian.org") == 3
    for lower in store.list_lowers(baked):
        assert not any((Path(lower) / name).exists() for name in ("etc/resolv.conf", "etc/hostname", ".devbox"))


def test_the_same_steps_in_a_fresh_home_give_the_same_digest(store: ImageStore, homes: Path) -> None:
    other = ImageStore(Paths(str(homes / "other"), str(homes / "other-run")))
    first, second = store.bake(key_image("app", IMAGES), quiet), other.bake(key_image("app", IMAGES), quiet)
    assert first.layers == second.layers
    assert first.digest == second.digest


def test_progress_tells_sizes(store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.bake(key_image("base", {"base": BASE}), quiet)
    monkeypatch.setenv("DEVBOX_CACHE", str(tmp_path))  # an empty one: others rely on what is in the cache of all
    events: list[BakeEvent] = []
    store.bake(image(Packages(names=("file",))), events.append)
    assert any(event.bytes_total for event in events)
    assert events[-1].state == "done"
    assert events[-1].seconds > 0


def test_an_unknown_package_is_named(store: ImageStore) -> None:
    with pytest.raises(BakeFailed, match="package frobnicate not found in debian trixie"):
        store.bake(image(Packages(names=("less", "frobnicate"))), quiet)


def test_a_failing_command_shows_its_last_lines_and_where_the_rest_is(store: ImageStore, paths: Paths) -> None:
    with pytest.raises(BakeFailed) as caught:
        store.bake(image(Run(commands=("echo first", "echo broken >&2; exit 3", "echo never"))), quiet)
    assert "3" in caught.value.sentence
    assert "broken" in caught.value.details
    assert "never" not in caught.value.details
    log = caught.value.remedy.rpartition(" ")[2]
    assert "first" in Path(log).read_text()
    assert not os.listdir(paths.tmp)


def test_two_bakes_of_one_step_make_it_once(store: ImageStore, paths: Paths) -> None:
    desired = image(Run(commands=("echo x >> /opt/once",)))
    events: list[BakeEvent] = []
    stores = (store, ImageStore(paths))
    threads = [threading.Thread(target=s.bake, args=(desired, events.append)) for s in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.find(store.pin(desired).key)
    made = [event.step for event in events if event.state == "done" and event.text]  # who only waited has no size
    assert "run echo x >> /opt/once" in made
    assert len(made) == len(set(made))
    assert "failed" not in {event.state for event in events}


def test_a_killed_bake_leaves_nothing_that_the_next_does_not_clear(store: ImageStore, paths: Paths) -> None:
    desired = image(Run(commands=("echo started; sleep 1000",)))
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            ImageStore(paths).bake(desired, quiet)
        finally:
            os._exit(0)
    key = store.pin(desired).chain[-1].key
    log = Path(paths.home, "logs/bake", f"{key.removeprefix('sha256:')[:12]}.log")
    wait_until(lambda: log.exists() and "\nstarted" in log.read_text())
    below = descendants(child)
    assert len(below) > 3
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))
    assert os.listdir(paths.tmp)
    store.sweep()
    assert not os.listdir(paths.tmp)
    assert store.find(store.pin(desired).key) is None
    assert store.bake(key_image("base", IMAGES), quiet)


def test_a_pre_started_worker_has_a_network_and_leaves_nothing(store: ImageStore) -> None:
    script = "ip -br addr show eth0 2>/dev/null || cat /proc/net/dev; grep -q eth0 /proc/net/dev"
    store.prestart_worker()
    wait_until(lambda: "pasta" in names(descendants(os.getpid())))  # before there is anything to do
    store.bake(image(Run(commands=(script,)), name="ahead"), quiet)
    store.stop_idle_worker()

    wait_until(lambda: not names(descendants(os.getpid())))


def test_an_unused_worker_leaves_nothing(store: ImageStore) -> None:
    store.prestart_worker()
    wait_until(lambda: "pasta" in names(descendants(os.getpid())))
    begun = descendants(os.getpid())
    store.stop_idle_worker()

    wait_until(lambda: not names(begun))


@pytest.mark.long
@pytest.mark.parametrize(
    "names", [("postgresql", "openssh-server"), ("mariadb-server", "bind9", "unbound", "dropbear")]
)
def test_packages_leave_no_key_and_no_cluster(store: ImageStore, homes: Path, names: tuple[str, ...]) -> None:
    """Made twice, they give one layer."""
    steps = (BASE.steps[0], Packages(names=names))
    spec = ImageSpec(name="base", parent=None, steps=steps, config=ImageConfig())
    other = ImageStore(Paths(str(homes / "other"), str(homes / "other-run")))
    first, second = (each.bake(key_image("base", {"base": spec}), quiet) for each in (store, other))
    tree = Path(store.list_lowers(first)[0])
    assert list(tree.glob("usr/sbin/*"))
    assert not [path for path in (tree / "etc").rglob("*") if path.suffix == ".key" or path.name.endswith("_key")]
    assert not [*tree.glob("var/lib/postgresql/*/*"), *tree.glob("var/lib/mysql/*")]
    assert first.layers == second.layers


def test_what_commands_cache_is_for_the_same_project_alone(paths: Paths) -> None:
    caches = {"c": "/root/.cache"}
    ImageStore(paths, project="one").bake(image(Run(commands=("touch /root/.cache/left",), caches=caches)), quiet)
    looks = (Run(commands=(f"test {expression} -e /root/.cache/left",), caches=caches) for expression in ("", "!"))
    for project, look in zip(("one", "two"), looks, strict=True):
        ImageStore(paths, project=project).bake(image(look), quiet)


def test_edited_commands_are_known_by_all_that_they_bring_from_then_on(store: ImageStore) -> None:
    make = "mkdir -p /usr/lib/python3/site-packages/{a-1,b-2}.dist-info"
    edited = image(Run(commands=(("bash", "-c", make),), pins={"pip:a": "1", "pip:gone": "1"}))
    baked = store.bake(edited, quiet)
    fixed = store.pin(edited)
    assert fixed.chain[-1].step.pins == {"pip:a": "1", "pip:b": "2"}
    assert store.find(fixed.key) == baked
    states: list[str] = []
    assert store.bake(fixed, lambda event: states.append(event.state)) == baked
    assert set(states) == {"cached"}
