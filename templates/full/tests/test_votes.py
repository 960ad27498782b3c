"""The poll, against a real Redis."""

import pytest

from poll.votes import Votes


def test_votes_are_counted():
    votes = Votes()
    votes.add("a test")
    before = votes.tally()["a test"]
    votes.cast("a test")
    assert votes.tally()["a test"] == before + 1


def test_only_options_can_be_voted_for():
    with pytest.raises(KeyError):
        Votes().cast("unknown")
