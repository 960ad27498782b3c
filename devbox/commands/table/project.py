"""Commands on the env file and its permissions."""

from __future__ import annotations

from devbox.commands.table.options import CONFIRM, JSON, LOCKED, MANY, SHELL_ON_FAIL, YES, Argument, Command, Option

PROJECT = (
    Command(
        "plan", "plan:plan", JSON, LOCKED, about="Show the steps of `up` and their reasons; exit 3 if there are any"
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
        "up:lock",
        JSON,
        Option("--upgrade", about="Update only this image, recipe, base system or package", kind=MANY, metavar="NAME"),
        Option("--check", about="Only check that the lock is complete; exit 3 if it is not"),
        SHELL_ON_FAIL,
        about="Update devbox.lock.toml: bake with current package versions, print the changes",
    ),
    Command(
        "config",
        "plan:config",
        JSON,
        Option("--origin", about="Show the file and line of each value"),
        Option("--schema", about="Print the JSON Schema of devbox.toml"),
        about="Show the interpreted env file",
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
)
