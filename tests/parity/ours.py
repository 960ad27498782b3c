"""The probe in devbox containers, as the current user: `python -m parity.ours SOCKET KIND…` prints rows by kind.

A process of its own, so that root and an ordinary user are asked in the same way.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from parity.compare import Rows
from support import rootfs
from support.place import Place, place

from devbox.engines.native import start
from devbox.host.paths import Paths
from devbox.isolation import idmap
from devbox.isolation.types import Bind
from devbox.model.container import Limits
from devbox.roles.parts import IsolationTable

PROBE = Path(__file__).parent / "probe.pl"
_INSIDE = "/probe.pl"
_ISOLATED = start.build_security_profile(IsolationTable(preset="isolated").to_isolation(), Limits())
# A case to compare: the OCI runtime, and the container's settings in addition to the defaults.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "crun": ("crun", {}),
    "runc": ("runc", {}),
    "isolated": ("crun", {"confine": _ISOLATED, "index": None, "tmpfs": ("/tmp",)}),
}


def measure(abstract_socket: str, kinds: list[str]) -> dict[str, Rows]:
    """The rows of each kind."""
    base = Path(tempfile.mkdtemp(prefix="devbox-parity-"))
    base.chmod(0o755)
    (base / "home").mkdir()
    ids = idmap.load_store_map(Paths(str(base / "home"), str(base / "run")))
    lower = rootfs.unpack(ids, base / "lower")
    (base / "tops").mkdir()
    try:
        return {kind: _probe(kind, ids, lower, base, abstract_socket) for kind in kinds}
    finally:
        for directory in (lower, base / "tops"):
            rootfs.remove(ids, directory)
        shutil.rmtree(base)


def _probe(kind: str, ids: idmap.IdMap, lower: Path, base: Path, abstract_socket: str) -> Rows:
    runtime, fields = KINDS[kind]
    run_dir = Path(tempfile.mkdtemp(prefix="devbox-parity-", dir="/dev/shm"))
    run_dir.chmod(0o711)
    tops = base / "tops" / kind
    tops.mkdir()
    try:
        with place(ids, name=f"parity-{kind}", runtime=runtime, run_dir=run_dir / "i", lower=lower, tops=tops) as made:
            return _inside(made, fields, abstract_socket)
    finally:
        shutil.rmtree(run_dir)


def _inside(made: Place, fields: dict[str, Any], abstract_socket: str) -> Rows:
    bind = Bind(str(PROBE), _INSIDE, read_only=True)
    made.run(made.container("probed", **{"index": 1, "binds": (bind,)} | fields))
    said = made.sh("probed", f"perl {_INSIDE} {abstract_socket}")
    try:
        rows: Rows = json.loads(said)
    except ValueError:
        raise AssertionError(f"no JSON:\n{said[:2000]}") from None
    return rows


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2:])))
