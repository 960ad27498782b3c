import pytest

from slugs import slug


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, Wörld!", "hello-world"),
        ("  3 ways -- to wait  ", "3-ways-to-wait"),
        ("…", ""),
    ],
)
def test_words_are_joined_by_hyphens(text, expected):
    assert slug(text) == expected


def test_a_long_title_ends_with_a_whole_word():
    assert slug("a title that goes on", longest=10) == "a-title"
    assert slug("Donaudampfschifffahrt", longest=5) == "donau"
