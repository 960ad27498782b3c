"""The Chinese pages are in step with the English ones: the same headings and the same blocks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import pages
from unit.house_rules.source import ROOT

TRANSLATIONS = {
    "README.zh-CN.md": "README.md",
    "docs/zh/patterns.md": "docs/patterns.md",
    "docs/zh/gray.md": "docs/how-to/gray.md",
    "docs/zh/tutorial.md": "docs/tutorial.md",
}
_PAIRS = [pair for pair in TRANSLATIONS.items() if (ROOT / pair[1]).exists()]
_COMMENT = re.compile(r"(^|\s+)# .*$", re.MULTILINE)


def _remove_blocks(path: Path) -> str:
    text = re.sub(r"^ *```.*?^ *```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def list_headings(path: Path) -> list[str]:
    """The levels of the headings outside of blocks."""
    return re.findall(r"^#+(?= )", _remove_blocks(path), re.MULTILINE)


def list_blocks(path: Path) -> list[tuple[str, str, dict[str, str]]]:
    """The blocks without comments, which are translated."""
    return [(each.language, _COMMENT.sub("", each.text), each.directives) for each in pages.read(path).blocks]


@pytest.mark.parametrize(("translation", "original"), _PAIRS)
def test_a_translation_has_the_headings_and_blocks_of_the_original(translation: str, original: str):
    ours, theirs = ROOT / translation, ROOT / original
    assert list_headings(ours) == list_headings(theirs)
    assert list_blocks(ours) == list_blocks(theirs)


def test_every_chinese_page_has_an_original():
    found = {pages.name_page(page) for page in pages.list_pages() if "zh" in page.parts or "zh-CN" in page.name}
    assert found <= set(TRANSLATIONS)


@pytest.mark.parametrize(("translation", "original"), _PAIRS)
def test_a_translation_is_run_when_its_original_is(translation: str, original: str):
    assert pages.read(ROOT / translation).directives == pages.read(ROOT / original).directives


@pytest.mark.parametrize("name", TRANSLATIONS)
def test_the_titles_are_chinese(name: str):
    titles = re.findall(r"^#+ (.*)$", _remove_blocks(ROOT / name), re.MULTILINE)
    assert any(re.search(r"[\u4e00-\u9fff]", title) for title in titles)
