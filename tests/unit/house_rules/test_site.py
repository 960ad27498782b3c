"""The documentation site has every page in its navigation, and each link between files leads to a page."""

from __future__ import annotations

import runpy

from unit.house_rules.source import ROOT

SITE = runpy.run_path(str(ROOT / "packaging/build_site.py"))


def test_every_page_is_in_the_navigation_and_its_links_lead_to_pages():
    pages = SITE["list_pages"]()
    listed = [page for section in SITE["build_navigation"](pages) for own in section.values() for page in own]
    assert len(listed) == len(set(listed))
    assert set(listed) == {page for page in pages if page.endswith(".md")}
    for page in listed:
        SITE["convert_page"](page, pages[page], pages)
