"""Files of a stage's router: its configuration and the runtime API socket.

They are in the configuration directory: a process with write access could redirect clients, shift all of them to a
canary or falsify the counters.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace

from devbox.deploy import stage_containers
from devbox.deploy.haproxy import config, metrics
from devbox.host import disk, files, safe_files
from devbox.host.paths import Paths
from devbox.model import jsontext
from devbox.model.container import ContainerSpec, compute_spec_key
from devbox.model.observed import Observed, ObservedContainer
from devbox.model.router import ROUTER, RouterState
from devbox.model.stage import Deployment
from devbox.records.host_files import HostFiles

EARLIER = (
    "the router of {stage} was started by an earlier devbox, with its files below DEVBOX_HOME; to move them to the "
    "configuration directory: devbox down --stage {stage}, then promote to it again"
)


class RouterFiles:
    """Files of one stage's router. Writers hold the instance lock.

    A router started by an earlier version uses files below DEVBOX_HOME until it is replaced; both places are updated.
    """

    def __init__(self, paths: Paths, instance: str) -> None:
        self.directory = paths.router(instance)  # of the next router to start
        self._files = HostFiles(paths)
        self._home = paths.home
        self._earlier = self._files.get_legacy_path(self.directory)
        self._launch = paths.launch_file(instance, ROUTER)

    @property
    def active_directory(self) -> str:
        """Directory of the running router."""
        return self._earlier if self.is_earlier else self.directory

    @property
    def is_earlier(self) -> bool:
        """True if the running router was started by an earlier version, by its launch file."""
        if not os.path.lexists(self._earlier):
            return False
        try:
            launch = jsontext.loads(files.read_text(self._launch) or "{}")["launch"]
            return any(bind["source"] == self._earlier for bind in launch["binds"])
        except (ValueError, KeyError, TypeError):
            return False

    @property
    def is_attached(self) -> bool:
        """True if the running router's socket exists; False if its directory was removed meanwhile."""
        return os.path.lexists(f"{self.active_directory}/{config.SOCKET}")

    def build_container(self, deployment: Deployment, seen: ObservedContainer | None) -> ContainerSpec:
        """Return the router's container; unchanged for a router of an earlier version that needs no replacement."""
        if seen is not None and seen.state == "running" and self.is_earlier:
            earlier = stage_containers.build_router(deployment, directory=self.active_directory, mount="scratch")
            if seen.spec_key == compute_spec_key(earlier):
                return earlier
        return stage_containers.build_router(deployment, directory=self.directory)

    def recognize(self, observed: Observed) -> Observed:
        """Mark a running router as outdated if its directory was removed, so that it is replaced."""
        seen = observed.containers.get(ROUTER)
        if seen is None or seen.state != "running" or self.is_attached:
            return observed
        return replace(observed, containers={**observed.containers, ROUTER: replace(seen, spec_key="")})

    def prepare(self) -> None:
        """Create the files that a router reads at its start, except the configuration; remove unused ones."""
        if not os.path.exists(f"{self.directory}/{metrics.ROLLOUT}"):
            self.write_file(metrics.ROLLOUT, metrics.render_rollout_map(""))
        if os.path.lexists(self._earlier) and not self.is_earlier:
            self._remove_earlier()

    def write(self, state: RouterState) -> None:
        """Write the start files for a router state."""
        self.write_file(config.CONFIG, config.render_config(state))
        self.write_file(config.SHARE, config.render_share_map(state))
        self.write_file(config.CHECKS, config.render_checks_map(state))
        self.write_file(metrics.PAGE, config.render_metrics_page(state))

    def write_file(self, name: str, text: str) -> None:
        """Replace one file. HostError if it cannot be written."""
        path = f"{self.directory}/{name}"
        self._files.prepare(path)
        files.write_atomic(path, text)
        if self.is_earlier:
            safe_files.write(self._home, os.path.relpath(f"{self._earlier}/{name}", self._home), text)

    def _remove_earlier(self) -> None:
        above, _, name = os.path.relpath(self._earlier, self._home).rpartition("/")
        with contextlib.suppress(OSError), safe_files.ProjectDirectory(self._home) as home:
            directory = home.open_directory(above, links=False)
            try:
                disk.remove(f"/proc/self/fd/{directory}/{name}")
            finally:
                os.close(directory)
