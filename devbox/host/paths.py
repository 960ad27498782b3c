"""All paths of devbox. On the hot path: standard library only, strings instead of pathlib.

`DEVBOX_HOME` (default: root `/var/lib/devbox`, others `$XDG_DATA_HOME/devbox`) contains persistent data; the runtime
directory is on tmpfs and contains volatile data: sockets, bundles, resolved environments. `DEVBOX_CONFIG` (default:
root `/etc/devbox`, others `$XDG_CONFIG_HOME/devbox`) contains the key that authenticates parts of the home.
"""

from __future__ import annotations

import os
import stat

from devbox.host import environ

_TAG_DIGITS = 16  # of the hash of a home's path


class Paths:
    """All paths of one `DEVBOX_HOME`."""

    def __init__(self, home: str, runtime: str, config: str = "") -> None:
        """Create the paths; `config`: the configuration directory, "" for this process's own."""
        self.home = home
        self.runtime = runtime
        self._config = config

    @property
    def config(self) -> str:
        """The directory of the host's key and of its records about homes; outside the home."""
        return self._config or _find_config_dir()

    @property
    def host_state(self) -> str:
        """The host's records about this home, in the configuration directory: protected from writers to the home."""
        import hashlib  # not on the hot path

        tag = hashlib.sha256(os.fsencode(os.path.realpath(self.home))).hexdigest()[:_TAG_DIGITS]
        return f"{self.config}/homes/{tag}"

    @property
    def host_files(self) -> str:
        """Files that release decisions depend on, each at its path below the home in earlier versions."""
        return f"{self.host_state}/files"

    def host_project(self, instance: str) -> str:
        """Path of the host files of one instance."""
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
        """Download caches shared by all builds."""
        return environ.get("DEVBOX_CACHE", f"{self.home}/cache")

    def apt_cache(self, distribution: str, suite: str) -> str:
        """Path of apt's verified downloads for a suite: `debs/` and `lists/`."""
        return f"{self.cache}/signed/{distribution}-{suite}"

    def command_cache(self, project: str, name: str) -> str:
        """Path of a cache of the commands in a project's builds; other projects never read it."""
        return f"{self.cache}/run/{project}/{name}"

    @property
    def steps(self) -> str:
        """The step cache: one small file per step or image key."""
        return f"{self.home}/steps"

    @property
    def tmp(self) -> str:
        """Work directories of builds; those of killed builds are swept by the next command."""
        return f"{self.home}/tmp"  # noqa: S108 - below DEVBOX_HOME

    @property
    def partial_blobs(self) -> str:
        """Incomplete downloads of registry blobs, by their digest's digits."""
        return f"{self.home}/partial"

    @property
    def buildah(self) -> str:
        """buildah's own storage: its cache of Dockerfile steps, and their cache mounts."""
        return f"{self.home}/buildah"

    @property
    def installed_records(self) -> str:
        """Records of `devbox install` on this host."""
        return f"{self.host_files}/installed"

    @property
    def named_images(self) -> str:
        """The images that were pulled or imported by name."""
        return f"{self.home}/named-images.json"

    @property
    def keys(self) -> str:
        """This user's signing keys."""
        return f"{self.home}/keys"

    def key_command(self, name: str) -> str:
        """Path of the file with a key's signing command."""
        return f"{self.host_files}/keys/{name}.cmd"

    @property
    def idmap(self) -> str:
        """The recorded id range of this store."""
        return f"{self.home}/idmap.json"

    def lock(self, name: str) -> str:
        """Path of a lock file of the store."""
        return f"{self.home}/locks/{name}"

    @property
    def projects(self) -> str:
        """The data of instances, including their containers' writable layers."""
        return f"{self.home}/projects"

    def blob_lock(self, digest: str) -> str:
        """Path of the lock for adding or removing a blob."""
        return self.lock(f"blob-{digest.removeprefix('sha256:')}")

    def moved_project(self, key: str) -> str:
        """Path of the file with the instance id of the project at this place's key, if it is not the key itself."""
        return f"{self.home}/moved/{key}"

    def project(self, instance: str) -> str:
        """Path of the data of one instance."""
        return f"{self.projects}/{instance}"

    def digests(self, instance: str) -> str:
        """Path of the last known digests of the project's tarballs."""
        return f"{self.project(instance)}/digests.json"

    def tasks(self, instance: str) -> str:
        """Path of the record of the last successful task runs."""
        return f"{self.project(instance)}/tasks.json"

    def releases(self, instance: str) -> str:
        """Path of the releases built from an instance."""
        return f"{self.project(instance)}/releases"

    def ledger(self, instance: str) -> str:
        """Path of the ledger of an instance's releases, with its head."""
        return f"{self.home}/ledger/{instance}"

    def gray_release(self, instance: str) -> str:
        """Path of a stage's gray release: its state, operator requests, and observations."""
        return f"{self.host_project(instance)}/trial"

    def promotion_log(self, instance: str) -> str:
        """Path of the output of the last detached promotion to a stage's instance."""
        return f"{self.gray_release(instance)}/promotion.log"

    def stage_deployments(self, instance: str) -> str:
        """Path of a stage's current, pending and previous deployments."""
        return f"{self.host_project(instance)}/deployed.json"

    def tally(self, instance: str) -> str:
        """Path of the lost requests of a stage's routers, by cause."""
        return f"{self.host_project(instance)}/tally.json"

    def promoted_stages(self, instance: str) -> str:
        """Path of the env file's stages as of the last promotion."""
        return f"{self.host_project(instance)}/promoted.json"

    def release_grants(self, instance: str) -> str:
        """Path of the user's approval of the file's container grants for promoted releases."""
        return f"{self.host_project(instance)}/release-grants.json"

    def stage_services(self, instance: str) -> str:
        """Path of the services of a stage's last deployment."""
        return f"{self.host_project(instance)}/backing.json"

    def router(self, instance: str) -> str:
        """Path of the files of a stage's router, and the socket of its runtime API."""
        return f"{self.host_project(instance)}/router"

    def trust(self, instance: str) -> str:
        """Path of the file that changes with an instance's trust, as a signal for shells; it grants nothing."""
        return f"{self.project(instance)}/trust.json"

    def grants(self, instance: str) -> str:
        """Path of the container grants of an instance's file, recorded since it ran isolated."""
        return f"{self.project(instance)}/grants.json"

    @property
    def data(self) -> str:
        """The volumes of all instances."""
        return f"{self.home}/volumes"

    def volumes(self, instance: str) -> str:
        """Path of the directory of an instance's volumes."""
        return f"{self.data}/{instance}"

    def volume(self, instance: str, name: str) -> str:
        """Path of a named volume's data."""
        return f"{self.volumes(instance)}/{name}"

    def volume_snapshots(self, instance: str) -> str:
        """Path of the snapshots of an instance's volumes."""
        return f"{self.home}/saved/{instance}"

    def writable_layer(self, instance: str, container: str) -> str:
        """Path of a container's writable layer: `upper/`, `work/` and its metadata."""
        return f"{self.project(instance)}/tops/{container}"

    def private_mount(self, instance: str, container: str, target: str) -> str:
        """Path of a container's changes to its private mount at `target`: `upper/`, `work/`."""
        return f"{self.writable_layer(instance, container)}/private/{hash_name(target)}"

    def tests(self, instance: str) -> str:
        """Path of the instance's test results: `cells/`, and the input of the next run."""
        return f"{self.project(instance)}/tests"

    def shims(self, instance: str) -> str:
        """Path of the commands for PATH that run the instance's tools."""
        return f"{self.project(instance)}/shims"

    def bake_log(self, key: str) -> str:
        """Path of the log of an image step's last build."""
        return f"{self.home}/logs/bake/{key.removeprefix('sha256:')[:12]}.log"

    def log(self, instance: str, container: str) -> str:
        """Path of a container's log file."""
        return f"{self.project(instance)}/logs/{container}.log"

    def describe_contents(self) -> dict[str, str]:
        """Return all paths directly below the home and their meaning: `doctor --clean` removes exactly these."""
        names = {
            "oci": "images",
            "snapshots": "unpacked images",
            "steps": "image index",
            "cache": "downloads",
            "tmp": "unfinished images",
            "partial": "unfinished downloads of images",
            "buildah": "Dockerfile cache",
            "volumes": "project data",
            "saved": "data snapshots",
            "projects": "project records",
            "moved": "locations of moved projects",
            "ledger": "promotion ledgers",
            "logs": "bake logs",
            "locks": "locks",
            "installed": "records of installed files",
            "keys": "signing keys",
            "named-images.json": "names of pulled images",
            "idmap.json": "user ids of containers",
        }
        return {f"{self.home}/{name}": what for name, what in names.items()}

    # Volatile data.
    def instance_runtime(self, instance: str) -> str:
        """Path of an instance's runtime directory."""
        return f"{self.runtime}/{instance}"

    def state(self, instance: str) -> str:
        """Path of the instance's state file, written by its supervisor, read by all."""
        return f"{self.instance_runtime(instance)}/state.json"

    def socket(self, instance: str) -> str:
        """Path of the supervisor's socket."""
        return f"{self.instance_runtime(instance)}/sock"

    def crun_root(self, instance: str) -> str:
        """Path of the OCI runtime's own state."""
        return f"{self.instance_runtime(instance)}/oci"

    def supervisor_lock(self, instance: str) -> str:
        """Path of the lock that the instance's supervisor holds during its lifetime."""
        return f"{self.instance_runtime(instance)}/lock"

    def supervisor_log(self, instance: str) -> str:
        """Path of the supervisor's own log, with its tracebacks."""
        return f"{self.instance_runtime(instance)}/supervisor.log"

    def supervisor_files(self, instance: str) -> str:
        """Path of the supervisor's files about its containers, closed to other users."""
        return f"{self.instance_runtime(instance)}/kept"

    def launch_file(self, instance: str, container: str) -> str:
        """Path of a container's launch file with its environment: for restarts and one-shots."""
        return f"{self.supervisor_files(instance)}/{container}.json"

    def entry_file(self, instance: str, container: str) -> str:
        """Path of the data for executing commands in a running container, as `key=value` lines."""
        return f"{self.supervisor_files(instance)}/{container}.entry"

    def pid_file(self, instance: str, container: str) -> str:
        """Path of the OCI runtime's pid file for a container's pid 1."""
        return f"{self.instance_runtime(instance)}/c/{container}/pid"

    def tool_call(self, instance: str, name: str) -> str:
        """Path of the call parameters of a running tool under this name."""
        return f"{self.supervisor_files(instance)}/{name}.call"

    def noop_record(self, instance: str) -> str:
        """Path of the inputs and output of the last no-op `up`."""
        return f"{self.instance_runtime(instance)}/idle"

    def agent(self, instance: str) -> str:
        """Path of the directory of the SSH agent socket that containers see."""
        return f"{self.supervisor_files(instance)}/agent"

    def agent_link(self, instance: str) -> str:
        """Path of the link to the agent's own socket on the host."""
        return f"{self.supervisor_files(instance)}/agent.to"

    def connections(self, instance: str, container: str) -> str:
        """Path of the count of a container's accepted connections on sockets held by its supervisor."""
        return f"{self.supervisor_files(instance)}/{container}.connections"

    def fifo(self, instance: str, container: str) -> str:
        """Path of a container's output FIFO."""
        return f"{self.supervisor_files(instance)}/{container}.fifo"


