"""OCI runtime config.json of a launch. Pure: everything that depends on the host is in `StagedContainer`."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from devbox.isolation import cgroups
from devbox.isolation.types import Bind, InstanceContext, Launch, ProcessRef, SecurityProfile

_FILES = """
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
fadvise64_64 arm_fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64
fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents
getdents64 ioctl lchown lchown32 link linkat _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat
name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead
readlink readlinkat readv rename renameat renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs statfs64 statx
symlink symlinkat sync sync_file_range sync_file_range2 arm_sync_file_range syncfs tee truncate truncate64 umask unlink
unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev listmount statmount chroot
fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr lremovexattr
lsetxattr removexattr removexattrat setxattr setxattrat
"""
_EVENTS = """
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect pipe pipe2 poll ppoll ppoll_time64 pselect6
pselect6_time64 select signalfd signalfd4
"""
_MEMORY = """
brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2
mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages
process_vm_readv process_vm_writev
"""
_PROCESSES = """
execve execveat exit exit_group fork getpgid getpgrp getpid getppid getpriority getrlimit getrusage getsid gettid kill
pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease ptrace setpgid setpriority setrlimit setsid tgkill tkill
ugetrlimit vfork wait4 waitid waitpid getcpu ioprio_get ioprio_set sched_getaffinity sched_getattr sched_getparam
sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
"""
_THREADS = """
arch_prctl breakpoint cacheflush futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list
get_thread_area modify_ldt restart_syscall riscv_hwprobe rseq set_robust_list set_thread_area set_tid_address set_tls
uretprobe
"""
_IDENTITY = """
capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32 getresuid
getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setregid
setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32 landlock_add_rule
landlock_create_ruleset landlock_restrict_self seccomp
"""
_SIGNALS = """
alarm pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn
"""
_TIME = """
adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete timer_getoverrun
timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
timerfd_settime timerfd_settime64 times
"""
_SOCKETS = """
accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair ipc mq_getsetattr mq_notify mq_open
mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl
semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
"""
_MACHINE = "getrandom sysinfo uname"

_PURPOSES = (_FILES, _EVENTS, _MEMORY, _PROCESSES, _THREADS, _IDENTITY, _SIGNALS, _TIME, _SOCKETS, _MACHINE)
ALLOWED = tuple(sorted(call for purpose in _PURPOSES for call in purpose.split()))

# System calls that an added capability requires.
_BY_CAPABILITY = {
    "BPF": "bpf",
    "DAC_READ_SEARCH": "open_by_handle_at",
    "PERFMON": "perf_event_open",
    "SYSLOG": "syslog",
    "SYS_ADMIN": "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick mount mount_setattr move_mount "
    "open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    "SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "SYS_TTY_CONFIG": "vhangup",
}

_ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    "riscv64": ["SCMP_ARCH_RISCV64"],
}

_EPERM, _ENOSYS = 1, 38
_NAMESPACE_FLAGS = 0x7E02_0000  # every CLONE_NEW* that clone(2) takes
_AF_VSOCK = 40  # reaches the hypervisor past every network namespace
_AF_ALG = 38
# Linux, Linux 32-bit, each with UNAME26; and the query value.
_PERSONALITIES = (0x0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF)


def build_seccomp_profile(added: tuple[str, ...] = (), *, machine: str = "") -> dict[str, Any]:
    """Build OCI `linux.seccomp` for a container with these added capabilities. `machine` defaults to the host's."""
    extra = {call for capability in added for call in _BY_CAPABILITY.get(capability, "").split()}
    rules = [_allow([*ALLOWED, *sorted(extra)])]
    rules += [_allow(["personality"], _compare(0, value, "SCMP_CMP_EQ")) for value in _PERSONALITIES]
    rules += [
        _allow(["socket"], _compare(0, _AF_ALG, "SCMP_CMP_LT")),
        _allow(["socket"], _compare(0, _AF_ALG + 1, "SCMP_CMP_EQ")),
        _allow(["socket"], _compare(0, _AF_VSOCK, "SCMP_CMP_GT")),
    ]
    if "clone3" not in extra:
        masked = {"index": 0, "value": _NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
        rules.append(_allow(["clone"], masked))
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": _ARCHITECTURES.get(machine or os.uname().machine, []),
        "syscalls": rules,
    }


def _allow(names: list[str], *conditions: dict[str, Any]) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": names, "action": "SCMP_ACT_ALLOW"}
    if conditions:
        rule["args"] = list(conditions)
    return rule


def _compare(index: int, value: int, operator: str) -> dict[str, Any]:
    return {"index": index, "value": value, "op": operator}


INIT = "/.devbox/init"
DIGEST_ANNOTATION = "devbox.image.digest"  # an annotation

