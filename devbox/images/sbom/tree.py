"""The package manager files of an image, read from its layers without snapshot, mount or privileges.

The layers are untrusted: each is verified against its digest, and nothing of it is written to disk.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from devbox.errors import BakeFailed
from devbox.images.layers import pack as layers
from devbox.images.layers.tar import ExpectedLayer, TarStream
from devbox.images.store.layout import Layout
from devbox.model.image import Layer

_MOST_FILE = 1 << 25  # bytes; dpkg's status of a full desktop has 5 MB
_MOST = 1 << 28  # bytes of all files together
_DEEPEST_LINK = 8
_TELLING = re.compile(
    r"etc/os-release|usr/lib/os-release"
    r"|var/lib/dpkg/status(?:\.d/[^/]+)?|usr/share/doc/[^/]+(?:/copyright)?"
    r"|lib/apk/db/installed"
    r"|(?:.*/)?(?:site|dist)-packages/[^/]+\.(?:dist-info/METADATA|egg-info(?:/PKG-INFO)?)"
    r"|(?:.*/)?node_modules/(?:@[^/]+/)?[^/@.][^/]*/package\.json"
)


@dataclass(frozen=True)
class Tree:
    """Files by path, without a leading slash; symbolic links by path, with their unresolved targets."""

    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def read_text(self, path: str) -> str | None:
        """Return a file's text, following links of the file or its directory; None if missing."""
        for _ in range(_DEEPEST_LINK):
            if path in self.files:
                return self.files[path].decode("utf-8", "replace")
            parent, name = posixpath.split(path)
            if path in self.links:
                path = _resolve_link(path, self.links[path])
            elif parent in self.links:
                path = f"{_resolve_link(parent, self.links[parent])}/{name}"
            else:
                return None
        return None

    def find_matching(self, pattern: re.Pattern[str]) -> Mapping[str, re.Match[str]]:
        """Return the files whose whole path matches, sorted."""
        return {path: match for path in sorted(self.files) if (match := pattern.fullmatch(path))}


def read_tree(chain: Iterable[Layer], oci: Layout) -> Tree:
    """Return the merged files of layers, lowest first. Raises BakeFailed for an invalid layer."""
    tree = Tree()
    for one in chain:
        _add_layer(one, oci, tree)
    return tree


def _add_layer(one: Layer, oci: Layout, tree: Tree) -> None:
    """Add a layer on top. Its whiteouts apply only to layers below, in any order of entries."""
    own, hidden, missing = Tree(), _HiddenPaths(), set[str]()
    _scan(one, oci, own, hidden, lambda path: _TELLING.fullmatch(path) is not None, missing)
    if missing:  # second pass for hard links whose first name did not match
        found = Tree()
        _scan(one, oci, found, _HiddenPaths(), missing.__contains__, set())
        own.files.update({path: found.files[first] for path, first in hidden.hard.items() if first in found.files})
    for kept in (tree.files, tree.links):
        for path in [path for path in kept if hidden.hides(path)]:
            del kept[path]
    tree.files.update(own.files)
    tree.links.update(own.links)


@dataclass(frozen=True)
class _HiddenPaths:
    """Paths of lower layers that a layer hides: whole names, contents of directories, and its own names."""

    names: set[str] = field(default_factory=set)
    inside: set[str] = field(default_factory=set)
    hard: dict[str, str] = field(default_factory=dict)

    def hides(self, path: str) -> bool:
        if path in self.names:
            return True
        above = posixpath.dirname(path)
        while above:
            if above in self.names or above in self.inside:
                return True
            above = posixpath.dirname(above)
        return "" in self.inside


def _scan(
    one: Layer, oci: Layout, tree: Tree, hidden: _HiddenPaths, is_selected: Callable[[str], bool], missing: set[str]
) -> None:
    """Read the matching files of a layer, and record the paths that it hides."""
    with open(oci.get_blob_path(one.digest), "rb") as blob:
        stream = TarStream(blob, ExpectedLayer(one.size, one.digest, one.diff_id))
        for entry in stream.read_entries():
            path = posixpath.normpath(f"/{entry.name}").lstrip("/")
            parent, name = posixpath.split(path)
            if name == layers.OPAQUE:
                hidden.inside.add(parent)
            elif name.startswith(layers.WHITEOUT):
                hidden.names.add(posixpath.join(parent, name.removeprefix(layers.WHITEOUT)))
            elif not entry.isdir():
                hidden.names.add(path)
                if is_selected(path):
                    _add_entry(path, entry, tree, stream)
                    if entry.islnk() and path not in tree.files:
                        hidden.hard[path] = posixpath.normpath(f"/{entry.linkname}").lstrip("/")
                        missing.add(hidden.hard[path])
        stream.finish()


def _add_entry(path: str, entry: tarfile.TarInfo, tree: Tree, stream: TarStream) -> None:
    if entry.issym():
        tree.links[path] = entry.linkname
    elif entry.islnk():
        first = tree.files.get(posixpath.normpath(f"/{entry.linkname}").lstrip("/"))
        if first is not None:
            tree.files[path] = first
    elif entry.isreg():
        if entry.size > _MOST_FILE or sum(map(len, tree.files.values())) > _MOST:
            raise BakeFailed(
                f"package list {path!r:.200} is too large", remedy="use another image, or report it to its author"
            )
        tree.files[path] = _read_content(stream, entry.size)


def _read_content(stream: TarStream, size: int) -> bytes:
    pieces = []
    while size and (piece := stream.read_content(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _resolve_link(path: str, target: str) -> str:
    """Resolve a link at `path` within the image."""
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(path), target)).lstrip("/")
