"""Commits and trees of a repository by their names: each is what its name is the hash of, whatever it was read from.

Blobs are not read: files are compared by their hashes. All that is read has a limit, so that no repository can take
the memory or the time of this machine. Objects that lie in other repositories (alternates), or that would have to be
fetched (partial clones), are missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Iterator
from typing import NamedTuple, Self

from devbox.host.beneath import read_all
from devbox.host.repository.find import Place
from devbox.host.repository.packs import Budget, Packs, Unreadable
from devbox.host.way import DEEPEST

TREE, LINK, SUBMODULE = 0o040000, 0o120000, 0o160000
_LARGEST = 32 << 20
_MOST_ENTRIES = 2_000_000
_HEADER = 32
_HASHES = {40: "sha1", 64: "sha256"}
_NEVER = ("", ".", "..", ".git")


class Entry(NamedTuple):
    """A file of a commit: its mode, and the name of what it holds."""

    mode: int
    name: str


class Objects:
    """The objects of a repository. A context manager."""

    def __init__(self, place: Place) -> None:
        self._project = place.open()
        self._budget = Budget()
        self._packs = Packs(self._project, self._budget)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._packs.close()
        self._project.__exit__()

    def files(self, commit: str, start: str = "") -> dict[str, Entry]:
        """Every file, link and submodule of a commit below a directory of it, by its path from there. Unreadable."""
        tree = self._tree_of(commit)
        for part in filter(None, start.split("/")):
            entry = next((entry for name, entry in self._entries(tree) if name == part), None)
            if entry is None or entry.mode != TREE:
                return {}
            tree = entry.name
        found: dict[str, Entry] = {}
        waiting, seen = [("", tree)], 0
        while waiting:
            above, tree = waiting.pop()
            if above.count("/") > DEEPEST:
                raise Unreadable("a tree is too deep")
            for name, entry in self._entries(tree):
                seen += 1
                if seen > _MOST_ENTRIES:
                    raise Unreadable("a commit has too many files")
                if entry.mode == TREE:
                    waiting.append((f"{above}{name}/", entry.name))
                else:
                    found[f"{above}{name}"] = entry
        return found

    def _tree_of(self, commit: str) -> str:
        """The name of a commit's tree."""
        first = self._read(commit, "commit").partition(b"\n")[0].decode(errors="replace")
        word, _, name = first.partition(" ")
        if word != "tree" or len(name) != len(commit):
            raise Unreadable(f"{commit} is not a commit")
        return name

    def _entries(self, tree: str) -> Iterator[tuple[str, Entry]]:
        raw, at, length = self._read(tree, "tree"), 0, len(tree) // 2
        while at < len(raw):
            space = raw.find(b" ", at, at + 8)
            end = raw.find(b"\0", space)
            if space < 0 or end < 0 or end + 1 + length > len(raw):
                raise Unreadable(f"{tree} is not a tree")
            name = raw[space + 1 : end].decode(errors="surrogateescape")
            if name in _NEVER or "/" in name:
                raise Unreadable(f"{tree} is not a tree")
            try:
                mode = int(raw[at:space], 8)
            except ValueError:
                raise Unreadable(f"{tree} is not a tree") from None
            at = end + 1 + length
            yield name, Entry(mode, raw[end + 1 : at].hex())

    def _read(self, name: str, kind: str) -> bytes:
        """What an object holds, which is of a kind. Unreadable where it is missing or another."""
        found = self._loose(name) or self._packs.read(name)
        if found is None:
            raise Unreadable(f"{name} is missing")
        if found[0] != kind or hash_of(kind, found[1], like=name) != name:
            raise Unreadable(f"{name} is not what its name says")
        return found[1]

    def _loose(self, name: str) -> tuple[str, bytes] | None:
        path = f"objects/{name[:2]}/{name[2:]}"
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            try:
                with open(self._project.open(path), "rb") as source:
                    packed = read_all(source, path, limit=_LARGEST)
                unpacking = zlib.decompressobj()
                text = unpacking.decompress(packed, _LARGEST + _HEADER)
            except zlib.error:
                raise Unreadable(f"{name} is damaged") from None
            except (FileNotFoundError, NotADirectoryError):
                raise
            except OSError as error:
                raise Unreadable(f"{name}: {error.strerror}") from None
            self._budget.take(len(text))
            head, _, data = text.partition(b"\0")
            return head.partition(b" ")[0].decode(errors="replace"), data
        return None


def hash_of(kind: str, data: bytes, *, like: str) -> str:
    """The name of an object that holds `data`, of the same kind of hash as the name `like`."""
    total = new_hash(kind, len(data), like=like)
    total.update(data)
    return total.hexdigest()


def new_hash(kind: str, size: int, *, like: str) -> hashlib._Hash:
    """The hash that becomes the name of an object of `size` bytes, which are still to be added."""
    total = hashlib.new(_HASHES[len(like)], usedforsecurity=False)
    total.update(f"{kind} {size}\0".encode())
    return total
