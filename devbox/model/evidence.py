"""What the tests said about a release."""

from __future__ import annotations

from dataclasses import field

from devbox.frozen import dataclass
from devbox.model import codec, ids


@dataclass(frozen=True, kw_only=True)
class TestEvidence:
    """One run of the tests against one image. `digest` is the image index's; `cells`: name → how it ended."""

    __test__ = False  # no class of tests, whatever pytest makes of its name

    digest: str
    passed: bool
    at: str  # RFC 3339 UTC: when it ended
    cells: dict[str, str] = field(default_factory=dict)
    release: str = ""  # its id
    run: str = ""  # the id of the run

    @property
    def evidence(self) -> str:
        """The digest of all this."""
        return ids.key_of(codec.dump(self))
