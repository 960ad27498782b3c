"""Messages to an older supervisor."""

from __future__ import annotations

from devbox.isolation.types import Launch, ProcessRef, ProcessSpec, PublishedPort, SupervisedContainer, pack, unpack

PLAIN = Launch(name="a", oci_id="x-a", lowers=("/l",), top="/t", process=ProcessSpec(argv=("true",), env=(), cwd="/"))


def test_what_is_as_by_default_is_not_sent():
    assert set(pack(PLAIN)) == {"name", "oci_id", "lowers", "top", "process"}


def test_what_is_packed_is_unpacked():
    launch = PLAIN._replace(joins=ProcessRef(1, 2), egress=(), init=False)
    item = SupervisedContainer(
        launch, "dev", "dev", "d", "i", "s", kind="job", ports=(PublishedPort(1, "a", 2, "tcp"),)
    )
    assert unpack(SupervisedContainer, pack(item)) == item
