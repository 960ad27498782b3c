"""The table of commands: the one truth about names, options and help. Bodies import what they need when they run."""

from __future__ import annotations

from devbox.cli.options import JSON, MANY, NUMBER, TEXT, Args, Argument, Command, Option

_NAMES = Argument("names", about="Containers, named as in the file; all when left out.", many=True, words="containers")
_CONTAINER = Argument("container", about="A container, named as in the file; dev when left out.", words="containers")
_ENV = Option("-e", "--env", about="Set a variable; without =VALUE pass on yours.", kind=MANY, metavar="NAME[=VALUE]")
_WORKDIR = Option("-w", "--workdir", about="Start in this directory of the container.", kind=TEXT, metavar="DIR")
_USER = Option("-u", "--user", about="Run as this user of the container.", kind=TEXT, metavar="USER")
_BASE = Option("--base", about="A one-shot of this base instead of dev.", kind=TEXT, metavar="NAME", words="bases")
_SERVICE = Option(
    "--service", about="A one-shot container of this service's image.", kind=TEXT, metavar="NAME", words="services"
)
_TASK = Argument(
    "task", about="A name of [tasks], run in dev; after --, a command in a one-shot container.", words="tasks"
)
_LOCKED = Option(
    "--locked", about="Take what devbox.lock.toml says, write nothing there; exit 1 if it lacks something."
)
_IMAGE = "A table of the file (`dev`, `service.db`), a digest or a reference."
_NO_TTY = Option("-T", "--no-tty", about="Plain pipes, even on a terminal.")


def _init(args: Args) -> int:
    from devbox.cli import scaffold

    return scaffold.init(args)


def _up(args: Args) -> int:
    from devbox.cli import lifecycle

    return lifecycle.up(args)


def _down(args: Args) -> int:
    from devbox.cli import lifecycle

    return lifecycle.down(args)


def _stop(args: Args) -> int:
    from devbox.cli import lifecycle

    return lifecycle.stop(args)


def _restart(args: Args) -> int:
    from devbox.cli import lifecycle

    return lifecycle.restart(args)


def _ps(args: Args) -> int:
    from devbox.cli import look

    return look.ps(args)


def _logs(args: Args) -> int:
    from devbox.cli import look

    return look.logs(args)


def _open(args: Args) -> int:
    from devbox.cli import look

    return look.open_url(args)


def _shell(args: Args) -> int:
    from devbox.cli import inside

    return inside.shell(args)


def _exec(args: Args) -> int:
    from devbox.cli import inside

    return inside.execute(args)


def _run(args: Args) -> int:
    from devbox.cli import inside

    return inside.run(args)


def _plan(args: Args) -> int:
    from devbox.cli import explain

    return explain.plan(args)


def _lock(args: Args) -> int:
    from devbox.cli import lock

    return lock.lock(args)


def _why(args: Args) -> int:
    from devbox.cli import why

    return why.why(args)


def _config(args: Args) -> int:
    from devbox.cli import explain

    return explain.config(args)


def _trust(args: Args) -> int:
    from devbox.cli import trust

    return trust.trust(args)


def _doctor(args: Args) -> int:
    from devbox.cli import doctor

    return doctor.doctor(args)


def _recipe_ls(args: Args) -> int:
    from devbox.cli import recipe

    return recipe.ls(args)


def _recipe_show(args: Args) -> int:
    from devbox.cli import recipe

    return recipe.show(args)


def _image_pull(args: Args) -> int:
    from devbox.cli import image

    return image.pull(args)


def _image_push(args: Args) -> int:
    from devbox.cli import image

    return image.push(args)


def _image_export(args: Args) -> int:
    from devbox.cli import image

    return image.export(args)


def _image_ls(args: Args) -> int:
    from devbox.cli import store

    return store.ls(args)


def _image_inspect(args: Args) -> int:
    from devbox.cli import store

    return store.inspect(args)


def _image_verify(args: Args) -> int:
    from devbox.cli import store

    return store.verify(args)


def _image_du(args: Args) -> int:
    from devbox.cli import store

    return store.du(args)


def _image_gc(args: Args) -> int:
    from devbox.cli import store

    return store.gc(args)


def _completion(args: Args) -> int:
    from devbox.cli import completion

    return completion.completion(args)


# Commands of two words go by their first one in `devbox --help`.
GROUPS = {
    "recipe": "The recipes that images and services are made from.",
    "image": "Images: what the store has, to and from registries, collection.",
}

