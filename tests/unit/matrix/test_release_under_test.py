"""Tests on a release's image: which files and variables of the test image they get."""

from __future__ import annotations

from devbox.matrix.release_under_test import merge_search_paths
from devbox.model.image import ImageConfig


def test_programs_of_the_tests_are_found_after_the_releases_own():
    tests = ImageConfig(env={"PATH": "/opt/venv/bin:/bin"}, labels={"devbox.beside.PYTHONPATH": "/opt/venv/beside"})
    release = ImageConfig(env={"PATH": "/usr/bin"})
    assert merge_search_paths(tests, release) == {
        "PATH": "/usr/bin:/run/devbox/tests/opt/venv/bin:/run/devbox/tests/bin",
        "PYTHONPATH": "/run/devbox/tests/opt/venv/beside",
    }


def test_what_the_release_says_itself_comes_first():
    tests = ImageConfig(labels={"devbox.beside.PYTHONPATH": "/beside", "maintainer": "somebody"})
    release = ImageConfig(env={"PYTHONPATH": "/srv/app"})
    assert merge_search_paths(tests, release)["PYTHONPATH"] == "/srv/app:/run/devbox/tests/beside"
    assert set(merge_search_paths(tests, release)) == {"PATH", "PYTHONPATH"}
