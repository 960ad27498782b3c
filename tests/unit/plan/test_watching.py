"""Actions of containers for changed files."""

from __future__ import annotations

import pytest

from devbox.model.spec import Watch
from devbox.plan import watching

DEV = Watch(container="dev", paths=("app/**", "conf"), ignore=("app/static/**",))
WEB = Watch(container="web", paths=("app/**",), do="signal:HUP")
CSS = Watch(container="dev", paths=("styles/*.css",), do="task:css")


def steps(*watches: Watch, changed: list[str]) -> list[tuple[str, str, str]]:
    return [(step.op, step.resource, step.reason) for step in watching.plan_reactions(watches, changed).steps]


@pytest.mark.parametrize(
    ("path", "pattern", "fits"),
    [
        ("app/main.py", "app/**", True),
        ("app/deep/er/main.py", "app/**", True),
        ("app/deep/main.py", "app/**/main.py", True),
        ("app/main.py", "app/**/main.py", True),
        ("app/main.py", "app", True),
        ("app/main.py", "./app/", True),
        ("app/main.py", "app/*.py", True),
        ("app/deep/main.py", "app/*.py", False),
        ("application/main.py", "app", False),
        ("main.py", "**/*.py", True),
        ("a/b/c.py", "**/*.py", True),
        ("a/b/c.js", "**/*.[pt]y", False),
        ("anything/at/all", "**", True),
    ],
)
def test_a_pattern_means_files_and_directories_above_them(path: str, pattern: str, *, fits: bool):
    assert watching.matches(path, pattern) is fits


def test_each_thing_is_done_once_whatever_many_files_changed():
    changed = [f"app/f{number}" for number in range(40)]
    assert steps(DEV, WEB, changed=changed) == [
        ("restart", "dev", "app/f0 and 39 more changed"),
        ("signal", "HUP web", "app/f0 and 39 more changed"),
    ]


def test_what_is_ignored_does_not_count():
    assert steps(DEV, changed=["app/static/x.css", "elsewhere"]) == []


def test_a_task_precedes_the_restart_that_needs_its_result():
    found = watching.plan_reactions([DEV, CSS], ["conf", "styles/a.css"]).steps
    assert [step.op for step in found] == ["task", "restart"]
    assert found[1].after == (found[0].id,)


def test_two_watches_of_one_task_run_it_once():
    other = Watch(container="web", paths=("styles/**",), do="task:css")
    assert steps(CSS, other, changed=["styles/a.css"]) == [("task", "css", "styles/a.css changed")]


def test_what_is_rebuilt_is_not_restarted_as_well():
    again = Watch(container="dev", paths=("conf",), do="rebuild")
    assert steps(DEV, again, changed=["conf"]) == [("rebuild", "dev", "conf changed")]


def test_looked_at_are_the_places_before_the_first_wildcard():
    assert watching.list_places([DEV, CSS]) == ("app", "conf", "styles")
    assert watching.list_places([Watch(container="dev", paths=("app/x/**", "app"))]) == ("app",)
    assert watching.list_places([Watch(container="dev", paths=("**/*.py", "app"))]) == ("",)
