"""Values in the forms that users write."""

from __future__ import annotations

import pytest

from devbox.roles import fields


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("2m", 120), ("1.5h", 5400), ("7d", 604800), (90, 90), ("5", 5)]
)
def test_durations(text, seconds):
    assert fields.parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("512MiB", 2**29), ("2g", 2**31), ("1kb", 1024), (7, 7), ("1.5G", 3 * 2**29)]
)
def test_sizes(text, size):
    assert fields.parse_size(text) == size


@pytest.mark.parametrize(
    "value", ["", "x", "-1s", True, [], "1 fortnight", float("inf"), float("nan"), 10**400, "9" * 400]
)
def test_an_invalid_duration(value):
    with pytest.raises(ValueError, match="duration"):
        fields.parse_duration(value)


@pytest.mark.parametrize("value", ["", "x", True, [], float("inf"), float("nan"), 10**400, -(10**400), "9" * 400])
def test_an_invalid_number(value):
    with pytest.raises(ValueError, match="expected a number"):
        fields.parse_number(value)


@pytest.mark.parametrize("name", ["..", "a/b", "A", "", "-a", "a" * 64, "a.b", "a b", "a\n"])
def test_an_invalid_name(name):
    with pytest.raises(ValueError, match="invalid name"):
        fields.check_name(name)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "~/x", ""])
def test_paths_stay_in_the_project(path):
    with pytest.raises(ValueError, match="below the project"):
        fields.parse_inner_path(path)


def test_commands():
    assert fields.parse_command("a | b") == ("/bin/sh", "-c", "a | b")
    assert fields.parse_command(["a", 1]) == ("a", "1")
    assert fields.parse_commands("a") == ("a",)
    for wrong in ("", " ", [], 5, {}):
        with pytest.raises(ValueError, match=r"is empty|expected a command"):
            fields.parse_command(wrong)


@pytest.mark.parametrize("value", [0, "0", -1, 1 << 62, 10**400, "9" * 400, "8EiB", True, "x", 1.5])
def test_an_invalid_size(value):
    with pytest.raises(ValueError, match="expected a size"):
        fields.parse_size(value)


@pytest.mark.parametrize("value", [1 << 62, -(1 << 62), 10**400, "9" * 19, True, 1.5])
def test_an_invalid_whole_number(value):
    with pytest.raises(ValueError, match="expected an integer"):
        fields.parse_whole(value)
