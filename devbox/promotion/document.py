"""The document of a release: its config and source, attached to its image, so that any machine can run it.

It is not signed. A release's id is the hash of image, config and source: a changed document is that of another release.
"""

from __future__ import annotations

from collections.abc import Iterator

from devbox.errors import RegistryError
from devbox.images import documents, inspect, layout
from devbox.images.layout import Descriptor, Layout
from devbox.model import codec, ids
from devbox.model.release import Release

MEDIA_TYPE = "application/vnd.devbox.release.v1+json"
_EMPTY = "application/vnd.oci.empty.v1+json"


def attach(release: Release, subject: Descriptor, oci: Layout) -> None:
    """Have the image of the release carry its document."""
    if release.id in {each.id for each in attached(subject.digest, oci)}:
        return
    raw = ids.canonical_json(codec.dump(release))
    digest = ids.sha256(raw)
    oci.write_raw(digest, raw)
    manifest = {
        "schemaVersion": 2,
        "mediaType": layout.MANIFEST,
        "artifactType": MEDIA_TYPE,
        "config": oci.write_json(_EMPTY, {}).plain(),
        "layers": [Descriptor(MEDIA_TYPE, digest, len(raw)).plain()],
        "subject": subject.plain(),
    }
    oci.add_nameless(oci.write_json(layout.MANIFEST, manifest))


def attached(image: str, oci: Layout) -> Iterator[Release]:
    """The releases that an image of the store says it is. What does not fit its own id is left out."""
    for target in inspect.referrers({image}, oci):
        try:
            plain = oci.read_json(target.digest)
            if plain.get("artifactType") != MEDIA_TYPE:
                continue
            raw = oci.read_raw(documents.digest(documents.tables(plain, "layers")[0]))
            release = codec.load(Release, documents.parse(raw or b""))
        except (ValueError, TypeError, AttributeError, IndexError, RegistryError):
            continue
        if release.image == image and release.is_sound:
            yield release
