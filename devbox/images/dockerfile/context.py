"""Inputs of a Dockerfile build: the file, and its build context by content, filtered by .dockerignore.

A context consists of files, links and directories; of their permissions only the executable bit counts, as in git.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from devbox.errors import BakeFailed, EnvFileError
from devbox.host import safe_files
from devbox.host.files import write_atomic
from devbox.host.safe_files import ProjectDirectory
from devbox.images.bake.jobs import DockerfileSource
from devbox.images.build.inputs import translate_glob
from devbox.images.dockerfile import parse
from devbox.images.store.documents import SOURCE_DATE_EPOCH
from devbox.model import ids
from devbox.model.image import BakeStep, FromDockerfile, ImageSpec

_MOST = 1 << 30  # bytes per copy request to the kernel
# Errors of file systems that do not support copying in the kernel, or not to the other one.
_UNABLE = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


def copy_file(source: int, target: str, *, program: bool) -> str:
    """Copy an opened file and close it; return the hex digest of the copy.

    Shares blocks if the file system supports it, and preserves holes.
    """
    with open(source, "rb") as data, open(target, "x+b") as out:
        os.truncate(out.fileno(), os.fstat(data.fileno()).st_size)
        for start, end in _find_extents(data.fileno()):
            _copy_range(data.fileno(), out.fileno(), start, end)
        os.fchmod(out.fileno(), 0o755 if program else 0o644)
        os.utime(out.fileno(), (SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH))
        return hashlib.file_digest(out, "sha256").hexdigest()


def copy_link(leads_to: str, target: str) -> str:
    """Copy a symlink; return its target."""
    os.symlink(leads_to, target)
    os.utime(target, (SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH), follow_symlinks=False)
    return leads_to


def normalize_tree(directory: str) -> None:
    """Set uniform permissions and times for a directory and everything below, once it is complete."""
    for place, _, _ in os.walk(directory):
        os.chmod(place, 0o755)  # noqa: S103 - as in a git checkout: a build may run as another user
        os.utime(place, (SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH))


def _find_extents(source: int) -> Iterator[tuple[int, int]]:
    """Yield the data extents of a file as (start, end)."""
    end = 0
    while True:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no more data
                return
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        yield start, end


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        try:
            done = os.copy_file_range(source, target, min(end - start, _MOST), start, start)
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
            os.lseek(target, start, os.SEEK_SET)
            done = os.sendfile(target, source, start, min(end - start, _MOST))
        if not done:  # the file was truncated
            return
        start += done


_LARGEST_LIST = 16 << 20  # bytes of a Dockerfile or ignore file
_GIT = "**/.git\n"
_MOST_NAMED, _DIGITS = 4000, 12  # maximum number of files named in reasons, and digits of their content digests
_KINDS = (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR)  # no sockets, pipes and devices, as in git
# Errors for a path that was replaced or removed.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO)

IgnoreRule = tuple[re.Pattern[str], bool]  # pattern, and whether matches are ignored
ContextEntry = tuple[str, str]  # kind, and digest or link target


def add_contents(images: Mapping[str, ImageSpec], root: str, *, lock: str) -> dict[str, ImageSpec]:
    """Return the images with the current content of their Dockerfiles and contexts in the project at `root`.

    `lock`: path of the lockfile in the project, which is excluded: a build would change its own input.
    """
    return {
        name: replace(spec, steps=tuple(_read_step(step, root, lock) for step in spec.steps))
        for name, spec in images.items()
    }


def _read_step(step: BakeStep, root: str, lock: str) -> BakeStep:
    if not isinstance(step, FromDockerfile):
        return step
    step = replace(step, root=root, lock=lock)
    digest, files = hash_context(step)
    return _pin_bases(replace(step, content=digest, files=files))


def _pin_bases(step: FromDockerfile) -> FromDockerfile:
    """Return the step with the lock's digests of its current base images; as preferences if others are unlocked."""
    source = _read_dockerfile(step)
    begins = tuple(
        dict.fromkeys(name for name in parse.find_bases(source, step.args, step.target).values() if name != step.base)
    )
    held = {name: digest for name, digest in (step.pins or step.prefer).items() if name in begins}
    if step.pins is None or len(held) < len(begins):
        return replace(step, begins=begins, pins=None, prefer=held)
    return replace(step, begins=begins, pins=held or None)


