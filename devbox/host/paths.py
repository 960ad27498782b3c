"""The only place where paths are made. On the hot path: standard library only, strings instead of pathlib.

`DEVBOX_HOME` (default: root `/var/lib/devbox`, others `$XDG_DATA_HOME/devbox`) holds what lasts; the runtime directory
lies on tmpfs and holds what a boot forgets: sockets, bundles, resolved environments. `DEVBOX_CONFIG` (default: root
`/etc/devbox`, others `$XDG_CONFIG_HOME/devbox`), outside of the home, holds the key that authenticates parts of it.
"""

from __future__ import annotations

import os
import stat

from devbox.host import environ

_TAG_DIGITS = 16  # of the hash of a home's path


class Paths:
    """Every path of one `DEVBOX_HOME`."""

    def __init__(self, home: str, runtime: str, config: str = "") -> None:
        """`config`: the configuration directory; "" for that of this process."""
        self.home = home
        self.runtime = runtime
        self._config = config

    @property
    def config(self) -> str:
        """The directory of the key of this host, and of what it remembers about homes; outside of the home."""
        return self._config or _find_config_dir()

    @property
    def host_state(self) -> str:
        """What this host keeps about this home, in the configuration directory: nothing below the home changes it."""
        import hashlib  # not on the hot path

        tag = hashlib.sha256(os.fsencode(os.path.realpath(self.home))).hexdigest()[:_TAG_DIGITS]
        return f"{self.config}/homes/{tag}"

    @property
    def host_files(self) -> str:
        """Files of which releases are decided: each at the path that it had below the home in earlier versions."""
        return f"{self.host_state}/files"

    def host_project(self, instance: str) -> str:
        """Those of one instance."""
        return f"{self.host_files}/projects/{instance}"

    @property
    def oci(self) -> str:
        """The OCI image layout."""
        return f"{self.home}/oci"

    @property
    def snapshots(self) -> str:
        """Unpacked layers, one directory per diff id."""
        return f"{self.home}/snapshots"

    @property
    def cache(self) -> str:
        """Download caches shared by all bakes, and the step index."""
        return environ.get("DEVBOX_CACHE", f"{self.home}/cache")

    def apt_cache(self, distribution: str, suite: str) -> str:
        """What apt downloads for a suite, proven: `debs/` and `lists/`."""
        return f"{self.cache}/signed/{distribution}-{suite}"

    def command_cache(self, project: str, name: str) -> str:
        """A cache that commands of a project's bakes and builds share; others never read it."""
        return f"{self.cache}/run/{project}/{name}"

    @property
    def steps(self) -> str:
        """The step cache: one small file per step or image key."""
        return f"{self.home}/steps"

    @property
    def tmp(self) -> str:
        """Work in progress of bakes; what a killed one leaves is swept by the next command."""
        return f"{self.home}/tmp"  # noqa: S108 - below DEVBOX_HOME

    @property
    def partial_blobs(self) -> str:
        """Blobs of registries whose transfer is not complete, by their digest's digits."""
        return f"{self.home}/partial"

    @property
    def buildah(self) -> str:
        """buildah's own storage: its cache of the steps of Dockerfiles, and their cache mounts."""
        return f"{self.home}/buildah"

    @property
    def installed_records(self) -> str:
        """What `devbox install` has put onto this machine."""
        return f"{self.host_files}/installed"

    @property
    def named_images(self) -> str:
        """The images that were pulled or imported by name."""
        return f"{self.home}/named-images.json"

    @property
    def keys(self) -> str:
        """The keys that this user signs with."""
        return f"{self.home}/keys"

    def key_command(self, name: str) -> str:
        """The command that signs with a key."""
        return f"{self.host_files}/keys/{name}.cmd"

    @property
    def idmap(self) -> str:
        """The recorded id range of this store."""
        return f"{self.home}/idmap.json"

    def lock(self, name: str) -> str:
        """A lock file of the store."""
        return f"{self.home}/locks/{name}"

    @property
    def projects(self) -> str:
        """What devbox keeps about instances, the tops of their containers among it."""
        return f"{self.home}/projects"

    def blob_lock(self, digest: str) -> str:
        """The lock of whoever has a blob brought to its place, or taken from it."""
        return self.lock(f"blob-{digest.removeprefix('sha256:')}")

    def moved_project(self, key: str) -> str:
        """The instance id of the project now at the place with this key, if it is not the key itself."""
        return f"{self.home}/moved/{key}"

    def project(self, instance: str) -> str:
        """What devbox keeps about one instance."""
        return f"{self.projects}/{instance}"

    def digests(self, instance: str) -> str:
        """The digests of the project's tarballs, as they were when they were read last."""
        return f"{self.project(instance)}/digests.json"

    def tasks(self, instance: str) -> str:
        """What its tasks succeeded with last."""
        return f"{self.project(instance)}/tasks.json"

    def releases(self, instance: str) -> str:
        """The releases that were built of an instance."""
        return f"{self.project(instance)}/releases"

    def ledger(self, instance: str) -> str:
        """What happened to an instance's releases: the ledger and its head."""
        return f"{self.home}/ledger/{instance}"

    def gray_release(self, instance: str) -> str:
        """The gray release of a stage's instance: its state, what users request of it, what was observed."""
        return f"{self.host_project(instance)}/trial"

    def promotion_log(self, instance: str) -> str:
        """The output of the last detached promotion to a stage's instance."""
        return f"{self.gray_release(instance)}/promotion.log"

    def stage_deployments(self, instance: str) -> str:
        """What a stage runs, what comes, what it ran before."""
        return f"{self.host_project(instance)}/deployed.json"

    def tally(self, instance: str) -> str:
        """How many requests a stage's routers lost, by cause."""
        return f"{self.host_project(instance)}/tally.json"

    def promoted_stages(self, instance: str) -> str:
        """What the env file said about stages at the last promotion."""
        return f"{self.host_project(instance)}/promoted.json"

    def release_grants(self, instance: str) -> str:
        """What the user lets the file grant containers when releases of it are promoted."""
        return f"{self.host_project(instance)}/release-grants.json"

    def stage_services(self, instance: str) -> str:
        """The services of a stage's last deployment."""
        return f"{self.host_project(instance)}/backing.json"

    def router(self, instance: str) -> str:
        """The files of a stage's router, and the socket of its runtime API."""
        return f"{self.host_project(instance)}/router"

    def trust(self, instance: str) -> str:
        """Changes with what the user has allowed an instance, which shells look at; it allows nothing by itself."""
        return f"{self.project(instance)}/trust.json"

    def grants(self, instance: str) -> str:
        """What an instance's file grants its containers, since it ran isolated."""
        return f"{self.project(instance)}/grants.json"

    @property
    def data(self) -> str:
        """The volumes of all instances."""
        return f"{self.home}/volumes"

    def volumes(self, instance: str) -> str:
        """All volumes of an instance."""
        return f"{self.data}/{instance}"

    def volume(self, instance: str, name: str) -> str:
        """A named volume's data."""
        return f"{self.volumes(instance)}/{name}"

    def volume_snapshots(self, instance: str) -> str:
        """The snapshots of an instance's volumes."""
        return f"{self.home}/saved/{instance}"

    def writable_layer(self, instance: str, container: str) -> str:
        """A container's writable top: `upper/`, `work/` and its facts."""
        return f"{self.project(instance)}/tops/{container}"

    def private_mount(self, instance: str, container: str, target: str) -> str:
        """What a container changed of what it has mounted at `target` privately: `upper/`, `work/`."""
        return f"{self.writable_layer(instance, container)}/private/{hash_name(target)}"

    def tests(self, instance: str) -> str:
        """What came of the instance's tests: `cells/`, and what the next run goes by."""
        return f"{self.project(instance)}/tests"

    def shims(self, instance: str) -> str:
        """Commands for PATH that run the instance's tools."""
        return f"{self.project(instance)}/shims"

    def bake_log(self, key: str) -> str:
        """What the programs of a step of an image printed when it was made last."""
        return f"{self.home}/logs/bake/{key.removeprefix('sha256:')[:12]}.log"

    def log(self, instance: str, container: str) -> str:
        """A container's log file."""
        return f"{self.project(instance)}/logs/{container}.log"

    def describe_contents(self) -> dict[str, str]:
        """All that lies directly below the home, and what it is: `doctor --clean` removes this and nothing else."""
        names = {
            "oci": "images",
            "snapshots": "images, unpacked",
            "steps": "the index of images",
            "cache": "downloads",
            "tmp": "unfinished images",
            "partial": "unfinished downloads of images",
            "buildah": "the cache of Dockerfiles",
            "volumes": "data of projects",
            "saved": "snapshots of data",
            "projects": "what is known of projects",
            "moved": "where projects were moved to",
            "ledger": "what was promoted",
            "logs": "logs of bakes",
            "locks": "locks",
            "installed": "what is known of installed files",
            "keys": "keys to sign with",
            "named-images.json": "which images were pulled by name",
            "idmap.json": "the user ids of containers",
        }
        return {f"{self.home}/{name}": what for name, what in names.items()}

    # What a boot forgets.
    def instance_runtime(self, instance: str) -> str:
        """An instance's runtime directory."""
        return f"{self.runtime}/{instance}"

    def state(self, instance: str) -> str:
        """The instance's state file, written by its supervisor, read by everyone."""
        return f"{self.instance_runtime(instance)}/state.json"

    def socket(self, instance: str) -> str:
        """The supervisor's socket."""
        return f"{self.instance_runtime(instance)}/sock"

    def crun_root(self, instance: str) -> str:
        """The OCI runtime's own state."""
        return f"{self.instance_runtime(instance)}/oci"

    def supervisor_lock(self, instance: str) -> str:
        """Held by the instance's supervisor as long as it lives."""
        return f"{self.instance_runtime(instance)}/lock"

    def supervisor_log(self, instance: str) -> str:
        """What the supervisor itself has to say: its traces."""
        return f"{self.instance_runtime(instance)}/supervisor.log"

    def supervisor_files(self, instance: str) -> str:
        """What the supervisor keeps of its containers; nobody else may look in."""
        return f"{self.instance_runtime(instance)}/kept"

    def launch_file(self, instance: str, container: str) -> str:
        """How a container was started, environment included: for restarts and one-shots beside it."""
        return f"{self.supervisor_files(instance)}/{container}.json"

    def entry_file(self, instance: str, container: str) -> str:
        """The few facts that entering a running container takes, as `key=value` lines."""
        return f"{self.supervisor_files(instance)}/{container}.entry"

    def pid_file(self, instance: str, container: str) -> str:
        """Where the OCI runtime writes a container's pid 1, once it stands."""
        return f"{self.instance_runtime(instance)}/c/{container}/pid"

    def tool_call(self, instance: str, name: str) -> str:
        """How a tool that is up is called by this name."""
        return f"{self.supervisor_files(instance)}/{name}.call"

    def noop_record(self, instance: str) -> str:
        """What an `up` that had nothing to do looked at, and what it said."""
        return f"{self.instance_runtime(instance)}/idle"

    def agent(self, instance: str) -> str:
        """The directory of the socket that leads containers to their caller's SSH agent; they see it."""
        return f"{self.supervisor_files(instance)}/agent"

    def agent_link(self, instance: str) -> str:
        """A link that names the agent's own socket on this machine."""
        return f"{self.supervisor_files(instance)}/agent.to"

    def connections(self, instance: str, container: str) -> str:
        """How many connections a container has accepted whose supervisor listens for it."""
        return f"{self.supervisor_files(instance)}/{container}.connections"

    def fifo(self, instance: str, container: str) -> str:
        """Where a container's output goes."""
        return f"{self.supervisor_files(instance)}/{container}.fifo"


