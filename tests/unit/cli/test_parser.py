"""The fast parser accepts well-formed calls and passes the rest to Typer; both use one table of commands."""

from __future__ import annotations

import re

import pytest

from devbox.cli import help, parser
from devbox.cli.parser import ParseError, hoist, parse
from devbox.cli.synonyms import INSTEAD, OPTIONS
from devbox.commands.table.index import ALIASES, GROUPS, TABLES, find, list_commands, load
from devbox.commands.table.options import FLAG, Args, Command
from devbox.errors import UsageError

COMMANDS = list_commands()


def read(*words: str) -> tuple[str, Args]:
    command, args = parse(words, find)
    return command.name, args


def test_options_before_and_after_the_command_mean_the_same():
    for words in (["-C", "d", "--json", "ps"], ["ps", "--json", "-Cd"], ["--directory=d", "ps", "--json"]):
        name, args = read(*words)
        assert (name, args.get_text("directory"), args.get_flag("json")) == ("ps", "d", True)


def test_f_is_the_env_file_but_for_logs_its_own_follow():
    assert read("up", "-f", "x.toml")[1].get_text("file") == "x.toml"
    _, args = read("-f", "x.toml", "logs", "-f", "db")
    assert (args.get_text("file"), args.get_flag("follow"), args.get_texts("names")) == ("x.toml", True, ("db",))


def test_words_behind_dashes_are_the_program_s_own():
    _, args = read("exec", "db", "-e", "A=1", "--", "psql", "-c", "select 1", "--", "--help")
    assert args.get_text("container") == "db"
    assert args.get_texts("env") == ("A=1",)
    assert args.after == ("psql", "-c", "select 1", "--", "--help")


def test_a_command_may_have_two_words():
    for words in (["recipe", "show", "node"], ["-C", "d", "recipe", "show", "node"], ["recipe", "show", "-Cd", "node"]):
        name, args = read(*words)
        assert (name, args.get_text("name")) == ("recipe show", "node")


def test_dashes_end_flags_where_no_program_follows():
    assert read("stop", "--", "-odd")[1].get_texts("names") == ("-odd",)


def test_short_flags_may_share_a_dash():
    _, args = read("logs", "-ftn5")
    assert (args.get_flag("follow"), args.get_flag("timestamps"), args.get_number("tail")) == (True, True, 5)


def test_a_flag_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DEVBOX_FILE", "from-variable.toml")
    assert read("up")[1].get_text("file") == "from-variable.toml"
    assert read("up", "--file", "given.toml")[1].get_text("file") == "given.toml"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--help"],
        ["fly"],
        ["up", "--detahc"],
        ["up", "--help"],
        ["up", "--progress", "loud"],
        ["up", "--detach=yes"],
        ["logs", "-n", "x"],
        ["logs", "-n"],
        ["open", "a", "b"],
        ["plan", "db"],
    ],
)
def test_what_is_not_well_formed_is_left_to_typer(words: list[str]):
    with pytest.raises(ParseError):
        parse(words, find)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["up", "--detahc"], "no such option: --detahc"),
        (["logs", "-n", "x"], "not a valid int"),
        (["plan", "db"], "unexpected argument"),
    ],
)
def test_typer_explains_mistakes_as_usage_errors(words: list[str], sentence: str):
    with pytest.raises(UsageError, match=sentence) as caught:
        help.explain(words, COMMANDS)
    assert caught.value.exit_code == 2
    assert caught.value.remedy.endswith("--help")


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("fly", "devbox help"),
        ("upp", "devbox up"),
        ("scale web=3", "promote STAGE"),
        ("-C . rollout", "devbox rollback STAGE"),
        ("recipe fly", "devbox help recipe"),
        ("release abotr", "devbox release abort"),
    ],
)
def test_an_unknown_command_names_the_right_one(line: str, remedy: str):
    with pytest.raises(UsageError, match="devbox has no command") as caught:
        help.explain(line.split(), COMMANDS)
    assert remedy in caught.value.remedy


def test_every_command_named_instead_of_another_tool_s_exists():
    for word, instead in INSTEAD.items():
        named = re.findall(r"devbox ([a-z]+)", instead)
        assert find(word) is None
        for name in set(named) - {"has", "is", "manages", "reads"}:
            assert find(name) or name in GROUPS or any(each.startswith(f"{name} ") for each in COMMANDS), (word, name)


def test_aliases_name_commands():
    for alias, name in ALIASES.items():
        assert alias not in COMMANDS
        assert find(alias) is COMMANDS[name]


def test_every_command_is_in_the_overview_once():
    shown = " ".join(help.OVERVIEW.values()).split()
    assert sorted(shown) == sorted({name.partition(" ")[0] for name in COMMANDS})


def test_a_short_flag_means_the_same_everywhere():
    meanings: dict[str, set[str]] = {}
    for command in COMMANDS.values():
        for option in command.options:
            for flag in option.shown:
                if not flag.startswith("--"):
                    meanings.setdefault(flag, set()).add(option.shown[-1])
    assert {flag: names for flag, names in meanings.items() if len(names) > 1} == {}


