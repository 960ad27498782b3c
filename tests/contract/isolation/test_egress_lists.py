"""Egress lists: listed hosts are reachable by name; all others are refused at once, and the refusal is reported."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import frames, rootfs
from support.internet import internet
from support.machine import as_ordinary_user, lacking, wait_until
from support.place import Place

from devbox.isolation import state
from devbox.isolation.network import bridge, egress, egress_policy
from devbox.isolation.state import InstanceState
from devbox.isolation.supervisor.loop import Loop
from devbox.isolation.supervisor.network import InstanceNetwork
from devbox.isolation.types import NetworkAccess

pytestmark = pytest.mark.parametrize("here", ["crun"], indirect=True)  # no runtime has a part in it

_INSIDE = "DEVBOX_TEST_INTERNET"  # set where the ordinary user's tests run: root has made the internet already
ALLOWED = ("a.example", "*.a.example:443", "here.example", "many.example", "nowhere.example", "resolver.example")
RESOLVERS = ("198.51.100.53", "169.254.1.53")  # the internet's, and what pasta leads to it
# Ask a resolver for b.example, from a port where one is given: prints how many records came.
ASK = (
    "use Socket; socket(S, 2, SOCK_DGRAM, 17); bind(S, pack_sockaddr_in($ARGV[1] // 0, INADDR_ANY)) or die;"
    "connect(S, pack_sockaddr_in(53, inet_aton($ARGV[0]))) or die;"
    "send(S, pack(q{n6}, 1, 256, 1, 0, 0, 0) . qq{\\1b\\7example\\0\\0\\1\\0\\1}, 0) or die;"
    "alarm 10; recv(S, my $a, 512, 0) // die; print((unpack(q{n6}, $a))[3])"
)


@pytest.fixture(scope="module")
def outside(here: Place) -> Iterator[None]:
    """This process is in an internet of its own."""
    if _INSIDE in os.environ:
        yield
    elif os.geteuid() != 0:
        pytest.skip("only root can make an internet; it runs these tests as the ordinary user, too")
    else:
        with internet(ipv6=bridge.host_has_ipv6()):
            yield


@pytest.fixture(scope="module")
def loop(outside: None) -> Iterator[Loop]:
    """The supervisor's loop, in this process."""
    yield Loop()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


class Net:
    """An instance network whose loop is run when a test asks for it."""

    def __init__(self, loop: Loop, place: Place) -> None:
        self.refused: list[tuple[str, str]] = []
        self.successors: list[InstanceNetwork] = []
        self.place = place
        self.loop = loop
        self.segment = InstanceNetwork(
            loop, place.context, lambda: None, refused=lambda *what: self.refused.append(what)
        )

    def state(self) -> InstanceState:
        """The supervisor's state."""
        me = state.require_process(os.getpid())
        return InstanceState(state.FORMAT, state.read_boot_id(), me, names=self.segment.names)

    def settle(self, condition: object) -> None:
        """Run the loop until something is so."""

        def look() -> None:
            self.loop.stop() if condition() else self.loop.call_later(0.02, look)  # type: ignore[operator]

        late = self.loop.call_later(30, self.loop.stop)
        look()
        self.loop.run()
        late.cancel()
        assert condition()  # type: ignore[operator]

    def get(self, name: str, target: str, port: int = 443) -> str:
        """The server's answer to a container; "" without a connection. A timeout is a separate error."""
        script = f"exec 3<>/dev/tcp/{target}/{port}; cat <&3"
        said, code = self.place.attempt(name, f"timeout 20 bash -c '{script}' 2> /dev/null")
        assert code != 124, f"{target} kept {name} waiting"
        return said.strip()


@pytest.fixture
def net(clear: Place, loop: Loop) -> Iterator[Net]:
    """`c0` has a list, `c1` has none."""
    made = Net(loop, clear)
    made.segment.set_names(("c0", "c1"), ())
    made.segment.set_access("c0", NetworkAccess((), ALLOWED))
    for index in range(2):
        clear.run(clear.container(f"c{index}", index=index))
    yield made
    for successor in made.successors:
        successor.close()
    made.segment.set_names((), ())
    made.segment.close()


def test_a_name_of_the_list_is_reached(net: Net) -> None:
    assert net.get("c0", "a.example") == "hello from 198.51.100.1"
    assert net.get("c0", "a.example", 8080) == "hello from 198.51.100.1"
    assert net.get("c0", "A.Example") == "hello from 198.51.100.1"


