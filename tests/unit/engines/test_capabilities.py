"""Optional capabilities: engines without one are never asked for it; and the selection of the engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from contract.engine.backend import image
from support.fake_engine import FakeEngine

from devbox.engines import capabilities, select
from devbox.engines.engine import StartRequest
from devbox.engines.native.engine import NativeEngine
from devbox.errors import EngineError, UsageError
from devbox.host.paths import Paths
from devbox.model.container import ContainerSpec, Isolation, Setup
from devbox.model.spec import Instance

INSTANCE = Instance(id="a", name="a", root="/a", env_file="devbox.toml", owner=0, group=0)
SPEC = ContainerSpec(name="web", label="service.web", role="service", image="web")
REQUEST = StartRequest(spec=SPEC, image=image(), spec_key="k", ports=(), env={})
REFUSED = {
    "enforce the egress list of web": replace(REQUEST, spec=replace(SPEC, isolation=Isolation(egress=()))),
    "run the setup of web": replace(REQUEST, spec=replace(SPEC, setup=Setup(commands=("true",), inputs=()))),
    "hold the listening sockets of web": replace(REQUEST, listens=(80,)),
}
PATHS = Paths("/nowhere", "/nowhere")


class Recording:
    """The methods that start containers, added to an engine; nothing is started."""

    started: StartRequest | None = None

    def start(self, instance: Instance, request: StartRequest) -> None:
        self.started = request

    def run_once(self, instance: Instance, request: StartRequest, *, tty: bool) -> int:
        self.started = request
        return 7


class RecordingFake(Recording, FakeEngine):
    """Without capabilities."""


class RecordingNative(Recording, NativeEngine):
    """With all."""


def engine(kind: Any) -> Any:
    return kind(PATHS, lambda _: ())


@pytest.mark.parametrize("doing", REFUSED)
def test_a_container_that_requires_a_missing_capability_is_refused(doing: str):
    fake, native = engine(RecordingFake), engine(RecordingNative)
    with pytest.raises(EngineError, match=f"cannot {doing}: not supported by the engine fake"):
        capabilities.start(fake, INSTANCE, REFUSED[doing])
    assert fake.started is None
    if not REFUSED[doing].spec.setup:  # a one-shot runs none
        with pytest.raises(EngineError, match=f"cannot {doing}"):
            capabilities.run_once(fake, INSTANCE, REFUSED[doing], tty=False)
    capabilities.start(native, INSTANCE, REFUSED[doing])
    assert native.started is REFUSED[doing]


def test_others_are_started_by_every_engine():
    fake = engine(RecordingFake)
    capabilities.start(fake, INSTANCE, REQUEST)
    assert fake.started is REQUEST
    assert capabilities.run_once(fake, INSTANCE, REQUEST, tty=False) == 7


def test_an_engine_without_limits_enforces_none():
    assert not capabilities.has_limits(engine(FakeEngine))
    assert capabilities.count_oom_kills(engine(FakeEngine), INSTANCE, "web") == 0


def test_the_fake_engine_has_no_capability():
    protocols = [each for each in vars(capabilities).values() if getattr(each, "_is_runtime_protocol", False)]
    assert protocols
    for each in protocols:
        assert isinstance(engine(NativeEngine), each), each
        assert not isinstance(engine(FakeEngine), each), each


def test_the_engine_is_the_one_that_the_environment_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DEVBOX_ENGINE", raising=False)
    assert isinstance(select.select_engine(PATHS), NativeEngine)
    monkeypatch.setitem(select.ENGINES, "fake", "support.fake_engine:FakeEngine")
    monkeypatch.setenv("DEVBOX_ENGINE", "fake")
    assert isinstance(select.select_engine(PATHS), FakeEngine)
    monkeypatch.setenv("DEVBOX_ENGINE", "other")
    with pytest.raises(UsageError, match='expected one of native, fake, got "other"'):
        select.select_engine(PATHS)
