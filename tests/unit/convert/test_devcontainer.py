"""`[dev]` as devcontainer.json: what is converted, and what is reported as missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devbox.convert.devcontainer import build_document
from devbox.envfile.load import load
from devbox.errors import EnvFileError


def written(root: Path, text: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    (root / "devbox.toml").write_text(f'[project]\nname = "shop"\n{text}')
    return build_document(load(str(root)))


def test_the_image_is_the_one_that_devbox_bakes(tmp_path: Path):
    plain, missing = written(tmp_path, '[dev]\nrecipe = "debian"\n')
    assert plain["image"] == "devbox/shop-dev"
    assert plain["initializeCommand"][:4] == ["devbox", "image", "export", "dev"]
    assert plain["workspaceMount"] == "source=${localWorkspaceFolder},target=/workspace,type=bind"
    assert missing == ()


@pytest.mark.parametrize(("more", "baked"), [("", False), ('packages = ["git"]\n', True), ('run = ["true"]\n', True)])
def test_an_image_of_a_registry_is_used_as_it_is_where_nothing_is_added(tmp_path: Path, more: str, *, baked: bool):
    plain, _ = written(tmp_path, f'[dev]\nimage = "debian:trixie"\n{more}')
    assert ("initializeCommand" in plain) == baked
    assert (plain["image"] == "debian:trixie") != baked


FULL = """
[dev]
recipe = "debian"
workspace = "/srv/shop"
user = "nobody"
ports = [8000, "127.0.0.1:5353:53/udp"]
env = { DEBUG = "1" }
secrets = { TOKEN = "env:SHOP_TOKEN", KEY = "cmd:pass key" }
volumes = { cache = "/root/.cache" }
mounts = [{ source = "conf", target = "/etc/shop" }]
tmpfs = ["/scratch"]
limits = { memory = "512M", cpus = 1.5, pids = 100 }
isolation = { capabilities = ["NET_ADMIN", "-NET_RAW"], read_only = true }
command = "serve"
needs = ["db"]
setup = { run = ["make deps || true", ["echo", "it's"]] }

[service.db]
recipe = "postgres"
"""


def test_everything_docker_supports_is_exported_except_secrets(tmp_path: Path):
    (tmp_path / "conf").mkdir()
    plain, missing = written(tmp_path, FULL)
    assert plain["workspaceFolder"] == "/srv/shop"
    assert plain["containerUser"] == "nobody"
    assert plain["forwardPorts"] == [8000]
    assert plain["containerEnv"] == {"DEBUG": "1"}
    assert plain["remoteEnv"] == {"TOKEN": "${localEnv:SHOP_TOKEN}"}
    assert plain["mounts"] == [
        "source=shop-cache,target=/root/.cache,type=volume",
        "source=${localWorkspaceFolder}/conf,target=/etc/shop,type=bind,readonly",
        "target=/scratch,type=tmpfs",
    ]
    assert plain["capAdd"] == ["NET_ADMIN"]
    assert plain["runArgs"] == [
        "--cap-drop=NET_RAW",
        "--read-only",
        f"--memory={512 * 1024**2}",
        "--cpus=1.5",
        "--pids-limit=100",
    ]
    assert plain["postCreateCommand"] == """( make deps || true ) && echo 'it'"'"'s'"""
    assert [sentence.partition(" ")[0] for sentence in missing] == ["needs", "command:", "secrets"]
    assert "pass key" not in str(plain)


def test_without_dev_there_is_nothing_to_export(tmp_path: Path):
    with pytest.raises(EnvFileError):
        written(tmp_path, '[base.py]\nrecipe = "python"\n')
