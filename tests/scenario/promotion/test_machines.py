"""Several hosts promote one project: a host that did not build learns of releases from the stages' repositories."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.registry import Registry, registry
from support.shop import APP, Shop

from devbox.attest import keys
from devbox.attest.keys import LocalSigner
from devbox.commands import promote as verbs
from devbox.commands import signing
from devbox.commands.signing import NamedSigner
from devbox.errors import Denied
from devbox.model.ledger import APPLIED, SEEN
from devbox.model.plan import PASS, PENDING
from devbox.model.release import Release
from devbox.project import prepare
from devbox.records.keyring import KeyStore
from devbox.records.observations import StageHealthRecord
from devbox.records.releases import Releases

STAGES = ("test", "staging", "production")


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    (tmp_path / "registry").mkdir()
    with registry(tmp_path / "registry", tls=False, password=False) as made:
        monkeypatch.setenv("DEVBOX_INSECURE_REGISTRIES", made.host)
        yield made


class Machine:
    """A host with a checkout of the project and its user's key."""

    def __init__(self, place: Path, text: str, signer: LocalSigner, monkeypatch: pytest.MonkeyPatch) -> None:
        self._place = place
        self._monkeypatch = monkeypatch
        self._signer = signer
        place.mkdir()
        self.use()
        self.shop = Shop(place, text)
        Path(self.shop.root, "keys").mkdir()
        Path(self.shop.root, "keys/ci.pub").write_text(signer.public.pem)
        KeyStore(self.shop.opened.paths).add("ci", signer, "")

    def use(self) -> Shop:
        """Make devbox run on this host from now on."""
        self._monkeypatch.setenv("DEVBOX_HOME", str(self._place / "home"))
        self._monkeypatch.setenv("DEVBOX_RUNTIME_DIR", str(self._place / "run"))
        self._monkeypatch.setenv("DEVBOX_CONFIG", str(self._place / "config"))
        return self.shop if hasattr(self, "shop") else None

    def promote(self, stage: str, release: str = "") -> verbs.PromotionResult:
        shop, by = self.use(), NamedSigner("ci", self._signer)
        return verbs.promote(shop.opened, _unseen, stage=stage, release=release, environments=shop._environments, by=by)

    def releases(self) -> list[Release]:
        opened = self.use().opened
        return Releases(opened.paths, opened.id).list_releases()


@pytest.fixture
def machines(served: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Machine, Machine]:
    """One that builds, and another one that never did."""
    text = APP + '[builders]\nci = "keys/ci.pub"\n'
    text += "".join(f'[stage.{stage}]\nrepository = "{served.host}/shop/{stage}"\n' for stage in STAGES)
    signer = keys.generate(keys.ED25519)
    made = [Machine(tmp_path / name, text, signer, monkeypatch) for name in ("one", "two")]
    return made[0], made[1]


def _staged(machine: Machine, number: int = 1) -> Release:
    """A release that one host built and promoted through two stages."""
    release = machine.use().release(number)
    for stage in ("test", "staging"):
        machine.promote(stage, release.id)
    return release


def test_a_host_that_did_not_build_verifies_and_runs_the_previous_stage_s_release(machines):
    one, two = machines
    made = _staged(one)
    shop = two.use()
    assert two.releases() == []
    assert {name: verdict.verdict for name, verdict in shop.why("production").items()} == {"passed staging": PASS}
    assert two.promote("production").deployment.release.id == made.id
    assert shop.environment("production").observe().digests == {"web-1": made.image}
    assert two.releases() == [made]
    assert [(entry.kind, entry.stage) for entry in shop.entries() if entry.kind in (SEEN, APPLIED)] == [
        (SEEN, "test"),
        (SEEN, "staging"),
        (APPLIED, "production"),
    ]
    two.promote("production")
    assert len([entry for entry in shop.entries() if entry.kind == SEEN]) == 2, "it is learned once"


@pytest.mark.long
def test_a_release_staged_elsewhere_precedes_one_staged_on_this_host(machines):
    one, two = machines
    _staged(one, 1)
    newer = _staged(two, 2)
    assert one.promote("production").deployment.release == newer


def test_what_no_key_of_the_file_signed_is_not_believed(machines):
    one, two = machines
    _staged(one)
    shop = two.use()
    Path(shop.root, "keys/ci.pub").write_text(keys.generate(keys.ED25519).public.pem)
    assert shop.why("production")["passed staging"].verdict == PENDING
    with pytest.raises(Denied, match="not signed by a key of the env file"):
        two.promote("production")


@pytest.mark.long
def test_a_release_that_ran_only_in_another_stage_is_not_admitted(machines):
    one, two = machines
    made = one.use().release(1)
    one.promote("test", made.id)
    two.use().release(1)  # built to the same digest, staged nowhere
    with pytest.raises(Denied, match="has not been in staging"):
        two.promote("production", made.id)


@pytest.mark.long
def test_a_revocation_reaches_other_hosts(machines):
    one, two = machines
    made = _staged(one)
    opened = one.use().opened
    signing.revoke(opened, prepare(opened), made.id, _unseen, reason="CVE-1", key="ci", ask=None)
    with pytest.raises(Denied, match=r"revoked.*CVE-1"):
        two.promote("production")


@pytest.mark.long
def test_issue10_4_time_observed_as_healthy_by_another_host_counts_as_soak(machines):
    one, two = machines
    made = _staged(one)
    opened = one.use().opened
    run = one.shop.history().find_local_run("staging", made.id)
    for _ in range(2):
        time.sleep(1.2)
        StageHealthRecord(opened.paths, opened.id).record_health("staging", run.hash, healthy=True)
    one.promote("staging", made.id)  # nothing to do, and the time is published
    shop = two.use()
    text = Path(shop.root, "devbox.toml").read_text()
    gate = 'gates = [{ kind = "soak", stage = "staging", duration = "1h" }]\n'
    shop.rewrite(text.replace("[stage.production]\n", f"[stage.production]\n{gate}"))
    verdict = shop.why("production")["soak staging"]
    assert verdict.verdict == PENDING
    assert re.search(r"seen healthy in staging for \d s of 1 h, by the records of another host", verdict.reason)
    shop.rewrite(Path(shop.root, "devbox.toml").read_text().replace('"1h"', '"1s"'))
    assert shop.why("production")["soak staging"].verdict == PASS


def _unseen(event: object) -> None:
    """Discard progress events."""
