"""Target interface: a stage's environment. Implemented by each kind of target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from devbox.errors import RegistryError
from devbox.execute.events import Sink
from devbox.images import inspect
from devbox.images.store import documents
from devbox.images.store.layout import Descriptor, Layout
from devbox.model import codec, ids
from devbox.model.release import Release
from devbox.model.stage import Deployment, StageObserved


class StageTarget(Protocol):
    """Environment of one stage. All methods are idempotent and can be repeated after a kill."""

    def observe(self) -> StageObserved:
        """Observe once without changes."""

    def deploy(self, deployment: Deployment, sink: Sink, *, verify: bool = False) -> None:
        """Deploy this release and remove all others, by the stage's strategy.

        `verify`: observe the release for the stage's time once it has the traffic; VerifyFailed if it is unhealthy.
        Works from any state: an interrupted deployment of this or another release is continued or undone. Traffic goes
        only to containers that are ready and run the digest of `deployment`, as reported by the runtime. On an error,
        traffic stays on the previous release, as far as it still runs.
        """

    def retire(self) -> None:
        """Stop everything in the stage; data stays."""


MEDIA_TYPE = "application/vnd.devbox.release.v1+json"


def attach_release(release: Release, subject: Descriptor, oci: Layout) -> None:
    """Attach the release document to its image."""
    if release.id in {each.id for each in list_attached_releases(subject.digest, oci)}:
        return
    oci.attach(ids.encode_canonical_json(codec.dump(release)), MEDIA_TYPE, subject)


def list_attached_releases(image: str, oci: Layout) -> Iterator[Release]:
    """Yield the releases attached to an image in the store. Documents that do not match their ID are skipped."""
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
