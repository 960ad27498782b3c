"""A release's id: equal for equal releases, different for any change."""

from __future__ import annotations

import json
from dataclasses import replace

from devbox.model import codec, ids
from devbox.model.container import Port
from devbox.model.release import Process, Release, ReleaseConfig, compute_config_digest, compute_release_id

WEB = Process(kind="service", command=("serve",), ports=(Port(container=8000),), env={"A": "1", "B": "2"})
CONFIG = ReleaseConfig(processes={"web": WEB}, needs={"db": {"DATABASE_URL": "MAIN_URL"}})


def test_the_id_is_the_hash_of_canonical_json():
    text = json.dumps(
        {"config": compute_config_digest(CONFIG), "image": "sha256:1", "source": "git:2"}, separators=(",", ":")
    )
    assert compute_release_id(image="sha256:1", config=CONFIG, source="git:2") == ids.compute_sha256(text.encode())


def test_the_order_of_the_file_does_not_matter():
    turned = replace(WEB, env={"B": "2", "A": "1"})
    two = ReleaseConfig(processes={"web": WEB, "job": WEB})
    assert compute_config_digest(replace(CONFIG, processes={"web": turned})) == compute_config_digest(CONFIG)
    assert compute_config_digest(replace(two, processes={"job": WEB, "web": WEB})) == compute_config_digest(two)


def test_image_config_and_source_each_make_another_release():
    changed = replace(CONFIG, processes={"web": replace(WEB, command=("serve", "--more"))})
    found = {
        compute_release_id(image="sha256:1", config=CONFIG, source="git:2"),
        compute_release_id(image="sha256:2", config=CONFIG, source="git:2"),
        compute_release_id(image="sha256:1", config=changed, source="git:2"),
        compute_release_id(image="sha256:1", config=CONFIG, source="git:3"),
    }
    assert len(found) == 4


def test_a_release_survives_its_record():
    release = Release(id="sha256:9", image="sha256:1", config=CONFIG, source="git:2", created_at="2026-01-01T00:00:00Z")
    assert codec.load(Release, json.loads(json.dumps(codec.dump(release)))) == release
