"""What a Dockerfile is built from: the file, and its context by content, without what .dockerignore names.

Of a context, files, links and directories count; of their permissions only whether a file is a program, as in git.
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
from devbox.host import beneath
from devbox.host.beneath import Project
from devbox.host.files import write_atomic
from devbox.images.build.patterns import expression
from devbox.images.dockerfile import copying, text
from devbox.images.job import Source
from devbox.model import ids
from devbox.model.image import BakeStep, FromDockerfile, ImageSpec

_LARGEST_LIST = 16 << 20  # bytes of a Dockerfile, and of a list of what is left out
_GIT = "**/.git\n"
_MOST_NAMED, _DIGITS = 4000, 12  # files of a context that reasons can name, and digits that tell their contents apart
_KINDS = (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR)  # no sockets, pipes and devices: git has none, either
# What the system says of a path that has become something else, or is gone.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO)

Rule = tuple[re.Pattern[str], bool]  # what it matches, and whether that is ignored
Entry = tuple[str, str]  # what it is, and its digest or target


def with_contents(images: Mapping[str, ImageSpec], root: str, *, lock: str) -> dict[str, ImageSpec]:
    """The images, those of Dockerfiles by what these and their contexts hold now, in the project at `root`.

    `lock`: the path in it of the file's lock, which is no input: a build would change what it was built from.
    """
    return {
        name: replace(spec, steps=tuple(_read(step, root, lock) for step in spec.steps))
        for name, spec in images.items()
    }


def _read(step: BakeStep, root: str, lock: str) -> BakeStep:
    if not isinstance(step, FromDockerfile):
        return step
    step = replace(step, root=root, lock=lock)
    digest, files = look(step)
    return _locked(replace(step, content=digest, files=files))


def _locked(step: FromDockerfile) -> FromDockerfile:
    """The step by the lock's digests of the images it begins with now; they are preferences where others have none."""
    source = _dockerfile(step)
    begins = tuple(
        dict.fromkeys(name for name in text.bases(source, step.args, step.target).values() if name != step.base)
    )
    held = {name: digest for name, digest in (step.pins or step.prefer).items() if name in begins}
    if step.pins is None or len(held) < len(begins):
        return replace(step, begins=begins, pins=None, prefer=held)
    return replace(step, begins=begins, pins=held or None)


def content(step: FromDockerfile) -> str:
    """The digest of a Dockerfile and its context: names, kinds and bytes; neither owners, permissions nor times."""
    return look(step)[0]


def look(step: FromDockerfile) -> tuple[str, dict[str, str]]:
    """`content`, and what it is made of, as `FromDockerfile.files` has it."""
    files: dict[str, str] = {}

    def seen(path: str, entry: Entry) -> Entry:
        if len(files) <= _MOST_NAMED:
            files[path] = f"{entry[0]} {ids.key_of(entry[1])[len('sha256:') :][:_DIGITS]}"
        return entry

    with _unchanged(step, "read"), _opened(step) as project:
        with open(project.open(step.path), "rb") as source:
            first = beneath.digest(source)
        seen("", ("file", first))
        with _context(project, step) as context:
            found = _files(context, _ignore_text(project, step))
            total = _total(first, found, lambda path, facts: seen(path, _entry(context, path, facts)))
    return total, files if len(files) <= _MOST_NAMED else {}


def copy(step: FromDockerfile, place: str) -> Source:
    """The Dockerfile and its context in `place`. BakeFailed where they are no longer what the step has.

    Permissions are 644 and 755, times the one of all bakes.
    """
    made = Source(f"{place}/dockerfile/{os.path.basename(step.path)}", f"{place}/context", f"{place}/ignore")
    for directory in (os.path.dirname(made.dockerfile), made.context):
        os.mkdir(directory)
    with _unchanged(step, "copied"), _opened(step) as project:
        ignore = _ignore_text(project, step)
        write_atomic(made.ignore, ignore)
        first = copying.copy_file(project.open(step.path), made.dockerfile, program=False)
        with _context(project, step) as context:
            found = _files(context, ignore)
            copied = _total(first, found, lambda path, facts: _copied(context, path, facts, f"{made.context}/{path}"))
        if copied != step.content:
            raise _changed(step, "copied")
    copying.settle(made.context)
    return made


