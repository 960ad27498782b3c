"""Names of a matrix's images: the file's own, and names of variants by the values that they depend on."""

from __future__ import annotations

import itertools

from support.builders import image

from devbox.model.image import ImageSpec, key_image
from devbox.plan import matrix
from devbox.plan.matrix import CellImages, ImageVariants


def cell(python: str, pg: str, level: str = "low") -> CellImages:
    """A base by `python`, tests on it, a service by `pg`; `level` changes nothing."""
    images = {
        "base.py": image("base.py", f"python{python}"),
        "test": image("test", "pytest", parent="base.py"),
        "service.db": image("service.db", f"postgresql-{pg}"),
    }
    return CellImages(variables={"python": python, "pg": pg, "level": level}, images=images)


PLAIN = cell("3.13", "17")
CELLS = [cell(*values) for values in itertools.product(("3.9", "3.13"), ("15", "17"), ("low", "high"))]


def test_an_image_is_named_by_what_it_depends_on_and_by_nothing_else():
    named = ImageVariants(PLAIN, CELLS)
    assert named.name_images(cell("3.9", "15", "high")) == {
        "base.py": "base.py [python=3.9]",
        "test": "test [python=3.9]",
        "service.db": "service.db [pg=15]",
    }


def test_what_the_file_has_without_the_matrix_keeps_its_name():
    named = ImageVariants(PLAIN, CELLS)
    assert named.name_images(cell("3.13", "15")) == {
        "base.py": "base.py",
        "test": "test",
        "service.db": "service.db [pg=15]",
    }
    assert ImageVariants(PLAIN, []).name_images(PLAIN) == {name: name for name in PLAIN.images}


def test_one_value_that_differs_from_the_file_s_is_named():
    assert ImageVariants(PLAIN, [cell("3.9", "17")]).name_images(cell("3.9", "17"))["test"] == "test [python=3.9]"


def test_of_variables_that_change_together_the_first_is_named():
    rows = [cell("3.9", "17", "old"), cell("3.11", "17", "new")]
    assert ImageVariants(PLAIN, rows).name_images(rows[0])["base.py"] == "base.py [python=3.9]"


def test_a_cell_outside_the_file_s_matrix_is_named_by_all_its_values():
    named = ImageVariants(PLAIN, [PLAIN])
    assert named.name_images(cell("3.9", "17"))["test"] == "test [python=3.9,pg=17,level=low]"


def test_together_they_are_the_same_images():
    named = ImageVariants(PLAIN, CELLS)
    every = matrix.merge_images((each.images, named.name_images(each)) for each in CELLS)
    assert sorted(every) == [
        "base.py",
        "base.py [python=3.9]",
        "service.db",
        "service.db [pg=15]",
        "test",
        "test [python=3.9]",
    ]
    for each in CELLS:
        assert {label: key_image(name, every).key for label, name in named.name_images(each).items()} == each.keys
    assert all(name == spec.name for name, spec in every.items())


def test_a_name_tells_its_image():
    assert [matrix.parse_label(name) for name in ("test [python=3.9]", "base.py [a=b [c]", "dev")] == [
        "test",
        "base.py",
        "dev",
    ]
    spec = ImageSpec(name="a", parent="b", steps=(), config=PLAIN.images["test"].config)
    assert matrix.rename_images({"a": spec}, {"a": "a [x=1]", "b": "b"})["a [x=1]"].parent == "b"