def get_default_paths() -> Paths:
    """Return the paths of this process: `DEVBOX_HOME` and its runtime directory."""
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
    """Return this user's tmpfs directory for this home. Its name is short: socket paths end at 107 bytes."""
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
    """Return the directory unless another user owns it: its content is trusted."""
    try:
        facts = os.lstat(directory)
    except FileNotFoundError:
        return directory
    if facts.st_uid == os.geteuid() and stat.S_ISDIR(facts.st_mode):
        return directory
    from devbox.errors import HostError

    raise HostError(
        f"unsafe directory {directory}: another user (uid {facts.st_uid}) could run commands as you",
        remedy=f"sudo rm -rf {directory}, or set DEVBOX_RUNTIME_DIR to a directory of your own",
    )


def hash_name(text: str) -> str:
    """Return eight hex digits of a string's hash, without importing hashlib on the hot path."""
    import zlib

    return f"{zlib.crc32(os.fsencode(text)):08x}"


def is_on_tmpfs(path: str) -> bool:
    """Return whether a directory is on a tmpfs that this user can write to."""
    return os.access(path, os.W_OK) and read_filesystem_type(path) in ("tmpfs", "ramfs")


def read_filesystem_type(path: str) -> str:
    """Return the file system type of a path, such as "ext4"; "unknown" if the kernel does not report it."""
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
