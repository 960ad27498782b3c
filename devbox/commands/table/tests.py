"""Commands on tests."""

from __future__ import annotations

from devbox.commands.table.options import JSON, KEY, LOCKED, MANY, TEXT, Command, Option

TABLE = (
    Command(
        "test",
        "test:test",
        Option(
            "-k",
            about='Only cells that this means: "python=3.14 and not pg=15"; `*` matches anything.',
            kind=TEXT,
            metavar="EXPR",
        ),
        Option("--last-failed", about="Only cells that failed when they ran last."),
        Option("--all", about="Also run cells for which nothing changed since they passed."),
        Option("-j", "--jobs", about="So many cells at once; auto: by cores and memory.", kind=TEXT, metavar="N"),
        Option("--shard", about="Only share i of n, for one of several machines.", kind=TEXT, metavar="I/N"),
        Option(
            "--against",
            about="Test the image of a release, not the files here: `release` for the newest, or its first digits.",
            kind=TEXT,
            metavar="RELEASE",
            words="releases",
        ),
        Option("--keep", about="Leave the cells standing, for --shell; `devbox down` takes them away."),
        Option("--list", about="Only list the cells, and say which would run and why."),
        Option(
            "--shell",
            about="A shell in a cell: as its last failure left it, else as it begins.",
            kind=TEXT,
            metavar="CELL",
            words="cells",
        ),
        Option(
            "--report",
            about="Write what came of it into a file as well: .xml (JUnit), .html, .svg, .json, .md, .txt.",
            kind=MANY,
            metavar="FILE",
            words="files",
        ),
        Option(
            "--coverage",
            about="Copy the cells' coverage files into this directory.",
            kind=TEXT,
            metavar="DIR",
            words="directories",
        ),
        KEY,
        LOCKED,
        JSON,
        about="Run the tests in every cell of the matrix that something changed for, each in containers of its own.",
        after="[-- COMMAND…]",
    ),
)
