"""Generated env files: each resolves or raises EnvFileError, and a resolved file survives serialization."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomlkit
from hypothesis import strategies as st
from support.fuzzing import LENGTHS, fuzz
from support.machine import REPOSITORY
from support.resolving import resolve_env

from devbox.envfile.load import load
from devbox.errors import EnvFileError
from devbox.model import codec
from devbox.model.spec import Spec

WORDS = st.sampled_from(
    [
        *(
            "",
            " ",
            "-x",
            "--help",
            "$(touch /tmp/x)",
            "`id`",
            ";",
            "'\"",
            "a\nb",
            "\x1b[2J",
            "..",
            "../..",
            "/",
            "~",
            "${x}",
        ),
        *(
            "${name}",
            "$${x}",
            "{{ x }}",
            "{% for x in range(9) %}{% endfor %}",
            "{{ ''.__class__ }}",
            "dev",
            "db",
            "debian",
        ),
        *(
            "99999999999999999999",
            "1e999",
            "0",
            "80:80:80",
            "[::1]:80",
            "cmd:id",
            "file:/etc/shadow",
            "ä",
            "\U0001f600",
            "a" * 70,
        ),
    ]
)
LEAVES: Any = st.one_of(
    WORDS,
    st.text(max_size=8).filter(lambda text: "\0" not in text),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.dates(),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=4,
)
EXAMPLE = tomllib.loads((REPOSITORY / "devbox.toml.example").read_text())
SMALL = tomllib.loads(
    '[dev]\nrecipe = "python"\nneeds = ["db"]\nports = [8000]\ncommand = "x"\nenv = { A = "b" }\n'
    '[service.db]\nrecipe = "postgres"\n[tasks]\ntest = "pytest"\n'
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path into a document."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(inner, (*path, key))


KEYS = sorted({key for path in places(EXAMPLE) for key in path if isinstance(key, str)})


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A good file with some of it replaced, removed, added; then bytes of it changed."""
    data = json.loads(json.dumps(draw(st.sampled_from([SMALL, SMALL, EXAMPLE])), default=str))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(list(places(data)) or [("dev",)]))
        target = data
        for key in path[:-1]:
            target = target[key]
        act = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if act == "remove" and len(data) > 1:
            del target[path[-1]]
        elif act == "add" and isinstance(target, dict):
            target[draw(st.one_of(st.sampled_from(KEYS), WORDS))] = draw(VALUES)
        else:
            target[path[-1]] = draw(VALUES)
    raw = bytearray(tomlkit.dumps(data).encode("utf-8", "surrogatepass"))
    for place, value in draw(st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), max_size=2)):
        if raw:
            raw[place % len(raw)] = value
    return draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"])) + bytes(raw)


@LENGTHS
def test_env_files(seconds: float, tmp_path: Path) -> None:
    root = tmp_path / "app"
    root.mkdir()

    def check(raw: bytes) -> None:
        (root / "devbox.toml").write_bytes(raw)
        outcome = _outcome(str(root))
        if isinstance(outcome, Spec):
            again = codec.load(Spec, json.loads(json.dumps(codec.dump(outcome))))
            assert again == outcome
            return
        assert outcome.where.partition(":")[0] == "devbox.toml"
        assert "\n" not in outcome.sentence
        assert len(outcome.render().splitlines()) <= 12
        assert outcome.render().replace("\n", "").replace("\t", "").isprintable(), outcome.render()

    fuzz(check, documents(), count=150, seconds=seconds)


def _outcome(root: str) -> Spec | EnvFileError:
    try:
        return resolve_env(load(root))
    except EnvFileError as error:
        return error
