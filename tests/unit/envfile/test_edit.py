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
    text, new = edit.add_packages(FILE, table, ("git", "git"), lines=[3])
    assert new == ("git",)
    found = tomllib.loads(text)
    for key in table:
        found = found[key]
    assert found["packages"][-1] == "git"
    assert [line.rstrip() for line in FILE.splitlines() if "#" in line] == [
        line.rstrip() for line in text.splitlines() if "#" in line
    ]
    again, new = edit.add_packages(text, table, ("git",), lines=[3])
    assert (again, new) == (text, ())
    assert "git" not in edit.remove_packages(text, table, ("git",))


def test_the_new_list_follows_the_source():
    text, _ = edit.add_packages(FILE, ("dev",), ("git",), lines=[3])
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
        edit.add_packages(text, ("dev",), ("git",), lines=[line])
    assert 'packages = ["git"]' in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        '[dev]\nrecipe = "debian"',  # the last line does not end
        '# \u2028 \x85 is no line end of TOML\n[dev]\nrecipe = "debian"\n',
        '[dev]\nrecipe = "debian"\n[base.a]\nrecipe = "debian"\n[dev.env]\nA = "1"\n',  # tables out of order
        '[dev.env]\nA = "1"\n[base.a]\nrecipe = "python"\n[dev]\nrecipe = "debian"\n',
    ],
)
def test_a_list_is_inserted_below_the_source_of_the_image(text: str):
    line = text.split("\n").index('recipe = "debian"') + 1
    edited, _ = edit.add_packages(text, ("dev",), ("git",), lines=[line])
    assert tomllib.loads(edited)["dev"]["packages"] == ["git"]
    assert edited.split("\n")[line] == 'packages = ["git"]'


def test_a_list_is_inserted_below_the_header_if_the_source_is_elsewhere():
    text = 'dev = """x"""\n[base.a]\nrecipe = """\ndebian"""\n'
    edited, _ = edit.add_packages(text, ("base", "a"), ("git",), lines=[3, 2])
    assert edited.splitlines()[1:3] == ["[base.a]", 'packages = ["git"]']


def test_line_ends_of_windows_stay():
    text = '[dev]\r\nrecipe = "debian"\r\n\r\n[tasks]\r\na = "b"\r\n'
    edited, _ = edit.add_packages(text, ("dev",), ("git",), lines=[2])
    assert edited == text.replace('"debian"\r\n', '"debian"\r\npackages = ["git"]\r\n')


def test_a_package_that_is_listed_or_named_twice_is_removed():
    text = '[dev]\nrecipe = "debian"\npackages = ["git", "vim", "git"]\n'
    assert tomllib.loads(edit.remove_packages(text, ("dev",), ("git", "git")))["dev"]["packages"] == ["vim"]


@pytest.mark.parametrize("packages", ['["${p}"]', '{ append = ["git"] }'])
def test_a_list_that_is_written_in_another_way_is_refused(packages: str):
    with pytest.raises(EnvFileError, match=r"cannot edit \[dev\] as it is written"):
        edit.remove_packages(f"[dev]\npackages = {packages}\n", ("dev",), ("git",))
    with pytest.raises(EnvFileError, match=r"cannot edit \[base.a\] as it is written"):  # in devbox.local.toml
        edit.add_packages("[dev]\n", ("base", "a"), ("git",), lines=[])
