"""The versions bundled in Debian packages are those that pyproject.toml allows."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from unit.house_rules.source import ROOT

PINNED = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "packaging/requirements.txt").read_text(), re.MULTILINE))


def test_every_dependency_is_locked_in_an_allowed_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(line) for line in project["dependencies"]]
    pinned = {canonicalize_name(name): version for name, version in PINNED.items()}
    wrong = [str(each) for each in wanted if not each.specifier.contains(pinned.get(canonicalize_name(each.name), "0"))]
    assert not wrong, "make dist-lock"


def test_every_locked_version_has_hashes():
    text = (ROOT / "packaging/requirements.txt").read_text()
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert not [entry.partition(" ")[0] for entry in entries if "--hash=sha256:" not in entry]
