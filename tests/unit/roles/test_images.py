"""The build steps of images, and which of them are shared."""

from __future__ import annotations

import os

import pytest

from devbox.envfile import recipes
from devbox.host.environ import find_data_dir
from devbox.model.image import Bootstrap, Copy, FromDockerfile, FromRegistry, FromTarball, Packages, Run, key_image
from devbox.roles.recipes import use

CHOICES = [
    (name, parameter, choice)
    for name in recipes.list_names("/nonexistent")
    for parameter, declared in recipes.load(f"{find_data_dir('recipes')}/{name}.toml").parameters.items()
    for choice in declared.choices or (declared.default,)
]


@pytest.mark.parametrize(("name", "parameter", "choice"), CHOICES)
def test_every_choice_of_every_recipe_makes_an_image(name, parameter, choice):
    recipe = recipes.load(f"{find_data_dir('recipes')}/{name}.toml")
    used = use(name, recipe, {parameter: choice}, where="devbox.toml:1")
    steps, config = used.render_image()
    assert isinstance(steps[0], Bootstrap)
    assert config.env["LANG"] == "C.UTF-8"
    service = used.render_service(host="x", credentials={"password": "p"})
    assert service is None or service.health is not None


def test_the_shipped_recipes():
    assert {"debian", "ubuntu", "python", "postgres", "redis"} <= set(recipes.list_names(os.path.dirname(__file__)))


def test_python_comes_from_the_suite_that_carries_it():
    recipe = recipes.load(f"{find_data_dir('recipes')}/python.toml")
    suites = {
        version: use("python", recipe, {"version": version}, where="").values["suite"]
        for version in recipe.parameters["version"].choices
    }
    assert suites == {
        "3.8": "focal",
        "3.9": "bullseye",
        "3.10": "jammy",
        "3.11": "bookworm",
        "3.12": "noble",
        "3.13": "trixie",
        "3.14": "resolute",
    }


def test_recipes_of_one_suite_share_their_first_layer_and_uses_all_of_them(load_spec):
    text = '[service.db]\nrecipe = "postgres"\n[tool.psql]\nrecipe = "postgres"\n[service.c]\nrecipe = "redis"\n'
    images = load_spec(text + '[dev]\nrecipe = "python"\n').images
    chains = {name: key_image(name, images).chain for name in images}
    assert len({chain[0].key for chain in chains.values()}) == 1
    assert chains["service.db"] == chains["tool.psql"]


def test_a_chain_of_bases_inherits_what_runs(load_spec):
    text = (
        '[base.a]\nrecipe = "debian"\nenv = { A = "1" }\nworkdir = "/a"\n'
        '[base.b]\nfrom = "a"\npackages = ["git", "git"]\nrun = ["x", ["y"]]\nenv = { B = "2" }\n'
        '[dev]\nfrom = "base.b"\n'
    )
    images = load_spec(text).images
    assert list(images) == ["base.a", "base.b", "dev"]
    assert images["base.b"].steps[0] == Packages(names=("git",))
    assert isinstance(images["base.b"].steps[1], Run)
    assert images["base.b"].steps[1].commands == ("x", ("y",))
    assert images["dev"].steps == ()
    assert images["dev"].config.env == {"LANG": "C.UTF-8", "A": "1", "B": "2"}
    assert images["dev"].config.workdir == "/a"


def test_every_image_something_can_run_in_is_known(load_spec):
    text = '[base.spare]\nrecipe = "ubuntu"\n[dev]\nrecipe = "debian"\n[test]\nfrom = "dev"\n'
    text += '[service.x]\nrecipe = "redis"\nprofiles = ["extra"]\n'
    assert set(load_spec(text).images) == {"base.spare", "dev", "service.x", "test"}


def test_unsupported_tables_are_reported(load_spec):
    text = '[dev]\nrecipe = "debian"\n[tool.x]\nfrom = "dev"\ncommand = "x"\n[stage.test]\ntarget = "swarm"\n'
    later = load_spec(text).later
    assert [sentence.partition(" ")[0] for sentence in later] == ["[stage.test]"]