def get_default_paths() -> Paths:
    """The paths of this process: `DEVBOX_HOME` and the runtime directory that belongs to it."""
    home = os.path.realpath(environ.get("DEVBOX_HOME") or _find_default_home())
    return Paths(home, _find_runtime_dir(home))


def _find_config_dir() -> str:
    explicit = environ.get("DEVBOX_CONFIG")
    if explicit:
        return os.path.realpath(explicit)
    if os.geteuid() == 0:
        return "/etc/devbox"
    return f"{environ.get('XDG_CONFIG_HOME') or os.path.expanduser('~/.config')}/devbox"


def _find_default_home() -> str:
    if os.geteuid() == 0:
        return "/var/lib/devbox"
    data = environ.get("XDG_DATA_HOME") or f"{os.path.expanduser('~')}/.local/share"
    return f"{data}/devbox"


def _find_runtime_dir(home: str) -> str:
    """A tmpfs directory of this user for this home. Its name is short: socket paths end at 107 bytes."""
    uid = os.geteuid()
    tag = f"{hash_name(home)}"
    explicit = environ.get("DEVBOX_RUNTIME_DIR")
    if explicit:
        return f"{explicit}/{tag}"
    candidates = [environ.get("XDG_RUNTIME_DIR") if uid else "/run", "/dev/shm"]  # noqa: S108 - tmpfs, ownership checked
    for base in candidates:
        if base and is_on_tmpfs(base):
            return f"{_check_owner(f'{base}/devbox-{uid}')}/{tag}"
    return f"{_check_owner(f'/tmp/devbox-{uid}')}/{tag}"  # noqa: S108 - last resort


