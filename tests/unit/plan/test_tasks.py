"""Tasks: their order, their commands, and the reason of each run."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from devbox.errors import UsageError
from devbox.model.observed import TaskDone
from devbox.model.spec import Task
from devbox.plan import tasks


def task(name: str, *needs: str, **fields: object) -> Task:
    return Task(name=name, **{"commands": ("true",), "needs": needs, **fields})  # type: ignore[arg-type]


ALL = {
    each.name: each for each in (task("lint"), task("types"), task("build", "lint"), task("check", "build", "types"))
}


def test_dependencies_of_a_task_run_first_and_independent_tasks_in_parallel():
    made = tasks.plan_needs("check", ALL)
    assert {step.resource: step.after for step in made.steps} == {
        "lint": (),
        "build": ("task lint",),
        "types": (),
    }
    assert {step.reason for step in made.steps} == {"needed by build", "needed by check"}
    assert not tasks.plan_needs("lint", ALL)


def test_an_unknown_task_names_the_known():
    with pytest.raises(UsageError) as raised:
        tasks.find_task("nope", ALL, env_file="devbox.toml")
    assert raised.value.remedy == "known: lint, types, build, check"


@pytest.mark.parametrize(
    ("commands", "printed"),
    [
        (("printf '<%s>'",), "<a b><$HOME>"),
        ((("printf", "<%s>"),), "<a b><$HOME>"),
        (("printf one;", "printf '<%s>'"), "one<a b><$HOME>"),
        ((("printf", "one"), ("printf", "<%s>")), "one<a b><$HOME>"),
    ],
)
def test_arguments_go_to_the_last_command(commands: tuple[object, ...], printed: str):
    argv = tasks.build_task_argv(task("t", commands=commands), ("a b", "$HOME"))
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == printed


def test_commands_stop_at_the_first_failure():
    argv = tasks.build_task_argv(task("t", commands=("echo one", "exit 3", "echo two")))
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "one\n")


NOW = TaskDone(commands="k", image="i", files={"a": "1", "b": "1"})


@pytest.mark.parametrize(
    ("last", "missing", "reason"),
    [
        (NOW, (), ""),
        (None, (), "no successful run yet"),
        (replace(NOW, commands="other"), (), "commands changed"),
        (replace(NOW, image="other"), (), "image of dev changed"),
        (replace(NOW, files={"a": "2", "b": "1"}), (), "inputs changed: a"),
        (replace(NOW, files={"a": "2", "c": "1"}), (), "inputs changed: a and 2 more"),
        (NOW, ("dist/*",), "missing output: dist/*"),
    ],
)
def test_why_a_task_runs(last: TaskDone | None, missing: tuple[str, ...], reason: str):
    found = tasks.explain_run(task("t", inputs=("*",)), last, NOW, missing=missing)
    assert reason in found
    assert bool(found) is bool(reason)


def test_without_inputs_a_task_always_runs():
    assert tasks.explain_run(task("t"), NOW, NOW, missing=())
