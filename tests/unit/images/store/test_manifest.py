"""The run configuration of a registry image, from configs of any quality."""

from __future__ import annotations

import pytest

from devbox.host import signals
from devbox.images.store.manifest import parse_run_config
from devbox.model.container import Health
from devbox.model.image import ImageConfig, merge_config


def test_everything_that_is_said_counts():
    found = parse_run_config(
        {
            "Env": ["A=1", "B=x=y"],
            "Entrypoint": ["/e"],
            "Cmd": ["c"],
            "User": "1000:1000",
            "WorkingDir": "/w",
            "StopSignal": "SIGQUIT",
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 2_000_000_000, "Retries": 5},
        }
    )
    assert found == ImageConfig(
        env={"A": "1", "B": "x=y"},
        entrypoint=("/e",),
        command=("c",),
        workdir="/w",
        user="1000:1000",
        stop_signal="QUIT",
        exposed=("53/udp", "80/tcp"),
        health=Health(command=("/bin/sh", "-c", "true"), interval=2.0, retries=5),
    )


def test_nothing_said_is_root_in_the_root():
    assert parse_run_config({}) == ImageConfig(user="0", workdir="/", stop_signal="TERM")


@pytest.mark.parametrize(("said", "meant"), [("15", "TERM"), ("SIGINT", "INT"), ("usr1", "USR1"), ("nonsense", "TERM")])
def test_a_stop_signal_has_a_name(said: str, meant: str):
    assert parse_run_config({"StopSignal": said}).stop_signal == meant


@pytest.mark.parametrize("test", [["NONE"], [], None])
def test_a_health_check_may_be_disabled(test: object):
    assert parse_run_config({"Healthcheck": {"Test": test}}).health is None


def test_what_is_left_open_is_the_image_s():
    below = ImageConfig(env={"A": "1", "B": "2"}, entrypoint=("/e",), command=("c",), workdir="/w", user="me")
    own = ImageConfig(env={"B": "3"}, workdir="", user="", stop_signal="")
    assert merge_config(own, below) == ImageConfig(
        env={"A": "1", "B": "3"}, entrypoint=("/e",), command=("c",), workdir="/w", user="me"
    )


@pytest.mark.parametrize("said", ["/x\nruntime=/evil", "/x\rruntime=/evil", "/x\u2028", "\n"])
def test_a_directory_with_a_newline_is_ignored(said: str):
    assert parse_run_config({"WorkingDir": said}).workdir == "/"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("SIGRTMIN+3", "RTMIN+3"),
        ("37", "RTMIN+3"),
        ("sigrtmax-1", "RTMAX-1"),
        ("RTMIN", "RTMIN"),
        ("SIGRTMIN+99", "TERM"),
    ],
)
def test_issue9_c20_signals_of_real_time(written: str, meant: str):
    found = parse_run_config({"StopSignal": written}).stop_signal
    assert found == meant
    assert signals.find_name(signals.find_number(found) or 0) == meant
