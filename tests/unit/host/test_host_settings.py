"""Host settings that containers get, and the addresses that replace loopback in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from devbox.errors import HostError
from devbox.host import host_settings

GATEWAY = "10.213.0.1"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with none of the settings."""
    names = (*host_settings.PROXY_VARIABLES, *host_settings.MIRROR_VARIABLES, "SSL_CERT_FILE", "DEVBOX_CA_FILE")
    for name in names:
        for spelling in (name, name.upper(), name.lower()):
            monkeypatch.delenv(spelling, raising=False)


@pytest.mark.parametrize(
    ("value", "inside", "ports"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128", ()),
        ("http://127.0.0.1:3128", f"http://{GATEWAY}:3128", (3128,)),
        ("http://ann:s%40t@localhost:3128/", f"http://ann:s%40t@{GATEWAY}:3128/", (3128,)),
        ("localhost:3128", f"{GATEWAY}:3128", (3128,)),
        ("http://[::1]:3128", f"http://{GATEWAY}:3128", (3128,)),
        ("https://localhost/simple", f"https://{GATEWAY}:443/simple", (443,)),
        (
            "http://127.0.0.1:81/a,http://localhost:82,direct",
            f"http://{GATEWAY}:81/a,http://{GATEWAY}:82,direct",
            (81, 82),
        ),
        ("http://localhost.example:3128", "http://localhost.example:3128", ()),
        ("http://proxy.example/?of=127.0.0.1:1", "http://proxy.example/?of=127.0.0.1:1", ()),
        (
            "deb [a=/k] http://localhost:9/debian trixie main\n",
            f"deb [a=/k] http://{GATEWAY}:9/debian trixie main\n",
            (9,),
        ),
    ],
)
def test_the_host_s_own_loopback_is_named_as_containers_reach_it(value: str, inside: str, ports: tuple[int, ...]):
    assert host_settings.translate_loopback(value, GATEWAY) == (inside, ports)


def test_a_proxy_comes_in_both_cases_and_is_not_asked_for_other_containers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://localhost:3128")
    monkeypatch.setenv("no_proxy", "intern.example, localhost")

    carried = host_settings.collect_settings(GATEWAY, direct=("db",))

    assert carried.env["https_proxy"] == carried.env["HTTPS_PROXY"] == f"http://{GATEWAY}:3128"
    assert carried.env["NO_PROXY"] == f"intern.example,localhost,127.0.0.1,::1,{GATEWAY},db"
    assert carried.ports == (3128,)


def test_mirrors_of_package_managers_are_passed_to_containers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://pypi.example/simple")
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:4873")

    carried = host_settings.collect_settings(GATEWAY)

    assert carried.env["PIP_INDEX_URL"] == "https://pypi.example/simple"
    assert carried.env["npm_config_registry"] == f"http://{GATEWAY}:4873"
    assert "no_proxy" not in carried.env


def test_an_unreadable_ca_certificate_is_reported_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("DEVBOX_CA_FILE", str(tmp_path / "missing.pem"))

    with pytest.raises(HostError, match=r"missing\.pem"):
        host_settings.collect_settings(GATEWAY)
