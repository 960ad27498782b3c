"""Descriptions of image steps in messages."""

from __future__ import annotations

from devbox.model.image import Bootstrap, Files, Packages, Run, describe


def test_a_step_is_described_in_one_line():
    assert describe(Bootstrap(distribution="debian", suite="trixie", packages=("git",))) == "debian trixie + git"
    assert describe(Packages(names=("git", "less"))) == "packages git, less"
    assert describe(Files(contents={"/usr/b": "", "/etc/a": ""})) == "files a, b"


def test_commands_are_described_by_the_first_one_or_by_its_comment():
    assert describe(Run(commands=(("pip", "install", "x"), "true"))) == "run pip install x (+1 more)"
    assert describe(Run(commands=("\n# Node.js 24\nset -eu\n",))) == "run Node.js 24"
