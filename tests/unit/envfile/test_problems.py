"""Each error of an env file is one sentence with its place and a remedy."""

from __future__ import annotations

import pytest

REDIS = '[service.x]\nrecipe = "redis"\n'

# text, line (0: none promised), what the sentence must contain
CASES = {
    "unknown key": ('[dev]\nrecipe = "python"\nworkspce = "/w"\n', 3, "workspace"),
    "unknown table": ('[devv]\nrecipe = "python"\n', 1, "did you mean dev?"),
    "unknown key of an inline table": ('[dev]\nrecipe = "debian"\nhealth = { htp = "/" }\n', 3, "http"),
    "unknown key of a gate": (
        '[dev]\nrecipe = "debian"\n[[stage.a.gates]]\nkind = "approval"\ncuont = 2\n',
        5,
        "did you mean count?",
    ),
    "unknown kind of a gate": (
        '[dev]\nrecipe = "debian"\n[[stage.a.gates]]\nkind = "aproval"\n',
        3,
        "did you mean approval?",
    ),
    "wrong type": ('[dev]\nports = "8000x"\nrecipe = "python"\n', 2, "expected a list"),
    "not a table": ('dev = "x"\n', 1, "expected a table"),
    "no port": ('[dev]\nrecipe = "debian"\nports = ["80000"]\n', 3, "65535"),
    "port with a bad address": ('[dev]\nrecipe = "debian"\nports = ["300.1.1.1:80:80"]\n', 3, "IP address"),
    "undefined variable": ('[vars]\nnope1 = "x"\n[dev]\nrecipe = "${nope}"\n', 4, "did you mean nope1?"),
    "missing recipe": ('[dev]\nrecipe = "pyhton"\n', 2, "did you mean python?"),
    "recipe that is a path": ('[dev]\nrecipe = "../../etc/passwd"\n', 2, "recipe ../../etc/passwd not found"),
    "not TOML": ("[project\nname=", 1, "invalid TOML"),
    "key twice": ('[dev]\nrecipe = "a"\nrecipe = "b"\n', 3, "invalid TOML"),
    "empty": (" \n", 1, "empty"),
    "binary": ("\x00\x01\x02", 1, "binary"),
    "bad project name": ('[project]\nname = "../../etc"\n', 2, "../../etc"),
    "bad service name": ('[service."../x"]\nrecipe = "redis"\n', 1, "'../x'"),
    "bad volume name": ('[dev]\nrecipe = "debian"\nvolumes = { "../x" = "/x" }\n', 3, "'../x'"),
    "bad task name": ('[tasks]\n"a b" = "x"\n', 2, "'a b'"),
    "float version": ('[dev]\nrecipe = "python"\nwith = { version = 3.10 }\n', 3, "3.10 becomes 3.1"),
    "float variable": ("[vars]\nv = 3.10\n", 2, "3.10 becomes 3.1"),
    "float axis": ('[dev]\nrecipe="debian"\n[test]\nfrom="dev"\n[test.matrix]\npython=[3.10]\n', 6, "3.10 becomes 3.1"),
    "two sources": ('[dev]\nrecipe = "python"\nimage = "x"\n', 1, "recipe and image"),
    "no source": ('[dev]\ncommand = "x"\n', 1, "one of from, recipe"),
    "parameters without a recipe": ('[base.a]\nrecipe="debian"\n[dev]\nfrom="a"\nwith={x="y"}\n', 3, "with"),
    "too new": ('[project]\nrequires = ">=999"\n[dev]\nnonsense = 1\n', 2, "999"),
    "unknown parameter": ('[dev]\nrecipe = "python"\nwith = { verson = "3.13" }\n', 3, "did you mean version?"),
    "parameter value": ('[dev]\nrecipe = "python"\nwith = { version = "3.7" }\n', 3, "3.8, 3.9, 3.10"),
    "parameter pattern": ('[service.db]\nrecipe = "postgres"\nwith = { user = "a b" }\n', 3, "owner of the database"),
    "image of a registry": ('[dev]\nimage = "Debian 13"\n', 2, "invalid image name"),
    "dockerfile and recipe": ('[dev]\nrecipe="debian"\ndockerfile = "Dockerfile"\n', 1, "recipe and dockerfile"),
    "tarball outside": ('[dev]\ntarball = "../x.tar"\n', 2, ".."),
    "from nothing": ('[base.pyth]\nrecipe="python"\n[dev]\nfrom = "pyht"\n', 4, "did you mean pyth?"),
    "cycle of from": ('[base.a]\nfrom = "b"\n[base.b]\nfrom = "a"\n', 2, "cycle"),
    "cycle of needs": (f'{REDIS}needs = ["y"]\n[service.y]\nrecipe = "redis"\nneeds = ["x"]\n', 3, "cycle"),
    "needs itself": (f'{REDIS}needs = ["x"]\n', 3, "cycle"),
    "needs nothing": (f'{REDIS}needs = ["z"]\n', 3, "z not found"),
    "needs a tool": ('[tool.p]\nrecipe="redis"\n[dev]\nrecipe="debian"\nneeds = ["p"]\n', 5, "keep running"),
    "one name from two": (
        '[dev]\nrecipe="debian"\nneeds = ["a", "b"]\n[service.a]\nrecipe="redis"\n[service.b]\nrecipe="redis"\n',
        3,
        "REDIS_URL from both a and b",
    ),
    "unknown export": ('[dev]\nrecipe="debian"\nneeds = { x = { REDS_URL = "X" } }\n' + REDIS, 3, "mean REDIS_URL?"),
    "no command": ('[service.web]\nrecipe = "debian"\n', 1, "missing command"),
    "tool without a program": ('[tool.t]\nrecipe = "debian"\n', 1, "missing command"),
    "probe of a job": ('[service.j]\nrecipe="debian"\nkind="job"\ncommand="x"\nhealth={tcp=1}\n', 5, "is a job"),
    "ports without a network": ('[dev]\nrecipe="debian"\nisolation={network="none"}\nports=[1]\n', 4, "no network"),
    "name of the machine itself": ('[service.localhost]\nrecipe="redis"\n', 1, "'localhost'"),
    "two probes": ('[dev]\nrecipe="debian"\nhealth = { http = "/", tcp = 5 }\n', 3, "http and tcp"),
    "http without a port": ('[dev]\nrecipe="debian"\nhealth = { http = "/" }\n', 3, "missing port"),
    "duration": ('[dev]\nrecipe="debian"\nstop_timeout = "soon"\n', 3, "'soon'"),
    "cpus": ('[dev]\nrecipe="debian"\nlimits = { cpus = 1e308 }\n', 3, "at most 65536"),
    "pids": ('[dev]\nrecipe="debian"\nlimits = { pids = 9223372036854775808 }\n', 3, "expected an integer"),
    "size": ('[dev]\nrecipe="debian"\nlimits = { memory = "lots" }\n', 3, "512MiB"),
    "restart": ('[dev]\nrecipe="debian"\nrestart = "alwys"\n', 3, "did you mean always?"),
    "isolation": ('[dev]\nrecipe="debian"\nisolation = "isolatd"\n', 3, "did you mean isolated?"),
    "unknown capability": (
        '[dev]\nrecipe="debian"\nisolation = { capabilities = ["-NET_RAWW"] }\n',
        3,
        "did you mean NET_RAW?",
    ),
    "capability": ('[dev]\nrecipe="debian"\nisolation = { capabilities = ["ALL"] }\n', 3, "NET_ADMIN"),
    "secret": ('[dev]\nrecipe="debian"\nsecrets = { A = "plain" }\n', 3, "env:NAME"),
    "variable name": ('[dev]\nrecipe="debian"\nenv = { "A B" = "1" }\n', 3, "'A B'"),
    "path out of the project": ('[dev]\nrecipe="debian"\nenv_files = ["../x"]\n', 3, "below the project"),
    "env file that is not there": ('[dev]\nrecipe="debian"\nenv_files = ["x.env"]\n', 3, "x.env not found"),
    "mount over the root": ('[dev]\nrecipe="debian"\nvolumes = { a = "/" }\n', 3, "over /"),
    "two mounts at one place": (
        '[dev]\nrecipe="debian"\nvolumes = { a = "/x", b = "/x" }\n',
        3,
        "duplicate mount point /x",
    ),
    "workspace over the root": ('[dev]\nrecipe="debian"\nworkspace = "/"\n', 1, "workspace"),
    "one host port for two": (
        f'{REDIS}ports = ["1:1"]\n[service.y]\nrecipe = "redis"\nports = ["1:2"]\n',
        6,
        "both publish 127.0.0.1:1",
    ),
    "cycle of tasks": ('[tasks]\na = { run = "x", needs = ["b"] }\nb = { run = "x", needs = ["a"] }\n', 2, "a needs b"),
    "unknown task": ('[tasks]\nlint = "x"\nb = { run = "x", needs = ["lit"] }\n', 3, "did you mean lint?"),
    "watch for no task": (
        '[dev]\nrecipe="debian"\nwatch = [{ paths = ["a"], do = "task:x" }]\n',
        3,
        "task x not found",
    ),
    "watch for nothing": ('[dev]\nrecipe="debian"\nwatch = [{ paths = ["a"], do = "dance" }]\n', 3, "signal:NAME"),
    "unknown axis": (
        '[dev]\nrecipe="debian"\n[test]\nfrom="dev"\n[test.matrix]\npg=["1"]\nexclude=[{ pgg = "1" }]\n',
        5,
        "did you mean pg?",
    ),
    "gate that is no table": (
        '[stage.test]\ngates = [{ kind = "tests" }, "x"]\n',
        2,
        "gates (number 2): expected a table",
    ),
    "step beyond all": (
        '[stage.a]\nstrategy = { kind = "gray", steps = [5, 200] }\n',
        2,
        "(number 2): expected at most 100, got 200",
    ),
    "kind of gate": ('[stage.test]\ngates = [{ kind = "sock" }]\n', 2, "soak"),
    "gate without its key": ('[stage.test]\ngates = [{ kind = "soak" }]\n', 2, "missing `stage`"),
    "soak of no stage": (
        '[stage.gray]\ngates = [{ kind = "soak", stage = "x", duration = "1m" }]\n',
        2,
        "stage x not found",
    ),
    "unordered stage": ("[stage.qa]\n", 1, "not in the order"),
    "a cohort of nothing": ('[stage.gray.strategy]\ncohort = "ip"\n', 2, '"header:NAME"'),
    "a metric of nothing": ('[stage.gray.strategy]\nmetrics = ["errors", "speed"]\n', 2, "requires command or promql"),
    "a metric of both": (
        '[stage.gray.strategy]\nmetrics = [{ command = "a", promql = "b" }]\n',
        2,
        "both command and promql",
    ),
    "a query without a limit": (
        '[stage.gray.strategy]\nmetrics = [{ promql = "up", url = "http://127.0.0.1:9090" }]\n',
        2,
        "requires max or min",
    ),
    "a query of nobody": ('[stage.gray.strategy]\nmetrics = [{ promql = "up", max = 1 }]\n', 2, "URL of a Prometheus"),
    "a limit for errors": (
        '[stage.gray.strategy]\nmetrics = [{ name = "errors", max = 1 }]\n',
        2,
        "max of errors requires command or promql",
    ),
    "alpha of a command": ('[stage.gray.strategy]\nmetrics = [{ command = "a", alpha = 0.1 }]\n', 2, "max and min"),
    "two metrics of a name": (
        '[stage.gray.strategy]\nmetrics = ["errors", "errors"]\n',
        1,
        "two metrics of the same name",
    ),
    "falling steps": ('[stage.gray.strategy]\nkind = "gray"\nsteps = [5, 1]\n', 1, "do not increase"),
    "unknown process": ("[stage.test]\nreplicas = { web = 1 }\n", 2, "process web not found"),
    "unknown approver": ('[stage.test]\ngates = [{ kind = "approval", from = ["x"] }]\n', 2, "approver x not found"),
    "route to nowhere": ('[glue.g]\nrecipe = "haproxy"\nroutes = { "/" = "dev:1" }\n', 3, "dev"),
    "installs nothing": ('[base.a]\nrecipe="debian"\n[install.x]\nfrom = "a"\nfiles = {}\n', 5, "has no files"),
    "installs anywhere": ('[base.a]\nrecipe="debian"\n[install.x]\nfrom = "a"\nfiles = { "a" = "/b" }\n', 5, "begin"),
    "nested too deeply": ("a = " + "[" * 5000 + "]" * 5000 + "\n", 1, "nested too deeply"),
}