def hash_context(step: FromDockerfile) -> tuple[str, dict[str, str]]:
    """Return the digest of a Dockerfile and its context, and its parts, as in `FromDockerfile.files`.

    They cover names, kinds and bytes; no owners, permissions or times.
    """
    files: dict[str, str] = {}

    def seen(path: str, entry: ContextEntry) -> ContextEntry:
        if len(files) <= _MOST_NAMED:
            files[path] = f"{entry[0]} {ids.compute_key(entry[1])[len('sha256:') :][:_DIGITS]}"
        return entry

    with _check_unchanged(step, "read"), _open_project(step) as project:
        with open(project.open(step.path), "rb") as source:
            first = safe_files.compute_digest(source)
        seen("", ("file", first))
        with _open_context(project, step) as context:
            found = _list_files(context, _build_ignore_text(project, step))
            total = _compute_total(first, found, lambda path, facts: seen(path, _read_entry(context, path, facts)))
    return total, files if len(files) <= _MOST_NAMED else {}


def copy_context(step: FromDockerfile, place: str) -> DockerfileSource:
    """Copy the Dockerfile and its context to `place`; raise BakeFailed if they no longer match the step.

    Permissions are 644 and 755, times are those of all builds.
    """
    source = DockerfileSource(
        f"{place}/dockerfile/{os.path.basename(step.path)}", f"{place}/context", f"{place}/ignore"
    )
    for directory in (os.path.dirname(source.dockerfile), source.context):
        os.mkdir(directory)
    with _check_unchanged(step, "copied"), _open_project(step) as project:
        ignore = _build_ignore_text(project, step)
        write_atomic(source.ignore, ignore)
        first = copy_file(project.open(step.path), source.dockerfile, program=False)
        with _open_context(project, step) as context:
            found = _list_files(context, ignore)
            copied = _compute_total(
                first, found, lambda path, facts: _copy_entry(context, path, facts, f"{source.context}/{path}")
            )
        if copied != step.content:
            raise _build_changed_error(step, "copied")
    normalize_tree(source.context)
    return source


