"""Packages that an image's own apt has cached are used for another image only if the distribution signed them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from devbox.host.paths import Paths
from devbox.images.image_store import ImageStore
from devbox.model.image import Bootstrap, ImageConfig, ImageSpec, Packages, Run, key_image

TRIXIE = Bootstrap(distribution="debian", suite="trixie")
# Answers as apt does, and leaves a package of its own making under the name of every one that is cached, and lists.
FAKE = """#!/bin/sh
cd /var/cache/apt/archives || exit
for deb in *.deb; do printf evil > "$deb.new" && mv "$deb.new" "$deb"; done
printf evil > tiny_1-1_all.deb
cd /var/lib/apt/lists || exit
for list in *_InRelease *_Packages; do echo evil > "$list"; done
printf 'Package: tiny\\nVersion: 1-1\\nArchitecture: all\\nSHA256: %s\\n\\n' "$(printf evil | sha256sum | cut -c-64)" \
    > deb.debian.org_debian_dists_trixie_main_binary-amd64_Packages
"""


def _digests(directory: Path) -> dict[str, str]:
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in directory.iterdir()}


@pytest.mark.long
def test_an_image_s_own_apt_changes_nothing_that_others_install(store: ImageStore, paths: Paths) -> None:
    honest = ImageSpec(name="honest", parent=None, steps=(TRIXIE, Packages(names=("less",))), config=ImageConfig())
    store.bake(key_image("honest", {"honest": honest}), lambda _: None)
    cache = Path(paths.apt_cache("debian", "trixie"))
    before = _digests(cache / "debs") | _digests(cache / "lists")
    assert any(name.startswith("less_") for name in before)
    assert any(name.endswith("_Packages") for name in before)
    assert any(name.endswith("_InRelease") for name in before)
    put = f"cat > /usr/bin/apt-get <<'END'\n{FAKE}END\n"
    steps = (TRIXIE, Run(commands=(put,)), Packages(names=("tiny",)))
    hostile = ImageSpec(name="hostile", parent=None, steps=steps, config=ImageConfig())
    store.bake(key_image("hostile", {"hostile": hostile}), lambda _: None)
    assert _digests(cache / "debs") | _digests(cache / "lists") == before
    assert os.listdir(cache / "debs")
