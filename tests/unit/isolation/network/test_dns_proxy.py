"""Egress lists: matching of names, and parsing of answers from a possibly hostile server."""

from __future__ import annotations

import struct

import pytest

from devbox.isolation.network import bridge, dns_proxy, egress_policy
from devbox.isolation.types import NetNode

NODE = NetNode("10.213.1.2", "fd00::102")
QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01A\x07Example\x00\x00\x01\x00\x01"


def test_a_name_is_itself_and_a_star_is_everything_below():
    entries = ("pypi.org", "*.debian.org", "pypi.org:8080", "*.x.org:443")

    assert egress_policy.find_allowed_ports(entries, "pypi.org") == {egress_policy.EVERY_PORT, 8080}
    assert (
        egress_policy.find_allowed_ports(entries, "deb.debian.org")
        == egress_policy.find_allowed_ports(entries, "a.b.debian.org")
        == {egress_policy.EVERY_PORT}
    )
    assert egress_policy.find_allowed_ports(entries, "a.x.org") == {443}
    for other in ("debian.org", "notpypi.org", "a.pypi.org", "pypi.org.evil.net", "xdebian.org", ""):
        assert not egress_policy.find_allowed_ports(entries, other)


def test_addresses_are_let_through_at_their_ports_and_for_their_time():
    said = egress_policy.build_admission(NODE, [("192.0.2.1", 5), ("2001:db8::1", 10**9)], frozenset({0, 443}))

    assert "add element inet devbox_names any4_1_2 { 192.0.2.1 timeout 600s }" in said
    assert "add element inet devbox_names port4_1_2 { 192.0.2.1 . 443 timeout 600s }" in said
    assert "add element inet devbox_names any6_1_2 { 2001:db8::1 timeout 86400s }" in said
    assert "add element inet devbox_names port6_1_2 { 2001:db8::1 . 443 timeout 86400s }" in said


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.1.53", "0.0.0.0", "::1", "::", "fe80::1", "::ffff:127.0.0.1"]
)
def test_a_name_opens_nothing_of_the_namespaces_own(address: str):
    assert egress_policy.build_admission(NODE, [(address, 5)], frozenset({0})) == ""


def test_a_question_is_read():
    assert dns_proxy.parse_question(QUERY) == dns_proxy.Question("a.example", len(QUERY))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        QUERY[:11],
        QUERY[:-1],
        QUERY[:16],
        QUERY[:2] + b"\x81\x80" + QUERY[4:],  # an answer
        QUERY[:2] + b"\x28\x00" + QUERY[4:],  # an update
        QUERY[:4] + b"\0\2" + QUERY[6:],  # two questions
        QUERY[:12] + b"\xc0\x0c\0\1\0\1",  # a pointer to itself
        QUERY[:12] + b"\3a.b\0\0\1\0\1",  # a point within a label would pass for two labels
        QUERY[:12] + b"\2\xc3\xa9\0\0\1\0\1",
    ],
)
def test_an_unsupported_dns_query_is_not_parsed(message: bytes):
    assert dns_proxy.parse_question(message) is None


def _answer(*records: bytes, count: int | None = None) -> bytes:
    number = len(records) if count is None else count
    return QUERY[:2] + struct.pack("!HHHHH", 0x8180, 1, number, 0, 0) + QUERY[12:] + b"".join(records)


def _record(kind: int, data: bytes, name: bytes = b"\xc0\x0c") -> bytes:
    return name + struct.pack("!HHIH", kind, 1, 30, len(data)) + data


def test_addresses_of_an_answer():
    answer = _answer(
        _record(5, b"\3cdn\0"),
        _record(1, bytes((192, 0, 2, 1)), b"\3cdn\0"),
        _record(28, bytes(15) + b"\1"),
        _record(16, b"x"),
    )

    assert dns_proxy.parse_addresses(answer, len(QUERY)) == [("192.0.2.1", 30), ("::1", 30)]


@pytest.mark.parametrize(
    "answer",
    [
        _answer(count=1),
        _answer(_record(1, b"\1\2\3")),
        _answer(_record(1, bytes(4))[:-1]),
        _answer(_record(28, bytes(4))),
        _answer(b"\x3f" + b"x" * 20),
        _answer(_record(1, bytes(4)), count=60000),
    ],
)
def test_a_crooked_answer_is_an_error(answer: bytes):
    with pytest.raises(dns_proxy.MalformedMessage):
        dns_proxy.parse_addresses(answer, len(QUERY))


def test_an_answer_belongs_to_its_question():
    end = len(QUERY)

    assert dns_proxy.is_answer_to(QUERY, end, _answer())
    assert not dns_proxy.is_answer_to(QUERY, end, QUERY)
    assert not dns_proxy.is_answer_to(QUERY, end, b"\0\0" + _answer()[2:])
    assert not dns_proxy.is_answer_to(QUERY, end, _answer().replace(b"xample", b"xamplf"))


def test_a_refusal_repeats_the_question():
    said = dns_proxy.build_failure(QUERY + b"extra", len(QUERY), dns_proxy.NO_SUCH_NAME)

    assert dns_proxy.is_answer_to(QUERY, len(QUERY), said)
    assert said[3] & 15 == dns_proxy.NO_SUCH_NAME
    assert len(said) == len(QUERY)


def _routes(*lines: str) -> str:
    head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    return head + "".join(f"tun0 {line.split()[0]} 0 1 0 0 0 {line.split()[1]} 0 0 0\n" for line in lines)


@pytest.mark.parametrize(
    ("routes", "chosen"),
    [
        ((), "10.213"),
        (("00000000 00000000", "000200C0 00FFFFFF"), "10.213"),
        (("00000000 00000080", "00000080 00000080"), "10.213"),  # a full VPN: 0/1 and 128/1
        (("0004D50A 00FFFFFF",), "172.29"),  # 10.213.4.0/24
        (("0000000A 000000FF",), "172.29"),  # 10/8
        (("0000000A 000000FF", "000010AC 0000F0FF"), "100.111"),  # and 172.16/12
    ],
)
def test_the_subnet_is_one_the_host_has_no_route_to(routes: tuple[str, ...], chosen: str):
    assert bridge.choose_subnet(_routes(*routes)) == chosen
