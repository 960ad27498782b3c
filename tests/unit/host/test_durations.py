import pytest

from devbox.model import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.042, "0.04 s"),
        (9.99, "9.99 s"),
        (41.23, "41.2 s"),
        (59.99, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.8, "1 h 00 min"),
        (11_220, "3 h 07 min"),
    ],
)
def test_durations(seconds: float, text: str):
    assert duration.format_elapsed(seconds) == text
