"""The `sbom` gate identifies an image by its digest, whatever the store contains."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import layouts

from devbox.errors import DevboxError
from devbox.images.sbom import attach
from devbox.images.store.layout import Layout
from devbox.images.store.manifest import get_architecture


@pytest.mark.parametrize("which", ["index", "manifest", "config"])
def test_issue10_2_a_bill_is_made_of_no_document_that_was_changed_in_the_store(tmp_path: Path, which: str):
    """The list of layers was replaced by that of another image, so that the gate `sbom` found nothing denied."""
    oci = Layout(str(tmp_path / "oci"), lock=str(tmp_path / "lock"))
    made = {}
    for name in ("bad", "good"):
        status = f"Package: {name}\nStatus: install ok installed\nVersion: 1\n\n".encode()
        manifest = layouts.manifest(oci, layouts.layer(oci, {"var/lib/dpkg/status": status}))
        config = oci.read_json(manifest.digest)["config"]["digest"]
        index = layouts.index(oci, (manifest, get_architecture()))
        made[name] = {"index": index.digest, "manifest": manifest.digest, "config": config, "top": index}
    assert [each.name for each in attach.build_sbom(made["bad"]["top"], oci).packages] == ["bad"]
    bad, good = (Path(oci.get_blob_path(made[name][which])) for name in ("bad", "good"))
    bad.chmod(0o644)
    bad.write_bytes(good.read_bytes())
    with pytest.raises(DevboxError):
        attach.build_sbom(made["bad"]["top"], oci)
