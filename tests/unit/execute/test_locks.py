"""Settings that a file does not set come from the image."""

from __future__ import annotations

from devbox.execute.locks import complete_spec
from devbox.model.container import ContainerSpec, Health
from devbox.model.image import ImageConfig

PROBE = Health(command=("ready",))
IMAGE = ImageConfig(entrypoint=("/e",), command=("c",), workdir="/w", user="me", stop_signal="INT", health=PROBE)


def spec(role: str, **fields: object) -> ContainerSpec:
    known = {"user": "", "workdir": "", "stop_signal": "", **fields}
    return ContainerSpec(name="x", label="x", role=role, image="x", **known)  # type: ignore[arg-type]


def test_a_service_without_settings_runs_as_its_image_says():
    found = complete_spec(spec("service", image_health=True), IMAGE)
    assert found.command == ("/e", "c")
    assert (found.user, found.workdir, found.stop_signal, found.health) == ("me", "/w", "INT", PROBE)


def test_what_the_file_says_wins_and_a_command_stays_behind_the_entrypoint():
    own = Health(tcp=True, port=1)
    said = spec("service", command=("mine",), user="u", workdir="/o", stop_signal="HUP", health=own, image_health=True)
    found = complete_spec(said, IMAGE)
    assert found.command == ("/e", "mine")
    assert (found.user, found.workdir, found.stop_signal, found.health) == ("u", "/o", "HUP", own)


def test_dev_runs_only_its_own_command_and_ignores_the_image_s_health_check():
    found = complete_spec(spec("dev", command=("sleep", "infinity")), IMAGE)
    assert found.command == ("sleep", "infinity")
    assert found.health is None
