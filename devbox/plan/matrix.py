"""Cells of a matrix: the product of its axes minus exclusions plus inclusions. Pure.

Follows GitHub Actions: an `include` that matches cells of the product by its axis values adds its other values to them
as variables; without a match, it becomes a new cell.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cached_property

from devbox.errors import UsageError
from devbox.model import codec, ids
from devbox.model.container import build_identity, fingerprint_variables
from devbox.model.frozen import dataclass
from devbox.model.image import ImageSpec, key_image
from devbox.model.matrix import Cell, CellInputs, CellResult, Matrix, Tests
from devbox.model.release import Release
from devbox.model.spec import Spec

DEFAULT = "default"  # name of the only cell of tests without a matrix


def expand_cells(matrix: Matrix) -> tuple[Cell, ...]:
    """Return all cells in file order: the last axis varies fastest, included cells come last."""
    products = [dict(zip(matrix.axes, values, strict=True)) for values in itertools.product(*matrix.axes.values())]
    kept = [axes for axes in products if not any(_matches(axes, pattern) for pattern in matrix.exclude)]
    if not matrix.axes and matrix.include:
        kept = []  # the product of no axes is one empty cell, which the file does not declare
    found = [(axes, dict(axes)) for axes in kept]
    added: list[tuple[dict[str, str], dict[str, str]]] = []
    for included in matrix.include:
        own = {name: value for name, value in included.items() if name in matrix.axes}
        fitting = [variables for axes, variables in found if _matches(axes, own)]
        for variables in fitting:
            variables.update(included)
        if not fitting:
            axes = own | {name: value for name, value in included.items() if name not in own}
            added.append((_sort_axes(axes, matrix.axes), dict(included)))
    return tuple(_build_cell(axes, variables, matrix) for axes, variables in [*found, *added])


def pin_axes(matrix: Matrix, values: Mapping[str, str]) -> Matrix:
    """Return the matrix with some axes fixed to one value, without includes for other values."""
    return replace(
        matrix,
        axes={name: (values[name],) if name in values else axis for name, axis in matrix.axes.items()},
        include=tuple(
            cell for cell in matrix.include if all(cell.get(name, value) == value for name, value in values.items())
        ),
    )


def name_cell(axes: Mapping[str, str]) -> str:
    """Return the name of a cell."""
    return ",".join(f"{name}={value}" for name, value in axes.items()) or DEFAULT


def _build_cell(axes: dict[str, str], variables: dict[str, str], matrix: Matrix) -> Cell:
    forgiven = any(_matches(variables, pattern) for pattern in matrix.allow_failure)
    return Cell(name=name_cell(axes), axes=axes, variables=variables, allow_failure=forgiven)


def _matches(values: Mapping[str, str], pattern: Mapping[str, str]) -> bool:
    return all(values.get(name) == value for name, value in pattern.items())


def _sort_axes(axes: dict[str, str], order: Iterable[str]) -> dict[str, str]:
    return {name: axes[name] for name in (*order, *axes) if name in axes}


def count_jobs(*, cells: int, cores: int, memory: int, each: int) -> int:
    """Return the number of parallel cells, bounded by cores and by `memory` (bytes)."""
    return max(1, min(cells, cores, memory // max(each, 1)))


# Part of every cell's inputs. Increase when tests are run in a different way.
_RUNNER = 1
_SHOWN = 3


def compute_inputs(spec: Spec, tests: Tests, *, release: Release | None = None) -> CellInputs:
    """Return the inputs of one cell except its files: image pins, services, command, variables.

    With a `release`, also its digest and how tests reach it.
    """
    container = tests.container
    image = key_image(container.image, spec.images).key
    services = {name: _digest_service(spec, name) for name in spec.containers if name != container.name}
    command = ids.compute_key(list(tests.command))
    settings = build_identity(replace(container, env={})) | {"junit": tests.junit, "coverage": tests.coverage}
    if container.setup is not None:
        settings |= {"setup": codec.dump(container.setup.commands)}
    ready = codec.dump(tests.ready)
    own = fingerprint_variables(container)
    if release is not None:
        services |= {"the release": ids.compute_key([release.id, tests.release, tests.release_env])}
    everything = {
        "runner": _RUNNER,
        "image": image,
        "services": services,
        "command": command,
        "env": container.env,
        "settings": settings,
        "ready": ready,
        "needs": container.needs,
    }
    return CellInputs(
        image=image,
        services=services,
        command=command,
        environment=own.env,
        settings=ids.compute_key(settings),
        ready=ids.compute_key(ready),
        exact=ids.compute_key(everything),
    )


def compute_ready_key(spec: Spec, tests: Tests, files: Mapping[str, str]) -> str:
    """Return the identity of the service data left by the `ready` commands.

    The image of the commands is excluded: one migration serves the cells of all interpreters.
    """
    services = {name: _digest_service(spec, name) for name in spec.containers if name != tests.container.name}
    return ids.compute_key({"services": services, "ready": codec.dump(tests.ready), "files": dict(files)})


def why_cached(last: CellResult) -> str:
    """Explain why a cell need not run."""
    return f"nothing changed since it passed at {last.ended_at} ({last.seconds:.1f} s)"


def why_run(now: CellInputs, before: CellInputs | None, last: CellResult | None, changed: Iterable[str]) -> str:
    """Explain why a cell runs. `changed`: files that differ from the last run."""
    if before is None or last is None:
        return "never ran"
    if last.state not in ("passed", "cached"):
        return _explain_retry(last)
    found = _list_changes(now, before, list(changed))
    return ", ".join(found) or "requested"


def _explain_retry(last: CellResult) -> str:
    words = {
        "flaky": "passed only on a retry last time",
        "interrupted": "interrupted last time",
        "error": "could not run last time",
        "timeout": "timed out last time",
    }
    return words.get(last.state, "failed last time")


def _list_changes(now: CellInputs, before: CellInputs, files: list[str]) -> list[str]:
    found = ["its image changed"] if now.image != before.image else []
    found += _diff_tables(now.services, before.services)
    found += ["its command changed"] if now.command != before.command else []
    found += _diff_tables(now.environment, before.environment)
    found += ["its settings changed"] if now.settings != before.settings else []
    found += ["services_ready_from changed"] if now.ready != before.ready else []
    if not found and now.exact != before.exact:
        found.append("the value of a variable changed")
    if now.files != before.files:
        more = f" and {len(files) - _SHOWN} more" if files[_SHOWN:] else ""
        found.append(f"{', '.join(files[:_SHOWN]) or 'a file'}{more} changed")
    return found


def _diff_tables(now: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    names = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
    words = {(False, True): "is new", (True, False): "was removed", (True, True): "changed"}
    return [f"{name} {words[name in before, name in now]}" for name in names]


def _digest_service(spec: Spec, name: str) -> str:
    container = spec.containers[name]
    return ids.compute_key({**build_identity(container), "image": key_image(container.image, spec.images).key})


_BEGIN = " ["


@dataclass(frozen=True, kw_only=True)
class CellImages:
    """Desired images of a cell, and all matrix variables with their values in the cell."""

    variables: Mapping[str, str]
    images: dict[str, ImageSpec]

    @cached_property
    def keys(self) -> dict[str, str]:
        """Identity of each image."""
        return {label: key_image(label, self.images).key for label in self.images}


class ImageVariants:
    """Names of all images of a matrix. `plain`: the file without its matrix; `cells`: all cells."""

    def __init__(self, plain: CellImages, cells: Sequence[CellImages]) -> None:
        self._plain = plain
        rows = [plain, *cells]
        labels = dict.fromkeys(label for row in rows for label in row.images)
        self._depends = {label: _find_variables(label, rows) for label in labels}

    def name_images(self, cell: CellImages) -> dict[str, str]:
        """Map the image labels of a cell to names."""
        return {label: self._name_image(label, cell) for label in cell.images}

    def _name_image(self, label: str, cell: CellImages) -> str:
        if cell.keys[label] == self._plain.keys.get(label):
            return label
        named = self._depends.get(label) or tuple(cell.variables)  # all variables if no cell has this image
        return f"{label}{_BEGIN}{','.join(f'{name}={cell.variables[name]}' for name in named)}]"


def parse_label(name: str) -> str:
    """Return the label of an image variant; another name unchanged."""
    return name.partition(_BEGIN)[0]


def merge_images(cells: Iterable[tuple[Mapping[str, ImageSpec], Mapping[str, str]]]) -> dict[str, ImageSpec]:
    """Merge the images of several cells under their names. `cells`: images by label, and label → name."""
    found: dict[str, ImageSpec] = {}
    for images, names in cells:
        found |= rename_images(images, names)
    return found


def rename_images(images: Mapping[str, ImageSpec], names: Mapping[str, str]) -> dict[str, ImageSpec]:
    """Rename images and their parents."""
    return {
        names[label]: replace(spec, name=names[label], parent=names[spec.parent] if spec.parent else None)
        for label, spec in images.items()
    }


def _find_variables(label: str, rows: Sequence[CellImages]) -> tuple[str, ...]:
    """Return the fewest variables that distinguish the images of this label; leading axes are kept longest."""
    having = [row for row in rows if label in row.images]
    names = tuple(dict.fromkeys(name for row in having for name in row.variables))
    for name in reversed(names):
        others = tuple(other for other in names if other != name)
        if _is_determined(label, others, having):
            names = others
    return names


def _is_determined(label: str, names: Sequence[str], rows: Iterable[CellImages]) -> bool:
    """True if these variables determine the image."""
    known: dict[tuple[str, ...], str] = {}
    return all(
        known.setdefault(tuple(row.variables[name] for name in names), row.keys[label]) == row.keys[label]
        for row in rows
    )


_TOKEN = re.compile(r"\s*(\(|\)|[^\s()]+)")
_OPERATORS = ("and", "or", "not")
_SHARD = re.compile(r"([1-9]\d*)/([1-9]\d*)")

Test = Callable[[Cell], bool]


def select_cells(cells: Iterable[Cell], expression: str) -> frozenset[str]:
    """Select cells by an expression: words (`*` is a wildcard), and, or, not, parentheses. Returns names.

    A word is a cell, an axis, a value, or `axis=value` as in `python=3.14`. UsageError for a syntax error or a word
    without a match.
    """
    every = tuple(cells)
    parser = _Parser(expression, every)
    return frozenset(cell.name for cell in every if parser.test(cell))


def select_shard(cells: Iterable[Cell], share: str) -> frozenset[str]:
    """Return the cells of shard `i/n`: every n-th cell, starting at the i-th."""
    match = _SHARD.fullmatch(share)
    if match is None or int(match[1]) > int(match[2]):
        raise UsageError(
            f'invalid value for --shard: expected i/n from 1/n to n/n, got "{share}"', remedy="devbox test --shard 1/2"
        )
    return frozenset(cell.name for cell in list(cells)[int(match[1]) - 1 :: int(match[2])])


class _Parser:
    """Parser of an expression: `or` binds weakest, `not` strongest."""

    def __init__(self, expression: str, cells: tuple[Cell, ...]) -> None:
        self._expression = expression
        self._cells = cells
        self._tokens = _TOKEN.findall(expression)
        self.test = self._parse_or()
        if self._tokens:
            raise self._build_error(f"unexpected {self._tokens[0]!r}")

    def _parse_or(self) -> Test:
        found = [self._parse_and()]
        while self._accept("or"):
            found.append(self._parse_and())
        return lambda cell: any(test(cell) for test in found)

    def _parse_and(self) -> Test:
        found = [self._parse_not()]
        while self._accept("and"):
            found.append(self._parse_not())
        return lambda cell: all(test(cell) for test in found)

    def _parse_not(self) -> Test:
        if self._accept("not"):
            inner = self._parse_not()
            return lambda cell: not inner(cell)
        if self._accept("("):
            inner = self._parse_or()
            if not self._accept(")"):
                raise self._build_error("unclosed parenthesis")
            return inner
        return self._parse_word()

    def _parse_word(self) -> Test:
        if not self._tokens or self._tokens[0] in (*_OPERATORS, ")"):
            raise self._build_error("missing word")
        word = self._tokens.pop(0)
        if not any(_matches_word(word, cell) for cell in self._cells):
            names = ", ".join(cell.name for cell in self._cells[:4])
            raise UsageError(f"no cell matches {word}", remedy=f"list the cells with: devbox test --list ({names} …)")
        return lambda cell: _matches_word(word, cell)

    def _accept(self, token: str) -> bool:
        if self._tokens[:1] != [token]:
            return False
        self._tokens.pop(0)
        return True

    def _build_error(self, why: str) -> UsageError:
        return UsageError(
            f"invalid value for -k: {why} in {self._expression!r}", remedy='devbox test -k "python=3.14 and not pg=15"'
        )


def _matches_word(word: str, cell: Cell) -> bool:
    pairs = [text for name, value in cell.variables.items() for text in (name, value, f"{name}={value}")]
    return any(fnmatchcase(text, word) for text in (cell.name, *pairs))
