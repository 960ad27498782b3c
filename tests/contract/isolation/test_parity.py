"""A container's root can do no more than in Docker's default container: measured on this host, from inside."""

from __future__ import annotations

import os
import shutil

import pytest
from parity import table
from parity.compare import Rows, looser
from support.machine import REPOSITORY, lacking

PAGE = REPOSITORY / "docs/reference/parity.md"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="root starts Docker; its tests ask as an ordinary user, too"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the probe has the x86_64 numbers of system calls"),
]


@pytest.fixture(scope="module")
def rows() -> dict[str, Rows]:
    """Everyone's answers."""
    if missing := [name for name in ("dockerd", "docker", "runc") if shutil.which(name) is None]:
        lacking(f"{missing[0]} is not installed")
    return table.measure()


def test_no_row_is_looser_than_docker_s(rows: dict[str, Rows]):
    docker = rows[table.DOCKER]
    assert {name: found for name, of in rows.items() if (found := looser(of, docker))} == {}


def test_the_page_is_what_is_measured(rows: dict[str, Rows]):
    written, measured = PAGE.read_text(), table.page(rows)
    remedy = "(cd tests && python -m parity)"
    assert table.names(written) == table.names(measured), remedy
    if table.machine() in written:  # other hosts have other kernels and Docker versions
        assert table.comparable(written) == table.comparable(measured), remedy
