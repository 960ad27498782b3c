"""A port that is taken between observation and start."""

from __future__ import annotations

import pytest

from devbox.errors import EngineError, PortTaken
from devbox.execute.events import Event, Note
from devbox.flow import retry_on_port_conflict


class Losing:
    """A verb of the flow that loses this many ports, then ends with an error or well."""

    def __init__(self, times: int, *, at_last: EngineError | None = None) -> None:
        self.calls = 0
        self._times = times
        self._at_last = at_last

    @retry_on_port_conflict
    def verb(self, sink, /, *, answer: str) -> str:
        self.calls += 1
        if self.calls <= self._times:
            raise PortTaken(f"port {8000 + self.calls} on 127.0.0.1 is already in use")
        if self._at_last:
            raise self._at_last
        return answer


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_lost_port_is_observed_again_and_reported(times: int):
    said: list[Event] = []
    losing = Losing(times)
    assert losing.verb(said.append, answer="well") == "well"
    assert losing.calls == times + 1
    assert said == [Note(text=f"port {8001 + n} on 127.0.0.1 is already in use: trying again") for n in range(times)]


def test_retries_are_limited():
    with pytest.raises(PortTaken, match="port 8003"):
        Losing(100).verb(lambda _: None, answer="")


def test_other_errors_are_not_retried():
    losing = Losing(0, at_last=EngineError("broken"))
    with pytest.raises(EngineError, match="broken"):
        losing.verb(lambda _: None, answer="")
    assert losing.calls == 1
