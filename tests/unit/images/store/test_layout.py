"""The layout on disk stays valid under concurrent writers."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from devbox.errors import DevboxError
from devbox.images.store import layout, manifest
from devbox.images.store.layout import Layout
from devbox.model.image import ImageConfig, Layer

LAYER = Layer(digest="sha256:" + "a" * 64, diff_id="sha256:" + "a" * 64, size=512, media_type=layout.LAYER)


def new_layout(tmp_path: Path) -> Layout:
    made = Layout(str(tmp_path / "oci"), lock=str(tmp_path / "locks/oci"))
    made.create()
    return made


def test_a_new_layout_is_empty_and_valid(tmp_path: Path) -> None:
    oci = new_layout(tmp_path)
    assert json.loads((tmp_path / "oci/oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert oci.read_refs() == {}
    oci.create()
    assert (tmp_path / "oci").stat().st_mode & 0o777 == 0o700  # images of others' registries are not for others here


def test_a_name_points_to_its_last_target(tmp_path: Path) -> None:
    oci = new_layout(tmp_path)
    first, second = oci.write_json(layout.INDEX, {"n": 1}), oci.write_json(layout.INDEX, {"n": 2})
    oci.set_ref("x", first)
    oci.set_ref("y", first)
    oci.set_ref("x", second)
    assert oci.read_refs() == {"x": second, "y": first}
    assert oci.read_json(second.digest) == {"n": 2}


def test_concurrent_writers_lose_no_name(tmp_path: Path) -> None:
    oci = new_layout(tmp_path)
    names = {f"n{number}" for number in range(12)}
    target = oci.write_json(layout.INDEX, {})
    threads = [threading.Thread(target=oci.set_ref, args=(name, target)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert oci.read_refs().keys() == names


def test_a_config_says_what_the_image_runs() -> None:
    config = ImageConfig(env={"B": "2", "A": "1"}, command=("web",), stop_signal="INT", workdir="/srv", user="app")
    made = manifest.build_image_config(config, [LAYER], ["devbox: x"])
    assert made["config"]["Env"] == ["A=1", "B=2", f"PATH={manifest.DEFAULT_PATH}"]
    assert made["config"]["StopSignal"] == "SIGINT"
    assert made["config"]["Cmd"] == ["web"]
    assert "Entrypoint" not in made["config"]
    assert made["rootfs"]["diff_ids"] == [LAYER.diff_id]
    assert made["created"] == "2025-01-01T00:00:00Z"


def test_issue10_2_a_pipe_in_place_of_index_or_blob_is_damaged_and_not_waited_for(tmp_path: Path) -> None:
    oci = new_layout(tmp_path)
    target = oci.write_json(layout.INDEX, {})
    signal.alarm(20)  # ends the tests where it waits for a writer
    try:
        for path, read in (
            (oci.get_blob_path(target.digest), lambda: oci.read_json(target.digest)),
            (_index(oci), oci.read_refs),
        ):
            os.unlink(path)
            os.mkfifo(path)
            with pytest.raises(DevboxError, match=r"invalid image index|cannot read"):
                read()
    finally:
        signal.alarm(0)


def _index(oci: Layout) -> str:
    return f"{oci.root}/index.json"
