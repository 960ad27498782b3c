"""One repository of a registry: the operations of the OCI distribution specification that devbox uses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import urllib3
from urllib3 import exceptions

from devbox.errors import RegistryError
from devbox.images.registry import errors
from devbox.images.registry.connection import ONCE, RegistryConnection
from devbox.images.registry.graph import DOCKER_LIST, DOCKER_MANIFEST, get_fallback_tag
from devbox.images.registry.reference import Reference
from devbox.images.store import documents, layout
from devbox.images.store.documents import is_digest
from devbox.model import ids

_ACCEPTED = f"{layout.INDEX}, {layout.MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"
_CHUNK = 1 << 20
_NOT_FOUND = 404


class RegistryManifest(NamedTuple):
    """A manifest or index with its original bytes."""

    descriptor: layout.Descriptor
    raw: bytes


_PAGE, _PAGES = 1000, 10  # tags per page, and maximum number of pages
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class RegistryRepository:
    """The images of one name. `pushes`: request write access."""

    def __init__(self, connection: RegistryConnection, reference: Reference, *, pushes: bool = False) -> None:
        self._connection = connection
        self.reference = reference
        self._name = reference.repository
        self._scope = f"repository:{self._name}:{'pull,push' if pushes else 'pull'}"
        self._keeps_lists = True

    def fetch_manifest(self, target: str) -> RegistryManifest:
        """Fetch a manifest or index by tag or digest; a digest is verified."""
        answer = self._request(
            "GET",
            f"manifests/{target}",
            doing=f"read the manifest of {self._format_target(target)}",
            missing=f"image {self._format_target(target)}",
            headers={"Accept": _ACCEPTED},
            stream=True,
        )
        raw = self._read_body(answer, target)
        digest = ids.compute_sha256(raw)
        if is_digest(target) and digest != target:
            raise self._build_mismatch_error(f"the manifest {target}", digest)
        return RegistryManifest(layout.Descriptor(_detect_media_type(answer, raw), digest, len(raw)), raw)

    def resolve_digest(self, target: str) -> str:
        """Return the current digest of a tag; "" if it does not exist."""
        answer = self._request(
            "HEAD",
            f"manifests/{target}",
            doing=f"look up {self._format_target(target)}",
            statuses=(200, _NOT_FOUND),
            headers={"Accept": _ACCEPTED},
        )
        if answer.status == _NOT_FOUND:
            return ""
        declared = answer.headers.get("Docker-Content-Digest", "")
        return declared if is_digest(declared) else self.fetch_manifest(target).descriptor.digest

    def list_tags(self, prefix: str) -> list[str]:
        """Return the tags with this prefix; [] if the repository does not exist. At most 10,000 tags."""
        found: list[str] = []
        last = ""
        for _ in range(_PAGES):
            after = f"&last={last}" if last else ""
            path, doing = f"tags/list?n={_PAGE}{after}", f"list the tags of {self._name}"
            answer = self._request("GET", path, doing=doing, statuses=(200, _NOT_FOUND), stream=True)
            if answer.status == _NOT_FOUND:
                answer.close()
                return []
            try:
                page = documents.read_texts(documents.parse(self._read_body(answer, "tags")), "tags")
            except ValueError as error:
                raise RegistryError(
                    f"unexpected list of tags from {self._connection.host}: {error}",
                    remedy="check whether it is an OCI registry",
                ) from None
            found += [tag for tag in page if tag.startswith(prefix) and _TAG.fullmatch(tag)]
            if "Link" not in answer.headers or not page or page[-1] == last:
                return found
            last = page[-1]
        raise RegistryError(f"too many tags in {self._name}: more than {_PAGE * _PAGES}", remedy="remove unused tags")

    def has_blob(self, digest: str) -> bool:
        """Return whether the repository has the blob."""
        path, doing = f"blobs/{digest}", f"look for a blob of {self._name}"
        return self._request("HEAD", path, doing=doing, statuses=(200, _NOT_FOUND)).status != _NOT_FOUND

    @contextmanager
    def open_blob(self, digest: str, *, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Yield the start offset and the chunks of a blob, from `offset` or, without range support, from 0.

        No chunks if the registry has no data beyond `offset`.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self._request(
            "GET",
            f"blobs/{digest}",
            doing=f"read a blob of {self._name}",
            statuses=(200, 206, 416),
            missing=f"blob {digest} of {self._name}",
            headers=headers,
            stream=True,
        )
        begins = {206: _parse_range_start(answer.headers.get("Content-Range", "")), 416: offset}.get(answer.status, 0)
        no_more = answer.status == 416  # noqa: PLR2004
        try:
            yield begins, iter(()) if no_more else _read_pieces(answer)
        except errors.TooSlow:
            host, doing = self._connection.host, f"read a blob of {self._name}"
            why = f"{host} sent less than {errors.format_slowest()}"
            raise errors.build_slow_error(host, doing, why) from None
        except exceptions.HTTPError as error:
            doing = f"read a blob of {self._name} to its end"
            raise errors.from_http_error(error, self._connection.host, doing) from error
        finally:
            answer.close()  # unread data would block the connection's next user

    def begin_upload(self, digest: str, *, mount_from: str = "") -> str:
        """Start an upload and return its location; "" if the blob was mounted from another repository."""
        scope = self._scope + (f" repository:{mount_from}:pull" if mount_from else "")
        query = f"?mount={digest}&from={mount_from}" if mount_from else ""
        answer = self._connection.request(
            "POST",
            f"{self._name}/blobs/uploads/{query}",
            doing=f"push to {self._name}",
            scope=scope,
            statuses=(201, 202),
            missing=f"repository {self._name}",
            headers={"Content-Length": "0"},
        )
        return "" if answer.status == 201 else self._read_location(answer)  # noqa: PLR2004

    def send_chunk(self, location: str, data: bytes, *, offset: int) -> str:
        """Upload a chunk; return the next location. Not retried: call `query_upload` first."""
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{offset}-{offset + len(data) - 1}",
        }
        answer = self._request(
            "PATCH",
            location,
            doing=f"push a blob to {self._name}",
            statuses=(202,),
            headers=headers,
            body=data,
            retries=ONCE,
        )
        return self._read_location(answer)

    def _read_location(self, response: urllib3.BaseHTTPResponse) -> str:
        """Return the location of the next request of an upload."""
        if location := response.headers.get("Location", ""):
            return location
        raise RegistryError(
            f"missing upload location for a blob of {self._name} in the response of {self._connection.host}",
            remedy="check whether it is an OCI registry, or a proxy in front of one",
        )

    def query_upload(self, location: str) -> tuple[int, str]:
        """Return an upload's received bytes and its location; (0, "") if the registry has dropped it."""
        doing = f"get the upload state of a blob of {self._name}"
        answer = self._request("GET", location, doing=doing, statuses=(204, 400, 404, 416))
        if answer.status != 204:  # noqa: PLR2004
            return 0, ""
        last = errors.parse_number(answer.headers.get("Range", "").rpartition("-")[2]) or 0
        count = last + 1 if last else 0
        return count, answer.headers.get("Location", location)

    def finish_upload(self, location: str, digest: str) -> None:
        """Complete an upload; the registry verifies its digest."""
        mark = "&" if "?" in location else "?"
        self._request(
            "PUT",
            f"{location}{mark}digest={digest}",
            doing=f"finish a blob of {self._name}",
            statuses=(201,),
            headers={"Content-Length": "0"},
            retries=ONCE,
        )

    def put_manifest(self, target: str, media_type: str, raw: bytes) -> bool:
        """Store a manifest by tag or digest; return whether the registry tracks its `subject` itself."""
        answer = self._request(
            "PUT",
            f"manifests/{target}",
            doing=f"push the manifest of {self._format_target(target)}",
            statuses=(201,),
            missing=f"repository {self._name}",
            headers={"Content-Type": media_type},
            body=raw,
        )
        return "OCI-Subject" in answer.headers

    def list_referrers(self, digest: str) -> list[dict[str, Any]]:
        """Return descriptors of a manifest's referrers: from the referrers API, else from the fallback tag."""
        doing = f"list the referrers of {self._format_target(digest)}"
        headers = {"Accept": layout.INDEX}
        for path in (*self._list_referrer_paths(digest), f"manifests/{get_fallback_tag(digest)}"):
            answer = self._request("GET", path, doing=doing, statuses=(200, 404, 405), headers=headers, stream=True)
            if answer.status == 200:  # noqa: PLR2004
                return _parse_list(self._read_body(answer, path))
            answer.close()
            self._keeps_lists = False
        return []

    def _list_referrer_paths(self, digest: str) -> tuple[str, ...]:
        """Return the referrers API's path, unless the registry is known not to support the API."""
        return (f"referrers/{digest}",) if self._keeps_lists else ()

    def _request(self, method: str, path: str, *, doing: str, **how: Any) -> urllib3.BaseHTTPResponse:
        at = path if path.startswith(("/", "http://", "https://")) else f"{self._name}/{path}"
        return self._connection.request(method, at, doing=doing, scope=self._scope, **how)

    def _read_body(self, response: urllib3.BaseHTTPResponse, target: str) -> bytes:
        try:
            raw = errors.run_with_timeout(lambda: errors.read_beginning(response))
        except errors.TooSlow:
            raise self._connection.build_slow_error(f"read {self._format_target(target)} to its end") from None
        except exceptions.HTTPError as error:
            doing = f"read {self._format_target(target)} to its end"
            raise errors.from_http_error(error, self._connection.host, doing) from error
        if len(raw) > documents.LIMIT:
            raise RegistryError(
                f"manifest of {self._format_target(target)} is larger than the limit of 4 MiB",
                remedy=f"check whether {self._connection.host} is an OCI registry",
            )
        return raw

    def _format_target(self, target: str) -> str:
        """Return the image's short form."""
        digest = is_digest(target)
        return self.reference._replace(tag="" if digest else target, digest=target if digest else "").familiar_name

    def _build_mismatch_error(self, what: str, digest: str) -> RegistryError:
        return RegistryError(
            f"unexpected content of {what} from {self._connection.host}: got the digest {digest}",
            remedy="check the registry, mirror or proxy; the data was discarded",
        )


def _parse_list(raw: bytes) -> list[dict[str, Any]]:
    try:
        return documents.read_tables(documents.parse(raw), "manifests")
    except ValueError:
        return []


def _read_pieces(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Yield a blob's chunks as they arrive; raise TooSlow below the minimum rate."""
    pace = errors.PaceMonitor()
    while data := response.read1(_CHUNK, decode_content=False):
        pace.record(len(data))
        yield data


def _parse_range_start(header: str) -> int:
    """Return the start offset in `Content-Range: bytes 5-9/10`."""
    return errors.parse_number(header.removeprefix("bytes ").partition("-")[0]) or 0


def _detect_media_type(response: urllib3.BaseHTTPResponse, raw: bytes) -> str:
    """Return a manifest's own media type, else the registry's Content-Type."""
    with suppress(ValueError):
        if own := documents.read_text(documents.parse(raw), "mediaType"):
            return own
    return response.headers.get("Content-Type", "").partition(";")[0]
