"""The store of an ordinary user and that of root are byte-identical."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine import as_ordinary_user

from devbox.images.image_store import ImageStore
from devbox.model import codec
from devbox.model.image import Bootstrap, Files, ImageConfig, ImageSpec, Packages, Run, key_image

SPEC = ImageSpec(
    name="base",
    parent=None,
    steps=(
        Bootstrap(distribution="debian", suite="trixie"),
        Files(contents={"/etc/motd": "hello\n"}),
        Packages(names=("less",)),
        Run(commands=("chown daemon:mail /etc/motd; rm -r /etc/cron.d; mkdir -p /etc/skel/x; rm -r /opt; mkdir /opt",)),
    ),
    config=ImageConfig(),
)
PROGRAM = """
import json, sys
from devbox.host.paths import Paths
from devbox.images.image_store import ImageStore
from devbox.model import codec
from devbox.model.image import KeyedImage
store = ImageStore(Paths(sys.argv[1], sys.argv[2]))
baked = store.bake(codec.load(KeyedImage, json.load(sys.stdin)), lambda event: None)
print(json.dumps(codec.dump(baked)))
"""


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory of the user, removed together with files of subordinate ids."""
    made = Path(tempfile.mkdtemp(prefix="devbox-user-images-"))
    made.chmod(0o755)
    yield made
    subprocess.run(["rm", "-rf", str(made)], check=True)


def test_root_and_an_ordinary_user_bake_the_same_bytes(store: ImageStore, base: Path) -> None:
    image = key_image("base", {"base": SPEC})
    by_root = store.bake(image, lambda _: None)
    start, environment = as_ordinary_user(base)
    subprocess.run(["chown", "-R", environment["USER"], str(base)], check=True)
    done = subprocess.run(
        [*start, "-c", PROGRAM, str(base / "store"), str(base / "run")],
        env=environment,
        input=json.dumps(codec.dump(image)).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == codec.dump(by_root)
