"""Commands on images: registries, archives, garbage collection."""

from __future__ import annotations

from devbox.commands.table.options import JSON, TEXT, Argument, Command, Option

_IMAGE = "A table of the file (`dev`, `service.db`), a digest or a reference."
_NO_TTY = Option("-T", "--no-tty", about="Plain pipes, even on a terminal.")


TABLE = (
    Command(
        "image pull",
        "image:pull",
        Option("--all-platforms", about="Also what other machines run, and what refers to it, as signatures do."),
        JSON,
        about="Get an image of a registry into the store; print its digest.",
        argument=Argument("ref", about="As in `postgres:17`, `ghcr.io/acme/app@sha256:…`.", metavar="REF"),
    ),
    Command(
        "image rm",
        "image:rm",
        about="Stop keeping images that were pulled or imported by name.",
        argument=Argument("names", about="Names from `devbox image ls`.", many=True, metavar="NAME…"),
    ),
    Command(
        "image push",
        "image:push",
        JSON,
        about="Send an image of the store to a registry; what is there already is not sent again.",
        argument=Argument(
            "what",
            about="A table of the file (`dev`, `service.db`), a digest or a reference; then where it is to go.",
            many=True,
            metavar="IMAGE REF",
        ),
    ),
    Command(
        "image export",
        "image:export",
        Option(
            "--format",
            about="oci (all platforms) or docker (as `docker load` takes it).",
            kind=TEXT,
            metavar="KIND",
            choices="oci docker",
        ),
        Option(
            "--to",
            about="Hand it to this engine instead, by its own `load`; print its id there.",
            kind=TEXT,
            metavar="ENGINE",
            choices="docker podman",
        ),
        Option("--tag", about="What it is called there, as `team/app:1.0`.", kind=TEXT, metavar="REF"),
        JSON,
        about="Write an image of the store as one file, or hand it to Docker or Podman.",
        argument=Argument(
            "what",
            about=f"{_IMAGE[:-1]}; then a file, or - for the standard output.",
            many=True,
            metavar="IMAGE [FILE]",
        ),
    ),
    Command(
        "image import",
        "image:import_",
        Option(
            "--tag",
            about="What its one image is called in the store, instead of its own name.",
            kind=TEXT,
            metavar="REF",
        ),
        JSON,
        about="Get the images of a file into the store; print their digests.",
        argument=Argument(
            "archive",
            about="An OCI archive, what `docker save` writes, packed or not, or the directory of an OCI image layout; "
            "- is the standard input.",
            metavar="FILE",
            words="files",
        ),
    ),
    Command("image ls", "image_store:ls", JSON, about="List the images of the store, and the projects that need them."),
    Command(
        "image inspect",
        "image_store:inspect",
        about="Print all about an image as JSON.",
        argument=Argument("image", about=_IMAGE),
    ),
    Command(
        "image sbom",
        "image:sbom",
        Option(
            "--format",
            about="spdx (2.3, the default) or cyclonedx (1.6).",
            kind=TEXT,
            metavar="KIND",
            choices="spdx cyclonedx",
        ),
        about="Print the bill of materials of an image: its packages, versions and licences, from its layers.",
        argument=Argument("image", about=_IMAGE),
    ),
    Command(
        "image verify",
        "image_store:verify",
        JSON,
        about="Hash every blob again; what is damaged is fetched anew, or removed for `up` to bake. Exit 1 if any was.",
    ),
    Command("image du", "image_store:du", JSON, about="Show how much room the images of each project take."),
    Command(
        "image gc",
        "image_store:gc",
        JSON,
        Option("--dry-run", about="Only say what would be removed."),
        about="Remove the images that no project needs: by its file, lock, last `up`, newest releases, or a container.",
    ),
)
