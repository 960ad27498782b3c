"""Files that `devbox install` copies from an image to the host."""

from __future__ import annotations

from devbox.model.frozen import dataclass


@dataclass(frozen=True, kw_only=True)
class Install:
    """`[install.NAME]`: host place, as written → path in the image `image`. `asleep`: its profiles are inactive."""

    name: str
    image: str
    files: dict[str, str]
    asleep: bool = False
    where: str = ""  # file:line of its table


@dataclass(frozen=True, kw_only=True)
class HostEntry:
    """An entry at a place of the host. `digest` is of a file's content, or of a link's target path."""

    kind: str  # "file" | "link" | "directory" | "other"
    mode: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class InstalledFile:
    """One file on the host. `path` is its real path, without links."""

    path: str
    digest: str
    mode: int
    kind: str = "file"  # "file" | "link"


@dataclass(frozen=True, kw_only=True)
class FileConflict:
    """The reason why a file must not be installed or removed. `final`: not even when forced."""

    path: str
    why: str
    final: bool = False


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The files on the host of one `[install.NAME]`, and the directories created for them."""

    name: str
    project: str  # the project's directory
    instance: str
    image: str  # digest
    installed_at: str
    files: tuple[InstalledFile, ...] = ()
    directories: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The name for users."""
        return f"[install.{self.name}] of {self.project}"


@dataclass(frozen=True, kw_only=True)
class Journal:
    """A change of the host's files in progress. `staged`: temporary file → its place, in the same directory.

    Before `committed` the change can be rolled back; afterwards it is completed. `after` is the resulting manifest:
    None after an uninstall. `directories` are created for it, outermost first; `emptied` are removed if they are empty,
    innermost first.
    """

    name: str
    instance: str
    staged: dict[str, str]
    remove: tuple[InstalledFile, ...]
    directories: tuple[str, ...]
    emptied: tuple[str, ...]
    after: Manifest | None
    committed: bool = False
