"""Commands on releases: tests, builds, promotions and signing keys; also installs on the host."""

from __future__ import annotations

from devbox.commands.table.options import (
    ALWAYS_JSON,
    JSON,
    KEY,
    LOCKED,
    MANY,
    RELEASE_OF,
    TEXT,
    YES,
    Argument,
    Command,
    Option,
)

_RELEASE = Argument("release", about="Release ID or its first digits (default: the newest)", words="releases")
_GRAY_STAGE = Argument("stage", about="Stage (default: that of the gray release in progress)", words="stages")
_NAME = "Name from `devbox key ls`"
_PLAIN = Option("--no-passphrase", about="Store the key unencrypted, protected only by file permissions")


def _declare_status(name: str, about: str) -> Command:
    return Command(
        name,
        "release:report",
        JSON,
        Option("--html", about="Write a page with charts to FILE", kind=TEXT, metavar="FILE", words="files"),
        Option("--svg", about="Write only the charts to FILE", kind=TEXT, metavar="FILE", words="files"),
        about=about,
        argument=_GRAY_STAGE,
    )


TESTS = (
    Command(
        "test",
        "test:test",
        Option(
            "-k",
            about='Run only matching cells: "python=3.14 and not pg=15"; `*` matches anything',
            kind=TEXT,
            metavar="EXPR",
        ),
        Option("--last-failed", about="Run only cells that failed in their last run"),
        Option("--all", about="Also run cells without changes since they passed"),
        Option(
            "-j",
            "--jobs",
            about="Number of parallel cells (default: auto, by cores and memory)",
            kind=TEXT,
            metavar="N",
        ),
        Option("--shard", about="Run only part I of N, to distribute the cells over hosts", kind=TEXT, metavar="I/N"),
        Option(
            "--against",
            about="Test the image of a release: its first digits, or `release` for the newest",
            kind=TEXT,
            metavar="RELEASE",
            words="releases",
        ),
        Option("--keep", about="Keep the cells running, for --shell; remove them with `devbox down`"),
        Option("--list", about="Only list the cells, with decisions and reasons"),
        Option(
            "--shell",
            about="Open a shell in a cell: in the state of its last failure, or in a new cell",
            kind=TEXT,
            metavar="CELL",
            words="cells",
        ),
        Option(
            "--report",
            about="Also write a report: .xml (JUnit), .html, .svg, .json, .md, .txt",
            kind=MANY,
            metavar="FILE",
            words="files",
        ),
        Option(
            "--coverage",
            about="Copy the cells' coverage files to this directory",
            kind=TEXT,
            metavar="DIR",
            words="directories",
        ),
        KEY,
        LOCKED,
        JSON,
        about="Run tests for matrix cells whose inputs changed; each has its own containers",
        after="[-- COMMAND…]",
    ),
)


