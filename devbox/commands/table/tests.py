"""Commands on tests."""

from __future__ import annotations

from devbox.commands.table.options import JSON, KEY, LOCKED, MANY, TEXT, Command, Option

TABLE = (
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
            about="Open a shell in a cell, as left by its last failure, or in a new one",
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
        about="Run tests for matrix cells whose inputs changed; each cell has its own containers",
        after="[-- COMMAND…]",
    ),
)
