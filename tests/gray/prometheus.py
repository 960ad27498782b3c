"""A real Prometheus server on loopback, for the duration of a test."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

from gray.routers import free_ports
from support.machine import lacking

USER, PASSWORD = "ann", "geheim"
_HASH = "$2b$04$abcdefghijklmnopqrstuuPWRtT5yx7FBi4dcf6ROhboeNunUrLQ."  # of that password, by crypt(3)


@contextlib.contextmanager
def prometheus(
    directory: Path, *, scrape: dict[str, str] | None = None, protected: bool = False, port: int = 0
) -> Iterator[str]:
    """The server's URL. `scrape`: address → path, scraped five times a second."""
    if shutil.which("prometheus") is None:
        lacking("prometheus is not installed")
    directory.mkdir(exist_ok=True)
    jobs = [
        {"job_name": f"job{number}", "metrics_path": path, "static_configs": [{"targets": [address]}]}
        for number, (address, path) in enumerate((scrape or {}).items())
    ]
    plain = {"global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"}, "scrape_configs": jobs}
    (directory / "prometheus.yml").write_text(json.dumps(plain))
    web = {"basic_auth_users": {USER: _HASH}} if protected else {}
    (directory / "web.yml").write_text(json.dumps(web))
    port = port or free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory}/prometheus.yml",
                f"--web.config.file={directory}/web.yml",
                f"--storage.tsdb.path={directory}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _await(url, process, directory)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _await(url: str, process: subprocess.Popen[bytes], directory: Path) -> None:
    """Wait until it has loaded its database: before, it answers 503; to a request without the password, 401 at once."""
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    request = urllib.request.Request(f"{url}/-/ready", headers={"Authorization": f"Basic {token}"})
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(request, timeout=5).close()
            return
        if process.poll() is not None or time.monotonic() > end:
            raise AssertionError((directory / "log").read_text())
        time.sleep(0.05)


def query(url: str, text: str) -> list[tuple[dict[str, str], float]]:
    """The series of an instant query, each with its labels."""
    with urllib.request.urlopen(f"{url}/api/v1/query?{urlencode({'query': text})}", timeout=20) as answer:
        found = json.load(answer)["data"]["result"]
    return [(each["metric"], float(each["value"][1])) for each in found]