def test_the_release_image_is_an_image_like_any_other(load_spec):
    text = (
        '[base.spare]\nfrom = "image"\n[dev]\nrecipe = "debian"\n[build]\nfrom = "dev"\nrun = ["x"]\noutput = ["o"]\n'
    )
    image = '[image]\nfrom = "dev"\npackages = ["p"]\ncopy = { "o/./x" = "/x/" }\nrun = ["y"]\nenv = { A = "1" }\n'
    found = load_spec(text + image)
    assert [found.images[name].parent for name in ("base.spare", "image", "build")] == ["image", "dev", "dev"]
    packages, copy, run = found.images["image"].steps
    assert isinstance(packages, Packages)
    assert copy == Copy(paths={"o/x": "/x/"})
    assert isinstance(run, Run)
    assert found.images["base.spare"].config.env["A"] == "1"
    assert found.images["build"].steps == ()


WEB = '[image.process.a]\ncommand = "a"\n[image.process.web]\ncommand = "b"\nports = ["53/udp"]\n'


@pytest.mark.parametrize(
    ("processes", "command", "exposed"),
    [
        ('[image.process.a]\ncommand = "a"\nports = [80]\n', "a", ("80/tcp",)),
        ('[image.process.a]\ncommand = "a"\nkind = "job"\n[image.process.b]\ncommand = "b"\n', "b", ()),
        (WEB, "b", ("53/udp",)),
        ('[image.process.a]\ncommand = "a"\n[image.process.b]\ncommand = "b"\n', None, ()),
    ],
)
def test_the_image_starts_its_only_service_or_web(load_spec, processes, command, exposed):
    config = load_spec('[image]\nrecipe = "debian"\n' + processes).images["image"].config
    assert config.command == (("/bin/sh", "-c", command) if command else ())
    assert config.exposed == exposed


def test_a_tarball_is_a_source_like_any_other(load_spec):
    found = load_spec('[base.b]\ntarball = "root.tar"\n[service.s]\ntarball = "app.tar"\n[dev]\nfrom = "b"\n')
    assert found.images["base.b"].steps == (FromTarball(path="root.tar"),)
    assert found.images["dev"].parent == "base.b"
    assert found.containers["s"].command == ()  # as its image says


def test_an_image_of_a_registry_leaves_open_what_the_table_does_not_say(load_spec):
    text = '[base.b]\nimage = "debian:13"\nuser = "me"\n[service.s]\nimage = "redis"\n[dev]\nfrom = "b"\n'
    found = load_spec(text)
    assert found.images["service.s"].steps == (FromRegistry(reference="redis:latest"),)
    service, dev = found.containers["s"], found.containers["dev"]
    assert (service.command, service.user, service.workdir, service.stop_signal) == ((), "", "", "")
    assert service.image_health
    assert (dev.user, dev.workdir, dev.image_health) == ("me", "/workspace", False)


def test_no_probe_means_none_of_the_image_either(load_spec):
    found = load_spec('[service.s]\nimage = "redis"\nhealth = false\n')
    assert not found.containers["s"].image_health


def test_a_dockerfile_may_begin_with_another_table(load_spec):
    text = '[base.b]\nrecipe = "debian"\n[service.s]\nfrom = "b"\ndockerfile = { path = "D", args = { A = "1" } }\n'
    found = load_spec(f'{text}[dev]\ndockerfile = "D"\n')
    service = found.images["service.s"]
    assert service.parent == "base.b"
    base_config = found.images["base.b"].config
    assert service.steps == (FromDockerfile(path="D", args={"A": "1"}, base="b", base_config=base_config),)
    assert found.containers["s"].image_health
    assert (found.images["dev"].parent, found.images["dev"].steps) == (None, (FromDockerfile(path="D"),))