def _check_owner(directory: str) -> str:
    """The directory, unless somebody else made it: what is read there is believed, so it is looked at first."""
    try:
        facts = os.lstat(directory)
    except FileNotFoundError:
        return directory
    if facts.st_uid == os.geteuid() and stat.S_ISDIR(facts.st_mode):
        return directory
    from devbox.errors import HostError

    raise HostError(
        f"{directory} belongs to uid {facts.st_uid}: another user could tell devbox what to run",
        remedy=f"sudo rm -rf {directory}, or point DEVBOX_RUNTIME_DIR at a directory of your own",
    )


def hash_name(text: str) -> str:
    """Eight hex digits of a string, without importing hashlib on the hot path."""
    import zlib

    return f"{zlib.crc32(os.fsencode(text)):08x}"


def is_on_tmpfs(path: str) -> bool:
    """Whether a directory lies on a tmpfs that this user can write to."""
    return os.access(path, os.W_OK) and read_filesystem_type(path) in ("tmpfs", "ramfs")


def read_filesystem_type(path: str) -> str:
    """The kind of file system a path lies on, as "ext4"; "unknown" where the kernel does not tell."""
    try:
        device = os.stat(path).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                left, _, right = line.partition(" - ")
                major, minor = left.split(" ", 3)[2].split(":")
                if os.makedev(int(major), int(minor)) == device:
                    return right.split(" ", 1)[0]
    except OSError:
        return "unknown"
    return "unknown"
