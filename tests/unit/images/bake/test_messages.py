"""Messages of workers: each kind is read as it was sent, and a message of another shape is refused."""

from __future__ import annotations

import os

import pytest

from devbox.images.bake import messages
from devbox.images.bake.messages import Answer, Done, Failed, Progress, Stopped

SENT = (
    Progress("unpacking", fraction=1, bytes_done=2, bytes_total=4),
    Progress("waiting"),
    Done(f"sha256:{'a' * 64}", 80, {"apt": "3.0.4", "bash": "5.2"}),
    Done(),
    Stopped("failed", "details"),
    Failed("failed", "details", "remedy", of_host=True),
)


@pytest.mark.parametrize("message", SENT, ids=str)
def test_a_message_is_read_as_it_was_sent(message: Answer):
    reader, writer = os.pipe()
    with open(reader, "rb") as lines:
        messages.send_message(writer, message)
        os.close(writer)
        assert messages.parse_message(lines.readline()) == message