@pytest.mark.parametrize(
    ("line", "container", "after"),
    [
        ("exec db psql -c x", "db", ("psql", "-c", "x")),
        ("exec -it dev bash", "dev", ("bash",)),
        ("exec -itu root dev ls -- -l", "dev", ("ls", "--", "-l")),
        ("exec -C d -e A=1 dev env", "dev", ("env",)),
        ("exec dev -e A=1 env -i", "dev", ("env", "-i")),
        ("exec dev -w /x -- ls a b", "dev", ("ls", "a", "b")),
        ("exec -- ls a b", "", ("ls", "a", "b")),
        ("exec dev", "dev", None),
        ("shell dev -- ls -l", "dev", ("ls", "-l")),
        ("shell", "", None),
        ("debug db ss -lnt", "db", ("ss", "-lnt")),
    ],
)
def test_the_second_word_begins_another_program(line: str, container: str, after: tuple[str, ...] | None):
    _, args = read(*line.split())
    assert (args.get_text("container"), args.after) == (container, after)


def test_help_and_version_are_words_too(capsys: pytest.CaptureFixture[str]):
    assert help.explain(["help"], COMMANDS) == 0
    assert "Start here:" in capsys.readouterr().out
    for words in (["help", "ps"], ["help", "status"], ["status", "--help"]):
        assert help.explain(words, COMMANDS) == 0
        assert "Usage: devbox ps" in capsys.readouterr().out
    assert help.explain(["help", "image"], COMMANDS) == 0
    assert "gc" in capsys.readouterr().out
    assert help.explain(["version"], COMMANDS) == 0
    assert capsys.readouterr().out.startswith("devbox ")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_both_parsers_understand_every_option_alike(command: Command, monkeypatch: pytest.MonkeyPatch):
    """Each command line that uses all of a command's options, as Typer and the light parser read it."""
    seen: list[Args] = []

    def remember(args: Args) -> int:
        seen.append(args)
        return 0

    monkeypatch.setattr(parser, "load_handler", lambda _command: remember)
    words = command.name.split()
    for option in command.options:
        words.append(option.flags[0])
        if option.kind != FLAG:
            words.append(option.choices[-1] if option.choices else "7")
    words += ["word"] if command.argument and command.argument.about else []
    words += ["--", "program", "-x"] if command.after else []
    assert help.explain(words, COMMANDS) == 0
    _, light = parse(words, find)
    for option in command.options:
        for read_as in (Args.get_flag, Args.get_text, Args.get_number, Args.get_texts):
            assert read_as(light, option.name) == read_as(seen[0], option.name), option.flags
    if command.argument and command.argument.about:
        assert light.get_texts(command.argument.name) == seen[0].get_texts(command.argument.name)
    assert light.after == seen[0].after


def test_hoisting_leaves_a_line_alone_that_it_does_not_understand():
    assert hoist(["--nope", "ps"], find) == ["--nope", "ps"]
    assert hoist(["-C"], find) == ["-C"]


@pytest.mark.parametrize(("table", "words"), TABLES, ids=[words for _, words in TABLES])
def test_a_table_declares_what_is_said_of_it(table: str, words: str):
    assert list(dict.fromkeys(command.name.split()[0] for command in load(table))) == words.split()


@pytest.mark.parametrize(
    ("line", "name", "after"),
    [
        ("tool psql -c x --help -- -C y", "psql", ("-c", "x", "--help", "--", "-C", "y")),
        ("tool -T -e A=1 psql --json", "psql", ("--json",)),
        ("-C . -f x.toml tool psql -l", "psql", ("-l",)),
        ("tool psql", "psql", ()),
        ("tool --shims", "", ()),
    ],
)
def test_a_tool_gets_all_words_behind_its_name(line: str, name: str, after: tuple[str, ...]):
    command, args = parse(line.split(), find)
    assert (command.name, args.get_text("name"), args.after) == ("tool", name, after)


def test_the_help_of_a_command_that_passes_words_on_is_asked_before_them():
    with pytest.raises(ParseError):
        parse(["tool", "--help"], find)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (["down", "-v", "-y", "--stage", ""], "--stage"),
        (["down", "-v", "-y", "--stage="], "--stage"),
        (["test", "-k", ""], "-k"),
        (["down", "-v", ""], "NAMES"),
        (["rollback", ""], "STAGE"),
        (["exec", "", "ls"], "CONTAINER"),
    ],
)
def test_an_empty_value_does_not_select_the_default(line: list[str], name: str):
    with pytest.raises(UsageError, match=f"the value of {name}.* is empty"):
        parse(line, find)


def test_words_of_programs_may_be_empty():
    assert read("exec", "dev", "echo", "", "--")[1].after == ("echo", "", "--")


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("ps --format json", "use --json; it contains all fields"),
        ("stop -t 5 db", OPTIONS["stop -t"]),
        ("run --rm x", OPTIONS["run --rm"]),
        ("-v", "devbox --version"),
        ("remove git", INSTEAD["remove"]),
        ("frobnicate", "devbox help"),
        ("donw", "devbox down"),
    ],
)
def test_options_and_words_of_other_tools_name_what_to_type(line: str, remedy: str):
    with pytest.raises(UsageError) as caught:
        help.explain(line.split(), COMMANDS)
    assert caught.value.remedy == remedy


def test_messages_do_not_name_options_of_the_parser_itself():
    with pytest.raises(UsageError, match=r"no such option: --no-build \(Possible options: --build, --no-deps\)$"):
        help.explain(["up", "--no-build"], COMMANDS)
    with pytest.raises(UsageError, match=r'^unexpected argument "a b"$'):
        help.explain(["config", "a", "b"], COMMANDS)


def test_options_of_other_tools_are_not_options_of_the_command():
    for key in OPTIONS:
        *name, flag = key.split()
        own = [COMMANDS[" ".join(name)]] if name else []
        assert all(flag not in option.flags for command in own for option in command.options), key
