"""The files of a stage's router: its configuration, and the socket of its runtime API.

They lie in the configuration directory: a process that could write them would lead clients elsewhere, shift all of them
to a release on trial, or tell the judge other numbers.
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
from devbox.model.container import ContainerSpec
from devbox.model.observed import Observed, ObservedContainer
from devbox.model.router import ROUTER, RouterState
from devbox.model.stage import Deployment
from devbox.plan import identity
from devbox.records.host_files import HostFiles

EARLIER = (
    "an earlier devbox started the router of {stage}, with its files below DEVBOX_HOME; to have them in the "
    "configuration directory: devbox down --stage {stage}, then promote to it again"
)


class RouterFiles:
    """Those of one stage's instance. Writers hold the instance's lock.

    A router that an earlier version started has its files below the home until it is replaced, and is supplied there.
    """

    def __init__(self, paths: Paths, instance: str) -> None:
        self.directory = paths.router(instance)  # of the router that is started next
        self._files = HostFiles(paths)
        self._home = paths.home
        self._earlier = self._files.get_legacy_path(self.directory)
        self._launch = paths.launch_file(instance, ROUTER)

    @property
    def active_directory(self) -> str:
        """The directory of the router that runs."""
        return self._earlier if self.is_earlier else self.directory

    @property
    def is_earlier(self) -> bool:
        """True if the running router was started by an earlier version, as its supervisor has written it down."""
        if not os.path.lexists(self._earlier):
            return False
        try:
            launch = jsontext.loads(files.read_text(self._launch) or "{}")["launch"]
            return any(bind["source"] == self._earlier for bind in launch["binds"])
        except (ValueError, KeyError, TypeError):
            return False

    @property
    def is_attached(self) -> bool:
        """True if the running router has its socket there; not if the directory was removed while it ran."""
        return os.path.lexists(f"{self.active_directory}/{config.SOCKET}")

    def build_container(self, wanted: Deployment, seen: ObservedContainer | None) -> ContainerSpec:
        """Its container; as the running one is, if an earlier version started it and nothing else has it replaced."""
        if seen is not None and seen.state == "running" and self.is_earlier:
            earlier = stage_containers.build_router(wanted, directory=self.active_directory, mount="scratch")
            if seen.spec_key == identity.compute_spec_key(earlier):
                return earlier
        return stage_containers.build_router(wanted, directory=self.directory)

    def recognize(self, observed: Observed) -> Observed:
        """What was observed; a running router whose directory was removed counts as another one, to be replaced."""
        seen = observed.containers.get(ROUTER)
        if seen is None or seen.state != "running" or self.is_attached:
            return observed
        return replace(observed, containers={**observed.containers, ROUTER: replace(seen, spec_key="")})

    def prepare(self) -> None:
        """Have what a router reads at its start, the configuration aside; remove what no running one uses any more."""
        if not os.path.exists(f"{self.directory}/{metrics.ROLLOUT}"):
            self.write_file(metrics.ROLLOUT, metrics.render_rollout_map(""))
        if os.path.lexists(self._earlier) and not self.is_earlier:
            self._remove_earlier()

    def write(self, state: RouterState) -> None:
        """Write what a router that does this starts from."""
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
