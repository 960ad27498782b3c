"""Included recipes, and a project's own recipes next to them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from devbox.envfile import recipes
from devbox.errors import EnvFileError, UsageError
from devbox.model.image import Files, Packages
from devbox.roles.recipes import use

SHIPPED = sorted(recipes.list_shipped())
OWN = """
description = "Mine"

[parameters.size]
description = "how large"

[[steps]]
op = "bootstrap"
distribution = "debian"
suite = "trixie"

[[steps]]
op = "run"
commands = ["true {{ size }}"]
"""


def choices() -> list[Any]:
    """Every shipped recipe with every value that a parameter of it can be chosen from."""
    found = []
    for name in SHIPPED:
        for parameter in recipes.describe_recipe(name, "").parameters:
            found += [pytest.param(name, parameter.name, choice, id=f"{name}-{choice}") for choice in parameter.choices]
    return found


@pytest.mark.parametrize(("name", "parameter", "value"), choices())
def test_every_choice_of_a_shipped_recipe_makes_a_whole(name: str, parameter: str, value: str):
    path = recipes.find(name, "")
    assert path is not None
    recipe = recipes.load(path)
    made = use(name, recipe, {parameter: value}, where="x:1")
    steps, _ = made.render_image()
    assert steps
    made.render_service(host="s", credentials=dict.fromkeys(recipe.credentials, "x"))
    made.render_tool()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_says_what_there_is_to_choose(name: str):
    found = recipes.describe_recipe(name, "")
    assert not found.own
    assert found.parameters[0].default in found.versions
    if found.service:
        assert found.service.health != "none"
        assert found.service.exports


def test_a_recipe_of_the_project_is_its_own_and_may_shadow(write):
    root = write("", {"recipes/mine.toml": OWN, "recipes/redis.toml": OWN})
    mine, redis = (recipes.describe_recipe(name, root) for name in ("mine", "redis"))
    assert (mine.own, mine.shadows, mine.description) == (True, False, "Mine")
    assert (redis.own, redis.shadows) == (True, True)
    assert set(recipes.list_names(root)) == {*SHIPPED, "mine"}


def test_a_parameter_that_must_be_set_is_shown_by_its_name(write):
    found = recipes.describe_recipe("mine", write("", {"recipes/mine.toml": OWN}))
    assert found.parameters[0].default is None
    assert found.steps == ("debian trixie", "run true <size>")
    assert recipes.render_example(found) == '[dev]\nrecipe = "mine"\nwith = { size = "…" }'


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(UsageError, match="did you mean node") as caught:
        recipes.describe_recipe("nide", "")
    assert "mariadb" in caught.value.remedy


def test_a_broken_recipe_is_reported_by_its_place(write):
    root = write("", {"recipes/mine.toml": OWN.replace('description = "Mine"', "descripton = 1")})
    with pytest.raises(EnvFileError) as caught:
        recipes.describe_recipe("mine", root)
    assert "recipes/mine.toml" in caught.value.render()


def test_what_a_recipe_mounts_must_be_in_the_project(error, write):
    found = error('[service.web]\nrecipe = "nginx"\n')
    assert found.where == "devbox.toml:2"
    assert "recipe nginx cannot mount /srv/www: public not found in the project" in found.sentence
    assert error('[service.web]\nrecipe = "nginx"\nwith = { root = "../x" }\n').where == "devbox.toml:3"


def test_the_project_itself_may_be_mounted(load_spec):
    web = load_spec('[service.web]\nrecipe = "nginx"\nwith = { root = "." }\n').containers["web"]
    assert [mount.target for mount in web.mounts] == ["/srv/www"]


def test_the_recipe_of_the_how_to_works(load_spec):
    page = (Path(__file__).parents[3] / "docs/how-to/own-recipe.md").read_text()
    recipe, table = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    found = load_spec(table, {"recipes/mail.toml": recipe})
    assert found.containers["dev"].env["SMTP_URL"] == "smtp://mail:8025"
    files = found.images["service.mail"].steps[-1]
    assert isinstance(files, Files)
    assert 'echo "mail for shop.test"' in files.contents["/usr/local/bin/start-mail"]


def test_what_a_variant_leaves_empty_is_not_purged():
    path = recipes.find("java", "")
    assert path is not None
    steps, _ = use("java", recipes.load(path), {"version": "21"}, where="x:1").render_image()
    assert isinstance(steps[1], Packages)
    assert steps[1].purge
    assert "" not in steps[1].purge
