"""Finding a file, local overrides, and the origins of a loaded file's values."""

from __future__ import annotations

import os

import pytest

from devbox.envfile import schema
from devbox.envfile.document import parse_requires, satisfies
from devbox.envfile.load import PROFILES, load
from devbox.errors import EnvFileError, UsageError

DEV = '[dev]\nrecipe = "debian"\n'


def test_the_nearest_file_above_is_found(write, tmp_path):
    root = write(DEV)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert load(str(below)).root == os.path.realpath(root)


def test_no_file_names_init(tmp_path):
    with pytest.raises(UsageError) as caught:
        load(str(tmp_path))
    assert "devbox init" in caught.value.remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_foreign_file_is_not_used_but_a_foreign_project_is(write, tmp_path):
    root = write(DEV)
    os.chown(tmp_path / "devbox.toml", 1000, 1000)
    with pytest.raises(UsageError, match="belongs to uid 1000"):
        load(root)
    assert load(root, file="devbox.toml").name
    os.chown(tmp_path, 1000, 1000)
    assert load(root).name


def test_the_name_comes_from_the_directory(tmp_path):
    root = tmp_path / "My Shop!"
    root.mkdir()
    (root / "devbox.toml").write_text(DEV)
    assert load(str(root)).name == "my-shop"


def test_a_file_for_this_version_is_accepted(write):
    assert load(write('[project]\nname = "a"\nrequires = ">=0.1, <1000"\n' + DEV)).name == "a"


@pytest.mark.parametrize(
    ("requires", "accepted"),
    [
        ("0.2", {"0.2", "0.10.1", "1", "2rc1"}),
        (">=0.2, <2", {"0.2", "0.10.1", "1"}),
        ("==1.0", {"1"}),
        (" >= 1 ", {"1", "2rc1"}),
        ("<=1", {"0.1.9", "0.2", "0.10.1", "1"}),
        ("~=0.2", {"0.2", "0.10.1"}),
        ("==0.*, !=0.2", {"0.1.9", "0.10.1"}),
        (">1", {"2rc1"}),
    ],
)
def test_bounds_on_the_version(requires: str, accepted: set[str]):
    versions = ("0.1.9", "0.2", "0.10.1", "1", "2rc1")
    assert parse_requires(requires) == requires
    assert {version for version in versions if satisfies(requires, version)} == accepted


@pytest.mark.parametrize(
    "requires", ["", " ", ">=", "x", ">=0.1,", ",", ">=0.1 <2", "=>1", "1.*", ">=1; python_version"]
)
def test_an_invalid_bound_is_refused(requires: str):
    with pytest.raises(ValueError, match="expected versions such as"):
        parse_requires(requires)


def test_the_local_file_overrides_by_key(load_spec):
    text = DEV + 'packages = ["less"]\nports = [1]\nenv = { A = "1", B = "2" }\n'
    local = '[dev]\npackages = { append = ["vim"] }\nports = [2]\n[dev.env]\nB = "3"\n[base.x]\nrecipe = "debian"\n'
    dev = load_spec(text, {"devbox.local.toml": local})
    assert dev.images["dev"].steps[-1].names == ("less", "vim")
    assert [port.container for port in dev.containers["dev"].ports] == [2]
    assert dev.containers["dev"].env == {"A": "1", "B": "3"}


def test_origins_tell_the_files_apart(write):
    text = DEV + 'packages = ["less"]\nports = [1]\nenv = { A = "1" }\n'
    local = '[dev]\npackages = { append = ["vim"] }\nports = [2]\nenv = { A = "2" }\n'
    found = schema.list_origins(load(write(text, {"devbox.local.toml": local})))
    assert found["dev.recipe"] == "devbox.toml:2"
    assert found["dev.ports"] == "devbox.local.toml:3"
    assert found["dev.env.A"] == "devbox.local.toml:4"
    assert found["project.name"] == "default"


def test_append_needs_a_list_to_append_to(error):
    caught = error(DEV + 'command = "x"\n', {"devbox.local.toml": '[dev]\ncommand = { append = ["y"] }\n'})
    assert caught.where == "devbox.local.toml:2"


def test_every_file_that_was_or_would_be_read_is_an_input(write):
    root = write(DEV + 'env_files = ["a.env"]\n', {"a.env": "X=1\n"})
    env = load(root)
    assert set(env.inputs) >= {f"{root}/{name}" for name in ("devbox.toml", "devbox.local.toml", "a.env")}
    assert f"{root}/recipes/debian.toml" in env.inputs
    assert env.variables == (PROFILES,)


def test_env_files_are_read_as_other_tools_write_them(load_spec):
    lines = "# c\n\nA=1\nexport B = two words # c\nC=\"x\\ny\" # c\nD='$A # no'\nE=\n"
    dev = load_spec(DEV + 'env_files = ["a.env"]\nenv = { A = "2" }\n', {"a.env": lines}).containers["dev"]
    assert dev.env == {"A": "2", "B": "two words", "C": "x\ny", "D": "$A # no", "E": ""}


def test_a_path_that_leads_out_of_the_project_is_refused(tmp_path, error):
    (tmp_path / "out").symlink_to("/etc")
    caught = error(DEV + 'mounts = [{ source = "out", target = "/x" }]\n')
    assert (caught.where, "a link out of the project" in caught.sentence) == ("devbox.toml:3", True)


def test_a_wrong_line_of_an_env_file_is_named(error):
    assert error(DEV + 'env_files = ["a.env"]\n', {"a.env": "A=1\nnonsense\n"}).where == "a.env:2"


def test_describe_shows_the_filled_file(write):
    values = schema.describe(load(write('[vars]\np = "80"\n' + DEV + 'ports = ["${p}:81"]\ncommand = "x"\n')))
    assert values["dev"]["command"] == ["/bin/sh", "-c", "x"]
    assert values["dev"]["ports"] == [{"container": 81, "host": 80, "address": "127.0.0.1", "protocol": "tcp"}]


def test_a_project_recipe_comes_before_a_shipped_one(load_spec):
    recipe = 'description = "x"\n[[steps]]\nop = "bootstrap"\ndistribution = "debian"\nsuite = "bookworm"\n'
    assert load_spec(DEV, {"recipes/debian.toml": recipe}).images["dev"].steps[0].suite == "bookworm"


@pytest.mark.parametrize(
    ("recipe", "where", "part"),
    [
        ("[[steps]]\n", "recipes/own.toml:1", "description"),
        ('description = "x"\nsteeps = []\n', "recipes/own.toml:2", "did you mean steps?"),
        ('description = "x"\n[variants]\nby = "v"\nvalues = {}\n', "recipes/own.toml:2", "parameter v not found"),
        (
            'description = "x"\n[[steps]]\nop = "run"\ncommands = ["{{ nope }}"]\n',
            "devbox.toml:2",
            "'nope' is undefined",
        ),
        ('description = "x"\n[[steps]]\nop = "fly"\n', "devbox.toml:2", "invalid recipe own"),
    ],
)
def test_a_broken_recipe_is_a_sentence(error, recipe, where, part):
    caught = error('[dev]\nrecipe = "own"\n', {"recipes/own.toml": recipe})
    assert caught.where == where
    assert part in caught.sentence


def test_an_unreadable_file_is_a_sentence(tmp_path):
    (tmp_path / "devbox.toml").mkdir()
    with pytest.raises(EnvFileError):
        load(str(tmp_path))