RELEASES = (
    Command(
        "build",
        "build:build",
        LOCKED,
        KEY,
        JSON,
        about="Build a release: run [build], assemble [image], sign with your key in [builders]",
        argument=Argument("names", about="", many=True),  # refused with the command that takes them
    ),
    Command(
        "install",
        "install:install",
        Option("--list", about="Only show what is installed, and whether it is unchanged"),
        Option("--uninstall", about="Remove installed files, including those of tables removed from the file"),
        Option("--force", about="Also replace or remove files that were changed or not installed by devbox"),
        Option("--set-id", about="Keep set-uid and set-gid bits (root only)"),
        JSON,
        about="Install the files of [install.NAME] from images on the host; all or none",
        argument=Argument("names", about="Names of [install.NAME] (default: all)", many=True, words="installs"),
    ),
    Command(
        "promote",
        "promote:promote",
        KEY,
        Option("-d", "--detach", about="Return once a canary starts shifting traffic"),
        Option("--dry-run", about="Only show the gates and steps; exit 1 if a gate blocks the promotion"),
        Option("--supersede", about="Roll back the gray release in progress instead of waiting for it"),
        JSON,
        about="Promote a release to a stage (default: the previous stage's release)",
        argument=Argument(
            "what",
            about="Stage, and optionally a release (default: the previous stage's release)",
            many=True,
            metavar="STAGE [RELEASE]",
            words="stages",
        ),
    ),
    Command(
        "rollback",
        "promote:rollback",
        KEY,
        JSON,
        about="Roll back a stage to its previous release and config, without checking gates",
        argument=Argument("stage", about="Stage to roll back", words="stages"),
    ),
    Command("release ls", "build:ls", JSON, about="List releases, and the stages that each is or was in"),
    Command(
        "release log",
        "release:log",
        Option("--json", about="Print one JSON document per entry and line"),
        about="Print the ledger of releases, in chronological order",
    ),
    Command(
        "release rebuild",
        "release:rebuild",
        Option("-y", "--yes", about="Rebuild without asking for confirmation"),
        about="Rebuild the ledger from signed records; the old one is moved aside",
    ),
    Command(
        "release refresh",
        "release:refresh",
        KEY,
        Option("--accept", about="Accept records read for the first time by this host, however old"),
        JSON,
        about="Sign this host's stage records again, so that new hosts accept them",
    ),
    Command(
        "release show",
        "build:show",
        RELEASE_OF,
        JSON,
        about="Show a release: image, source, processes and needs",
        argument=_RELEASE,
    ),
    Command(
        "release sign",
        "sign:sign",
        KEY,
        RELEASE_OF,
        about="Sign the image of a release, as cosign does",
        argument=_RELEASE,
    ),
    Command(
        "release rm",
        "build:remove",
        YES,
        about="Remove a release that no stage runs or would roll back to",
        argument=Argument("release", about="Release ID or its first digits", words="releases", metavar="RELEASE"),
    ),
    Command(
        "release revoke",
        "sign:revoke",
        KEY,
        YES,
        Option("--reason", about="Reason, signed with the revocation", kind=TEXT, metavar="TEXT"),
        about="Block a release from all stages; running deployments are not stopped",
        argument=Argument("release", about="Release ID or its first digits", words="releases", metavar="RELEASE"),
    ),
    Command(
        "approve",
        "sign:approve",
        KEY,
        Option("--expires", about="Validity of the approval (default: 7d)", kind=TEXT, metavar="DURATION"),
        Option("--comment", about="Comment, signed with the approval", kind=TEXT, metavar="TEXT"),
        JSON,
        about="Approve a release for a stage: its image, config, strategy and gates",
        argument=Argument(
            "words",
            about="Stage, and optionally a release (default: the next one)",
            many=True,
            metavar="STAGE [RELEASE]",
        ),
    ),
    Command(
        "verify",
        "sign:verify",
        Option(
            "--public-key",
            about="Public key in PEM, instead of the keys of the file",
            kind=MANY,
            metavar="FILE",
            words="files",
            hidden="--key",
        ),
        RELEASE_OF,
        JSON,
        about="Verify signatures, provenance and approvals of a release; exit 1 if invalid",
        argument=Argument(
            "what", about="Release, or an image of the store (default: the newest release)", words="releases"
        ),
    ),
    Command(
        "release hold",
        "release:hold",
        JSON,
        about="Hold a gray release at its step; monitoring continues and may roll it back",
        argument=_GRAY_STAGE,
    ),
    Command(
        "release resume",
        "release:resume",
        JSON,
        about="Resume a gray release that is held or requires a decision",
        argument=_GRAY_STAGE,
    ),
    Command(
        "release abort",
        "release:abort",
        JSON,
        about="Roll back a gray release: shift traffic to the old release, stop the new one",
        argument=_GRAY_STAGE,
    ),
    _declare_status("release status", "Show the status of the gray release in progress, or of the last one"),
    _declare_status("release report", "Alias of `release status`"),
)


KEYS = (
    Command(
        "key create",
        "key:create",
        Option(
            "--type",
            about="Key type: ecdsa-p256 (supported by all key services) or ed25519 (default: ecdsa-p256)",
            kind=TEXT,
            metavar="KIND",
            choices="ecdsa-p256 ed25519",
        ),
        _PLAIN,
        about="Create a key for signing releases and approvals; print its public key",
        argument=Argument("name", about="Name of the key on this host"),
    ),
    Command("key ls", "key:ls", JSON, about="List signing keys"),
    Command(
        "key show",
        "key:show",
        ALWAYS_JSON,
        about="Show a key as JSON",
        argument=Argument("name", about=_NAME, words="keys"),
    ),
    Command(
        "key export",
        "key:export",
        Option("--private", about="Print the private key, encrypted as stored"),
        about="Print the public key, for [approvers], [builders] and `cosign verify`",
        argument=Argument("name", about=_NAME, words="keys"),
    ),
    Command(
        "key import",
        "key:import_",
        Option(
            "--sign-with",
            about="Command that signs for the public key in FILE: SHA-256 on stdin, ECDSA signature on stdout",
            kind=TEXT,
            metavar="COMMAND",
        ),
        _PLAIN,
        about="Import a key made elsewhere or held by a key service",
        argument=Argument(
            "words", about="Name of the key on this host, and a PEM file", many=True, metavar="NAME FILE"
        ),
    ),
    Command(
        "key rm",
        "key:rm",
        Option("-y", "--yes", about="Remove without asking for confirmation"),
        about="Remove a signing key from this host",
        argument=Argument("name", about=_NAME, words="keys"),
    ),
)
