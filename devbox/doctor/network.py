"""Package mirrors, and host settings passed to containers."""

from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from devbox.doctor.checks import OK, PROBLEM, WARNING, CheckContext, CheckResult
from devbox.errors import HostError
from devbox.host import environ, host_settings
from devbox.images.bake import bootstrap
from devbox.isolation.network.bridge import find_free_subnet, get_subnet_gateway

_PATIENCE = 3.0  # seconds for all mirrors together
_SUITES = {"debian": "trixie", "ubuntu": "noble"}
_STATES = {"debian": PROBLEM, "ubuntu": WARNING}  # all defaults are Debian's; only some versions are Ubuntu's
_OFF = 300.0  # allowed clock offset in seconds, before signatures appear expired or not yet valid


@dataclass
class _MirrorAnswer:
    """Answer of a mirror: its clock offset, or the failure."""

    offset: float | None = None
    failure: str = ""


def check_mirrors(ground: CheckContext) -> Iterator[CheckResult]:
    """Check that the package mirrors respond and agree with the host's clock."""
    if ground.offline:
        return
    answers = {distribution: _MirrorAnswer(failure=f"no response in {_PATIENCE:.0f} s") for distribution in _SUITES}
    threads = [
        threading.Thread(target=_query_mirror, args=(distribution, answer), daemon=True)
        for distribution, answer in answers.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _PATIENCE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for distribution, answer in answers.items():
        yield _check_mirror(distribution, answer)
    yield from _check_clock([answer.offset for answer in answers.values() if answer.offset is not None])


def check_host_settings(_ground: CheckContext) -> Iterator[CheckResult]:
    """Report the host's CA certificates and proxy, as passed to builds and dev."""
    try:
        taken = host_settings.collect_settings(get_subnet_gateway(find_free_subnet()))
    except HostError as error:
        yield CheckResult("certificates", PROBLEM, error.sentence, error.remedy)
        return
    if not taken.ca_file:
        sentence = "missing CA bundle on the host: https fails in bakes"
        yield CheckResult("certificates", WARNING, sentence, "sudo apt-get install ca-certificates")
    else:
        yield CheckResult("certificates", OK, f"passed to bakes and dev: {taken.ca_file}")
    for name in host_settings.PROXY_VARIABLES:
        if taken.env.get(name):
            yield _check_proxy(name, taken.env[name], host_settings.read_setting(name))


def _check_proxy(name: str, inside: str, on_host: str) -> CheckResult:
    place = urlsplit(inside if "//" in inside else f"//{inside}")
    shown = inside if name == "no_proxy" else f"{place.hostname}:{place.port or ''}".rstrip(":")  # without the password
    own = name != "no_proxy" and inside != on_host
    return CheckResult("proxy", OK, f"passed to bakes and dev: {name}={shown}{' (the host)' if own else ''}")


def _query_mirror(distribution: str, answer: _MirrorAnswer) -> None:
    """Send a HEAD request for a mirror's newest index."""
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    url = _build_url(distribution)
    try:
        request, context = Request(url, method="HEAD"), host_settings.create_tls_context()  # noqa: S310
        with urlopen(request, timeout=_PATIENCE, context=context) as reply:  # noqa: S310
            date = email.utils.parsedate_to_datetime(reply.headers["Date"]) if reply.headers["Date"] else None
        answer.offset = time.time() - date.timestamp() if date else 0.0
    except HTTPError as error:
        answer.failure = f"returned {error.code} {error.reason}"
    except (URLError, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        answer.failure = getattr(reason, "strerror", None) or str(reason)


def _build_url(distribution: str) -> str:
    return f"{bootstrap.find_mirror(distribution)}/dists/{_SUITES[distribution]}/InRelease"


def _check_mirror(distribution: str, answer: _MirrorAnswer) -> CheckResult:
    mirror = bootstrap.find_mirror(distribution)
    if answer.offset is not None:
        return CheckResult("mirror", OK, f"{distribution}: {mirror} is reachable")
    variable = bootstrap.get_mirror_variable(distribution)
    remedy = f"test it with curl -I {_build_url(distribution)}, or use another mirror: export {variable}=URL"
    if environ.get(variable):
        remedy = f"correct {variable}, or unset it"
    sentence = f"{distribution}: cannot reach {mirror}: {answer.failure}"
    return CheckResult("mirror", _STATES[distribution], sentence, remedy)


def _check_clock(offsets: list[float]) -> Iterator[CheckResult]:
    if offsets and (off := min(offsets, key=abs)) and abs(off) > _OFF:
        way = "ahead of" if off > 0 else "behind"
        sentence = f"the host's clock is {abs(off) / 60:.0f} min {way} the mirror: package lists appear invalid"
        yield CheckResult("clock", PROBLEM, sentence, "sudo timedatectl set-ntp true")
    elif offsets:
        yield CheckResult("clock", OK, "in sync with the mirror")
