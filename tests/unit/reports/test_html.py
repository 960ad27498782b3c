"""The HTML page and the SVG picture: complete, without network access, safe with hostile names."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from support import matrices

from devbox.model.matrix import STATES
from devbox.reports import html, svg

HOSTILE = "<script>alert(1)</script>&\x1b[31m\"'"
VOID = ("meta", "link", "br", "img", "hr", "input")


class Page(HTMLParser):
    """A page: its links, ids and text; fails where elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.tags.append(tag)
        self.links += [known["href"]] if "href" in known else []
        self.ids += [known["id"]] if "id" in known else []
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page(*cells, tail: str = "the end") -> Page:
    return Page(html.render_html(matrices.run(*cells), tail=lambda _: tail, failed=lambda _: [HOSTILE]))


def every_state(**axes: tuple[str, ...]):
    return matrices.product(STATES, **axes)


@pytest.mark.parametrize(
    "axes", [{}, {"a": tuple("12")}, {"a": tuple("12"), "b": tuple("345")}, {name: tuple("12") for name in "abc"}]
)
def test_every_cell_is_in_the_grid_and_leads_to_its_details(axes):
    cells = every_state(**axes)
    made = page(*cells)
    inner = [link[1:] for link in made.links if link.startswith("#")]
    assert sorted(inner) == sorted(each for each in made.ids if each.startswith("cell-"))
    assert len(set(inner)) == len(cells)
    for cell in cells:
        assert cell.cell.name in made.text


def test_the_page_fetches_nothing_and_runs_nothing():
    text = html.render_html(
        matrices.run(*every_state(a=tuple("12345678"), b=tuple("12"))), tail=lambda _: "x", failed=lambda _: []
    )
    assert not re.search(r"https?:|@import|url\(|src=", text)
    assert "<script" not in text


def test_row_heads_span_the_rows_that_share_them():
    text = html.render_html(
        matrices.run(*every_state(os=("a", "b"), python=("1", "2", "3"), pg=("1", "2"))),
        tail=lambda _: "",
        failed=lambda _: [],
    )
    assert text.count('rowspan="3"') == 2
    assert text.count("<tr>") == 2 + 6


def test_hostile_names_and_logs_stay_text():
    cell = matrices.of({HOSTILE: HOSTILE}, state="failed", reason=HOSTILE, image=HOSTILE, log=f"/x/{HOSTILE}")
    made = page(cell, tail=HOSTILE)
    assert "script" not in made.tags
    drawn = svg.render_svg(matrices.run(cell, matrices.of({HOSTILE: "2", "b": "3"}), project=HOSTILE))
    assert {element.tag.rpartition("}")[2] for element in ET.fromstring(drawn).iter()} <= {
        "svg",
        "title",
        "style",
        "rect",
        "text",
        "g",
    }


@pytest.mark.parametrize(
    "axes", [{}, {"a": tuple("12")}, {"a": tuple("12"), "b": tuple("345")}, {name: tuple("12") for name in "abc"}]
)
def test_the_picture_has_every_cell_within_its_frame(axes):
    cells = every_state(**axes)
    drawn = ET.fromstring(svg.render_svg(matrices.run(*cells)))
    titles = [each.text or "" for each in drawn.iter() if each.tag.endswith("title")]
    for cell in cells:
        assert any(title.startswith(f"{cell.cell.name}: {cell.state}") for title in titles)
    width, height = float(drawn.attrib["width"]), float(drawn.attrib["height"])
    for box in (each for each in drawn.iter() if each.tag.endswith("rect") and "x" in each.attrib):
        assert float(box.attrib["x"]) + float(box.attrib["width"]) <= width
        assert float(box.attrib["y"]) + float(box.attrib["height"]) <= height


def test_two_hundred_cells_of_one_axis_are_no_tower():
    drawn = ET.fromstring(svg.render_svg(matrices.run(*matrices.product(n=tuple(map(str, range(200)))))))
    assert float(drawn.attrib["height"]) < 1000
    assert float(drawn.attrib["width"]) < 2400


def test_only_what_went_wrong_is_open():
    text = html.render_html(
        matrices.run(matrices.result("failed", a="1"), matrices.result(a="2")), tail=lambda _: "", failed=lambda _: []
    )
    assert text.count("<details open>") == 1
    assert text.count("<details>") == 1
