"""Commands on the env file and its permissions."""

from __future__ import annotations

from devbox.commands.table.options import (
    CONFIRM,
    JSON,
    LOCKED,
    MANY,
    SHELL_ON_FAIL,
    YES,
    Argument,
    Command,
    Option,
)

TABLE = (
    Command("plan", "plan:plan", JSON, LOCKED, about="Show what `up` would do and why; exit 3 if anything."),
    Command(
        "why",
        "plan:why",
        JSON,
        about="Say why something is as it is: what changed about an image or the build, what keeps a release out.",
        argument=Argument(
            "subject",
            about="`build`; `image` and its name, as in `why image dev`; `cells`, or `cells` and names; or a stage, "
            "and a release if it is another than the next one.",
            many=True,
            words="stages",
        ),
    ),
    Command(
        "lock",
        "up:lock",
        JSON,
        Option(
            "--upgrade",
            about="Renew only this: an image, a recipe, a base system or a package.",
            kind=MANY,
            metavar="NAME",
        ),
        Option("--check", about="Only say whether the lock is complete; exit 1 if it is not."),
        SHELL_ON_FAIL,
        about="Write devbox.lock.toml anew: bake by the packages there are now, and print what changed.",
    ),
    Command(
        "config",
        "plan:config",
        JSON,
        Option("--origin", about="Show the file and line each value came from."),
        Option("--schema", about="Print the JSON Schema of devbox.toml."),
        about="Show the file as devbox understands it.",
    ),
    Command("recipe ls", "recipe:ls", JSON, about="List the recipes: those of devbox, and recipes/ of the project."),
    Command(
        "recipe show",
        "recipe:show",
        JSON,
        about="Show a recipe: parameters, image, service, and a table to paste.",
        argument=Argument("name", about="A name from `devbox recipe ls`.", words="recipes"),
    ),
    Command(
        "trust",
        "trust:trust",
        JSON,
        Option("--show", about="Only show what it is about."),
        Option("--revoke", about="Take the permission back."),
        about="Allow the file's commands and files on this machine, and its secrets outside the project.",
    ),
    Command(
        "doctor",
        "doctor:doctor",
        JSON,
        Option("--offline", about="Leave the network alone."),
        Option("--prune", about="Remove what projects and branches that are gone, and killed bakes, left behind."),
        Option("--clean", about="Remove everything that devbox ever made on this machine for you."),
        YES,
        CONFIRM,
        about="Say what this machine lacks and what is left over; exit 1 on a problem.",
    ),
    Command(
        "export devcontainer",
        "init:devcontainer",
        Option("--stdout", about="Print it instead of writing .devcontainer/devcontainer.json."),
        about="Write [dev] as devcontainer.json, for editors that know Dev Containers.",
    ),
    Command(
        "hook",
        "shell_scripts:hook",
        about="Print the script that sets a shell up for the project it is in: tools on PATH, what services export.",
        argument=Argument("shell", about="bash, zsh or fish.", words="shells"),
    ),
    Command(
        "completion",
        "shell_scripts:completion",
        about="Print the script that teaches a shell to complete devbox.",
        argument=Argument("shell", about="bash, zsh or fish.", words="shells"),
    ),
)