def test_a_name_may_be_bound_to_a_port(net: Net) -> None:
    assert net.get("c0", "deep.a.example") == "hello from 198.51.100.2"
    assert net.get("c0", "deep.a.example", 8080) == ""


def test_another_name_is_refused_and_reported_once(net: Net) -> None:
    assert net.get("c1", "b.example") == "hello from 198.51.100.3"
    for _ in range(2):
        assert net.get("c0", "b.example") == ""
        assert net.get("c0", "xa.example") == ""
    net.settle(lambda: len(net.refused) >= 2)
    assert net.refused == [("c0", "b.example"), ("c0", "xa.example")]


def test_an_address_is_not_reached_without_its_name(net: Net) -> None:
    assert net.get("c1", "198.51.100.1") != ""
    assert net.get("c0", "198.51.100.1") == ""
    assert net.get("c0", "a.example") != ""
    assert net.get("c0", "198.51.100.1") != ""
    assert net.get("c0", "198.51.100.3") == ""


def test_no_other_resolver_answers(net: Net) -> None:
    """Neither the internet's nor, over a name that is on the list, the one behind pasta."""
    assert net.place.sh("c1", f"perl -e '{ASK}' 198.51.100.53") == "2"
    assert net.place.attempt("c0", f"perl -e '{ASK}' 198.51.100.53 2>&1")[1] != 0
    assert net.get("c0", "here.example") == "hello from 198.51.100.1"
    assert net.place.sh("c0", f"perl -e '{ASK}' 169.254.1.53") == "0"


def test_a_long_answer_comes_over_a_stream(net: Net) -> None:
    assert len(net.place.sh("c0", "getent ahostsv4 many.example | awk '{print $1}' | sort -u").split()) == 60


def test_ipv6_is_held_to_the_list_as_well(net: Net) -> None:
    if not bridge.host_has_ipv6():
        lacking("this host has no IPv6")
    there = (
        "socket(S, 10, 1, 6) or die; connect(S, pack(q{S n N a16 N}, 10, 443, 0, inet_pton(10, $ARGV[0]), 0)) or die"
    )
    there = f"perl -MSocket=inet_pton -e 'alarm 20; {there}; print <S>' 2001:db8:2::1"
    assert net.place.sh("c1", there) == "hello from 2001:db8:2::1\n"
    assert net.place.attempt("c0", f"{there} 2> /dev/null")[1] not in (0, 142)
    net.place.sh("c0", "getent ahosts a.example")
    assert net.place.sh("c0", there) == "hello from 2001:db8:2::1\n"


def test_a_forged_sender_gets_nothing_out(net: Net) -> None:
    """A container may write its frames itself. With another's address it would pass for one without a list."""
    mine, other = net.segment.find_node("c0"), net.segment.find_node("c1")
    assert mine
    assert other
    receive = (
        "socket(S, 2, 2, 17); bind(S, pack(q{S n x12}, 2, 9)) or die;"
        "exit if fork; recv(S, my $d, 99, 0);"
        "open(F, q{>/first.new}); print F $d; close F; rename q{/first.new}, q{/first}"
    )
    net.place.sh("c1", f"perl -e '{receive}' > /dev/null 2>&1")

    def frame(sender: str) -> bytes:
        to = bridge.get_mac(other)
        return frames.datagram(mine, to=to, sender=sender, target=other.address, port=9, text=sender.encode())

    frames.send(net.place, "c0", frame("10.213.0.99"), frame(mine.address))
    first = wait_until(lambda: net.place.attempt("c1", "cat /first 2> /dev/null")[0], seconds=30)
    assert first == mine.address


def test_a_list_can_be_empty_and_others_are_reached_all_the_same(net: Net) -> None:
    net.segment.set_access("c0", NetworkAccess((), ()))
    assert net.get("c0", "a.example") == ""
    server = (
        "$s = IO::Socket::INET->new(LocalPort => 80, Listen => 1) or die; exit if fork; print {$s->accept} qq{near}"
    )
    net.place.sh("c1", f"perl -MIO::Socket::INET -e '{server}' > /dev/null 2>&1")
    assert net.get("c0", "c1", 80) == "near"


def test_the_next_with_an_address_inherits_nothing(net: Net) -> None:
    assert net.get("c0", "a.example") != ""
    net.segment.set_access("c0", NetworkAccess((), ("b.example",)))
    assert net.get("c0", "198.51.100.1") == ""
    net.segment.set_access("c0", NetworkAccess())
    assert net.get("c0", "198.51.100.1") != ""
    assert net.get("c0", "xa.example") == ""
    assert net.get("c0", "b.example") != ""


