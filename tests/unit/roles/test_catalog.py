"""Values of all tables are validated when the file is read."""

from __future__ import annotations

import pytest

from devbox.errors import EnvFileError

BASE = '[base.b]\nrecipe = "debian"\n'


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('[build]\nfrom = "b"\nrun = []\noutput = ["d"]\n', "must not be empty"),
        ('[build]\nfrom = "b"\nrun = ["x"]\noutput = ["../d"]\n', "below the project"),
        ('[build]\nfrom = "b"\nrun = ["x"]\noutput = ["d"]\nnetwork = "host"\n', "none, project"),
        ('[image]\nfrom = "b"\n[image.process.w]\nkind = "job"\n', "missing `command`"),
        ('[image]\nfrom = "b"\n[image.process.w]\ncommand = "x"\nreplicas = -1\n', "expected at least 0"),
        ('[install.x]\nfrom = "b"\nfiles = { "~/x" = "relative" }\n', "absolute path"),
        ('[glue.g]\nfrom = "b"\nroutes = { "x y" = "dev:1" }\n', 'begins with "/"'),
        ('[glue.g]\nfrom = "b"\nroutes = { "x" = "g:1", "x/" = "g:2" }\n', "two equivalent routes"),
        (
            '[glue.g]\nfrom = "b"\ncommand = "x"\nroutes = { "/" = "s:1" }\n[service.s]\nrecipe = "redis"\n',
            "does not support",
        ),
        ('[glue.g]\nfrom = "b"\ncommand = "x"\nschedule = "0 25 * * *"\n', "bad hour"),
        ('[glue.g]\nfrom = "b"\ncommand = "x"\nschedule = "* * * * *"\nkind = "job"\n', "conflicts with kind"),
        ('[glue.g]\nfrom = "b"\ncommand = "x"\nbackup = ["db"]\n', "db not found"),
        (
            '[glue.g]\nfrom = "b"\ncommand = "x"\nschedule = "* * * * *"\n[dev]\nfrom = "b"\nneeds = ["g"]\n',
            "only on a schedule",
        ),
        ('[glue.g]\nfrom = "b"\nroutes = { "/" = "dev" }\n', "CONTAINER:PORT"),
        ('[test]\nfrom = "b"\n[test.matrix]\npython = "3.13"\n', "list of values"),
        (
            '[test]\nfrom = "b"\n[test.matrix]\npython = ["3"]\nexclude = [{ python = "4" }]\n',
            "not found in axis python",
        ),
        ('[test]\nfrom = "b"\n[test.matrix]\ninclude = 5\n', "list of combinations"),
        ('[dev]\nfrom = "b"\nneeds = ["x", 5]\n', "list of names"),
        ('[dev]\nfrom = "b"\nhealth = { command = "x", port = 5 }\n', "port requires http"),
        ('[dev]\nfrom = "b"\nhealth = { http = "x", port = 5 }\n', "expected a path"),
        ('[dev]\nfrom = "b"\nhealth = { tcp = 5, retries = 0 }\n', "at least 1"),
        ('[dev]\nfrom = "b"\nlimits = { cpus = 0 }\n', "more than 0"),
        ('[dev]\nfrom = "b"\nstop_signal = "SIGNOTHING"\n', "name of a signal"),
        ('[dev]\nfrom = "b"\nports = [8000, "8000"]\n', "a duplicate port"),
        ('[dev]\nfrom = "b"\nports = [true]\n', "expected a port"),
        ('[dev]\nfrom = "b"\nmounts = [{ source = "x" }]\n', "missing `target`"),
        ('[dev]\nfrom = "b"\nenv = { A = "x\\u0000" }\n', "null byte"),
        ("[stage.test]\nexternal = 5\n", "expected a table"),
        ('[stage.test]\ninto = "test"\n', "expected another stage"),
        ('[stage.test]\nexternal = { db = { URL = "env:X" } }\n', "does not need db"),
        ('[stage.test.strategy]\nkind = "gray"\nsteps = []\n', "requires steps"),
        ('[stage.test]\nreplicas = { web = "many" }\n', "an integer"),
        ('[stage.test.strategy]\nalpha = "much"\n', "expected a number"),
        (
            '[build]\nfrom = "b"\nrun = ["x"]\noutput = ["o"]\nneeds = ["dev"]\n[dev]\nfrom = "b"\n',
            'network = "project"',
        ),
        ('[build]\nfrom = "b"\nrun = ["x"]\noutput = ["o"]\negress = ["pypi.org"]\n', 'network = "project"'),
        ('[image]\nfrom = "b"\ncopy = { dist = "wheels" }\n', "absolute path"),
        ('[image]\nfrom = "b"\ncopy = { "../x" = "/x" }\n', "below the project"),
        ('[image]\nfrom = "b"\ncopy = { dist = "/x" }\n', "missing [build]"),
        (
            '[build]\nfrom = "b"\nrun = ["x"]\noutput = ["o"]\n[image]\nfrom = "b"\ncopy = { p = "/x" }\n',
            "not in the output",
        ),
    ],
)
def test_an_invalid_value_is_reported(load_spec, text, part):
    with pytest.raises(EnvFileError) as caught:
        load_spec(BASE + text)
    assert part in caught.value.sentence


def test_a_recipe_without_a_default_asks_for_its_parameter(load_spec, tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "own.toml").write_text(
        'description = "x"\n[parameters.p]\ndescription = "y"\n[[steps]]\nop = "bootstrap"\n'
        'distribution = "debian"\nsuite = "{{ p }}"\n[service]\ncommand = ["x"]\nport = "{{ q }}"\n'
    )
    with pytest.raises(EnvFileError, match="missing parameters of recipe own: p"):
        load_spec('[dev]\nrecipe = "own"\n')
    with pytest.raises(EnvFileError, match="'q' is undefined"):
        load_spec('[service.s]\nrecipe = "own"\nwith = { p = "trixie" }\n')
