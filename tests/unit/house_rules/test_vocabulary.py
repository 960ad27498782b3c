"""The source and the documents use the vocabulary of docs/glossary.md; this test lists the words it replaced."""

from __future__ import annotations

import ast
import collections
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from unit.house_rules.source import PACKAGE, ROOT, each, modules, tree

# Modules that exist only because a process of an earlier version starts them by that name.
SHIMS = {
    f"devbox/{name}.py"
    for name in ("verbs/__init__", "verbs/guard", "isolation/supervision/__init__", "isolation/supervision/supervisor")
}
MODULES = [path for path in modules() if str(path.relative_to(ROOT)) not in SHIMS]

# Names that no module, class or function has any more.
FORMER_PACKAGES = {"verbs", "opened", "routing", "supervision", "inside", "intake", "tables"}
FORMER_NAMES = set(
    """
    carry_out look fixed exclusive Outcome _look_anyhow Resolved LastRun Entry is_open Outside after
    goes_without_saying Rollout _take_over with_another_look Trials Wish Sight become Trial Look Wanted Glance Course
    to_promote begun Move Means Environment told Elsewhere StageEnvironment _Look GrayEnvironment here _Scene Moved
    Guard Seen Asked Surroundings Crew Guardian Against Tops KeptTop accompany proven Snapshots Row summon Confine Reach
    _Answerer Ground Keeper Segment Lists Interior Companion Guests Inside kept closed heard _see_off Listed listed
    Idle held Front KnownBy Carry of_the_machine Place
    """.split()  # noqa: SIM905 - a list of words reads better
) - {"after"}
# Nor a variable, a parameter or an attribute. Fields that are stored or printed keep these names.
FORMER_VARIABLES = {
    *("asked", "glance", "ground", "keeper", "keepers", "lacking", "look", "made", "opened", "said", "scene", "sight"),
    *("told", "trial", "trials", "wanted"),
    *(
        "anew",
        "anybody",
        "away",
        "beside",
        "elsewhere",
        "meant",
        "mine",
        "nobody",
        "nothing",
        "somebody",
        "there",
        "ways",
    ),
    *("who", "whoever"),
}
STORED = {
    *(("devbox/gray/state.py", "said"), ("devbox/gray/summary.py", "said"), ("devbox/gray/decide.py", "asked")),
    *(("devbox/execute/events.py", "glance"), ("devbox/commands/promotion_records.py", "lacking")),
}
# A function is a verb: these are participles, adverbs and prepositions.
NO_VERBS = set(
    """
    above among anew around away before below beside between beyond down inside near of off on out outside since
    together under up upon with within without
    """.split()  # noqa: SIM905
)
# Words that end like a participle and are verbs, or predicates of a class.
VERBS = {"embed", "feed", "need", "proceed", "read", "seed", "send", "shed", "speed", "spread", "exceed", "succeed"}
COMMANDS = {"up", "down"}  # functions that are commands of devbox

PHRASES = (
    r"\banew\b",
    r"\bbeside\b",
    r"\bso as\b",
    r"\bis no (?!longer|more)",
    r"\bare no (?!longer|more)",
    r"\bwants?\b",
    r"\blacks?\b",
    r"\bwhoever\b",
    r"\bnobody (?!group|user)",
    r"\ba person\b",
    r"\bpeople\b",
    r"\btaken back\b",
    r"\bvisitors?\b",
    r"\bthis machine\b",
    r"\bwhat it has\b",
    r"\bby itself\b",
    r"\bin vain\b",
    r"\bstands? still\b",
    r"\bgoes on\b",
    r"\ball that\b",
    r"\bcarried settings\b",
    r"\bon use\b",
    r"\bthe bill\b",
    r"\bbroken off\b",
    r"\bmend(s|ed)?\b",
)
_FOUND = re.compile("|".join(PHRASES), re.IGNORECASE)


def _functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node  # type: ignore[misc]


def _is_value(function: ast.FunctionDef) -> bool:
    """A property is a noun, a method that overrides a library's has its name, and a handler its command's."""
    return any(
        ast.unparse(each).rpartition(".")[2] in ("property", "cached_property", "override")
        for each in function.decorator_list
    )


@each(MODULES)
def test_no_name_is_one_that_was_replaced(path: Path):
    defined = {
        node.name
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not {name for name in defined if name in FORMER_NAMES}
    assert not FORMER_PACKAGES & set(path.relative_to(PACKAGE).with_suffix("").parts)


def _variables(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


@each(MODULES)
def test_a_variable_is_named_by_what_it_holds(path: Path):
    here = str(path.relative_to(ROOT))
    assert not [
        f"{name} (line {line})"
        for name, line in _variables(path)
        if name.lower().lstrip("_") in FORMER_VARIABLES and (here, name) not in STORED
    ]


@each(MODULES)
def test_a_function_is_named_by_a_verb(path: Path):
    wrong = []
    for function in _functions(path):
        name = function.name.lstrip("_")
        if _is_value(function) or name in VERBS or name in COMMANDS or "__" in function.name:
            continue
        first = name.split("_")[0]
        if name in NO_VERBS or (first == name and first.endswith("ed") and first not in VERBS):
            wrong.append(f"{function.name} (line {function.lineno})")
    assert not wrong, "docs/glossary.md: functions are verbs"


def test_a_class_name_is_used_once():
    found = collections.Counter(
        node.name for path in MODULES for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)
    )
    assert not {name for name, count in found.items() if count > 1}


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Docstrings, messages and help: every text of a module that has a space in it; and its comments."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if "  # " in line or line.lstrip().startswith("# "):
            yield number, line.partition("# ")[2]


@each(MODULES)
def test_no_text_of_the_source_has_a_phrase_that_was_replaced(path: Path):
    assert not [f"{line}: {found.group()}" for line, text in _texts(path) if (found := _FOUND.search(text))]


def _pages() -> list[Path]:
    tracked = subprocess.check_output(["git", "ls-files", "docs", "*.md"], cwd=ROOT, text=True).splitlines()
    return [
        ROOT / name
        for name in sorted(set(tracked))
        if name.endswith(".md")
        and not name.startswith("docs/adr/")
        and name not in ("CHANGELOG.md", "docs/glossary.md")
    ]


@each(_pages())
def test_no_page_has_a_phrase_that_was_replaced(path: Path):
    text = path.read_text(encoding="utf-8").replace("devbox.beside.", "")  # a label of images
    lines = enumerate(text.splitlines(), 1)
    assert not [f"{number}: {found.group()}" for number, line in lines if (found := _FOUND.search(line))]


def test_a_phrase_is_found_where_it_is_put_back():
    """The rules bite: each phrase, and each former name, is found in a text that has it."""
    samples = "anew|beside it|is no key|wants a stage|lacks it|whoever|a person|taken back|visitors|this machine"
    assert all(_FOUND.search(sample) for sample in samples.split("|"))
    assert "Resolved" in FORMER_NAMES
