"""Package files in stacked layers: upper layers hide, replace and link as in a container."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from support import layouts

from devbox.errors import BakeFailed
from devbox.images.sbom import tree
from devbox.images.store import layout
from devbox.images.store.layout import Layout
from devbox.model.image import Layer

STATUS = "var/lib/dpkg/status"
SITE = "opt/venv/lib/python3.13/site-packages"


class Chain:
    """Layers made one by one."""

    def __init__(self, place: Path) -> None:
        self.oci = Layout(str(place / "oci"), lock=str(place / "lock"))
        self.layers: list[Layer] = []

    def add(self, files: dict[str, bytes], *, packed: bool = False) -> None:
        """A layer of files."""
        blob, diff_id = layouts.layer(self.oci, files, packed=packed)
        self.layers.append(Layer(digest=blob.digest, diff_id=diff_id, size=blob.size, media_type=blob.media_type))

    def add_entries(self, *entries: tuple[str, bytes, str]) -> None:
        """A layer of links (type, target) and files."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, kind, content in entries:
                entry = tarfile.TarInfo(name)
                entry.type = kind
                if kind == tarfile.REGTYPE:
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content.encode()))
                else:
                    entry.linkname = content
                    archive.addfile(entry)
        blob = layouts.blob(self.oci, out.getvalue(), layout.LAYER)
        self.layers.append(Layer(digest=blob.digest, diff_id=blob.digest, size=blob.size, media_type=blob.media_type))

    def read(self) -> tree.Tree:
        """Parse the layers."""
        return tree.read_tree(self.layers, self.oci)


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """No layers yet."""
    return Chain(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_the_last_layer_s_file_counts_and_others_are_not_kept(chain: Chain, *, packed: bool):
    chain.add({STATUS: b"one", "bin/sh": b"x" * 1000, f"{SITE}/a-1.dist-info/METADATA": b"a"}, packed=packed)
    chain.add({f"./{STATUS}": b"two"}, packed=packed)
    assert chain.read().files == {STATUS: b"two", f"{SITE}/a-1.dist-info/METADATA": b"a"}


def test_a_whiteout_hides_lower_entries_only(chain: Chain):
    chain.add({f"{SITE}/a-1.dist-info/METADATA": b"a", f"{SITE}/b-1.dist-info/METADATA": b"b", STATUS: b"s"})
    chain.add({f"{SITE}/a-2.dist-info/METADATA": b"a2", f"{SITE}/.wh.a-1.dist-info": b"", "var/lib/.wh.dpkg": b""})
    assert set(chain.read().files) == {f"{SITE}/a-2.dist-info/METADATA", f"{SITE}/b-1.dist-info/METADATA"}


def test_an_opaque_directory_hides_all_below_it(chain: Chain):
    chain.add({f"{SITE}/a-1.dist-info/METADATA": b"a", STATUS: b"s"})
    chain.add({f"{SITE}/b-1.dist-info/METADATA": b"b", "opt/.wh..wh..opq": b""})
    assert set(chain.read().files) == {f"{SITE}/b-1.dist-info/METADATA", STATUS}


def test_a_file_in_the_place_of_a_directory_hides_it(chain: Chain):
    chain.add({f"{SITE}/a-1.dist-info/METADATA": b"a"})
    chain.add({"opt": b"no directory"})
    assert chain.read().files == {}


def test_links_lead_within_the_image(chain: Chain):
    chain.add_entries(
        ("etc/os-release", tarfile.SYMTYPE, "../usr/lib/os-release"),
        ("usr/lib/os-release", tarfile.REGTYPE, "ID=debian\n"),
        ("usr/share/doc/gcc-14-base/copyright", tarfile.REGTYPE, "gcc"),
        ("usr/share/doc/libgcc-s1", tarfile.SYMTYPE, "gcc-14-base"),
        ("usr/share/doc/around", tarfile.SYMTYPE, "around"),
        ("usr/share/doc/out/copyright", tarfile.SYMTYPE, "../../../../../../etc/shadow"),
    )
    found = chain.read()
    assert found.read_text("etc/os-release") == "ID=debian\n"
    assert found.read_text("usr/share/doc/libgcc-s1/copyright") == "gcc"
    assert found.read_text("usr/share/doc/around/copyright") is None
    assert found.read_text("usr/share/doc/out/copyright") is None


def test_a_hard_link_is_the_file_whose_first_name_says_nothing(chain: Chain):
    chain.add_entries(
        ("store/ab12", tarfile.REGTYPE, '{"name": "left-pad"}'),
        ("app/node_modules/left-pad/package.json", tarfile.LNKTYPE, "store/ab12"),
        ("srv/node_modules/left-pad/package.json", tarfile.LNKTYPE, "app/node_modules/left-pad/package.json"),
    )
    found = chain.read().files
    assert found["app/node_modules/left-pad/package.json"] == b'{"name": "left-pad"}'
    assert found["srv/node_modules/left-pad/package.json"] == b'{"name": "left-pad"}'


def test_a_layer_that_is_not_what_its_digest_says_is_refused(chain: Chain):
    chain.add({STATUS: b"one"})
    path = Path(chain.oci.get_blob_path(chain.layers[0].digest))
    path.write_bytes(path.read_bytes().replace(b"one", b"two"))
    with pytest.raises(BakeFailed, match="digest"):
        chain.read()


def test_a_file_that_would_fill_the_memory_is_refused(chain: Chain):
    chain.add({STATUS: bytes((1 << 25) + 1)}, packed=True)
    with pytest.raises(BakeFailed, match="too large"):
        chain.read()