# Docker's default capabilities.
CAPABILITIES = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)
_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_OPEN_FILES = 65536
_OWN_NAMESPACES = ("uts", "mount", "cgroup")
_JOINABLE_NAMESPACES = ("pid", "ipc")  # shared with a joined container
_ROWS, _COLUMNS = 24, 80


class StagedContainer(NamedTuple):
    """Resources prepared for the container before its runtime starts. Paths as the runtime sees them."""

    rootfs: str
    binds: tuple[Bind, ...]  # sources on the stage
    netns: str
    userns: str  # "": the runtime is already in the right one
    open_files: int  # devbox's own hard limit
    swap: bool = False  # the host's control groups limit swap


def build_config(context: InstanceContext, container: Launch, staged: StagedContainer) -> dict[str, Any]:
    """Build the config.json of a container."""
    has_groups = context.cgroups != "none"
    linux: dict[str, Any] = {
        "namespaces": _build_namespaces(staged, container.joins),
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY),
        "seccomp": build_seccomp_profile(container.confine.add_capabilities),
    }
    if has_groups:
        linux["cgroupsPath"] = f"{context.group}/{container.name}"
        linux["resources"] = cgroups.build_resources(
            container.confine, swap=staged.swap, rootless=context.idmap.rootless
        )
    return {
        "ociVersion": "1.0.2",
        "hostname": container.name,
        "root": {"path": staged.rootfs, "readonly": container.confine.read_only},
        "process": build_process(container, staged.open_files),
        "mounts": _build_mounts(container, staged, has_groups=has_groups),
        "annotations": {DIGEST_ANNOTATION: container.digest} if container.digest else {},
        "linux": linux,
    }


def build_process(container: Launch, open_files: int) -> dict[str, Any]:
    """Build a container's process for config.json and `exec --process`. An init without a command only sleeps."""
    process = container.process
    entry: dict[str, Any] = {
        "terminal": process.tty,
        "user": {"uid": process.uid, "gid": process.gid, "additionalGids": list(process.groups)},
        "args": [*_build_init_argv(container), *process.argv],
        "env": list(process.env),
        "cwd": process.cwd,
        "capabilities": _build_capabilities(container.confine),
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": min(open_files, _OPEN_FILES), "hard": open_files}],
        "noNewPrivileges": True,
    }
    if process.tty:
        entry["consoleSize"] = {"height": process.rows or _ROWS, "width": process.columns or _COLUMNS}
    return entry


def _build_init_argv(container: Launch) -> list[str]:
    if not container.init:
        return []
    return [INIT, "--"] if container.process.argv else [INIT, "-P"]


def _build_capabilities(confine: SecurityProfile) -> dict[str, list[str]]:
    """Build the capability sets. None is inheritable or ambient: a non-root process has none after its first exec."""
    dropped = CAPABILITIES if "ALL" in confine.drop_capabilities else confine.drop_capabilities
    names = [f"CAP_{name}" for name in sorted({*CAPABILITIES} - {*dropped} | {*confine.add_capabilities})]
    return {"bounding": names, "effective": names, "permitted": names}


def _build_namespaces(staged: StagedContainer, joins: ProcessRef | None) -> list[dict[str, str]]:
    """List the namespaces: user first, so that it owns the others; the network is the instance's."""
    user = [{"type": "user", "path": staged.userns}] if staged.userns else []
    shared = [{"type": kind, "path": f"/proc/{joins.pid}/ns/{kind}"} for kind in _JOINABLE_NAMESPACES] if joins else []
    own = [{"type": kind} for kind in (*_OWN_NAMESPACES, *(() if joins else _JOINABLE_NAMESPACES))]
    return [*user, *shared, *own, {"type": "network", "path": staged.netns}]


def _build_mounts(container: Launch, staged: StagedContainer, *, has_groups: bool) -> list[dict[str, Any]]:
    mounts = [
        _build_mount("/proc", "proc", "nosuid", "noexec", "nodev"),
        _build_mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _build_mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        _build_mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),  # noqa: S108 - in the container
        _build_mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _build_mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
    ]
    if has_groups:
        mounts.append(_build_mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"))
    mounts += [_build_mount(target, "tmpfs", "nosuid", "nodev", "mode=1777") for target in container.tmpfs]
    return mounts + [_build_bind(bind) for bind in sorted(staged.binds, key=_get_depth)]


def _build_mount(target: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": list(options)}


def _build_bind(bind: Bind) -> dict[str, Any]:
    options = ["rbind", "rprivate", "nosuid", "nodev", *(["ro"] if bind.read_only else [])]
    return {"destination": bind.target, "type": "bind", "source": bind.source, "options": options}


def _get_depth(bind: Bind) -> int:
    """Return the sort key of a bind: parents are mounted first, so that they do not hide children."""
    return bind.target.count("/")
