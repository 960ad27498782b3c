"""Commands on stored images and data: registries, archives, garbage collection, volumes and their snapshots."""

from __future__ import annotations

from devbox.commands.table.options import ALWAYS_JSON, CONFIRM, JSON, MANY, STAGE, TEXT, YES, Argument, Command, Option

_BRANCH = "Snapshot name (default: the current git branch)"
_IMAGE = "Table of the file (`dev`, `service.db`), digest or reference"


DATA = (
    Command(
        "snapshot save",
        "data:save_snapshot",
        Option(
            "--only",
            about="Save only this container's volumes, or this volume",
            kind=MANY,
            metavar="NAME",
            words="containers",
        ),
        STAGE,
        JSON,
        about="Save the data of services, which are stopped meanwhile",
        argument=Argument("name", about=_BRANCH),
    ),
    Command(
        "snapshot restore",
        "data:restore_snapshot",
        STAGE,
        YES,
        CONFIRM,
        JSON,
        about="Restore saved data; current data is lost",
        argument=Argument("name", about=_BRANCH, words="snapshots"),
    ),
    Command("snapshot ls", "data:list_snapshots", STAGE, JSON, about="List the snapshots of the project"),
    Command(
        "snapshot show",
        "data:show_snapshot",
        STAGE,
        ALWAYS_JSON,
        about="Show a snapshot as JSON",
        argument=Argument("name", about=_BRANCH, words="snapshots"),
    ),
    Command(
        "snapshot rm",
        "data:remove_snapshots",
        STAGE,
        YES,
        CONFIRM,
        about="Remove snapshots",
        argument=Argument("names", about="Names from `devbox snapshot ls`", many=True, words="snapshots"),
    ),
    Command("volume ls", "data:list_volumes", STAGE, JSON, about="List the volumes of the project"),
    Command(
        "volume show",
        "data:show_volume",
        STAGE,
        ALWAYS_JSON,
        about="Show a volume as JSON",
        argument=Argument("name", about="Name from `devbox volume ls`", words="volumes"),
    ),
    Command(
        "volume rm",
        "data:remove_volumes",
        STAGE,
        YES,
        CONFIRM,
        about="Remove volumes and their data, unless in use",
        argument=Argument("names", about="Names from `devbox volume ls`", many=True, words="volumes"),
    ),
)


_REGISTRY = Argument("registry", about="Host of the registry, such as `ghcr.io` (default: docker.io)")

REGISTRIES = (
    Command(
        "login",
        "login:login",
        Option("--username", about="User name at the registry", kind=TEXT, metavar="NAME", hidden="-u"),
        Option("--password-stdin", about="Read the password from stdin"),
        about="Log in to a registry; the password is stored as `docker login` does",
        argument=_REGISTRY,
    ),
    Command("logout", "login:logout", about="Remove the stored password of a registry", argument=_REGISTRY),
)


IMAGES = (
    Command(
        "image pull",
        "image:pull",
        Option("--all-platforms", about="Also pull other platforms and referrers, such as signatures"),
        JSON,
        about="Pull an image from a registry into the store; print its digest",
        argument=Argument(
            "ref", about="Reference, such as `postgres:17` or `ghcr.io/acme/app@sha256:…`", metavar="REF"
        ),
    ),
    Command(
        "image rm",
        "image:rm",
        about="Remove names of pulled or imported images; `image gc` removes the data",
        argument=Argument("names", about="Names from `devbox image ls`", many=True, metavar="NAME…"),
    ),
    Command(
        "image push",
        "image:push",
        JSON,
        about="Push an image of the store to a registry; existing blobs are skipped",
        argument=Argument("what", about=f"{_IMAGE}; then the destination", many=True, metavar="IMAGE REF"),
    ),
    Command(
        "image export",
        "image:export",
        Option(
            "--format",
            about="Archive format: oci (all platforms) or docker (for `docker load`) (default: oci)",
            kind=TEXT,
            metavar="KIND",
            choices="oci docker",
        ),
        Option(
            "--to",
            about="Load the image into this engine instead, and print its ID",
            kind=TEXT,
            metavar="ENGINE",
            choices="docker podman",
        ),
        Option("--tag", about="Name of the image in the engine, such as `team/app:1.0`", kind=TEXT, metavar="REF"),
        JSON,
        about="Export an image of the store to a file, or load it into Docker or Podman",
        argument=Argument("what", about=f"{_IMAGE}; then a file, or - for stdout", many=True, metavar="IMAGE [FILE]"),
    ),
    Command(
        "image import",
        "image:import_",
        Option(
            "--tag",
            about="Name of the archive's only image in the store (default: its own name)",
            kind=TEXT,
            metavar="REF",
        ),
        JSON,
        about="Import the images of an archive into the store; print their digests",
        argument=Argument(
            "archive",
            about="Archive (OCI or `docker save`, compressed or not), OCI image layout, or - for stdin",
            metavar="FILE",
            words="files",
        ),
    ),
    Command("image ls", "image:ls", JSON, about="List the images of the store, and the projects that need them"),
    Command(
        "image inspect",
        "image:inspect",
        ALWAYS_JSON,
        about="Show an image as JSON",
        argument=Argument("image", about=_IMAGE),
    ),
    Command(
        "image history",
        "inspect:history",
        JSON,
        about="Show the steps that made an image, newest first",
        argument=Argument("image", about=_IMAGE),
    ),
    Command(
        "image tag",
        "inspect:tag",
        about="Give an image of the store another name",
        argument=Argument("what", about=f"{_IMAGE}; then the name", many=True, metavar="IMAGE REF"),
    ),
    Command(
        "image sbom",
        "image:sbom",
        Option(
            "--format",
            about="SBOM format: spdx (2.3) or cyclonedx (1.6) (default: spdx)",
            kind=TEXT,
            metavar="KIND",
            choices="spdx cyclonedx",
        ),
        about="Print the SBOM of an image: packages, versions and licences of its layers",
        argument=Argument("image", about=_IMAGE),
    ),
    Command(
        "image verify",
        "image:verify",
        JSON,
        about="Verify every blob; damaged ones are fetched again or removed (exit 1)",
    ),
    Command("image du", "image:du", JSON, about="Show the disk usage of images by project"),
    Command(
        "image gc",
        "image:gc",
        JSON,
        Option("--dry-run", about="Only show what would be removed"),
        YES,
        about="Remove images that no file, lock, release, container or last `up` references",
    ),
)