_TABLE = (
    Command(
        "init",
        _init,
        Option(
            "-t", "--template", about="Which template (default: bare).", kind=TEXT, metavar="NAME", words="templates"
        ),
        Option("--list", about="List the templates."),
        about="Make a project from a template.",
        argument=Argument("dir", about="Where; made when missing. Default: here.", words="directories"),
    ),
    Command(
        "up",
        _up,
        Option("-d", "--detach", about="Return when everything is started, not when it is ready."),
        _LOCKED,
        JSON,
        about="Bake, start, and wait until everything is ready.",
        argument=_NAMES,
    ),
    Command(
        "down",
        _down,
        Option("-v", "--volumes", about="Remove volumes, kept changes, credentials and logs as well."),
        about="Stop and remove all containers; volumes stay.",
    ),
    Command("stop", _stop, about="Stop containers; they stay in `ps`.", argument=_NAMES),
    Command("restart", _restart, about="Stop containers and start them again.", argument=_NAMES),
    Command("ps", _ps, JSON, about="List the containers of the project.", argument=_NAMES),
    Command(
        "logs",
        _logs,
        Option("-f", "--follow", about="Go on with what is written from now on."),
        Option("-n", "--tail", about="Only the last N lines of each container.", kind=NUMBER, metavar="N"),
        Option("-t", "--timestamps", about="Put the time before each line."),
        about="Show what containers wrote.",
        argument=_NAMES,
    ),
    Command("open", _open, about="Print the address; on a desktop, open it.", argument=_CONTAINER),
    Command(
        "shell",
        _shell,
        _ENV,
        _WORKDIR,
        _USER,
        about="A shell in a container, started when it is not up.",
        argument=_CONTAINER,
    ),
    Command(
        "exec",
        _exec,
        _ENV,
        _WORKDIR,
        _USER,
        _NO_TTY,
        about="Run a command in a running container.",
        argument=_CONTAINER,
        after="-- COMMAND…",
    ),
    Command(
        "run",
        _run,
        _BASE,
        _SERVICE,
        _ENV,
        _WORKDIR,
        _USER,
        _NO_TTY,
        about="Run a task of the file, or a one-shot container.",
        argument=_TASK,
        after="| -- COMMAND…",
    ),
    Command("plan", _plan, JSON, _LOCKED, about="Show what `up` would do and why; exit 3 if anything."),
    Command(
        "why",
        _why,
        JSON,
        about="Say why something is as it is: of an image, what changed since it was baked.",
        argument=Argument("subject", about="`image` and its name, as in `why image dev`.", many=True),
    ),
    Command(
        "lock",
        _lock,
        JSON,
        Option(
            "--upgrade",
            about="Renew only this: an image, a recipe, a base system or a package.",
            kind=MANY,
            metavar="NAME",
        ),
        Option("--check", about="Only say whether the lock is complete; exit 1 if it is not."),
        about="Write devbox.lock.toml anew: bake by the packages there are now, and print what changed.",
    ),
    Command(
        "config",
        _config,
        JSON,
        Option("--origin", about="Show the file and line each value came from."),
        Option("--schema", about="Print the JSON Schema of devbox.toml."),
        about="Show the file as devbox understands it.",
    ),
    Command("recipe ls", _recipe_ls, JSON, about="List the recipes: those of devbox, and recipes/ of the project."),
    Command(
        "recipe show",
        _recipe_show,
        JSON,
        about="Show a recipe: parameters, image, service, and a table to paste.",
        argument=Argument("name", about="A name from `devbox recipe ls`.", words="recipes"),
    ),
    Command(
        "image pull",
        _image_pull,
        Option("--all-platforms", about="Also what other machines run, and what refers to it, as signatures do."),
        JSON,
        about="Get an image of a registry into the store; print its digest.",
        argument=Argument("ref", about="As in `postgres:17`, `ghcr.io/acme/app@sha256:…`.", metavar="REF"),
    ),
    Command(
        "image push",
        _image_push,
        JSON,
        about="Send an image of the store to a registry; what is there already is not sent again.",
        argument=Argument(
            "what",
            about="A table of the file (`dev`, `service.db`), a digest or a reference; then where it is to go.",
            many=True,
            metavar="IMAGE REF",
        ),
    ),
    Command(
        "image export",
        _image_export,
        Option(
            "--format",
            about="oci (all platforms) or docker (as `docker load` takes it).",
            kind=TEXT,
            metavar="KIND",
            choices="oci docker",
        ),
        Option("--tag", about="What it is called in the archive, as `team/app:1.0`.", kind=TEXT, metavar="REF"),
        about="Write an image of the store as one file.",
        argument=Argument(
            "what", about=f"{_IMAGE[:-1]}; then a file, or - for the standard output.", many=True, metavar="IMAGE FILE"
        ),
    ),
    Command("image ls", _image_ls, JSON, about="List the images of the store, and the projects that need them."),
    Command(
        "image inspect",
        _image_inspect,
        about="Print all about an image as JSON.",
        argument=Argument("image", about=_IMAGE),
    ),
    Command(
        "image verify",
        _image_verify,
        JSON,
        about="Hash every blob again; remove what is damaged, so that it is made or pulled anew. Exit 1 if any was.",
    ),
    Command("image du", _image_du, JSON, about="Show how much room the images of each project take."),
    Command(
        "image gc",
        _image_gc,
        JSON,
        Option("--dry-run", about="Only say what would be removed."),
        about="Remove the images that no project needs: by its file and lock, its last `up`, or a container.",
    ),
    Command(
        "trust",
        _trust,
        JSON,
        Option("--show", about="Only show what it is about."),
        Option("--revoke", about="Take the permission back."),
        about="Allow the file's commands on this machine, and its secrets outside the project.",
    ),
    Command(
        "doctor",
        _doctor,
        JSON,
        Option("--offline", about="Leave the network alone."),
        Option("--prune", about="Remove what projects that are gone, and killed bakes, left behind."),
        Option("--clean", about="Remove everything that devbox ever made on this machine for you."),
        Option("-y", "--yes", about="Remove without asking."),
        about="Say what this machine lacks and what is left over; exit 1 on a problem.",
    ),
    Command(
        "completion",
        _completion,
        about="Print the script that teaches a shell to complete devbox.",
        argument=Argument("shell", about="bash, zsh or fish.", words="shells"),
    ),
)

COMMANDS = {command.name: command for command in _TABLE}
