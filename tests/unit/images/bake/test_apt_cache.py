"""Which of a container's downloads are cached: only those that a key of this host authenticates."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.machine import lacking

from devbox.errors import HostError
from devbox.host import process
from devbox.host.paths import Paths
from devbox.images.bake import bootstrap
from devbox.images.bake.apt_cache import AptCache
from devbox.model.image import Bootstrap

# Made with gpg, once: a key, and its signature of a suite with one list.
KEY = (
    "mDMEawoo2BYJKwYBBAHaRw8BAQdAF4eAKxol1WfbNl/oCrFyyIX0kSn0SQMQaM1n+dpXfk60F2RldmJveCB0ZXN0IDx0QGV4"
    "YW1wbGU+iJAEExYKADgWIQRbKIbgtVzqoyHGDqtmDEyFJzScRgUCawoo2AIbAwULCQgHAgYVCgkICwIEFgIDAQIeAQIXgAAK"
    "CRBmDEyFJzScRrFpAQCIhfMjhay0Xpbdu6rd/nXAzLs40AYmtsVCDUPT7svY+wEA36cB/6TcAdLAmCn1+cWBJ9Fc30ImzuAr"
    "2lEHpnuplQE="
)
IN_RELEASE = """-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA512

Suite: stable
Codename: trixie
Date: Wed, 01 Jan 2025 00:00:00 UTC
SHA256:
 3d37c4e79fe6fd694971045cd37e04a61783f436b28bcb3a07c164b1debb9f2f 121 main/binary-amd64/Packages
-----BEGIN PGP SIGNATURE-----

iHUEARYKAB0WIQRbKIbgtVzqoyHGDqtmDEyFJzScRgUCawoo2AAKCRBmDEyFJzSc
RnB1AQCs1a/MO6OkTRyk512UM2z+xex/iv8LMFCslbgLZJnqEQEAmp3jIlI0B4Zq
Rn4porpBIvLz5D27wNsZUggu9l/HtAA=
=Gm/J
-----END PGP SIGNATURE-----
"""
PACKAGES = f"""Package: tiny
Version: 1:2-3
Architecture: all
SHA256: {hashlib.sha256(b"tiny").hexdigest()}

"""
PREFIX = "deb.debian.org_debian_dists_trixie_"
LIST = f"{PREFIX}main_binary-amd64_Packages"
DEB = "tiny_1%3a2-3_all.deb"


class Left:
    """A container's downloads, and the cache for them."""

    def __init__(self, place: Path) -> None:
        paths = Paths(str(place / "home"), str(place / "run"))
        self.cache = AptCache(paths, Bootstrap(distribution="debian", suite="trixie"))
        self.lists, self.archives, self._place = place / "lists", place / "archives", place
        for each in (self.lists, self.archives, Path(self.cache.lists), Path(self.cache.debs)):
            each.mkdir(parents=True)
        (self.lists / f"{PREFIX}InRelease").write_text(IN_RELEASE)
        (self.lists / LIST).write_text(PACKAGES)
        (self.archives / DEB).write_text("tiny")

    def keep(self) -> set[str]:
        """Cache the downloads; return the names of the cached files."""
        self.cache.store_downloads(lists=str(self.lists), archives=str(self.archives), place=str(self._place / "proof"))
        return {each.name for kept in (self.cache.lists, self.cache.debs) for each in Path(kept).iterdir()}


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Left:
    """All of it as the distribution has it."""
    try:
        process.find("gpgv")
    except HostError:
        lacking("gpgv is not installed")
    keyring = tmp_path / "keyring.gpg"
    keyring.write_bytes(base64.b64decode(KEY))
    monkeypatch.setitem(bootstrap.KEYRINGS, "debian", (str(keyring), ""))
    monkeypatch.delenv("DEVBOX_CACHE", raising=False)
    return Left(tmp_path)


def test_what_is_signed_is_kept(left: Left):
    assert left.keep() == {f"{PREFIX}InRelease", LIST, DEB}


def test_a_package_that_no_list_has_is_not_kept(left: Left):
    (left.archives / DEB).write_text("evil")
    assert left.keep() == {f"{PREFIX}InRelease", LIST}


def test_a_package_is_not_kept_by_another_name(left: Left):
    (left.archives / DEB).rename(left.archives / "less_1-1_all.deb")
    assert left.keep() == {f"{PREFIX}InRelease", LIST}


def test_a_list_missing_in_the_signed_index_proves_nothing(left: Left):
    (left.archives / DEB).write_text("evil")
    (left.lists / LIST).write_text(PACKAGES.replace(*(hashlib.sha256(text).hexdigest() for text in (b"tiny", b"evil"))))
    assert left.keep() == {f"{PREFIX}InRelease"}


@pytest.mark.parametrize(
    "changed",
    [
        IN_RELEASE.replace("Codename", "Nickname"),
        f"Suite: x\n{IN_RELEASE}",
        IN_RELEASE + IN_RELEASE,
        PACKAGES,
        "",
    ],
)
def test_an_index_with_an_invalid_signature_is_ignored(left: Left, changed: str):
    (left.lists / f"{PREFIX}InRelease").write_text(changed)
    assert left.keep() == set()


def test_an_index_signed_by_an_unknown_key_is_ignored(left: Left, tmp_path: Path):
    (tmp_path / "keyring.gpg").write_bytes(b"")
    assert left.keep() == set()


def test_a_signed_index_of_another_suite_is_ignored(left: Left):
    for each in list(left.lists.iterdir()):
        each.rename(left.lists / each.name.replace("trixie", "forky"))
    assert left.keep() == set()


def test_links_of_a_container_lead_nowhere(left: Left, tmp_path: Path):
    (left.archives / DEB).unlink()
    (tmp_path / "secret").write_text("tiny")
    (left.archives / DEB).symlink_to(tmp_path / "secret")
    assert DEB not in left.keep()


def test_a_kept_index_has_the_date_that_it_says(left: Left):
    left.keep()
    kept = Path(left.cache.lists) / f"{PREFIX}InRelease"
    assert kept.stat().st_mtime == datetime(2025, 1, 1, tzinfo=UTC).timestamp()
