"""Image references by the grammar of the distribution specification."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devbox.errors import UsageError
from devbox.images.registry.reference import Reference, parse

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("postgres", "docker.io/library/postgres:latest"),
        ("postgres:17", "docker.io/library/postgres:17"),
        ("bitnami/redis", "docker.io/bitnami/redis:latest"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox:latest"),
        ("docker.io/busybox:1", "docker.io/library/busybox:1"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/a/b-c__d.e:V1.0_x", "localhost:5000/a/b-c__d.e:V1.0_x"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("ghcr.io/acme/app:1", "ghcr.io/acme/app:1"),
        (f"app@sha256:{HEX}", f"docker.io/library/app@sha256:{HEX}"),
        (f"app:1@sha256:{HEX}", f"docker.io/library/app:1@sha256:{HEX}"),
        ("Registry/app", "Registry/app:latest"),
    ],
)
def test_what_is_left_out_is_filled_in(text: str, full: str):
    assert str(parse(text)) == full
    assert parse(full) == parse(text)
    assert parse(parse(text).familiar_name) == parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "UPPER", "a b", "a//b", "/a", "a/", "a:", "a:b:c", "-a", "a--_b", "http://x.y/z", "x.y/../z", "a@sha256:12",
        f"a@sha512:{HEX}", f"a@sha256:{HEX.upper()}", "a:" + "t" * 129, "x.y/" + "a" * 256, "a\n", "a:1;rm", "$(id)",
    ],
)  # fmt: skip
def test_an_invalid_reference_is_refused(text: str):
    with pytest.raises(UsageError, match="invalid image name"):
        parse(text)


@given(st.text(max_size=80))
def test_any_text_is_a_reference_that_stays_itself_or_a_sentence(text: str):
    try:
        found = parse(text)
    except UsageError:
        return
    assert parse(str(found)) == found


def test_the_digest_decides():
    assert parse(f"app:1@sha256:{HEX}").target == f"sha256:{HEX}"
    assert Reference("h.x", "a", "1").target == "1"
