"""Layers exclude files that packages regenerate on installation, and keep all others next to them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from devbox.images.bake import steps
from devbox.images.layers.pack import write_layer

MADE = (
    "etc/ssl/private/ssl-cert-snakeoil.key",
    "etc/ssl/certs/ssl-cert-snakeoil.pem",
    "etc/ssh/ssh_host_ed25519_key",
    "etc/ssh/ssh_host_ed25519_key.pub",
    "etc/dropbear/dropbear_rsa_host_key",
    "etc/bind/rndc.key",
    "etc/unbound/unbound_server.key",
    "etc/postgresql/17/main/postgresql.conf",
    "var/lib/postgresql/17/main/base/1/112",
    "var/lib/mysql/ibdata1",
    "var/lib/mysql/sys/db.opt",
)
KEPT = (
    "etc/ssl/certs/ca-certificates.crt",
    "etc/ssl/private/own.key",
    "etc/ssh/ssh_config",
    "etc/bind/named.conf",
    "etc/postgresql/17/pgdata.conf",
    "etc/postgresql-common/createcluster.conf",
    "var/lib/mysql-files/x",
    "srv/etc/ssh/ssh_host_ed25519_key",
)


def test_of_a_package_step(tmp_path: Path):
    for path in (*MADE, *KEPT):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    certificates = tmp_path / "etc/ssl/certs"
    (certificates / "2f4a8f9c.0").symlink_to("ssl-cert-snakeoil.pem")
    (certificates / "1b2c3d4e.0").symlink_to("ca-certificates.crt")
    out = io.BytesIO()
    write_layer(str(tmp_path), out, without=steps.is_generated)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as layer:
        found = {entry.name for entry in layer if not entry.isdir()}
    assert found == {*KEPT, "etc/ssl/certs/1b2c3d4e.0"}
