"""The blocks of the documents: all are run or checked, and the exceptions are few and have a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import fragments, pages
from unit.house_rules.source import ROOT, each

from devbox.errors import DevboxError

PAGES = pages.list_pages()
# Blocks with `no:`: they need a daemon, an account, another host, or a checkout that is not there.
NOT_RUN = 30
GENERATED = {"docs/reference/cli.md", "docs/reference/recipes.md", "docs/reference/env-file.md"}


@each(PAGES)
def test_every_block_is_valid(path: Path):
    for block in pages.read(path).blocks:
        if block.language == "console":
            pages.split_console(block)
        is_session = block.language == "" and re.search(r"^\$ \w", block.text, re.MULTILINE)
        assert not is_session, f"line {block.line}: sh or console?"
        assert block.language in ("", *pages.LANGUAGES) or not block.directives, f"line {block.line}"


@each([page for page in PAGES if pages.name_page(page) not in GENERATED])
def test_commands_are_in_fences(path: Path):
    found = re.search(r"^    (devbox|sudo|pip) .*", path.read_text(), re.MULTILINE)
    assert found is None, found[0]


def test_few_blocks_are_not_run():
    excluded = [
        f"{pages.name_page(path)}:{block.line}: {block.directives['no']}"
        for path in PAGES
        for block in pages.read(path).blocks
        if "no" in block.directives
    ]
    assert len(excluded) <= NOT_RUN, "\n".join(excluded)
    assert not [line for line in excluded if len(line.partition(": ")[2]) < 10], "too short"


@each(PAGES)
def test_every_fragment_of_the_env_file_is_valid(path: Path):
    wrong = []
    page = pages.read(path)
    for block in page.blocks:
        is_checked = block.language == "toml" and "no" not in block.directives
        if is_checked and block.directives.get("file", "devbox.toml") == "devbox.toml":
            wrong.append(fragments.check_block(block, page))
    found = "\n".join(filter(None, wrong))
    assert not found, found


def test_directives_are_read(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- test: page: long -->\n<!-- test: setup\ntrue\n-->\n\n"
        "<!-- test: no: a daemon is required -->\n```sh\nx\n```\n\n"
        "- item\n  <!-- test: exit: 3 -->\n  <!-- test: output: no -->\n  ```console\n  $ a\n  > b\n  c\n  ```\n"
    )
    read = pages.read(page)
    assert read.is_long
    hidden, excluded, console = read.blocks
    assert (hidden.language, hidden.text, excluded.is_run) == ("sh", "true\n", False)
    assert (console.exit, pages.split_console(console)) == (3, [("a\nb", ["c"])])


@pytest.mark.parametrize(
    "text",
    [
        "<!-- test: no -->\n```sh\n```\n",
        "<!-- test: unknown: x -->\n```sh\n```\n",
        "<!-- test: exit: 3 -->\n\n```sh\n```\n",
        "<!-- test: page: sometimes -->\n",
        "```sh\nno end\n",
    ],
)
def test_an_invalid_page_is_rejected(tmp_path: Path, text: str):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(pages.InvalidPageError):
        pages.read(page)


@pytest.mark.parametrize(
    ("documented", "printed", "is_found"),
    [
        ("✓ start dev     running  0.22 s — not running", "✓ start dev  running  1 min 3 s — not running", True),
        ("release  sha256:fcd5a3a4…", "release  sha256:0123456789abcdef", True),
        ("✓ bare: devbox.toml in /tmp/shop", "✓ bare: devbox.toml in /tmp/a-b/c/shop", True),
        ("size     80 MB", "size     4.6 kB", True),
        ("state running", "state exited", False),
        ("✓ bake dev  1 layer, 80 MB", "nothing", True),
        ("-- 3.11 ✗ failed", "-- 3.13 ✗ failed", True),
        ("7 clients", "no clients", False),
    ],
)
def test_documented_lines_are_compared_without_what_varies(documented: str, printed: str, is_found: bool):  # noqa: FBT001
    assert (not pages.find_missing([documented], printed)) is is_found


@pytest.mark.parametrize(
    ("documented", "found", "is_equal"),
    [
        ([{"a": 1}], [{"a": 2.5}, {"a": 3}], True),
        ([{"a": None}], [{"a": "x"}], True),
        ([], [{"a": 1}], True),
        ({"/home/ada": "put"}, {"/tmp/x": "kept"}, True),
        ([{"a": 1}], [{"b": 1}], False),
        ({"a": "1"}, {"a": 1}, False),
    ],
)
def test_documents_are_compared_by_shape(documented: object, found: object, is_equal: bool):  # noqa: FBT001
    assert (pages.compare_shapes(documented, found, "$") == "") is is_equal


@pytest.mark.parametrize(
    "text",
    [
        '[stage.gray]\ninto = "production"\nstrategy = { kind = "gray" }\n',
        '[dev]\nneeds = ["db", "cache"]\nwatch = [{ paths = ["a"], do = "task:css" }]\n',
        '[test]\nfrom = "py"\n[test.matrix]\npython = ["3.13"]\n',
    ],
)
def test_a_fragment_is_completed(tmp_path: Path, text: str):
    fragments.check(text, tmp_path)


def test_an_unknown_key_of_a_fragment_is_an_error(tmp_path: Path):
    with pytest.raises(DevboxError):
        fragments.check("[dev]\nports_of_call = [1]\n", tmp_path)


def test_root_is_the_repository():
    assert pages.REPOSITORY == ROOT
