"""`login` and `logout`: credentials of registries, shared with Docker."""

from __future__ import annotations

import re

from devbox.cli import prompts
from devbox.cli.terminal import print_line
from devbox.errors import UsageError
from devbox.images.registry import credentials, reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.table.options import Args

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?")
_LAST_PORT = 65535
_INVALID = re.compile("[\x00-\x1f\x7f\ufffd]")


def login(args: Args) -> int:
    """Check a user and password with a registry, and store them as `docker login` does."""
    from devbox.images.registry.connection import RegistryConnection

    host = _read_host(args)
    user, password = _ask(args, host)
    _check(user, password)
    known = credentials.Credentials(user, password)
    connection = RegistryConnection(credentials.get_origin(host), known=known)
    connection.request("GET", "", doing="log in", scope="", stream=True).close()  # the body may be endless
    place = credentials.store(host, known)
    print_line(f"✓ logged in to {host} as {known.user}\n· stored in {place}")
    return 0


def logout(args: Args) -> int:
    """Remove the credentials of a registry."""
    host = _read_host(args)
    if not credentials.forget(host):
        print_line(f"· nothing to do: no credentials of {host} are stored")
        return 0
    print_line(f"✓ removed the credentials of {host}")
    return 0


def _check(user: str, password: str) -> None:
    """Raise UsageError for text that credentials cannot contain."""
    if not user or not password:
        raise UsageError(
            f"the {'password' if user else 'user name'} is empty", remedy="enter it, or log in with a token instead"
        )
    if ":" in user:
        raise UsageError("invalid user name: it contains a colon", remedy="devbox login --username NAME")
    if _INVALID.search(f"{user}{password}"):
        raise UsageError(
            "invalid user name or password: expected one line of UTF-8 text", remedy="check the encoding of the input"
        )


def _read_host(args: Args) -> str:
    """Return the registry of an argument such as `ghcr.io` or `https://ghcr.io/v2/`; default: Docker Hub."""
    host = args.get_text("registry").partition("://")[2] or args.get_text("registry")
    host = host.partition("/")[0].lower()
    found = _HOST.fullmatch(host)
    if host and not (found and int((found[2] or found[3] or ":443")[1:]) <= _LAST_PORT):
        shown = repr(host.rpartition("@")[2])  # a password before @ is not shown
        raise UsageError(
            f"invalid registry {shown}: expected a host, with a port if needed", remedy="devbox login ghcr.io"
        )
    return reference.DOCKER_HUB if host in ("", "index.docker.io", "registry-1.docker.io") else host


def _ask(args: Args, host: str) -> tuple[str, str]:
    """Return user and password, from options and stdin or by prompts. UsageError without a terminal."""
    user = args.get_text("username")
    if args.get_flag("password_stdin"):
        if not user:
            raise UsageError(
                "missing option: --username", remedy=f"devbox login {host} --username NAME --password-stdin"
            )
        return user, prompts.read_line().rstrip("\r\n")
    if not prompts.has_terminal():
        raise UsageError(
            "missing password: not a terminal",
            remedy=f"devbox login {host} --username NAME --password-stdin < FILE",
        )
    user = user or prompts.ask(f"User name at {host}: ")
    return user, prompts.ask_secret(f"Password of {user} at {host}: ")
