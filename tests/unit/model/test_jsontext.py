"""Untrusted JSON is parsed or raises ValueError."""

from __future__ import annotations

import json
import os

import pytest

from devbox.images.bake import messages
from devbox.isolation import client
from devbox.model import jsontext

DEEP = "[" * 200_000 + "]" * 200_000


def test_what_is_json_is_read():
    plain = {"a": [1, 2.5, "ü", None, True, {"b": {}}]}
    assert jsontext.loads(json.dumps(plain)) == plain
    assert jsontext.loads(json.dumps(plain).encode()) == plain
    assert jsontext.loads('{"a": 1, "a": 2}', object_pairs_hook=list) == [("a", 1), ("a", 2)]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[1,]", b"\xff\xfe\xff", '"\x00"', "nothing", '"' + "[" * 99),
        *("NaN", "[-Infinity]", '{"a": "\\ud800"}', '{"\\uDBFF": 1}', b'["\\udc7f"]', b'"\xed\xa0\x80"'),
    ],
)
def test_what_is_not_json_is_a_value_error(text: str | bytes):
    with pytest.raises(ValueError, match=r".+"):
        jsontext.loads(text)


def test_pairs_of_surrogates_and_bytes_of_a_file_name_are_text():
    for text in ("\U0001f600", os.fsdecode(b"caf\xe9")):
        assert jsontext.loads(json.dumps({text: text})) == {text: text}


@pytest.mark.parametrize("count", [65, 1_000, 5_000, 200_000])
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")])
def test_issue10_json_that_is_nested_too_deeply_is_a_value_error(count: int, begin: str, end: str):
    with pytest.raises(ValueError, match="nested more than 64 levels deep"):
        jsontext.loads(f"{begin * (count - 1)}[1]{end * (count - 1)}")


def test_issue10_json_that_is_nested_as_deeply_as_may_be():
    assert jsontext.loads("[" * 64 + "]" * 64)
    assert jsontext.loads(json.dumps("[" * 1_000)) == "[" * 1_000, "brackets of a text are none"


def test_issue10_json_of_a_worker_that_is_nested_too_deeply_is_rejected():
    assert messages.parse_message(f'{{"done": {DEEP}}}') is None
    with pytest.raises(ValueError, match="nested"):
        client.decode(DEEP.encode())
