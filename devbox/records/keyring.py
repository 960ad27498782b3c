"""Public keys of the builders and approvers in a project's file; the key store of a DEVBOX_HOME."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from devbox.attest import keys
from devbox.attest.keys import CommandSigner, LocalSigner, PublicKey, Signer, read_public
from devbox.errors import HostError, SigningError, UsageError
from devbox.host import files, safe_files
from devbox.host.paths import Paths
from devbox.model.frozen import dataclass
from devbox.model.stage import Stage, compute_policy_digest
from devbox.records.host_files import HostFiles


@dataclass(frozen=True, kw_only=True)
class Keyring:
    """Keys by the names in [builders] and [approvers]. A key may be in both."""

    builders: Mapping[str, PublicKey]
    approvers: Mapping[str, PublicKey]

    @property
    def known_keys(self) -> dict[str, PublicKey]:
        """All keys by fingerprint."""
        return {key.fingerprint: key for key in (*self.builders.values(), *self.approvers.values())}

    def select_keys(self, names: Iterable[str]) -> dict[str, PublicKey]:
        """Return the keys with these names by fingerprint, builders before approvers."""
        every = {**self.approvers, **self.builders}
        return {every[name].fingerprint: every[name] for name in names if name in every}

    def get_name(self, fingerprint: str) -> str:
        """Return the file's name of a key, or the first digits of its fingerprint if unknown."""
        every = (*self.builders.items(), *self.approvers.items())
        return next((name for name, key in every if key.fingerprint == fingerprint), fingerprint[:12])


def compute_stage_policy(stage: Stage, root: str, *, builders: Mapping[str, str], approvers: Mapping[str, str]) -> str:
    """Return the digest of a stage's requirements, including keys; "" for an unreadable key."""
    builds, approves = (
        {name: _identify(root, path) for name, path in paths.items()} for paths in (builders, approvers)
    )
    return compute_policy_digest(stage, approves, builders=builds)


def list_identities(root: str, *, builders: Mapping[str, str], approvers: Mapping[str, str]) -> dict[str, str]:
    """Return builders and approvers by name with the fingerprints of their keys, "none" if unreadable."""
    people = {"builder": builders, "approver": approvers}
    return {
        f"{what} {name}": _identify(root, path) or "none" for what, own in people.items() for name, path in own.items()
    }


def read(root: str, *, builders: Mapping[str, str], approvers: Mapping[str, str]) -> Keyring:
    """Read the keys of a project at `root`; raise SigningError for an invalid file."""
    return Keyring(
        builders={name: _read(root, path, f"builder {name}") for name, path in builders.items()},
        approvers={name: _read(root, path, f"approver {name}") for name, path in approvers.items()},
    )


def _read(root: str, path: str, whose: str) -> PublicKey:
    try:
        text = safe_files.read_text(root, path)
    except HostError as error:
        raise SigningError(
            f"cannot read the key of the {whose}: {error}", remedy=f"check it with: ls -l {path}"
        ) from None
    if text is None:
        folder = path.rpartition("/")[0]
        export = f"devbox key export NAME > {path}"
        raise SigningError(
            f"public key {path} of the {whose} not found",
            remedy=(f"mkdir -p {folder} && {export}" if folder else export)
            + "; to create a key: devbox key create NAME",
        )
    return read_public(text, where=path)


def _identify(root: str, path: str) -> str:
    try:
        return _read(root, path, path).fingerprint
    except SigningError:
        return ""


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key on this host. `private` is its PEM text, `command` an alternative that signs; one is empty."""

    name: str
    public: PublicKey
    private: str = ""
    command: str = ""

    @property
    def is_encrypted(self) -> bool:
        """Whether signing requires a passphrase."""
        return keys.is_encrypted(self.private)


class KeyStore:
    """The keys of a DEVBOX_HOME."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._directory = paths.keys
        self._files = HostFiles(paths)

    def add(self, name: str, signer: LocalSigner, passphrase: str) -> Key:
        """Store a private key, encrypted unless the passphrase is empty. UsageError if the name exists."""
        return self._write(Key(name=name, public=signer.public, private=signer.to_pem(passphrase)))

    def add_command(self, name: str, public: PublicKey, command: str) -> Key:
        """Store a key whose signatures come from a command. UsageError if the name exists."""
        if public.kind != keys.P256:
            raise UsageError(
                "unsupported kind of key: a signing command requires an ECDSA P-256 key", remedy="devbox key create"
            )
        return self._write(Key(name=name, public=public, command=command))

    def check_free(self, name: str) -> None:
        """Raise UsageError if the name is invalid or exists."""
        if os.path.exists(f"{self._directory}/{_check_name(name)}.pub"):
            raise UsageError(f"key {name} already exists", remedy=f"use another name, or: devbox key rm {name}")

    def list_keys(self) -> list[Key]:
        """Return all keys, sorted by name."""
        return [self.find(name) for name in self._list_names()]

    def find(self, name: str) -> Key:
        """Return the key of a name; raise UsageError if it does not exist."""
        path = f"{self._directory}/{_check_name(name)}"
        public = files.read_text(f"{path}.pub")
        if public is None:
            known = ", ".join(self._list_names())
            raise UsageError(
                f"key {name} not found", remedy=f"known: {known}" if known else f"devbox key create {name}"
            )
        return Key(
            name=name,
            public=keys.read_public(public, where=f"{path}.pub"),
            private=files.read_text(f"{path}.key") or "",
            command=self._files.read(self._paths.key_command(name)) or "",
        )

    def _list_names(self) -> list[str]:
        """Return the names of the public keys, without dangling links."""
        with suppress(FileNotFoundError):
            found = (name for name in os.listdir(self._directory) if os.path.exists(f"{self._directory}/{name}"))
            return sorted(name.removesuffix(".pub") for name in found if name.endswith(".pub"))
        return []

    def remove(self, name: str) -> None:
        """Remove a key, including its private half."""
        key = self.find(name)
        self._files.remove(self._paths.key_command(key.name))
        for suffix in ("key", "pub"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self._directory}/{key.name}.{suffix}")

    def open_signer(self, key: Key, passphrase: Callable[[Key], str]) -> Signer:
        """Return the signer of a key, asking for its passphrase if encrypted. Raises SigningError."""
        if key.command:
            return CommandSigner(key.public, key.command)
        where = f"{self._directory}/{key.name}.key"
        signer = keys.read_private(key.private, passphrase(key) if key.is_encrypted else "", where=where)
        if signer.public != key.public:
            raise SigningError(
                f"private and public key of {key.name} do not match",
                where=where,
                remedy=f"devbox key rm {key.name}, then devbox key import {key.name} FILE",
            )
        return signer

    def _write(self, key: Key) -> Key:
        self.check_free(key.name)
        path = f"{self._directory}/{key.name}"
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        files.remove_unfinished(self._directory)
        if key.command:
            self._files.write(self._paths.key_command(key.name), key.command)
        else:
            files.write_record(f"{path}.key", key.private)
        files.write_atomic(f"{path}.pub", key.public.pem)
        return key


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f'invalid key name "{name}"', remedy="use letters, digits, '_', '.' and '-', as in: devbox key create ci"
        )
    return name
