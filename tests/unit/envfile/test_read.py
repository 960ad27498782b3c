"""The line index agrees with tomllib for any layout of the file."""

from __future__ import annotations

import tomllib

import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from devbox.envfile.read import index

TRICKY = '''\
title = "a [not.a.table] # not a comment"   # a = 1

[servers."a.b"]
text = """
[fake]
key = 1 \\""" "" still
"""
raw = \'\'\'
[fake]\'\'\'
list = [
  # key = 1
  "x,y", [1, 2],
  { inner = 3 },
]
dotted.key = 1
point = { x = 1, y.z = "}" }

[[array]]
n = 1
[array.sub]
m = 1
[[array]]
n = 2
["array"."sub"]
m = 2
'''


def test_tables_strings_lists_and_comments():
    assert tomllib.loads(TRICKY)["array"][1]["sub"] == {"m": 2}
    lines = index(TRICKY)
    expected = {
        ("title",): 1,
        ("servers",): 3,
        ("servers", "a.b"): 3,
        ("servers", "a.b", "text"): 4,
        ("servers", "a.b", "raw"): 8,
        ("servers", "a.b", "list"): 10,
        ("servers", "a.b", "list", 0): 12,
        ("servers", "a.b", "list", 1, 1): 12,
        ("servers", "a.b", "list", 2, "inner"): 13,
        ("servers", "a.b", "dotted", "key"): 15,
        ("servers", "a.b", "point", "y", "z"): 16,
        ("array",): 18,
        ("array", 0, "n"): 19,
        ("array", 0, "sub", "m"): 21,
        ("array", 1, "n"): 23,
        ("array", 1, "sub", "m"): 25,
    }
    assert {key: lines.get(key) for key in expected} == expected
    assert not [key for key in lines if "fake" in key]


def test_windows_line_ends_and_escaped_keys():
    assert index('a = 1\r\n"b\\u0063" = 2\r\n') == {("a",): 1, ("bc",): 2}


KEYS = st.text("abc.=#[]\"' ", min_size=1, max_size=4)
VALUES = st.recursive(
    st.one_of(st.integers(-9, 9), st.booleans(), st.text(st.characters(codec="ascii", exclude_categories=["Cc"]))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def keys_of(value: object, key: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {key} | {found for name, item in items for found in keys_of(item, (*key, name))}


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_every_key_that_tomllib_reads_has_a_line(data):
    text = tomlkit.dumps(data)
    lines = index(text)
    assert set(lines) == keys_of(tomllib.loads(text)) - {()}
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())