@contextlib.contextmanager
def _check_unchanged(step: FromDockerfile, doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _GONE:
            raise _build_changed_error(step, doing) from None
        if isinstance(error, safe_files.UnusablePath):
            raise safe_files.make_error("read", step.root, str(error.filename), error) from None
        raise


def _build_changed_error(step: FromDockerfile, doing: str) -> BakeFailed:
    return BakeFailed(
        f"the context of {step.path} changed while being {doing}",
        remedy="run devbox up again; list generated files in .dockerignore",
    )


def _compute_total(
    dockerfile: str, found: Iterator[tuple[str, os.stat_result]], entry: Callable[..., ContextEntry]
) -> str:
    total = hashlib.sha256(bytes.fromhex(dockerfile))
    for path, facts in found:
        total.update(ids.encode_canonical_json([path, *entry(path, facts)]))
    return f"sha256:{total.hexdigest()}"


def _open_context(project: ProjectDirectory, step: FromDockerfile) -> ProjectDirectory:
    """Open the context directory as a root of its own."""
    try:
        return project.open_subdirectory(step.context)
    except OSError as error:
        why = error.strerror if isinstance(error, safe_files.UnusablePath) else "not a directory"
        raise EnvFileError(
            f"invalid build context {step.context} in {step.path}: {why}", remedy="name a directory, or create it"
        ) from None


def _list_files(context: ProjectDirectory, ignore: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every file, link and directory of the context that is not ignored, by name."""
    found = parse_rules(ignore)
    yield from _walk(context, "", found, excepted=any(not ignored for _, ignored in found))


def _build_ignore_text(project: ProjectDirectory, step: FromDockerfile) -> str:
    """Return the ignore rules: git's own files (may be re-included), .dockerignore, and the lockfile.

    git's files change with every commit.
    """
    lock = posixpath.relpath(f"/{step.lock}", f"/{step.context}")
    added = "" if lock.startswith("../") else f"{lock}\n"
    places = (f"{step.path}.dockerignore", f"{step.context}/.containerignore", f"{step.context}/.dockerignore")
    for path in places:
        with contextlib.suppress(OSError), open(project.open(path), "rb") as source:
            text_ = safe_files.read_all(source, path, limit=_LARGEST_LIST).decode(errors="surrogateescape")
            return f"{_GIT}{text_}\n{added}"
    return f"{_GIT}{added}"


def parse_rules(written: str) -> list[IgnoreRule]:
    """Parse the rules of a .dockerignore; the last matching rule applies."""
    found = []
    for line in map(str.strip, written.splitlines()):
        if not line or line.startswith("#"):
            continue
        pattern = os.path.normpath(line.removeprefix("!").strip()).lstrip("/")
        found.append((re.compile(f"{translate_glob(pattern)}(?:/.*)?", re.DOTALL), not line.startswith("!")))
    return found


def is_ignored(path: str, found: list[IgnoreRule]) -> bool:
    """Return whether a path of the context is ignored."""
    return next((ignore for pattern, ignore in reversed(found) if pattern.fullmatch(path)), False)


def _walk(
    context: ProjectDirectory, inside: str, found: list[IgnoreRule], *, excepted: bool
) -> Iterator[tuple[str, os.stat_result]]:
    """Walk a directory. `excepted`: ignored directories may contain entries that are not ignored."""
    directory = context.open_directory(inside, links=False)
    try:
        names = sorted(os.listdir(directory), key=os.fsencode)
    finally:
        os.close(directory)
    for name in names:
        path = f"{inside}{name}"
        facts = context.stat(path, links=False)
        left_out = is_ignored(path, found)
        if not left_out and stat.S_IFMT(facts.st_mode) in _KINDS:
            yield path, facts
        if stat.S_ISDIR(facts.st_mode) and (excepted or not left_out):
            yield from _walk(context, f"{path}/", found, excepted=excepted)


def _read_entry(context: ProjectDirectory, path: str, facts: os.stat_result) -> ContextEntry:
    if stat.S_ISREG(facts.st_mode):
        with open(context.open(path, links=False), "rb") as source:
            return _get_kind(facts), safe_files.compute_digest(source)
    return ("link", context.readlink(path)) if stat.S_ISLNK(facts.st_mode) else ("directory", "")


def _copy_entry(context: ProjectDirectory, source: str, facts: os.stat_result, target: str) -> ContextEntry:
    """Copy an entry of a context; return its kind and content."""
    os.makedirs(os.path.dirname(target), exist_ok=True)  # an ignored directory may contain a file that is not ignored
    if stat.S_ISREG(facts.st_mode):
        return _get_kind(facts), copy_file(
            context.open(source, links=False), target, program=_get_kind(facts) == "program"
        )
    if stat.S_ISLNK(facts.st_mode):
        return "link", copy_link(context.readlink(source), target)
    os.mkdir(target)
    return "directory", ""


def _get_kind(facts: os.stat_result) -> str:
    return "program" if facts.st_mode & stat.S_IXUSR else "file"


def _read_dockerfile(step: FromDockerfile) -> str:
    """Return the text of the Dockerfile."""
    with _open_project(step) as project, open(project.open(step.path), "rb") as source:
        return safe_files.read_all(source, step.path, limit=_LARGEST_LIST).decode(errors="surrogateescape")


@contextlib.contextmanager
def _open_project(step: FromDockerfile) -> Iterator[ProjectDirectory]:
    """Open the project after checking that it contains the Dockerfile."""
    with ProjectDirectory(step.root) as project:
        try:
            os.close(project.open(step.path))
        except OSError as error:
            raise EnvFileError(
                f"cannot read the Dockerfile {step.root}/{step.path}: {error.strerror}",
                remedy="name a file of the project: dockerfile = PATH",
            ) from None
        yield project
