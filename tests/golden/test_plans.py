"""Plans of whole files as text, as users read them before `up`. DEVBOX_GOLDEN=write updates the files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support import builders

from devbox.cli.plan import format_steps
from devbox.envfile.expand import list_credentials, resolve
from devbox.envfile.load import load
from devbox.model.container import ContainerSpec, compute_setup_key, compute_spec_key, fingerprint_variables
from devbox.model.observed import BoundPort, LastApplied, Observed, ObservedContainer
from devbox.model.spec import Instance, Spec
from devbox.plan import diff, takedown

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


def kept(desired: Spec) -> dict[str, ContainerSpec]:
    """The specs as records keep them."""
    return {name: fingerprint_variables(spec) for name, spec in desired.containers.items()}


def read(project: Path) -> Spec:
    env = load(str(project))
    instance = Instance(id="0" * 12, name="app", root=str(project), env_file="devbox.toml", owner=1000, group=1000)
    return resolve(env, instance=instance, credentials=dict.fromkeys(list_credentials(env), "secret"))


def as_wanted(desired: Spec) -> Observed:
    """The instance after a successful `up`."""
    images = builders.key_images(desired)
    setup_files = {name: {"requirements.txt": "1"} for name, spec in desired.containers.items() if spec.setup}
    ports = {
        name: tuple(
            BoundPort(host=p.container, address=p.address, container=p.container, protocol="tcp") for p in spec.ports
        )
        for name, spec in desired.containers.items()
        if spec.ports
    }
    return Observed(
        supervised=True,
        containers={
            name: ObservedContainer(
                name=name,
                role=spec.role,
                state="running",
                health="healthy" if spec.health else "none",
                image=spec.image,
                digest="sha256:0",
                pid=1,
                spec_key=compute_spec_key(spec),
                image_key=images[spec.image].key,
            )
            for name, spec in desired.containers.items()
        },
        names=tuple(desired.containers),
        published=ports,
        ports=ports,
        tops={
            name: (images[spec.image].key, compute_setup_key(spec.setup, setup_files[name]))
            for name, spec in desired.containers.items()
            if spec.setup
        },
        baked=dict.fromkeys(images, "sha256:0"),
        setup_files=setup_files,
        last=LastApplied(images=images, specs=kept(desired), setup_files=setup_files),
    )


def same(name: str, lines: list[str]) -> None:
    path = HERE / "plans" / f"{name}.txt"
    text = "\n".join(lines) + "\n"
    if os.environ.get("DEVBOX_GOLDEN") == "write":
        path.write_text(text)
    assert path.read_text() == text


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    shutil.copytree(REPOSITORY / "templates/python-web", tmp_path / "app")
    return tmp_path / "app"


def edit(project: Path, old: str, new: str) -> Spec:
    path = project / "devbox.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return read(project)


def test_from_nothing(demo: Path) -> None:
    desired = read(demo)
    observed = Observed(supervised=False, ports=as_wanted(desired).ports, setup_files=as_wanted(desired).setup_files)
    same("demo-from-nothing", format_steps(diff.diff(desired, observed)))


def test_nothing_to_do(demo: Path) -> None:
    desired = read(demo)
    same("demo-nothing-to-do", format_steps(diff.diff(desired, as_wanted(desired))))


def test_another_package(demo: Path) -> None:
    before = as_wanted(read(demo))
    after = edit(demo, '"less"]', '"less", "tree"]')
    baked = {name: digest for name, digest in before.baked.items() if name != "dev"}
    known = Observed(**{**vars(before), "baked": baked})
    same("demo-another-package", format_steps(diff.diff(after, known)))


def test_another_python(demo: Path) -> None:
    before = as_wanted(read(demo))
    after = edit(demo, 'python = "3.13"', 'python = "3.11"')
    baked = {name: digest for name, digest in before.baked.items() if name.startswith("service.")}
    known = Observed(**{**vars(before), "baked": baked})
    same("demo-another-python", format_steps(diff.diff(after, known)))


def test_a_service_less(demo: Path) -> None:
    before = as_wanted(read(demo))
    edit(demo, 'needs = ["db", "cache"]', 'needs = ["db"]')
    after = edit(demo, '[service.cache]\nrecipe = "redis"\n', "")
    same("demo-a-service-less", format_steps(diff.diff(after, before)))


def test_down_and_down_with_data(demo: Path) -> None:
    desired = read(demo)
    observed = as_wanted(desired)
    for volumes in (False, True):
        plan = takedown.down(desired.containers, observed, project="app", volumes=volumes)
        same(f"demo-down{'-v' if volumes else ''}", format_steps(plan))