@pytest.mark.parametrize("what", CASES)
def test_one_sentence_with_its_place(error, what):
    text, line, part = CASES[what]
    caught = error(text)
    assert part in f"{caught.sentence} {caught.remedy}"
    assert caught.where == f"devbox.toml:{line}"
    assert "\n" not in caught.sentence


def test_a_huge_file_is_refused_before_it_is_parsed(error):
    assert "larger than" in error('[project]\nname="a"\n' + "# x\n" * 1_300_000).sentence


def test_a_file_that_is_not_utf8_says_at_which_line(write, tmp_path, error):
    write("")
    (tmp_path / "devbox.toml").write_bytes(b'[dev]\nrecipe = "debi\xe4n"\n')
    from devbox.envfile.load import load
    from devbox.errors import EnvFileError

    with pytest.raises(EnvFileError) as caught:
        load(str(tmp_path))
    assert caught.value.where == "devbox.toml:2"


def test_several_mistakes_are_reported_in_file_order_up_to_a_limit(error):
    caught = error('[dev]\nrecipe = "debian"\n' + "".join(f"k{number} = 1\n" for number in range(20)))
    assert caught.where == "devbox.toml:3"
    assert [line.partition(" ")[0] for line in caught.details.splitlines()[:4]] == [
        f"devbox.toml:{line}:" for line in (4, 5, 6, 7)
    ]
    assert caught.details.splitlines()[-1] == "and 15 more"


def test_mistakes_of_the_local_file_name_it(error):
    caught = error('[dev]\nrecipe = "debian"\n', {"devbox.local.toml": "[dev]\nprots = [1]\n"})
    assert caught.where == "devbox.local.toml:2"


def test_a_rename_lets_two_services_export_one_name(load_spec):
    text = '[dev]\nrecipe="debian"\nneeds = { a = { REDIS_URL = "A_URL" }, b = {} }\n'
    dev = load_spec(f'{text}[service.a]\nrecipe="redis"\n[service.b]\nrecipe="redis"\n').containers["dev"]
    assert dev.env == {"A_URL": "redis://a:6379/0", "REDIS_URL": "redis://b:6379/0"}
