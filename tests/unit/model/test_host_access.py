"""Recorded form of each kind of host access: permissions given by earlier versions stay valid."""

from __future__ import annotations

import pytest

from devbox.model.host_access import (
    GateAccess,
    HookAccess,
    HostAccess,
    InstallAccess,
    MetricAccess,
    SecretAccess,
    ShellToolsAccess,
    ShellVariableAccess,
)
from devbox.model.ids import compute_key
from devbox.records.trust import _compute_key

RECORDS: list[tuple[HostAccess, tuple[str, str, str, str]]] = [
    (
        SecretAccess(container="dev", variable="TOKEN", reference="cmd:pass show x", where="devbox.toml:3"),
        ("dev", "TOKEN", "cmd:pass show x", ""),
    ),
    (
        SecretAccess(container="stage.test", variable="KEY", reference="file:~/key", where="", path="/root/key"),
        ("stage.test", "KEY", "file:~/key", "/root/key"),
    ),
    (HookAccess(name="created", command="make", where="devbox.toml:9"), ("hooks", "created", "cmd:make", "")),
    (ShellToolsAccess(commands="psql rg", where="devbox.toml"), ("shell", "PATH", "tools:psql rg", "")),
    (ShellVariableAccess(variable="PGHOST", service="db", where=""), ("shell", "PGHOST", "export:db", "")),
    (
        InstallAccess(install="install.tool", place="/usr/local/bin/tool", path="/bin/tool", where=""),
        ("install.tool", "/usr/local/bin/tool", "image:/bin/tool", ""),
    ),
    (GateAccess(stage="stage.test", command="./ok", where=""), ("stage.test", "gate", "cmd:./ok", "")),
    (MetricAccess(stage="stage.test", command="./count", where=""), ("stage.test", "metric", "cmd:./count", "")),
]


@pytest.mark.parametrize(("access", "record"), RECORDS)
def test_a_record_has_the_fields_of_earlier_versions(access: HostAccess, record: tuple[str, ...]):
    assert tuple(access.record()) == record


def test_the_key_of_a_permission_is_that_of_earlier_versions():
    assert _compute_key([access for access, _ in RECORDS]) == compute_key(sorted(list(record) for _, record in RECORDS))
