"""`${name}` is substituted in strings, once, and nothing else is changed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from devbox.envfile.load import load, load_each_cell
from devbox.envfile.variables import add_axes, find_axes, parse_values, substitute

NAMES = st.sampled_from(["a", "b_c", "D9"])


def test_only_references_in_strings_are_filled():
    data = {"dev": {"list": ["${a}-${a}", 1], "shell": "echo $X ${X:-y} $(a) $a", "${a}": "$${a} $$${a}"}}
    filled, problems = substitute(data, {"a": "1"})
    assert filled == {
        "dev": {"list": ["1-1", 1], "shell": "echo $X ${X:-y} $(a) $a", "${a}": "${a} $${a}"},
    }
    assert problems == []


def test_a_variable_may_use_those_before_it():
    values, problems = parse_values({"a": "1", "b": "${a}2", "n": 5, "t": True})
    assert values == {"a": "1", "b": "12", "n": "5", "t": "true"}
    assert problems == []
    _, problems = parse_values({"b": "${a}", "a": "1"})
    assert [problem.key for problem in problems] == [("vars", "b")]


def test_numbers_are_made_of_filled_strings(load_spec):
    text = '[vars]\np = 8000\nn = "2"\n[dev]\nrecipe = "debian"\n'
    text += 'ports = ["${p}"]\nlimits = { cpus = "${n}", pids = "${n}" }\n'
    dev = load_spec(text).containers["dev"]
    assert (dev.ports[0].container, dev.limits.cpus, dev.limits.pids) == (8000, 2.0, 2)


MATRIX = """[vars]
tag = "py${python}"
level = "low"
[base.py]
recipe = "python"
with = { version = "${python}" }
[test]
from = "py"
command = "true"
env = { TAG = "${tag}", LEVEL = "${level}" }
[test.matrix]
python = ["3.11", "3.13"]
level = ["high"]
"""


def test_an_axis_is_a_variable_with_its_first_value(write):
    root = write(MATRIX)
    env = load(root)
    assert env.document.vars == {"python": "3.11", "tag": "py3.11", "level": "low"}
    assert env.locate(("vars", "python")) == "devbox.toml:12"
    ((_, cell),) = load_each_cell(env, {"python=3.13": {"python": "3.13"}})
    assert cell.document.vars["tag"] == "py3.13"


def test_an_axis_that_nothing_refers_to_is_a_mistake(error):
    caught = error(MATRIX.replace("python = [", "pyton = ["))
    assert "variable python not found" in caught.sentence
    caught = error(MATRIX.replace("[test.matrix]", '[test.matrix]\nlevl = ["a"]'))
    assert (caught.where, caught.remedy.split(" where")[0]) == ("devbox.toml:12", "write ${levl}")
    assert "did you mean level?" in caught.sentence


def test_an_axis_may_use_variables():
    data = {"vars": {"latest": "3"}, "test": {"matrix": {"v": ["${latest}"], "w": [1.5], "u": []}}, "x": "${v} ${w}"}
    assert parse_values(add_axes(data["vars"], find_axes(data))) == ({"latest": "3", "v": "3"}, [])


@given(st.text(), NAMES, st.text())
def test_text_without_a_reference_stays_as_it_is(text, name, value):
    if "${" not in text:
        assert substitute({"x": text}, {name: value})[0] == {"x": text}


@given(NAMES, st.text(), st.text(st.characters(exclude_characters="${}")))
def test_values_are_not_filled_again(name, value, around):
    filled, problems = substitute({"x": f"{around}${{{name}}}{around}"}, {name: value})
    assert filled == {"x": f"{around}{value}{around}"}
    assert not problems


@given(NAMES, st.text(st.characters(exclude_characters="${}")))
def test_a_doubled_dollar_is_literal(name, around):
    assert substitute({"x": f"{around}$${{{name}}}"}, {name: "no"})[0] == {"x": f"{around}${{{name}}}"}