@contextlib.contextmanager
def _unchanged(step: FromDockerfile, doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _GONE:
            raise _changed(step, doing) from None
        if isinstance(error, beneath.Unusable):
            raise beneath.refusal("read", step.root, str(error.filename), error) from None
        raise


def _changed(step: FromDockerfile, doing: str) -> BakeFailed:
    return BakeFailed(
        f"the context of {step.path} changed while it was {doing}",
        remedy="devbox up once more; name in .dockerignore what changes by itself",
    )


def _total(dockerfile: str, found: Iterator[tuple[str, os.stat_result]], entry: Callable[..., Entry]) -> str:
    total = hashlib.sha256(bytes.fromhex(dockerfile))
    for path, facts in found:
        total.update(ids.canonical_json([path, *entry(path, facts)]))
    return f"sha256:{total.hexdigest()}"


def _context(project: Project, step: FromDockerfile) -> Project:
    """The context, as the whole of what is copied."""
    try:
        return project.inside(step.context)
    except OSError as error:
        why = error.strerror if isinstance(error, beneath.Unusable) else "it is not a directory"
        raise EnvFileError(
            f"cannot read the context {step.context} of {step.path}: {why}", remedy="name a directory, or make it"
        ) from None


def _files(context: Project, ignore: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every file, link and directory of the context that is not ignored, by name."""
    found = rules(ignore)
    yield from _walk(context, "", found, excepted=any(not ignored for _, ignored in found))


def _ignore_text(project: Project, step: FromDockerfile) -> str:
    """What is left out of the context: git's own files, unless .dockerignore brings them back, what it names, the lock.

    Every commit changes what git keeps.
    """
    lock = posixpath.relpath(f"/{step.lock}", f"/{step.context}")
    added = "" if lock.startswith("../") else f"{lock}\n"
    places = (f"{step.path}.dockerignore", f"{step.context}/.containerignore", f"{step.context}/.dockerignore")
    for path in places:
        with contextlib.suppress(OSError), open(project.open(path), "rb") as source:
            text_ = beneath.read_all(source, path, limit=_LARGEST_LIST).decode(errors="surrogateescape")
            return f"{_GIT}{text_}\n{added}"
    return f"{_GIT}{added}"


def rules(written: str) -> list[Rule]:
    """The rules of a .dockerignore. Of those that match, the last one counts."""
    found = []
    for line in map(str.strip, written.splitlines()):
        if not line or line.startswith("#"):
            continue
        pattern = os.path.normpath(line.removeprefix("!").strip()).lstrip("/")
        found.append((re.compile(f"{expression(pattern)}(?:/.*)?", re.DOTALL), not line.startswith("!")))
    return found


def ignored(path: str, found: list[Rule]) -> bool:
    """Whether a path of the context is left out."""
    return next((ignore for pattern, ignore in reversed(found) if pattern.fullmatch(path)), False)


def _walk(context: Project, inside: str, found: list[Rule], *, excepted: bool) -> Iterator[tuple[str, os.stat_result]]:
    """`excepted`: a directory that is left out may hold what is not."""
    directory = context.directory(inside, links=False)
    try:
        names = sorted(os.listdir(directory), key=os.fsencode)
    finally:
        os.close(directory)
    for name in names:
        path = f"{inside}{name}"
        facts = context.stat(path, links=False)
        left_out = ignored(path, found)
        if not left_out and stat.S_IFMT(facts.st_mode) in _KINDS:
            yield path, facts
        if stat.S_ISDIR(facts.st_mode) and (excepted or not left_out):
            yield from _walk(context, f"{path}/", found, excepted=excepted)


def _entry(context: Project, path: str, facts: os.stat_result) -> Entry:
    if stat.S_ISREG(facts.st_mode):
        with open(context.open(path, links=False), "rb") as source:
            return _kind(facts), beneath.digest(source)
    return ("link", context.readlink(path)) if stat.S_ISLNK(facts.st_mode) else ("directory", "")


def _copied(context: Project, source: str, facts: os.stat_result, target: str) -> Entry:
    """Copy something of a context; what it was."""
    os.makedirs(os.path.dirname(target), exist_ok=True)  # a directory may be left out, and a file in it not
    if stat.S_ISREG(facts.st_mode):
        return _kind(facts), copying.copy_file(
            context.open(source, links=False), target, program=_kind(facts) == "program"
        )
    if stat.S_ISLNK(facts.st_mode):
        return "link", copying.copy_link(context.readlink(source), target)
    os.mkdir(target)
    return "directory", ""


def _kind(facts: os.stat_result) -> str:
    return "program" if facts.st_mode & stat.S_IXUSR else "file"


def _dockerfile(step: FromDockerfile) -> str:
    """The text of the Dockerfile."""
    with _opened(step) as project, open(project.open(step.path), "rb") as source:
        return beneath.read_all(source, step.path, limit=_LARGEST_LIST).decode(errors="surrogateescape")


@contextlib.contextmanager
def _opened(step: FromDockerfile) -> Iterator[Project]:
    """The project, which has the Dockerfile."""
    with Project(step.root) as project:
        try:
            os.close(project.open(step.path))
        except OSError as error:
            raise EnvFileError(
                f"cannot read the Dockerfile {step.root}/{step.path}: {error.strerror}",
                remedy="name one of the project: dockerfile = PATH",
            ) from None
        yield project
