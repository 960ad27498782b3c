"""The keys of one user on this machine, two files each: NAME.pub, and NAME.key (PEM) or NAME.cmd (a command), 0600.

A command runs on the host when its key signs, so it lies in the configuration directory (`records/hostfiles.py`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress

from devbox.attest import keys
from devbox.attest.keys import CommandSigner, LocalSigner, PublicKey, Signer
from devbox.errors import SigningError, UsageError
from devbox.frozen import dataclass
from devbox.host import files
from devbox.host.paths import Paths
from devbox.records.hostfiles import HostFiles

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key that this machine has. `private` is its PEM text, `command` what signs instead of it; one is empty."""

    name: str
    public: PublicKey
    private: str = ""
    command: str = ""

    @property
    def is_encrypted(self) -> bool:
        """Whether signing takes a passphrase."""
        return keys.is_encrypted(self.private)


class Keys:
    """The keys of a DEVBOX_HOME."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._directory = paths.keys
        self._files = HostFiles(paths)

    def add(self, name: str, signer: LocalSigner, passphrase: str) -> Key:
        """Keep a private key, encrypted unless the passphrase is empty. UsageError where the name is taken."""
        return self._write(Key(name=name, public=signer.public, private=signer.stored(passphrase)))

    def add_command(self, name: str, public: PublicKey, command: str) -> Key:
        """Keep a key that a command signs for. UsageError where the name is taken."""
        if public.kind != keys.P256:
            raise UsageError("a command signs digests, which takes a key of ECDSA on P-256", remedy="devbox key create")
        return self._write(Key(name=name, public=public, command=command))

    def check_free(self, name: str) -> None:
        """UsageError where a key can't have this name, or one has it."""
        if os.path.exists(f"{self._directory}/{_checked(name)}.pub"):
            raise UsageError(f"there is a key {name}", remedy=f"take another name, or: devbox key rm {name}")

    def all(self) -> list[Key]:
        """Every key, by name."""
        return [self.find(name) for name in self._names()]

    def find(self, name: str) -> Key:
        """The key of a name. Raises UsageError where there is none."""
        path = f"{self._directory}/{_checked(name)}"
        public = files.read_text(f"{path}.pub")
        if public is None:
            known = ", ".join(self._names())
            raise UsageError(
                f"there is no key {name}", remedy=f"known: {known}" if known else f"devbox key create {name}"
            )
        return Key(
            name=name,
            public=keys.read_public(public, where=f"{path}.pub"),
            private=files.read_text(f"{path}.key") or "",
            command=self._files.read(self._paths.key_command(name)) or "",
        )

    def _names(self) -> list[str]:
        """Those of the public halves; a link that leads nowhere is none."""
        with suppress(FileNotFoundError):
            found = (name for name in os.listdir(self._directory) if os.path.exists(f"{self._directory}/{name}"))
            return sorted(name.removesuffix(".pub") for name in found if name.endswith(".pub"))
        return []

    def remove(self, name: str) -> None:
        """Forget a key. Nobody has its private half then."""
        key = self.find(name)
        self._files.remove(self._paths.key_command(key.name))
        for suffix in ("key", "pub"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self._directory}/{key.name}.{suffix}")

    def signer(self, key: Key, passphrase: Callable[[Key], str]) -> Signer:
        """What signs with a key; its passphrase is asked for where it has one. Raises SigningError."""
        if key.command:
            return CommandSigner(key.public, key.command)
        where = f"{self._directory}/{key.name}.key"
        signer = keys.read_private(key.private, passphrase(key) if key.is_encrypted else "", where=where)
        if signer.public != key.public:
            raise SigningError(
                f"the two halves of the key {key.name} do not belong together",
                where=where,
                remedy=f"devbox key rm {key.name}, then devbox key import {key.name} FILE",
            )
        return signer

    def _write(self, key: Key) -> Key:
        self.check_free(key.name)
        path = f"{self._directory}/{key.name}"
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        if key.command:
            self._files.write(self._paths.key_command(key.name), key.command)
        else:
            files.write_atomic(f"{path}.key", key.private, mode=0o600)
        files.write_atomic(f"{path}.pub", key.public.pem)
        return key


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't be the name of a key",
            remedy="letters, digits, '_', '.' and '-', as in: devbox key create ci",
        )
    return name
