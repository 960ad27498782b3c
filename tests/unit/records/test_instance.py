"""Records of an instance: exact, private, and never partly read."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import builders
from support.builders import container, resolved

from devbox.errors import DevboxError
from devbox.host import files
from devbox.host.paths import Paths, is_on_tmpfs
from devbox.model.observed import LastApplied
from devbox.model.spec import LockedSpec
from devbox.records import spec_cache
from devbox.records.host_key import HostKey
from devbox.records.instance import InstanceRecords

_FILE = resolved(container("db"), container("dev", role="dev", needs=("db",)))
SHOP = LockedSpec(instance=_FILE.instance, images=_FILE.images, containers=_FILE.containers)
LAST = LastApplied(images=builders.key_images(SHOP), specs=SHOP.containers, setup_files={"dev": {"a": "1"}})


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"))


@pytest.fixture
def records(paths: Paths) -> InstanceRecords:
    return InstanceRecords(paths, SHOP.instance.id)


def test_the_last_run_round_trips(records):
    assert records.read_last_applied() == LastApplied()
    records.record_applied(LAST)
    assert records.read_last_applied() == LAST


def test_ports_of_containers_that_are_away_stay_remembered(records):
    records.record_ports({"dev/8000/tcp": 8000})
    records.record_ports({"web/80/tcp": 20001})
    assert records.read_ports() == {"dev/8000/tcp": 8000, "web/80/tcp": 20001}


def test_credentials_are_made_once_and_are_private(records, paths):
    first = records.ensure_credentials(("db.password",))
    assert len(first["db.password"]) >= 20
    assert records.ensure_credentials(("db.password", "mq.password")) == first | {
        "mq.password": records.ensure_credentials(())["mq.password"]
    }
    mode = stat.S_IMODE(Path(paths.project(SHOP.instance.id), "credentials.json").stat().st_mode)
    assert mode == 0o600


def test_credentials_that_another_devbox_made_meanwhile_are_taken(records, paths):
    """Two processes that find none agree on one: who comes second into the lock reads again."""
    lock = paths.lock(f"{SHOP.instance.id}.credentials")
    with ThreadPoolExecutor(2) as threads, files.lock_file(lock):
        asked = [threads.submit(records.ensure_credentials, ("db.password",)) for _ in "ab"]
        assert not any(future.done() for future in asked)
    assert asked[0].result() == asked[1].result() == records.ensure_credentials(("db.password",))


def test_observing_stores_no_credentials(records, paths):
    assert records.ensure_credentials(("db.password",), keep=False).keys() == {"db.password"}
    assert not Path(paths.project(SHOP.instance.id), "credentials.json").exists()
    kept = records.ensure_credentials(("db.password",))
    assert records.ensure_credentials(("db.password", "mq.password"), keep=False).items() >= kept.items()


def test_forgetting_leaves_nothing(records, paths):
    records.record_applied(LAST)
    records.record_place("/shop", "devbox.toml")
    records.record_ports({"dev/8000/tcp": 8000})
    before = records.ensure_credentials(("db.password",))
    records.forget()
    assert not Path(paths.project(SHOP.instance.id)).exists()
    records.forget()
    assert (records.read_last_applied(), records.read_place(), records.read_ports()) == (LastApplied(), ("", ""), {})
    assert records.ensure_credentials(("db.password",)) != before


def test_what_is_trusted_outlives_the_data_together_with_its_place(records, paths):
    records.record_place("/shop", "devbox.toml")
    records.record_ports({"dev/8000/tcp": 8000})
    Path(paths.trust(SHOP.instance.id)).write_text("{}")
    records.forget()
    assert sorted(path.name for path in Path(paths.project(SHOP.instance.id)).iterdir()) == ["place.json", "trust.json"]


def test_a_newer_format_is_refused_with_a_remedy(records, paths):
    records.record_applied(LAST)
    Path(paths.project(SHOP.instance.id), "last.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(DevboxError, match="newer devbox") as error:
        records.read_last_applied()
    assert "upgrade" in error.value.remedy


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_record_is_named_unless_it_can_be_done_without(records, paths, text):
    records.record_applied(LAST)
    records.record_ports({"dev/8000/tcp": 8000})
    for name in ("last.json", "ports.json"):
        Path(paths.project(SHOP.instance.id), name).write_text(text)
    assert records.read_last_applied() == LastApplied()
    with pytest.raises(DevboxError, match=r"ports\.json is damaged") as error:
        records.read_ports()
    assert error.value.remedy == f"remove it: rm {paths.project(SHOP.instance.id)}/ports.json"


def directory(paths):
    return paths.project(SHOP.instance.id)


class TestResolvedCache:
    @pytest.fixture
    def env_file(self, tmp_path, paths, monkeypatch):
        monkeypatch.setenv("WHO", "me")
        path = tmp_path / "devbox.toml"
        path.write_text("[dev]\n")
        spec_cache.write(
            paths, directory(paths), SHOP, "1", inputs=(str(path), str(tmp_path / "absent")), variables=("WHO",)
        )
        return path

    def read(self, paths, reader="1"):
        return spec_cache.read(paths, directory(paths), reader)

    def test_an_unchanged_file_gives_the_model(self, env_file, paths):
        assert self.read(paths) == SHOP

    def test_a_changed_input_a_new_file_a_variable_or_a_version_does_not(self, env_file, paths, tmp_path, monkeypatch):
        assert self.read(paths, reader="2") is None
        (tmp_path / "absent").write_text("")
        assert self.read(paths) is None
        (tmp_path / "absent").unlink()
        assert self.read(paths) == SHOP
        monkeypatch.setenv("WHO", "you")
        assert self.read(paths) is None
        monkeypatch.setenv("WHO", "me")
        env_file.write_text("[dev]\n# changed\n")
        assert self.read(paths) is None

    def test_a_damaged_cache_counts_as_none(self, env_file, paths):
        Path(paths.project(SHOP.instance.id), "resolved.json").write_text("{}")
        assert self.read(paths) is None

    def test_issue10_2_a_forged_cache_counts_as_none(self, env_file, paths, tmp_path, monkeypatch):
        """Any process can compute its hash of the file; its content decides about mounts and networks."""
        cache = Path(paths.project(SHOP.instance.id), "resolved.json")
        assert self.read(paths) == SHOP
        HostKey(paths).prepare()
        assert self.read(paths) is None, "from now on, only what is authenticated counts"
        spec_cache.write(paths, directory(paths), SHOP, "1", inputs=(str(env_file),), variables=())
        authentic = cache.read_text()
        assert self.read(paths) == SHOP
        assert json.loads(authentic)["resolved"], "it is still one document"
        for forged in (
            authentic.replace('"shop"', '"other"'),
            "{" + authentic.partition(", ")[2],
            authentic.replace("hmac-sha256:", "hmac-sha256:0"),
            authentic[:-1] + ', "mac": ""}',
            '{"mac": "", ' + authentic.partition(", ")[2],
        ):
            assert forged != authentic
            cache.write_text(forged)
            assert self.read(paths) is None
        other = paths.project("another")
        Path(other).mkdir()
        Path(other, "resolved.json").write_text(authentic)
        assert spec_cache.read(paths, other, "1") is None, "it is another project's"
        cache.write_text(authentic)
        assert self.read(paths) == SHOP
        os.chmod(paths.config, 0o755)
        assert self.read(paths) is None, "others may know the key"

    def test_secrets_are_kept_only_where_they_reach_no_disk(self, tmp_path):
        assert not spec_cache.can_hold_secrets(str(tmp_path / "absent"))
        with tempfile.TemporaryDirectory(dir="/dev/shm") as tmpfs:
            assert spec_cache.can_hold_secrets(tmpfs)
        if not is_on_tmpfs(str(tmp_path)):
            assert not spec_cache.can_hold_secrets(str(tmp_path))
