"""The public keys that a project's file names: who may build and sign, who may approve. Pure but for reading them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from devbox.attest.keys import PublicKey, read_public
from devbox.errors import HostError, SigningError
from devbox.frozen import dataclass
from devbox.host import beneath
from devbox.model.stage import Stage, policy_digest


@dataclass(frozen=True, kw_only=True)
class Keyring:
    """Keys by the names that [builders] and [approvers] give them. One key may be in both."""

    builders: Mapping[str, PublicKey]
    approvers: Mapping[str, PublicKey]

    @property
    def known(self) -> dict[str, PublicKey]:
        """Every key by its fingerprint."""
        return {key.fingerprint: key for key in (*self.builders.values(), *self.approvers.values())}

    def of(self, names: Iterable[str]) -> dict[str, PublicKey]:
        """The keys of these names by fingerprint, builders before approvers."""
        every = {**self.approvers, **self.builders}
        return {every[name].fingerprint: every[name] for name in names if name in every}

    def name(self, fingerprint: str) -> str:
        """What the file calls a key; the first digits of its fingerprint where it does not know it."""
        every = (*self.builders.items(), *self.approvers.items())
        return next((name for name, key in every if key.fingerprint == fingerprint), fingerprint[:12])


def policy(stage: Stage, root: str, *, builders: Mapping[str, str], approvers: Mapping[str, str]) -> str:
    """The digest of what a stage asks of a release, and of whom: by their keys, "" for a file that is none."""
    builds, approves = (
        {name: _identity(root, path) for name, path in paths.items()} for paths in (builders, approvers)
    )
    return policy_digest(stage, approves, builders=builds)


def identities(root: str, *, builders: Mapping[str, str], approvers: Mapping[str, str]) -> dict[str, str]:
    """Who builds and approves, by name: the fingerprint of the key, "none" for a file that is none."""
    people = {"builder": builders, "approver": approvers}
    return {
        f"{what} {name}": _identity(root, path) or "none" for what, own in people.items() for name, path in own.items()
    }


def read(root: str, *, builders: Mapping[str, str], approvers: Mapping[str, str]) -> Keyring:
    """The keys of a project at `root`. Raises SigningError for a file that is none."""
    return Keyring(
        builders={name: _read(root, path, f"builder {name}") for name, path in builders.items()},
        approvers={name: _read(root, path, f"approver {name}") for name, path in approvers.items()},
    )


def _read(root: str, path: str, whose: str) -> PublicKey:
    try:
        text = beneath.read_text(root, path)
    except HostError as error:
        raise SigningError(f"the key of the {whose} can't be read: {error}", remedy=f"see: ls -l {path}") from None
    if text is None:
        folder = path.rpartition("/")[0]
        export = f"devbox key export NAME > {path}"
        raise SigningError(
            f"there is no file {path}, the public key of the {whose}",
            remedy=(f"mkdir -p {folder} && {export}" if folder else export) + "; a new key: devbox key create NAME",
        )
    return read_public(text, where=path)


def _identity(root: str, path: str) -> str:
    try:
        return _read(root, path, path).fingerprint
    except SigningError:
        return ""
