"""The catalogue of errors, read from the source; `python -m support.catalogue`, in tests/, prints the page.

Every place that makes a DevboxError is a row, so that the page can't lack one; words in capitals stand for what is
filled in. `house_rules/test_errors.py` compares the page, and asks a remedy of every row.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devbox import errors

PACKAGE = Path(errors.__file__).resolve().parent
_CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.DevboxError)
}
_CLASSES |= {"_Damaged": errors.DevboxError, "Problem": errors.EnvFileError}
# A class chosen at run time, by the name of the variable: they exit alike.
_CLASSES |= {"kind": errors.BakeFailed}
# What makes no error itself, but the sentence of one.
_CLASSES |= {"Cause": errors.BakeFailed}
_VERDICTS = "isolation/readiness.py"  # sentences that the supervisor's server makes an error of
_HAND_ON = {"isolation/forks.py"}  # errors of others, passed through

_GROUPS = (
    (
        ("envfile", "roles", "convert"),
        "The env file",
        """\
Each names file and line. `devbox config --origin` shows the interpreted file, and the origin of each value. Up to five
mistakes are reported at once.""",
    ),
    (("cli", "reports"), "The command line", "`devbox COMMAND --help` lists the options of a command."),
    (("host",), "The host", "`devbox doctor` checks all of this at once."),
    (
        ("images",),
        "Images",
        """\
A step of an image failed; earlier steps are kept, and the next `devbox up` continues after them. The error names the
file with the full output of the step.""",
    ),
    (
        ("attest",),
        "Keys and signatures",
        "`devbox verify` lists the attachments of a release and their signers; `devbox key ls` lists your keys.",
    ),
    (
        ("isolation", "engines"),
        "Containers",
        "Running containers continue. `devbox ps` shows their states, `devbox logs NAME` their output.",
    ),
    (
        ("project", "flow", "commands", "deploy", "plan", "execute", "records", "doctor"),
        "Projects",
        "About the project as a whole, its setup and its records.",
    ),
)
# What those say to do that have no remedy of their own.
_SILENT = {"The env file": "correct the named line", "Images": "see the full log: LOG"}

_CLOSING = ("`", ")", "…")
_PREFIXES = ("get_", "find_", "st_")  # left out of placeholders

_HEAD = """\
# Errors

Generated from the source by `make reference`; a test compares the two.

An error is one sentence on stderr, after `file:line` if it concerns a file; after `|` the last output lines of a failed
program; after `→` a remedy. Words in capitals are placeholders. Exit codes: 1 failed, 2 invalid command line or
env file, 125 a command cannot be run. Please report internal errors of devbox, with the traceback of `DEVBOX_DEBUG=1`.
"""


@dataclass(frozen=True)
class Entry:
    """One place that makes an error."""

    path: str
    line: int
    sentence: str
    remedy: str
    exit_code: int

    @property
    def room(self) -> str:
        """The package it lies in, or the module at the top."""
        return self.path.split("/")[0].removesuffix(".py")

    @property
    def is_sentence(self) -> bool:
        """Whether it says something itself, instead of handing on what another place said."""
        return any(word.isalpha() and word.islower() for word in self.sentence.split())


def entries() -> list[Entry]:
    """Every error of the package, in the order of the source."""
    return [entry for path in sorted(PACKAGE.rglob("*.py")) for entry in _entries(path)]


def page() -> str:
    """The whole catalogue."""
    found = entries()
    parts = [_HEAD]
    for rooms, title, about in _GROUPS:
        own = (entry for entry in found if entry.room in rooms and entry.is_sentence)
        rows = {(entry.sentence, entry.exit_code, entry.remedy) for entry in own}
        parts.append(f"## {title}\n\n{about}\n\n| Message | Exit code | Remedy |\n|---|---|---|")
        parts[-1] += "".join(
            f"\n| {_cell(sentence)} | {code} | {_cell(remedy or _SILENT[title])} |"
            for sentence, code, remedy in sorted(rows)
        )
        parts[-1] += "\n"
    return "\n".join(parts)


def _entries(path: Path) -> Iterator[Entry]:
    name = str(path.relative_to(PACKAGE))
    if name in _HAND_ON or name == "errors.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if name == _VERDICTS:
        yield from _verdicts(tree)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        known = _returned(tree) | _assigned(function)
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and (made := _CLASSES.get(node.func.id)):
                yield _entry(name, node, made, known)
            elif name.startswith(("roles", "envfile")) and _is_value_error(node):
                yield Entry(name, node.lineno, _text(node.exc.args[0], known), "", errors.USAGE)


def _entry(path: str, call: ast.Call, made: type[errors.DevboxError], known: dict[str, ast.expr]) -> Entry:
    words = {word.arg: word.value for word in call.keywords}
    sentence = words.get("sentence") or call.args[0]
    remedy = words.get("remedy") or (call.args[1] if len(call.args) > 1 else None)
    return Entry(path, call.lineno, _text(sentence, known), _text(remedy, known) if remedy else "", made.exit_code)


def _returned(tree: ast.Module) -> dict[str, ast.expr]:
    """What the functions of a module give that consist of one return."""
    return {
        f"{node.name}()": node.body[-1].value
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and isinstance(node.body[-1], ast.Return) and node.body[-1].value
        if len(node.body) <= 2
    }


def _verdicts(tree: ast.Module) -> Iterator[Entry]:
    """Why a container will not become ready: whole sentences that are returned."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.JoinedStr | ast.IfExp):
            yield Entry(_VERDICTS, node.lineno, _text(node.value, {}), "devbox logs NAME", errors.FAILED)


