"""`add` and `rm` change one list of the file, and nothing else."""

from __future__ import annotations

import tomllib

import pytest

from devbox.envfile import edit
from devbox.errors import EnvFileError

FILE = """# top
[dev]   # the container
recipe = "python"   # 3.13

# a base
[base.py]
recipe = "debian"
packages = [
  "less",  # pager
  "vim",
]

[tool]
x = { recipe = "redis" }
"""


@pytest.mark.parametrize("table", [("dev",), ("base", "py"), ("tool", "x")])
def test_packages_are_added_and_removed_and_comments_stay(table: tuple[str, ...]):
    text, new = edit.add_packages(FILE, table, ("git", "git"), line=3)
    assert new == ("git",)
    found = tomllib.loads(text)
    for key in table:
        found = found[key]
    assert found["packages"][-1] == "git"
    assert [line.rstrip() for line in FILE.splitlines() if "#" in line] == [
        line.rstrip() for line in text.splitlines() if "#" in line
    ]
    again, new = edit.add_packages(text, table, ("git",), line=3)
    assert (again, new) == (text, ())
    assert "git" not in edit.remove_packages(text, table, ("git",))


def test_the_new_list_follows_the_source():
    text, _ = edit.add_packages(FILE, ("dev",), ("git",), line=3)
    assert text.splitlines()[2:4] == ['recipe = "python"   # 3.13', 'packages = ["git"]']


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[dev]\nrecipe = "python"\n[dev.setup]\nrun = ["x"]\n', 4),  # would land in another table
        ('[dev]\nrun = ["""\n"""]\nrecipe = "python"\n', 2),  # would land in a string
        ('dev.recipe = "python"\n', 1),  # is not a table of its own
    ],
)
def test_a_file_that_would_mean_something_else_is_refused(text: str, line: int):
    with pytest.raises(EnvFileError, match=r"cannot edit \[dev\]") as caught:
        edit.add_packages(text, ("dev",), ("git",), line=line)
    assert 'packages = ["git"]' in caught.value.remedy