def test_what_was_open_before_the_list_is_closed_by_it(net: Net) -> None:
    """Otherwise a container could keep an earlier connection, or use it to query the host's own resolver."""
    net.segment.set_access("c0", NetworkAccess())
    asks = [f"perl -e '{ASK}' {resolver} {port}" for port, resolver in enumerate(RESOLVERS, start=6001)]
    assert [net.place.sh("c0", ask) for ask in asks] == ["2", "2"]
    net.segment.set_access("c0", NetworkAccess((), ALLOWED))
    refused = [net.place.attempt("c0", f"{ask} 2>&1") for ask in asks]
    assert all(code not in (0, 142) for _, code in refused), refused


def test_what_is_open_by_the_list_outlives_its_address(net: Net) -> None:
    """A connection lasts as long as it is used, even beyond the TTL of its name's DNS record."""
    net.place.sh("c0", "getent hosts resolver.example")
    assert net.place.sh("c0", f"perl -e '{ASK}' {RESOLVERS[0]} 6003") == "2"
    node = net.segment.find_node("c0")
    assert node
    egress.apply_nft(
        net.place.context, f"flush set inet {egress_policy.TABLE} {egress_policy.list_set_names(node)[0]}\n"
    )
    net.segment.set_access("c1", NetworkAccess((), ()))  # all rules are written again
    assert net.place.sh("c0", f"perl -e '{ASK}' {RESOLVERS[0]} 6003") == "2"
    assert net.place.attempt("c0", f"perl -e '{ASK}' {RESOLVERS[0]} 6004 2>&1")[1] not in (0, 142)
    net.segment.set_access("c1", NetworkAccess())


def test_the_next_supervisor_lifts_no_list_while_it_takes_over(net: Net) -> None:
    """Not even for the moment between telling of one list and of the other."""
    held = {"c0": NetworkAccess((), ALLOWED), "c1": NetworkAccess((), ("b.example",))}
    net.segment.set_access("c1", held["c1"])
    knock = (
        "use Socket; sub note { open(my $f, q{>}, $_[0]) or die } exit if fork; socket(S, 2, SOCK_DGRAM, 17);"
        "connect(S, pack_sockaddr_in(53, inet_aton(q{198.51.100.53}))) or die;"
        "until (-e q{/stop}) { send(S, pack(q{n6}, 1, 256, 1, 0, 0, 0) . qq{\\1b\\7example\\0\\0\\1\\0\\1}, 0);"
        "select(undef, undef, undef, 0.002); recv(S, my $a, 512, 64); note(q{/opened}) if $a; note(q{/knocked}) }"
        "note(q{/done})"
    )
    net.place.sh("c1", f"perl -e '{knock}' > /dev/null 2>&1")
    wait_until(lambda: net.place.attempt("c1", "test -e /knocked")[1] == 0, seconds=30)
    for _ in range(3):
        successor = InstanceNetwork(net.loop, net.place.context, lambda: None)
        net.successors.append(successor)
        successor.adopt(net.state(), held)
    net.place.sh("c1", "touch /stop")
    wait_until(lambda: net.place.attempt("c1", "test -e /done")[1] == 0, seconds=30)
    assert net.place.attempt("c1", "test -e /opened")[1] != 0


def test_one_list_that_changes_leaves_the_others_alone(net: Net) -> None:
    assert net.get("c0", "a.example") != ""
    net.segment.set_access("c1", NetworkAccess((), ("b.example",)))
    assert net.get("c0", "198.51.100.1") != ""
    assert net.get("c1", "198.51.100.1") == ""
    net.segment.set_access("c1", NetworkAccess())


def test_an_answerer_that_dies_is_replaced(net: Net) -> None:
    listed = net.segment._lists._listed
    before = listed["c0"].answerer.process
    os.kill(before.pid, signal.SIGKILL)
    net.settle(lambda: listed["c0"].answerer.process != before)
    assert net.get("c0", "a.example") != ""
    assert net.get("c0", "198.51.100.3") == ""


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="root starts the tests of the ordinary user; this is that user already")
def test_an_ordinary_users_containers_are_held_to_it(outside: None) -> None:
    rootfs.tarball()
    with tempfile.TemporaryDirectory(prefix="devbox-user-") as base:
        Path(base).chmod(0o755)
        start, environment = as_ordinary_user(Path(base))
        done = subprocess.run(
            [*start, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract/isolation/test_egress_lists.py"],
            env=environment | {_INSIDE: "yes"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
