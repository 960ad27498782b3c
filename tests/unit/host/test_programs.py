"""The lightweight way to run a program."""

from __future__ import annotations

import pytest

from devbox.errors import CommandFailed
from devbox.host import programs


@pytest.mark.parametrize("size", [0, 5, 1_000_000])
def test_input_of_any_length_arrives_whole(size: int):
    text = b"x" * size

    assert programs.call([programs.find("cat")], purpose="copy", text=text) == text


def test_a_failure_shows_what_the_program_said():
    with pytest.raises(CommandFailed, match="cannot look: ls exited with code 2") as caught:
        programs.call([programs.find("ls"), "/nothing-here"], purpose="look")

    assert "/nothing-here" in caught.value.details
