"""Tools: a container that waits for calls, and the command of a call."""

from __future__ import annotations

import subprocess

import pytest

from devbox.errors import EnvFileError, UsageError
from devbox.model.container import Mount
from devbox.model.image import ImageConfig
from devbox.plan import tasks

DEV = '[dev]\nrecipe = "debian"\nworkspace = "/src"\n'
SQL = '[tool.sql]\nrecipe = "postgres"\nneeds = ["db"]\n[service.db]\nrecipe = "postgres"\n'


def test_a_tool_waits_over_the_workspace_of_dev_with_what_it_needs(load_spec):
    found = load_spec(DEV + SQL)
    spec = found.containers["sql"]
    assert spec.idle
    assert not spec.command
    assert (spec.role, spec.needs, spec.workdir) == ("tool", ("db",), "/src")
    assert Mount(kind="workspace", source=found.instance.root, target="/src") in spec.mounts
    assert "DATABASE_URL" in spec.env


def test_up_leaves_tools_alone_and_what_only_they_need(load_spec):
    spare = '[service.spare]\nrecipe = "redis"\nprofiles = ["more"]\n[tool.cli]\nrecipe = "redis"\nneeds = ["spare"]\n'
    found = load_spec(DEV + SQL + spare)
    assert set(found.on_use) == {"sql", "cli", "spare"}
    assert {"db", "dev"} <= found.containers.keys() - set(found.on_use)


@pytest.mark.parametrize(
    ("keys", "shims"),
    [
        ('command = ["psql"]', ("psql",)),
        ('command = "/usr/bin/psql"', ("psql",)),
        ('command = ["python3", "-m", "ruff"]', ("t",)),
        ('command = ["psql", "-X"]\nshims = ["psql", "pg_dump"]', ("psql", "pg_dump")),
        ('command = ["psql"]\nshims = []', ()),
    ],
)
def test_what_goes_on_path(load_spec, keys: str, shims: tuple[str, ...]):
    assert load_spec(f'[tool.t]\nrecipe = "debian"\n{keys}\n').tools["t"].shims == shims


def test_two_tools_can_t_put_one_command_on_path(load_spec):
    text = '[tool.a]\nrecipe = "debian"\ncommand = ["x"]\n[tool.b]\nrecipe = "debian"\ncommand = ["x"]\n'
    with pytest.raises(EnvFileError, match=r"shim x of \[tool.b\] conflicts with \[tool.a\]"):
        load_spec(text)


@pytest.mark.parametrize("name", ["../x", "a b", "", "-x"])
def test_a_shim_is_the_name_of_a_command(load_spec, name: str):
    with pytest.raises(EnvFileError, match="invalid command name"):
        load_spec(f'[tool.t]\nrecipe = "debian"\ncommand = ["x"]\nshims = ["{name}"]\n')


def test_a_shell_s_text_gets_the_words_of_the_call(load_spec):
    command = load_spec('[tool.t]\nrecipe = "debian"\ncommand = "printf \'<%s>\'"\n').tools["t"].command
    done = subprocess.run([*command, "a b", "--", "$HOME"], capture_output=True, text=True, check=True)
    assert done.stdout == "<a b><--><$HOME>"


@pytest.mark.parametrize(
    ("name", "argv"),
    [("sql", (("psql", "-X"), ())), ("psql", (("psql", "-X"), ())), ("pg_dump", (("pg_dump",), ()))],
)
def test_a_name_runs_the_command_or_a_program_so_called(load_spec, name: str, argv: object):
    text = '[tool.sql]\nrecipe = "debian"\ncommand = ["psql", "-X"]\nshims = ["psql", "pg_dump"]\n'
    found = load_spec(text)
    assert tasks.build_tool_argv(tasks.find_tool(found, name), name, ImageConfig()) == argv


def test_an_image_of_a_registry_runs_its_entrypoint_and_its_command_where_nothing_is_said(load_spec):
    found = load_spec('[tool.t]\nimage = "busybox:1"\n')
    image = ImageConfig(entrypoint=("ls",), command=("-l",))
    assert tasks.build_tool_argv(found.tools["t"], "t", image) == (("ls",), ("-l",))


def test_an_unknown_tool_names_the_known(load_spec):
    with pytest.raises(UsageError) as raised:
        tasks.find_tool(load_spec(SQL), "mysql")
    assert raised.value.remedy == "known: sql, psql"
