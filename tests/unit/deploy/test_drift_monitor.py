"""A drift is recorded once, even if another version of devbox worded it differently."""

from __future__ import annotations

from devbox.deploy.drift_monitor import _identify
from devbox.model.ledger_payloads import DriftedPayload

FOUND, WANTED = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def payload(reason: str, *, container: str = "web.1", since: str = "2026-12-01T10:00:00Z") -> DriftedPayload:
    return DriftedPayload(container=container, since=since, reason=reason)


def test_the_wording_does_not_distinguish():
    now = payload(f"web.1 runs {FOUND}, but {WANTED} was deployed")
    assert _identify(payload(f"{FOUND} is running in web.1, {WANTED} was released")) == _identify(now)


def test_digest_container_and_start_distinguish():
    now = payload(f"web.1 runs {FOUND}, but {WANTED} was deployed")
    others = (
        payload(f"web.1 runs {WANTED}, but {WANTED} was deployed"),
        payload(now.reason, container="web.2"),
        payload(now.reason, since="2026-12-01T10:00:01Z"),
    )
    assert _identify(now) not in {_identify(each) for each in others}


def test_a_doubt_does_not_hide_a_later_drift_of_the_same_container():
    doubt, drift = payload("cannot read /proc/7/root"), payload("web.1 does not belong to a deployed release")
    assert _identify(doubt) != _identify(drift)
