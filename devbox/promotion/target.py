"""What promotion asks of a stage's environment. Whoever runs stages somewhere implements it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from devbox.errors import RegistryError
from devbox.execute.events import Sink
from devbox.images import inspect
from devbox.images.store import documents, layout
from devbox.images.store.layout import Descriptor, Layout
from devbox.model import codec, ids
from devbox.model.release import Release
from devbox.model.stage import Deployment, StageObserved


class StageTarget(Protocol):
    """One stage's environment. Every verb can be called again after a kill: it goes on, or finds nothing to do."""

    def observe(self) -> StageObserved:
        """Look once. Changes nothing."""

    def deploy(self, wanted: Deployment, sink: Sink, *, verify: bool = False) -> None:
        """Have the stage run this, and nothing else, by the strategy of its stage.

        `verify`: observe it for as long as its stage says when it has the traffic; VerifyFailed if it is not well.

        From any state: a deployment that was killed, of this or of another release, is continued or undone. Traffic
        goes only to what the runtime reports to be the digest of `wanted`, and is ready. When this raises, traffic goes
        where it went before, as far as that still runs.
        """

    def retire(self) -> None:
        """Stop everything of the stage; data stays."""


MEDIA_TYPE = "application/vnd.devbox.release.v1+json"
_EMPTY = "application/vnd.oci.empty.v1+json"


def attach_release(release: Release, subject: Descriptor, oci: Layout) -> None:
    """Have the image of the release carry its document."""
    if release.id in {each.id for each in list_attached_releases(subject.digest, oci)}:
        return
    raw = ids.encode_canonical_json(codec.dump(release))
    digest = ids.compute_sha256(raw)
    oci.write_raw(digest, raw)
    manifest = {
        "schemaVersion": 2,
        "mediaType": layout.MANIFEST,
        "artifactType": MEDIA_TYPE,
        "config": oci.write_json(_EMPTY, {}).to_json(),
        "layers": [Descriptor(MEDIA_TYPE, digest, len(raw)).to_json()],
        "subject": subject.to_json(),
    }
    oci.add_unnamed(oci.write_json(layout.MANIFEST, manifest))


def list_attached_releases(image: str, oci: Layout) -> Iterator[Release]:
    """The releases that an image of the store says it is. What does not fit its own id is left out."""
    for target in inspect.find_referrers({image}, oci):
        try:
            plain = oci.read_json(target.digest)
            if plain.get("artifactType") != MEDIA_TYPE:
                continue
            raw = oci.read_raw(documents.read_digest(documents.read_tables(plain, "layers")[0]))
            release = codec.load(Release, documents.parse(raw or b""))
        except (ValueError, TypeError, AttributeError, IndexError, RegistryError):
            continue
        if release.image == image and release.is_sound:
            yield release
