"""Reader of commits and trees by name; each object is verified against its hash.

Blobs are not read: files are compared by hash. All reads are limited, so that a repository cannot exhaust the host's
memory or time. Objects in other repositories (alternates), or not fetched yet (partial clones), are missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple, Self

from devbox.host.path_steps import DEEPEST
from devbox.host.repository.layout import GitDirectory
from devbox.host.safe_files import read_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.host.safe_files import ProjectDirectory

_DIRECTORY = "objects/pack"
_MAGIC = b"\377tOc\0\0\0\2"
_FANOUT = 8 + 256 * 4
_KINDS = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_BY_OFFSET, _BY_NAME = 6, 7
_MOST_PACKS = 10_000
_LONGEST_CHAIN = 4096
_LARGEST_PACK = 32 << 20  # bytes of an object
_PIECE = 4096
_BUDGET = 1 << 30
_KEPT = 16 << 20  # bytes of cached delta bases
_FAR = 1 << 31


class UnreadableObject(Exception):
    """An object is missing, damaged, or above the size limit."""


class Budget:
    """Limit for all data decompressed from a repository."""

    def __init__(self) -> None:
        self._left = _BUDGET

    def consume(self, size: int) -> None:
        """Count decompressed bytes; raise UnreadableObject above the limit."""
        self._left -= size
        if self._left < 0:
            raise UnreadableObject("content larger than the limit")


class Packs:
    """All packs of a repository."""

    def __init__(self, project: ProjectDirectory, budget: Budget) -> None:
        self._project = project
        self._budget = budget
        self._packs: list[_Pack] | None = None

    def close(self) -> None:
        """Close all packs."""
        for pack in self._packs or ():
            pack.close()

    def read(self, name: str) -> tuple[str, bytes] | None:
        """Return the kind and content of an object; None if no pack has it. UnreadableObject if damaged."""
        raw = bytes.fromhex(name)
        try:
            for pack in self._open_packs():
                at = pack.find(raw)
                if at is not None:
                    return pack.read(at, len(raw))
        except (OSError, struct.error, zlib.error, IndexError) as error:
            raise UnreadableObject(f"{name}: {error}") from None
        return None

    def _open_packs(self) -> list[_Pack]:
        if self._packs is None:
            self._packs = []
            try:
                directory = self._project.open_directory(_DIRECTORY)
            except OSError:
                return self._packs
            try:
                names = sorted(name[:-4] for name in os.listdir(directory)[:_MOST_PACKS] if name.endswith(".idx"))
            finally:
                os.close(directory)
            for name in names:
                try:
                    self._packs.append(_Pack(self._project, f"{_DIRECTORY}/{name}", self._budget))
                except OSError:
                    continue
        return self._packs


class _Pack:
    def __init__(self, project: ProjectDirectory, path: str, budget: Budget) -> None:
        self._budget = budget
        self._bases: dict[int, tuple[str, bytes]] = {}
        self._kept = 0
        self._index = project.open(f"{path}.idx")
        try:
            self._data = project.open(f"{path}.pack")
        except OSError:
            os.close(self._index)
            raise
        head = os.pread(self._index, _FANOUT, 0)
        self._usable = head.startswith(_MAGIC) and len(head) == _FANOUT
        self._fanout = struct.unpack(">256I", head[8:]) if self._usable else ()

    def close(self) -> None:
        os.close(self._index)
        os.close(self._data)

    def find(self, name: bytes) -> int | None:
        """Return the offset of an object in the pack; None if it is not included."""
        if not self._usable:
            return None
        low, high = self._fanout[name[0] - 1] if name[0] else 0, self._fanout[name[0]]
        while low < high:
            middle = (low + high) // 2
            found = os.pread(self._index, len(name), _FANOUT + middle * len(name))
            if found == name:
                return self._read_offset(middle, len(name))
            low, high = (middle + 1, high) if found < name else (low, middle)
        return None

    def _read_offset(self, number: int, length: int) -> int:
        count = self._fanout[255]
        offsets = _FANOUT + count * (length + 4)
        (near,) = struct.unpack(">I", os.pread(self._index, 4, offsets + number * 4))
        if near < _FAR:
            return int(near)
        (far,) = struct.unpack(">Q", os.pread(self._index, 8, offsets + count * 4 + (near - _FAR) * 8))
        return int(far)

    def read(self, at: int, length: int) -> tuple[str, bytes]:
        """Return the kind and content of the object at an offset, resolving deltas."""
        chain: list[tuple[int, bytes]] = []
        while (known := self._bases.get(at)) is None:
            kind, size, base, data = self._read_entry(at, length)
            if kind in _KINDS:
                known = (_KINDS[kind], self._unpack(data, size))
                self._cache_base(at, known)
                break
            chain.append((at, self._unpack(data, size)))
            if len(chain) > _LONGEST_CHAIN or base is None or base <= 0:
                raise UnreadableObject("delta chain too long")
            at = base
        for at, delta in reversed(chain):
            known = (known[0], self._apply_delta(known[1], delta))
            self._cache_base(at, known)
        return known

    def _cache_base(self, at: int, known: tuple[str, bytes]) -> None:
        if self._kept > _KEPT:
            self._bases.clear()
            self._kept = 0
        self._bases[at] = known
        self._kept += len(known[1])

    def _read_entry(self, at: int, length: int) -> tuple[int, int, int | None, int]:
        """Return an entry's kind, its size, its base's offset, and the offset of its compressed data."""
        raw, next_ = os.pread(self._data, 64, at), 1
        kind, size, shift = raw[0] >> 4 & 7, raw[0] & 15, 4
        while raw[next_ - 1] & 0x80:
            size |= (raw[next_] & 0x7F) << shift
            next_, shift = next_ + 1, shift + 7
        base: int | None = None
        if kind == _BY_OFFSET:
            back, next_ = raw[next_] & 0x7F, next_ + 1
            while raw[next_ - 1] & 0x80:
                back, next_ = ((back + 1) << 7) | (raw[next_] & 0x7F), next_ + 1
            base = at - back
        elif kind == _BY_NAME:
            base, next_ = self.find(raw[next_ : next_ + length]), next_ + length
        elif kind not in _KINDS:
            raise UnreadableObject("unknown kind of object")
        return kind, size, base, at + next_

    def _unpack(self, at: int, size: int) -> bytes:
        if size > _LARGEST_PACK:
            raise UnreadableObject("object larger than the limit")
        self._budget.consume(size)
        unpacking, content, length = zlib.decompressobj(), b"", min(max(_PIECE, size), 1 << 20)
        while len(content) < size:
            raw = unpacking.unconsumed_tail or os.pread(self._data, length, at)
            if not raw:
                raise UnreadableObject("truncated pack")
            at += 0 if unpacking.unconsumed_tail else len(raw)
            piece = unpacking.decompress(raw, size - len(content))
            if unpacking.eof and len(content) + len(piece) < size:
                raise UnreadableObject("truncated object")
            content += piece
        return content

    def _apply_delta(self, base: bytes, delta: bytes) -> bytes:
        from_size, at = _parse_varint(delta, 0)
        size, at = _parse_varint(delta, at)
        if from_size != len(base) or size > _LARGEST_PACK:
            raise UnreadableObject("delta does not match its base")
        self._budget.consume(size)
        content = bytearray()
        while at < len(delta):
            code = delta[at]
            at += 1
            if code & 0x80:
                start, length, at = _parse_copy(delta, at, code)
                if start + length > len(base):
                    raise UnreadableObject("delta does not match its base")
                content += base[start : start + length]
            else:
                content += delta[at : at + code]
                at += code
            if not code or len(content) > size:
                raise UnreadableObject("delta result has the wrong size")
        return bytes(content)


def _parse_copy(delta: bytes, at: int, code: int) -> tuple[int, int, int]:
    """Parse a copy instruction; return its offset, its length, and the position of the next instruction."""
    values = []
    for bits in (range(4), range(4, 7)):
        value = 0
        for place, bit in enumerate(bits):
            if code & 1 << bit:
                value |= delta[at] << 8 * place
                at += 1
        values.append(value)
    return values[0], values[1] or 0x10000, at


def _parse_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


TREE, LINK, SUBMODULE = 0o040000, 0o120000, 0o160000
_LARGEST = 32 << 20
_MOST_ENTRIES = 2_000_000
_HEADER = 32
_HASHES = {40: "sha1", 64: "sha256"}
_NEVER = ("", ".", "..", ".git")


class TreeEntry(NamedTuple):
    """A file of a commit: its mode and object name."""

    mode: int
    name: str


class Objects:
    """The objects of a repository. A context manager."""

    def __init__(self, place: GitDirectory) -> None:
        self._project = place.open()
        self._budget = Budget()
        self._packs = Packs(self._project, self._budget)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._packs.close()
        self._project.__exit__()

    def list_files(self, commit: str, start: str = "") -> dict[str, TreeEntry]:
        """Return a commit's files, links and submodules below a directory by relative path. Raises UnreadableObject."""
        tree = self._find_tree(commit)
        for part in filter(None, start.split("/")):
            entry = next((entry for name, entry in self._read_entries(tree) if name == part), None)
            if entry is None or entry.mode != TREE:
                return {}
            tree = entry.name
        found: dict[str, TreeEntry] = {}
        waiting, seen = [("", tree)], 0
        while waiting:
            above, tree = waiting.pop()
            if above.count("/") > DEEPEST:
                raise UnreadableObject("tree nested too deeply")
            for name, entry in self._read_entries(tree):
                seen += 1
                if seen > _MOST_ENTRIES:
                    raise UnreadableObject("too many files in a commit")
                if entry.mode == TREE:
                    waiting.append((f"{above}{name}/", entry.name))
                else:
                    found[f"{above}{name}"] = entry
        return found

    def _find_tree(self, commit: str) -> str:
        """Return the name of a commit's tree."""
        first = self._read(commit, "commit").partition(b"\n")[0].decode(errors="replace")
        word, _, name = first.partition(" ")
        if word != "tree" or len(name) != len(commit):
            raise UnreadableObject(f"{commit} is not a commit")
        return name

    def _read_entries(self, tree: str) -> Iterator[tuple[str, TreeEntry]]:
        raw, at, length = self._read(tree, "tree"), 0, len(tree) // 2
        while at < len(raw):
            space = raw.find(b" ", at, at + 8)
            end = raw.find(b"\0", space)
            if space < 0 or end < 0 or end + 1 + length > len(raw):
                raise UnreadableObject(f"{tree} is not a tree")
            name = raw[space + 1 : end].decode(errors="surrogateescape")
            if name in _NEVER or "/" in name:
                raise UnreadableObject(f"{tree} is not a tree")
            try:
                mode = int(raw[at:space], 8)
            except ValueError:
                raise UnreadableObject(f"{tree} is not a tree") from None
            at = end + 1 + length
            yield name, TreeEntry(mode, raw[end + 1 : at].hex())

    def _read(self, name: str, kind: str) -> bytes:
        """Return the content of an object; raise UnreadableObject if it is missing or of another kind."""
        found = self._read_loose(name) or self._packs.read(name)
        if found is None:
            raise UnreadableObject(f"{name} is missing")
        if found[0] != kind or compute_hash(kind, found[1], like=name) != name:
            raise UnreadableObject(f"{name} does not match its hash")
        return found[1]

    def _read_loose(self, name: str) -> tuple[str, bytes] | None:
        path = f"objects/{name[:2]}/{name[2:]}"
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            try:
                with open(self._project.open(path), "rb") as source:
                    packed = read_all(source, path, limit=_LARGEST)
                unpacking = zlib.decompressobj()
                text = unpacking.decompress(packed, _LARGEST + _HEADER)
            except zlib.error:
                raise UnreadableObject(f"{name} is damaged") from None
            except (FileNotFoundError, NotADirectoryError):
                raise
            except OSError as error:
                raise UnreadableObject(f"{name}: {error.strerror}") from None
            self._budget.consume(len(text))
            head, _, data = text.partition(b"\0")
            return head.partition(b" ")[0].decode(errors="replace"), data
        return None


def compute_hash(kind: str, data: bytes, *, like: str) -> str:
    """Return the name of an object with content `data`, by the hash algorithm of the name `like`."""
    total = create_hash(kind, len(data), like=like)
    total.update(data)
    return total.hexdigest()


def create_hash(kind: str, size: int, *, like: str) -> hashlib._Hash:
    """Start the hash for the name of an object of `size` bytes."""
    total = hashlib.new(_HASHES[len(like)], usedforsecurity=False)
    total.update(f"{kind} {size}\0".encode())
    return total
