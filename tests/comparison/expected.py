"""The differences that are meant, each with its reason. What no pattern here matches fails the comparison."""

# ruff: noqa: E501 - sentences of a table
from __future__ import annotations

from comparison.compare import Expected

EXPECTED = (
    Expected(
        "devices in layers",
        r"file \S+ only in Docker: \['[cb]",
        "A layer's device nodes are not made: containers always have a user namespace, in which the kernel opens no device of "
        "a layer. The devices in `/dev` are the same as in Docker.",
        visible=True,
    ),
    Expected(
        "what Docker refuses",
        r"outcome: devbox runs it, Docker refuses",
        "Docker refuses a layer that has a name twice and a working directory that is not absolute; BuildKit takes the number "
        "of a stage in `RUN --mount=from=0` for an image, and gives RUN no directory for a VOLUME that nothing made. devbox "
        "runs these: the last entry of a name counts, a working directory begins at `/`, a number is a stage.",
    ),
    Expected(
        "images for other processors",
        r"outcome: devbox refuses \(.*the image is made for",
        "Docker warns and starts the program, which fails unless the kernel has an emulator for it. devbox refuses the image "
        "by the name of its platform unless there is an emulator.",
    ),
    Expected(
        "directories for RUN --mount",
        r"file \S+ only in devbox: \['drwxr-xr-[xt]', 0, 0",
        "BuildKit removes the directory that it made for a mount in RUN; buildah leaves it, empty.",
        visible=True,
    ),
    Expected(
        "WORKDIR on the way",
        r"file \S+ only in Docker: \['drwxr-xr-x', 0, 0",
        "Of several WORKDIR in a row, BuildKit makes every directory, buildah the last. Only the last is the working directory.",
        visible=True,
    ),
    Expected(
        "owner of WORKDIR",
        r"file \S+: \['drwxr-xr-x', 0, 0, '', \{\}\] instead of \['drwxr-xr-x', [1-9]",
        "A directory that WORKDIR makes after USER belongs to that user in BuildKit, and to root in buildah and in Docker's "
        "classic builder. To write to it: `RUN mkdir` as that user, or `COPY --chown`.",
        visible=True,
    ),
    Expected(
        "ARG after ENV",
        r"file /a: \['-rw-r--r--', 0, 0, '367c9b4686a77725', \{\}\] instead of \[.*'3baf131c77a1594c'",
        "Of ARG and ENV with one name, ENV counts in RUN, as Docker's reference says; BuildKit takes the later of them. In the image there is the value of ENV in both.",
        visible=True,
    ),
    Expected(
        "backslash with another escape character",
        r"env only in (?:Docker: P=C:\\x|devbox: P=C:x)$|config Env: .*'P=C:x'\] instead of .*'P=C:\\\\x'\]$",
        "After `# escape=` a backslash in ENV is a character in BuildKit; buildah still takes it for an escape.",
        visible=True,
    ),
)
# Of Dockerfiles, what the comparison cannot show: a network, or a file that the test machines do not have.
NOT_COMPARED = (
    (
        "`ADD` of a git repository",
        "refused with its line: buildah would make nothing of it; clone it in a stage, at a commit",
    ),
    ("`# syntax=` of another frontend", "the line is ignored: buildah reads the Dockerfile itself"),
    ("`COPY --parents`", "refused by name"),
    ("`COPY --link`", "copied as without it: the layers below are known anyway; a link at the target is followed"),
    ("`RUN --security=insecure`, `RUN --device`", "refused by name: a build has no more rights than a container"),
    ("times of files", "those of a build are one fixed moment, so that equal inputs give equal layers"),
    (
        "capabilities, seccomp, `no_new_privs`",
        "devbox allows less than Docker, set-uid programs included: see parity.md",
    ),
    ("`/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`, `/.dockerenv`, `/.devbox`", "made for each container by both"),
    ("process 1", "devbox has an init in each container; the program has number 2"),
    ("`exec` in a container", "the group of the user is not repeated among the supplementary groups"),
)
