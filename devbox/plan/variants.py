"""The images of a matrix: those that differ from cell to cell have names of their own, by which the lock knows them.

An image that a cell has as the file has it without the matrix keeps its name. Another is a *variant* of it, such as
`base.py [python=3.9]`: named by the variables of the matrix that it depends on, and by no others. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from devbox.frozen import dataclass
from devbox.model.image import ImageSpec, keyed

_BEGIN = " ["


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell's images as the file wants them, and all variables of the matrix as they are in it."""

    variables: Mapping[str, str]
    images: dict[str, ImageSpec]

    @cached_property
    def keys(self) -> dict[str, str]:
        """The identity of each image."""
        return {label: keyed(label, self.images).key for label in self.images}


class Variants:
    """The names of all images of a matrix. `plain` is the file without it, `cells` all of its cells."""

    def __init__(self, plain: Cell, cells: Sequence[Cell]) -> None:
        self._plain = plain
        rows = [plain, *cells]
        labels = dict.fromkeys(label for row in rows for label in row.images)
        self._depends = {label: _depends(label, rows) for label in labels}

    def names(self, cell: Cell) -> dict[str, str]:
        """What the images of a cell are called: label → name."""
        return {label: self._name(label, cell) for label in cell.images}

    def _name(self, label: str, cell: Cell) -> str:
        if cell.keys[label] == self._plain.keys.get(label):
            return label
        named = self._depends.get(label) or tuple(cell.variables)  # all, where no cell of the file has such an image
        return f"{label}{_BEGIN}{','.join(f'{name}={cell.variables[name]}' for name in named)}]"


def label_of(name: str) -> str:
    """The image that a name is a variant of, as the file calls it; of another name, the name."""
    return name.partition(_BEGIN)[0]


def together(cells: Iterable[tuple[Mapping[str, ImageSpec], Mapping[str, str]]]) -> dict[str, ImageSpec]:
    """The images of several cells under their names. `cells`: the images of each by label, and label → name."""
    found: dict[str, ImageSpec] = {}
    for images, names in cells:
        found |= renamed(images, names)
    return found


def renamed(images: Mapping[str, ImageSpec], names: Mapping[str, str]) -> dict[str, ImageSpec]:
    """Images under other names, as children of other names."""
    return {
        names[label]: replace(spec, name=names[label], parent=names[spec.parent] if spec.parent else None)
        for label, spec in images.items()
    }


def _depends(label: str, rows: Sequence[Cell]) -> tuple[str, ...]:
    """As few variables as tell the images of this label apart; the first axes are left out last."""
    having = [row for row in rows if label in row.images]
    names = tuple(dict.fromkeys(name for row in having for name in row.variables))
    for name in reversed(names):
        others = tuple(other for other in names if other != name)
        if _tell(label, others, having):
            names = others
    return names


def _tell(label: str, names: Sequence[str], rows: Iterable[Cell]) -> bool:
    """Whether the image is a function of these variables."""
    known: dict[tuple[str, ...], str] = {}
    return all(
        known.setdefault(tuple(row.variables[name] for name in names), row.keys[label]) == row.keys[label]
        for row in rows
    )
