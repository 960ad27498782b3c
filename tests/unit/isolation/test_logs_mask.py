"""Secrets are masked in logs."""

from __future__ import annotations

from devbox.isolation.logs import Mask


def test_every_occurrence_of_every_value_is_masked():
    mask = Mask(("hunter2", "hunter22", "s e c r e t"))
    assert mask.mask_text("a hunter22 b hunter2, s e c r e t!") == "a *** b ***, ***!"
    assert mask.mask_line(b"hunter2hunter22") == b"******"
    assert mask.mask_text("nothing") == "nothing"


def test_a_value_of_several_lines_is_known_by_each_of_them():
    mask = Mask(("-----BEGIN KEY-----\nabcdef\nghijkl\n",))
    assert [mask.mask_text(line) for line in ("abcdef", "x ghijkl")] == ["***", "x ***"]


def test_what_is_too_short_to_be_a_secret_blots_out_nothing():
    assert Mask(("no", "")).mask_text("no, now not") == "no, now not"
