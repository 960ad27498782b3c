"""Where packages come from, and what of this machine's settings goes along into containers."""

from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from devbox.doctor.finding import OK, PROBLEM, WARNING, Finding, Ground
from devbox.errors import HostError
from devbox.host import carry, environ
from devbox.images import mirrors
from devbox.isolation.network.bridge import free_subnet, gateway_of

_PATIENCE = 3.0  # seconds for all mirrors together
_SUITES = {"debian": "trixie", "ubuntu": "noble"}
_STATES = {"debian": PROBLEM, "ubuntu": WARNING}  # every default is Debian's; only some versions are Ubuntu's
_OFF = 300.0  # seconds a clock may be off before signatures seem old, or not valid yet


@dataclass
class _Answer:
    """What a mirror said: the offset of its clock, or why there was none."""

    offset: float | None = None
    failure: str = ""


def reach(ground: Ground) -> Iterator[Finding]:
    """The package mirrors answer, and agree with this machine on the time."""
    if ground.offline:
        return
    answers = {distribution: _Answer(failure=f"no answer in {_PATIENCE:.0f} s") for distribution in _SUITES}
    threads = [
        threading.Thread(target=_ask, args=(distribution, answer), daemon=True)
        for distribution, answer in answers.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _PATIENCE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for distribution, answer in answers.items():
        yield _mirror(distribution, answer)
    yield from _clock([answer.offset for answer in answers.values() if answer.offset is not None])


def carried(_ground: Ground) -> Iterator[Finding]:
    """The authorities and the proxy of this machine, as bakes and dev get them."""
    try:
        taken = carry.carry(gateway_of(free_subnet()))
    except HostError as error:
        yield Finding("certificates", PROBLEM, error.sentence, error.remedy)
        return
    if not taken.ca_file:
        sentence = "this machine has no CA bundle: https fails inside of bakes"
        yield Finding("certificates", WARNING, sentence, "sudo apt-get install ca-certificates")
    else:
        yield Finding("certificates", OK, f"carried into bakes and dev: {taken.ca_file}")
    for name in carry.PROXY_VARIABLES:
        if taken.env.get(name):
            yield _proxy(name, taken.env[name], carry.set_on_host(name))


def _proxy(name: str, inside: str, on_host: str) -> Finding:
    place = urlsplit(inside if "//" in inside else f"//{inside}")
    shown = inside if name == "no_proxy" else f"{place.hostname}:{place.port or ''}".rstrip(":")  # no password
    own = name != "no_proxy" and inside != on_host
    return Finding("proxy", OK, f"carried into bakes and dev: {name}={shown}{', which is this machine' if own else ''}")


def _ask(distribution: str, answer: _Answer) -> None:
    """Ask a mirror for the head of its newest list."""
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    url = _url(distribution)
    try:
        with urlopen(Request(url, method="HEAD"), timeout=_PATIENCE, context=carry.tls_context()) as reply:  # noqa: S310 - the mirror's own scheme
            date = email.utils.parsedate_to_datetime(reply.headers["Date"]) if reply.headers["Date"] else None
        answer.offset = time.time() - date.timestamp() if date else 0.0
    except HTTPError as error:
        answer.failure = f"it answers {error.code} {error.reason}"
    except (URLError, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        answer.failure = getattr(reason, "strerror", None) or str(reason)


def _url(distribution: str) -> str:
    return f"{mirrors.mirror_of(distribution)}/dists/{_SUITES[distribution]}/InRelease"


def _mirror(distribution: str, answer: _Answer) -> Finding:
    mirror = mirrors.mirror_of(distribution)
    if answer.offset is not None:
        return Finding("mirror", OK, f"{distribution}: {mirror} answers")
    variable = mirrors.variable_of(distribution)
    remedy = f"try: curl -I {_url(distribution)}; another mirror: export {variable}=URL"
    if environ.get(variable):
        remedy = f"correct {variable}, or unset it"
    sentence = f"{distribution}: {mirror} can't be reached: {answer.failure}"
    return Finding("mirror", _STATES[distribution], sentence, remedy)


def _clock(offsets: list[float]) -> Iterator[Finding]:
    if offsets and (off := min(offsets, key=abs)) and abs(off) > _OFF:
        way = "ahead of" if off > 0 else "behind"
        sentence = f"this machine is {abs(off) / 60:.0f} min {way} the mirror: package lists seem not valid"
        yield Finding("clock", PROBLEM, sentence, "sudo timedatectl set-ntp true")
    elif offsets:
        yield Finding("clock", OK, "agrees with the mirror")
