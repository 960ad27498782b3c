"""Commands on the env file and its permissions."""

from __future__ import annotations

from devbox.commands.table.options import (
    CONFIRM,
    JSON,
    LOCKED,
    MANY,
    NUMBER,
    SHELL_ON_FAIL,
    TEXT,
    YES,
    Argument,
    Command,
    Option,
)

_LOCKED_NAMES = Argument("names", about="Images, recipes, base systems or packages (default: all)", many=True)

_PACKAGES = Argument("names", about="Names of packages", many=True, metavar="PACKAGE…")
_TABLE = Option(
    "--table", about="Table of the file, such as `base.py` (default: dev)", kind=TEXT, metavar="NAME", words="bases"
)

PROJECT = (
    Command(
        "plan",
        "plan:plan",
        Option(
            "--stage",
            about="Show the steps of `promote STAGE` with its default release instead",
            kind=TEXT,
            metavar="STAGE",
            words="stages",
        ),
        JSON,
        LOCKED,
        about="Show the steps of `up` and their reasons; exit 3 if there are any",
    ),
    Command(
        "why",
        "plan:why",
        JSON,
        about="Explain changes of an image or the build, cell decisions, or a blocked release (then exit 1)",
        argument=Argument(
            "subject",
            about="`build`; `image NAME`; `cells [NAME…]`; or `STAGE [RELEASE]` (default: the next one)",
            many=True,
            words="stages",
        ),
    ),
    Command(
        "lock",
        "lock:lock",
        JSON,
        Option("--upgrade", about="As `update NAME`", kind=MANY, metavar="NAME"),
        Option("--check", about="Only check that the lock is complete; exit 3 if it is not"),
        SHELL_ON_FAIL,
        about="Complete devbox.lock.toml; locked versions are kept",
    ),
    Command(
        "update",
        "lock:update",
        JSON,
        SHELL_ON_FAIL,
        about="Update devbox.lock.toml: bake with current package versions, print the changes",
        argument=_LOCKED_NAMES,
    ),
    Command(
        "outdated",
        "lock:list_outdated",
        JSON,
        about="Bake with current package versions, and only print what `update` would change",
        argument=_LOCKED_NAMES,
    ),
    Command(
        "config",
        "plan:config",
        Option("--stage", about="Use the vars of this stage", kind=TEXT, metavar="STAGE", words="stages"),
        JSON,
        Option("--origin", about="Show the file and line of each value"),
        Option("--schema", about="Print the JSON Schema of devbox.toml"),
        about="Show the interpreted env file",
    ),
    Command(
        "add",
        "packages:add",
        _TABLE,
        about="Add distribution packages to devbox.toml, keeping its comments",
        argument=_PACKAGES,
    ),
    Command(
        "rm",
        "packages:remove",
        _TABLE,
        Option(about="No effect: removing from the file asks nothing", hidden="-f --force"),
        about="Remove distribution packages from devbox.toml",
        argument=_PACKAGES,
    ),
    Command(
        "search",
        "packages:search",
        _TABLE,
        Option("--all", about="Show all matches"),
        JSON,
        about="Search the packages of the distribution by name and summary",
        argument=Argument("names", about="Words that a package must contain", many=True, metavar="WORD…"),
    ),
    Command("recipe ls", "recipe:ls", JSON, about="List the shipped recipes and those in recipes/ of the project"),
    Command(
        "recipe show",
        "recipe:show",
        JSON,
        about="Show a recipe: parameters, image, service, exports, example",
        argument=Argument("name", about="Name from `devbox recipe ls`", words="recipes"),
    ),
    Command(
        "trust",
        "trust:trust",
        JSON,
        Option("--show", about="Only show the requested access"),
        Option("--revoke", about="Revoke the permission"),
        about="Allow the host access that the file requests: commands, files, secrets",
    ),
    Command(
        "ls",
        "ls:ls",
        Option("-a", "--all", about="Also list projects and stages without running containers"),
        JSON,
        about="List what runs on this host: projects, stages and test cells",
    ),
    Command(
        "doctor",
        "doctor:doctor",
        JSON,
        Option("--offline", about="Skip network checks"),
        Option("--prune", about="Remove leftovers of deleted projects and branches, and of killed bakes"),
        Option("--clean", about="Remove all of your devbox data on this host"),
        Option("--install", about="Install missing packages; without a terminal or -y, only print the command"),
        YES,
        CONFIRM,
        about="Check the host and report leftovers; exit 1 on a problem",
    ),
    Command(
        "export devcontainer",
        "init:devcontainer",
        Option("--stdout", about="Print it instead of writing .devcontainer/devcontainer.json"),
        about="Write [dev] as devcontainer.json, for editors with Dev Containers support",
    ),
    Command(
        "hook",
        "shell_scripts:hook",
        about="Print the shell hook: tools of the project on PATH, variables of its services",
        argument=Argument("shell", about="Shell: bash, zsh or fish", words="shells"),
    ),
    Command(
        "completion",
        "shell_scripts:completion",
        about="Print the completion script of a shell",
        argument=Argument("shell", about="Shell: bash, zsh or fish", words="shells"),
    ),
    Command(
        "docs",
        "docs:docs",
        Option("--port", about="Port on 127.0.0.1 (default: a free one)", kind=NUMBER, metavar="PORT"),
        Option("--path", about="Print the path of the files instead of serving them"),
        about="Open the documentation of this version in the browser, until Ctrl-C",
        argument=Argument("topic", about="Page or command, such as `tests` or `promote`", words="topics"),
    ),
)
