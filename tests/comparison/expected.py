"""The expected differences and their reasons. A difference that matches no pattern here fails the comparison."""

# ruff: noqa: E501 - sentences of a table
from __future__ import annotations

from comparison.compare import Expected

EXPECTED = (
    Expected(
        "what Docker refuses",
        r"outcome: devbox runs it, Docker refuses",
        "Docker refuses a layer that has a name twice and a working directory that is not absolute; BuildKit takes the number "
        "of a stage in `RUN --mount=from=0` for an image. devbox "
        "runs these: the last entry of a name counts, a working directory begins at `/`, a number is a stage.",
    ),
    Expected(
        "WORKDIR of an unknown user",
        r"outcome: devbox refuses \(.*unknown (?:user|group) error",
        "Where USER names one that the image does not have, WORKDIR is refused with its line; BuildKit makes a directory of root's. "
        "Docker starts no container as such a user either.",
    ),
    Expected(
        "images for other processors",
        r"outcome: devbox refuses \(.*the image is built for",
        "Docker warns and starts the program, which fails unless the kernel has an emulator for it. devbox refuses the image "
        "by the name of its platform unless there is an emulator.",
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
    (
        "opening a device node of an image",
        (
            "the node is seen as in Docker; it cannot be opened: a container's root is `nodev`, and devices are in `/dev` "
            "alone. For an ordinary user it is left out, as rootless Docker leaves it out"
        ),
    ),
    ("process 1", "devbox has an init in each container; the program has number 2"),
    ("`exec` in a container", "the group of the user is not repeated among the supplementary groups"),
)
