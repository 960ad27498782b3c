"""A grant: one thing that the env file allows a container, beyond a container that is closed off entirely."""

from __future__ import annotations

from devbox.frozen import dataclass

EVERY = "*"  # the value of a grant without a bound
# What a grant of each kind allows; `{}` is its value.
_TEXTS = {
    "preset": "the host's proxy, CA, git and SSH agent settings",
    "network": "the network of the {} with its other containers",
    "egress": "connections to {}",
    "capability": "{}",
    "root": "its own files to be changed",
    "mount": "{}",
    "port": "the host port {}",
    "secret": "the secret from {}",
    "file": "read as part of the env file",
    "run": "the build command `{}`, which has network access",
    "image": "the image {}",
    "command": "the command `{}`",
    "variable": "the variable {}",
    "memory": "{} bytes of memory",
    "cpus": "{} cores",
    "pids": "{} processes",
}
# What it allows without a bound.
_UNBOUNDED = {
    "egress": "connections to every host, the internet included",
    "memory": "no limit on memory",
    "cpus": "no limit on cores",
    "pids": "no limit on processes",
}
_LIMITS = ("memory", "cpus", "pids")


@dataclass(frozen=True, kw_only=True)
class Grant:
    """`subject` is a container, an image, a stage or a file, as the env file names it. `where` is its file:line."""

    subject: str
    kind: str
    value: str = ""
    where: str = ""

    @property
    def text(self) -> str:
        """The grant in words, such as `connections to every host`."""
        if self.value == EVERY:
            return _UNBOUNDED[self.kind]
        return _TEXTS[self.kind].format(self.value)

    def is_covered_by(self, other: Grant) -> bool:
        """True if whoever accepted `other` accepted this one, too."""
        if (self.subject, self.kind) != (other.subject, other.kind):
            return False
        if self.kind in _LIMITS and self.value != EVERY:
            return other.value == EVERY or float(self.value) <= float(other.value)
        return self.value == other.value or (self.kind == "egress" and other.value == EVERY)
