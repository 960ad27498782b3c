"""Real runs of files by an enemy: what is wrong is one error, and links lead nowhere in a container."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.machine import Box

pytestmark = pytest.mark.scenario

DEBIAN = '[dev]\nrecipe = "debian"\n'
NAMES = {
    "container, separator": ('[dev]\nrecipe = "debian"\n[service."a/b"]\nrecipe = "redis"\n', 3),
    "container, dots": ('[dev]\nrecipe = "debian"\n[service.".."]\nrecipe = "redis"\n', 3),
    "container, dash": ('[dev]\nrecipe = "debian"\n[service.-rf]\nrecipe = "redis"\n', 3),
    "container, substitution": ('[dev]\nrecipe = "debian"\n[service."$(id)"]\nrecipe = "redis"\n', 3),
    "container, line end": ('[dev]\nrecipe = "debian"\n[service."a\\nb"]\nrecipe = "redis"\n', 3),
    "container, long": (f'[dev]\nrecipe = "debian"\n[service.{"a" * 300}]\nrecipe = "redis"\n', 3),
    "base, dots": (DEBIAN + '[base."../x"]\nrecipe = "debian"\n', 3),
    "task, dash": (DEBIAN + '[tasks]\n--help = "x"\n', 4),
    "volume, separator": (DEBIAN + 'volumes = { "a/b" = "/x" }\n', 3),
    "volume, dots": (DEBIAN + 'volumes = { ".." = "/x" }\n', 3),
    "volume, dash": (DEBIAN + 'volumes = { "-x" = "/x" }\n', 3),
    "volume, long": (DEBIAN + f'volumes = {{ {"a" * 300} = "/x" }}\n', 3),
    "volume's place, dots": (DEBIAN + 'volumes = { a = "/x/../.." }\n', 3),
    "mount, dots": (DEBIAN + 'mounts = ["../..:/x"]\n', 3),
    "variable": (DEBIAN + 'env = { "A=B" = "x" }\n', 3),
    "port": (DEBIAN + 'ports = ["80;id"]\n', 3),
    "recipe, dots": ('[dev]\nrecipe = "../../etc/passwd"\n', 2),
    "recipe's parameter": ('[dev]\nrecipe = "python"\nwith = { version = "3.12; id" }\n', 3),
    "project": ('[project]\nname = "../x"\n' + DEBIAN, 2),
}
FILES = {
    "not UTF-8": (b'[dev]\nrecipe = "d\xff"\n', "devbox.toml:2", "UTF-8"),
    "NUL": (b'[dev]\nrecipe = "d\0"\n', "devbox.toml:2", "binary"),
    "large": (DEBIAN.encode() + b"#" * (10 << 20), "devbox.toml:1", "larger than 4 MiB"),
    "deep": (DEBIAN.encode() + b"x = " + b"[" * 1000 + b"]" * 1000, "devbox.toml:", ""),
    "deep keys": (DEBIAN.encode() + b".".join([b"a"] * 1000) + b" = 1\n", "devbox.toml:1", "nested"),
    "deep tables": (b"[" + b".".join([b"a"] * 1000) + b"]\nx = 1\n", "devbox.toml:1", ""),
    "a key twice": (DEBIAN.encode() + b'recipe = "python"\n', "devbox.toml:3", ""),
    "a table twice": (DEBIAN.encode() * 2, "devbox.toml:3", ""),
}


def refused(box: Box, *words: str, cwd: Path) -> str:
    """What devbox says of what it refuses: a few lines, no trace."""
    done = box.run(*words, cwd=cwd)
    said = done.stderr.decode()
    assert done.returncode == 2, said
    assert not done.stdout
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 12
    assert said.replace("\n", "").isprintable()
    return said


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_none(box: Box, name: str) -> None:
    text, line = NAMES[name]
    said = refused(box, "up", cwd=box.project(text))
    assert said.startswith(f"devbox: devbox.toml:{line}: "), said


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_none(box: Box, name: str) -> None:
    raw, where, why = FILES[name]
    project = box.project(DEBIAN)
    (project / "devbox.toml").write_bytes(raw)
    said = refused(box, "up", cwd=project)
    (project / "devbox.toml").write_text(DEBIAN)
    assert said.startswith(f"devbox: {where}"), said
    assert why in said


def test_links_to_projects_and_out_of_them(box: Box) -> None:
    """A project is the same by any path to it; its links lead nowhere in a container. A mark and CRLF are fine."""
    project = box.project(DEBIAN)
    secret = project.parent / "secret"
    secret.write_text("of the host")
    (project / "way").symlink_to(secret)
    (project / "up").symlink_to("..")
    (project / "devbox.toml").unlink()
    (project / "real.toml").write_bytes(b"\xef\xbb\xbf" + DEBIAN.replace("\n", "\r\n").encode())
    (project / "devbox.toml").symlink_to("real.toml")
    link = project.parent / "link"
    link.symlink_to(project)
    box.ok("up", cwd=link)
    for words in (("-C", str(link)), ("-C", f"{link}/../link/./"), ("-f", f"{link}//devbox.toml")):
        assert box.ok(*words, "exec", "dev", "--", "echo", "here", cwd=Path("/")) == "here\n"
    for path in ("way", "up/secret"):
        done = box.run("exec", "dev", "--", "cat", path, cwd=project)
        assert done.returncode != 0
        assert b"of the host" not in done.stdout
    assert box.run("-C", "/dev/null", "up", cwd=project).returncode == 2
    assert box.run("-f", "/dev/null", "up", cwd=project).returncode == 2