def _is_value_error(node: ast.AST) -> bool:
    """What pydantic makes a sentence of."""
    return (
        isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id == "ValueError"
        and bool(node.exc.args)
    )


def _assigned(function: ast.FunctionDef) -> dict[str, ast.expr]:
    """What the variables of a function are made from: the one value, or all as alternatives."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return {name: values[0] if len(values) == 1 else ast.BoolOp(ast.Or(), values) for name, values in found.items()}


def _text(node: ast.expr, known: dict[str, ast.expr]) -> str:
    """An expression as it will be read: literal text, and capitals for what is filled in."""
    match node:
        case ast.Constant():
            return str(node.value)
        case ast.JoinedStr():
            return _join(node.values)
        case ast.FormattedValue():
            return _text(node.value, known)
        case ast.IfExp():
            return _either([node.body, node.orelse], known)
        case ast.BoolOp():
            return _either(node.values, known)
    return _looked_up(node, known)


def _either(options: list[ast.expr], known: dict[str, ast.expr]) -> str:
    return " / ".join(dict.fromkeys(filter(None, (_text(option, known) for option in options))))


def _looked_up(node: ast.expr, known: dict[str, ast.expr]) -> str:
    """A variable or a call, by what the module says it is."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and f"{node.func.id}()" in known:
        return _text(known[f"{node.func.id}()"], {})
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return _text(node.func.value, known)
    if isinstance(node, ast.Name) and node.id in known:
        return _text(known[node.id], {name: value for name, value in known.items() if name != node.id})
    return _placeholder(node)


def _join(parts: list[ast.expr]) -> str:
    """Join the parts of an f-string, without hints: placeholders appended to a word."""
    text = ""
    for part in parts:
        appended = text[-1:].isalnum() or (text.endswith(_CLOSING) and text.count("`") % 2 == 0)
        text += "" if appended and _is_hint(part) else _text(part, {})
    return text


def _is_hint(part: ast.expr) -> bool:
    """True for a placeholder, unless it is an inflection: "file" + ("s" or "")."""
    if not isinstance(part, ast.FormattedValue):
        return False
    value = part.value
    return not (isinstance(value, ast.IfExp) and isinstance(value.body, ast.Constant) and value.body.value)


def _placeholder(node: ast.expr) -> str:
    if isinstance(node, ast.Name | ast.Attribute):
        name = (node.id if isinstance(node, ast.Name) else node.attr).strip("_")
        return next((name.removeprefix(each) for each in _PREFIXES if name.startswith(each)), name).upper()
    if isinstance(node, ast.Subscript):
        return _placeholder(node.value)
    if isinstance(node, ast.Call):
        return _placeholder(node.args[0]) if node.args else _placeholder(node.func)
    return "…"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


if __name__ == "__main__":
    sys.stdout.write(page())
