"""The blocks of every page work as printed."""

from __future__ import annotations

import pytest
from support import page_session, pages
from support.machine import Box

pytestmark = [pytest.mark.scenario, pytest.mark.as_root]

_PAGES = [page for path in pages.list_pages() if (page := pages.read(path)).has_session]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=pages.name_page(page.path), marks=[pytest.mark.long] if page.is_long else [])
        for page in _PAGES
    ],
)
def test_the_blocks_of_the_page_work(page: pages.Page, box: Box):
    page_session.run(page, box)
