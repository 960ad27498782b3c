"""One repository of a registry: the verbs of the OCI distribution specification that devbox uses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import urllib3
from urllib3 import exceptions

from devbox.errors import RegistryError
from devbox.images import documents, layout
from devbox.images.documents import is_digest
from devbox.images.layout import Descriptor
from devbox.images.registry import patience, refusals
from devbox.images.registry.connection import ONCE, Connection
from devbox.images.registry.graph import DOCKER_LIST, DOCKER_MANIFEST, fallback_tag
from devbox.images.registry.reference import Reference
from devbox.model import ids

_ACCEPTED = f"{layout.INDEX}, {layout.MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"
_CHUNK = 1 << 20
_NOT_FOUND = 404


class Manifest(NamedTuple):
    """A manifest or index as it came, to the byte."""

    descriptor: Descriptor
    raw: bytes


_PAGE, _PAGES = 1000, 10  # tags asked for at once, and how often
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class Repository:
    """The images of one name. `pushes`: whether it asks for the right to write."""

    def __init__(self, connection: Connection, reference: Reference, *, pushes: bool = False) -> None:
        self._connection = connection
        self.reference = reference
        self._name = reference.repository
        self._scope = f"repository:{self._name}:{'pull,push' if pushes else 'pull'}"
        self._keeps_lists = True

    def manifest(self, target: str) -> Manifest:
        """A manifest or index by tag or digest. One asked for by digest has that digest."""
        answer = self._ask(
            "GET",
            f"manifests/{target}",
            doing=f"read the manifest of {self._shown(target)}",
            missing=f"image {self._shown(target)}",
            headers={"Accept": _ACCEPTED},
            stream=True,
        )
        raw = self._read(answer, target)
        digest = ids.sha256(raw)
        if is_digest(target) and digest != target:
            raise self._lie(f"the manifest {target}", digest)
        return Manifest(Descriptor(_media_type(answer, raw), digest, len(raw)), raw)

    def digest(self, target: str) -> str:
        """The digest that a tag names just now, "" when there is no such tag."""
        answer = self._ask(
            "HEAD",
            f"manifests/{target}",
            doing=f"look up {self._shown(target)}",
            wanted=(200, _NOT_FOUND),
            headers={"Accept": _ACCEPTED},
        )
        if answer.status == _NOT_FOUND:
            return ""
        said = answer.headers.get("Docker-Content-Digest", "")
        return said if is_digest(said) else self.manifest(target).descriptor.digest

    def tags(self, prefix: str) -> list[str]:
        """The tags that begin so, of a repository that may not exist yet; of 10,000 tags at most."""
        found: list[str] = []
        last = ""
        for _ in range(_PAGES):
            after = f"&last={last}" if last else ""
            path, doing = f"tags/list?n={_PAGE}{after}", f"list the tags of {self._name}"
            answer = self._ask("GET", path, doing=doing, wanted=(200, _NOT_FOUND), stream=True)
            if answer.status == _NOT_FOUND:
                answer.close()
                return []
            try:
                page = documents.texts(documents.parse(self._read(answer, "tags")), "tags")
            except ValueError as error:
                raise RegistryError(
                    f"{self._connection.host} sent no list of tags: {error}", remedy="is it a registry of OCI images?"
                ) from None
            found += [tag for tag in page if tag.startswith(prefix) and _TAG.fullmatch(tag)]
            if "Link" not in answer.headers or not page or page[-1] == last:
                return found
            last = page[-1]
        raise RegistryError(f"{self._name} has more than {_PAGE * _PAGES} tags", remedy="remove what nobody needs")

    def has_blob(self, digest: str) -> bool:
        """Whether the blob is in this repository."""
        path, doing = f"blobs/{digest}", f"look for a blob of {self._name}"
        return self._ask("HEAD", path, doing=doing, wanted=(200, _NOT_FOUND)).status != _NOT_FOUND

    @contextmanager
    def blob(self, digest: str, *, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """A blob's content from `offset` on, or from 0 where the registry does not skip: where it begins, chunks.

        No chunks where the registry has no more than `offset` bytes of it.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self._ask(
            "GET",
            f"blobs/{digest}",
            doing=f"read a blob of {self._name}",
            wanted=(200, 206, 416),
            missing=f"blob {digest} of {self._name}",
            headers=headers,
            stream=True,
        )
        begins = {206: _begins(answer.headers.get("Content-Range", "")), 416: offset}.get(answer.status, 0)
        no_more = answer.status == 416  # noqa: PLR2004
        try:
            yield begins, iter(()) if no_more else _pieces(answer)
        except patience.TooSlow:
            host, doing = self._connection.host, f"read a blob of {self._name}"
            why = f"{host} sends less than {patience.slowest()}"
            raise refusals.of_slowness(host, doing, why) from None
        except exceptions.HTTPError as error:
            doing = f"read a blob of {self._name} to its end"
            raise refusals.of_silence(error, self._connection.host, doing) from error
        finally:
            answer.close()  # what is left unread would block the connection's next user

    def begin_upload(self, digest: str, *, mount_from: str = "") -> str:
        """Begin to send a blob: where to send it; "" when it is there already, taken over from another repository."""
        scope = self._scope + (f" repository:{mount_from}:pull" if mount_from else "")
        query = f"?mount={digest}&from={mount_from}" if mount_from else ""
        answer = self._connection.request(
            "POST",
            f"{self._name}/blobs/uploads/{query}",
            doing=f"push to {self._name}",
            scope=scope,
            wanted=(201, 202),
            missing=f"repository {self._name}",
            headers={"Content-Length": "0"},
        )
        return "" if answer.status == 201 else self._location(answer)  # noqa: PLR2004

    def send_chunk(self, location: str, data: bytes, *, offset: int) -> str:
        """Send a piece of a blob; where the next one goes. Not tried again: ask `arrived` first."""
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{offset}-{offset + len(data) - 1}",
        }
        answer = self._ask(
            "PATCH",
            location,
            doing=f"push a blob to {self._name}",
            wanted=(202,),
            headers=headers,
            body=data,
            retries=ONCE,
        )
        return self._location(answer)

    def _location(self, answer: urllib3.BaseHTTPResponse) -> str:
        """Where an upload goes on."""
        if location := answer.headers.get("Location", ""):
            return location
        raise RegistryError(
            f"{self._connection.host} does not say where a blob of {self._name} is to be sent",
            remedy="tell who runs it; is it a registry of OCI images, or a proxy before one?",
        )

    def arrived(self, location: str) -> tuple[int, str]:
        """How much of an upload is there, and where it goes on; (0, "") when the registry has forgotten it."""
        doing = f"look how far a blob of {self._name} is"
        answer = self._ask("GET", location, doing=doing, wanted=(204, 400, 404, 416))
        if answer.status != 204:  # noqa: PLR2004
            return 0, ""
        last = refusals.number(answer.headers.get("Range", "").rpartition("-")[2]) or 0
        count = last + 1 if last else 0
        return count, answer.headers.get("Location", location)

    def end_upload(self, location: str, digest: str) -> None:
        """Say that all of a blob is sent; the registry checks its digest."""
        mark = "&" if "?" in location else "?"
        self._ask(
            "PUT",
            f"{location}{mark}digest={digest}",
            doing=f"finish a blob of {self._name}",
            wanted=(201,),
            headers={"Content-Length": "0"},
            retries=ONCE,
        )

    def put_manifest(self, target: str, media_type: str, raw: bytes) -> bool:
        """Store a manifest by tag or digest; whether the registry itself keeps track of the `subject` it names."""
        answer = self._ask(
            "PUT",
            f"manifests/{target}",
            doing=f"push the manifest of {self._shown(target)}",
            wanted=(201,),
            missing=f"repository {self._name}",
            headers={"Content-Type": media_type},
            body=raw,
        )
        return "OCI-Subject" in answer.headers

    def referrers(self, digest: str) -> list[dict[str, Any]]:
        """Descriptors of the manifests whose subject this is: by the registry's list, else by the fallback tag's."""
        doing = f"look for what refers to {self._shown(digest)}"
        headers = {"Accept": layout.INDEX}
        for path in (*self._lists(digest), f"manifests/{fallback_tag(digest)}"):
            answer = self._ask("GET", path, doing=doing, wanted=(200, 404, 405), headers=headers, stream=True)
            if answer.status == 200:  # noqa: PLR2004
                return _listed(self._read(answer, path))
            answer.close()
            self._keeps_lists = False
        return []

    def _lists(self, digest: str) -> tuple[str, ...]:
        """Where the registry's own list would be. One that keeps lists has one of every manifest: asked once."""
        return (f"referrers/{digest}",) if self._keeps_lists else ()

    def _ask(self, method: str, path: str, *, doing: str, **how: Any) -> urllib3.BaseHTTPResponse:
        at = path if path.startswith(("/", "http://", "https://")) else f"{self._name}/{path}"
        return self._connection.request(method, at, doing=doing, scope=self._scope, **how)

    def _read(self, answer: urllib3.BaseHTTPResponse, target: str) -> bytes:
        try:
            raw = patience.within(lambda: refusals.beginning(answer))
        except patience.TooSlow:
            raise self._connection.slow(f"read {self._shown(target)} to its end") from None
        except exceptions.HTTPError as error:
            doing = f"read {self._shown(target)} to its end"
            raise refusals.of_silence(error, self._connection.host, doing) from error
        if len(raw) > documents.LIMIT:
            raise RegistryError(
                f"the manifest of {self._shown(target)} is larger than 4 MiB, which no registry may send",
                remedy=f"is {self._connection.host} a registry of OCI images?",
            )
        return raw

    def _shown(self, target: str) -> str:
        """The image, as a person writes it."""
        digest = is_digest(target)
        return self.reference._replace(tag="" if digest else target, digest=target if digest else "").familiar

    def _lie(self, what: str, digest: str) -> RegistryError:
        return RegistryError(
            f"{self._connection.host} sent something else than {what}: it has the digest {digest}",
            remedy="nothing of it was kept; the registry, a mirror or a proxy is at fault",
        )


def _listed(raw: bytes) -> list[dict[str, Any]]:
    try:
        return documents.tables(documents.parse(raw), "manifests")
    except ValueError:
        return []


def _pieces(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """A blob as it arrives, however small the pieces are; TooSlow where too little does."""
    pace = patience.Pace()
    while data := answer.read1(_CHUNK, decode_content=False):
        pace.arrived(len(data))
        yield data


def _begins(header: str) -> int:
    """Where the content begins that `Content-Range: bytes 5-9/10` announces."""
    return refusals.number(header.removeprefix("bytes ").partition("-")[0]) or 0


def _media_type(answer: urllib3.BaseHTTPResponse, raw: bytes) -> str:
    """The type a manifest says of itself; else what the registry says."""
    with suppress(ValueError):
        if own := documents.text(documents.parse(raw), "mediaType"):
            return own
    return answer.headers.get("Content-Type", "").partition(";")[0]
