"""Files that `devbox install` puts onto the host, out of an image."""

from __future__ import annotations

from devbox.model.frozen import dataclass


@dataclass(frozen=True, kw_only=True)
class Install:
    """`[install.NAME]`: place on the host, as written → path in the image `image`. `asleep`: its profiles are off."""

    name: str
    image: str
    files: dict[str, str]
    asleep: bool = False
    where: str = ""  # file:line of its table


@dataclass(frozen=True, kw_only=True)
class HostEntry:
    """What lies at a place of the host. `digest` is of a file's content, or of where a link leads."""

    kind: str  # "file" | "link" | "directory" | "other"
    mode: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class InstalledFile:
    """One file on the host. `path` is where it really lies, no link on the way."""

    path: str
    digest: str
    mode: int
    kind: str = "file"  # "file" | "link"


@dataclass(frozen=True, kw_only=True)
class FileConflict:
    """Why a file may not be put or removed. `final`: also when told to."""

    path: str
    why: str
    final: bool = False


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What one `[install.NAME]` has put onto the host: its files, and the directories that were made for them."""

    name: str
    project: str  # the project's directory
    instance: str
    image: str  # digest
    installed_at: str
    files: tuple[InstalledFile, ...] = ()
    directories: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What a person calls it."""
        return f"[install.{self.name}] of {self.project}"


@dataclass(frozen=True, kw_only=True)
class Journal:
    """A change of the host's files under way. `staged`: where a file lies ready → its place, in the same directory.

    Before it is `committed` all of it can be taken back; from then on it is carried to its end. `after` is what counts
    then: None when everything is uninstalled. `directories` are made for it, outermost first; `emptied` are removed
    where nothing lies in them any more, innermost first.
    """

    name: str
    instance: str
    staged: dict[str, str]
    remove: tuple[InstalledFile, ...]
    directories: tuple[str, ...]
    emptied: tuple[str, ...]
    after: Manifest | None
    committed: bool = False
