"""Commands that users of other tools type, in the order in which a test runs them, and the page that lists them."""

from __future__ import annotations

from typing import NamedTuple

FILE = """
stages = ["live"]
[project]
name = "shop"
[dev]
recipe = "debian"
needs = ["db"]
ports = ["8000"]
health = false
command = "sleep infinity"
[tasks]
hello = "echo hello"
[tool.true]
from = "dev"
command = "true"
[service.db]
recipe = "debian"
command = "sleep infinity"
volumes = { data = "/data" }
[service.extra]
recipe = "debian"
command = "sleep infinity"
profiles = ["more"]
[test]
from = "dev"
command = "true"
[build]
from = "dev"
inputs = ["in"]
run = ["mkdir dist; cp in dist/"]
output = ["dist"]
[image]
from = "dev"
copy = { dist = "/dist" }
[image.process.web]
command = ["sleep", "infinity"]
[stage.live]
strategy = { kind = "recreate" }
"""


class Familiar(NamedTuple):
    """A command line. `instead`: the command that its error names; "" if it works. `code`: its exit code then."""

    tool: str
    words: str
    instead: str = ""
    code: int = 0


_WORKING = """
git         | init made
git         | init --list
compose     | up
compose     | up -d
compose     | up --build
compose     | up --dry-run
compose     | up --profile more
compose     | up --force-recreate db
compose     | up --no-deps db
compose     | start
compose     | start db
compose     | ps
docker      | ps -a
docker      | ps -q
docker      | ps --json
git         | status
compose     | ls
docker      | ls -a
compose     | logs
compose     | logs db
compose     | logs --tail 5 db
docker      | logs -n 5
docker      | logs -t db
docker      | logs --since 10m
docker      | logs --until 1m
compose     | exec db true
docker      | exec dev ls
docker      | exec -it dev true
compose     | exec -T dev true
docker      | exec -u 0 dev id
docker      | exec -w / dev pwd
docker      | exec -e A=b dev env
jetify      | shell -- true
kubectl     | shell dev -- ls
docker      | run -- true
npm         | run hello
npm         | run hello again
compose     | top
docker      | top db
docker      | stats --no-stream
compose     | port dev 8000
docker      | port --json
docker      | port
docker      | inspect dev
docker      | inspect db --json
docker      | cp in dev:/tmp/
docker      | cp dev:/etc/passwd out
kubectl     | debug db -- true
compose     | open
docker      | images
docker      | image ls
docker      | image list
docker      | image inspect dev
kubectl     | image show dev
docker      | image history dev
docker      | history dev
docker      | image tag dev shop:1
docker      | tag dev shop:2
docker      | image rm shop:1
docker      | image save dev dev.tar
docker      | image load dev.tar
docker      | image prune -y
docker      | image du
docker      | login {registry} --username ann --password-stdin
docker      | push dev {registry}/shop:1
docker      | pull {registry}/shop:1
docker      | logout {registry}
compose     | bake
docker      | bake dev
compose     | config
compose     | config --json
docker      | version
docker      | --version
docker      | help
docker      | help up
docker      | up --help
compose     | volume ls
docker      | volume list
docker      | volume inspect data
restic      | snapshot create one
restic      | snapshot list
restic      | snapshot show one
restic      | snapshot restore one -y
restic      | snapshot delete one -y
compose     | restart db
compose     | stop db
compose     | down db
docker      | volume rm data -y
npm         | add less
jetify      | search less
uv          | lock
uv          | lock --check
npm         | outdated less
npm         | update less
apt         | upgrade less
npm         | rm less
terraform   | plan || 3
docker      | build
tox         | test
tox         | test --list
tox         | test -k python=3.13 || 2
argo        | release list
kargo       | release show
kargo       | promote live --dry-run
kargo       | promote live
kargo       | promote live --json
kamal       | ps --stage live
kamal       | logs --stage live web
kamal       | exec --stage live web true
kamal       | run --stage live -- true
kamal       | restart --stage live
kamal       | stop --stage live
kargo       | release log
kargo       | why live
cosign      | verify || 1
cosign      | key create ann --no-passphrase
cosign      | key list
cosign      | key show ann
helm        | rollback live || 2
helm        | release rm release || 2
helm        | release rollback live || 2
nix         | recipe list
nix         | recipe show postgres
direnv      | hook bash
direnv      | trust --show
kubectl     | completion bash
brew        | doctor --offline || -
compose     | down --stage live
compose     | down
compose     | down -v -y
"""

_INSTEAD = """
docker      | attach db            | devbox logs -f NAME
docker      | kill db              | devbox stop NAME
docker      | pause db             | devbox stop NAME
docker      | unpause db           | devbox up NAME
docker      | rmi shop             | devbox image rm NAME
docker      | save shop            | devbox image export IMAGE FILE
docker      | load                 | devbox image import FILE
docker      | commit db            | devbox build
docker      | compose up           | devbox up
docker      | container ls         | devbox ps
docker      | network ls           | devbox ps
docker      | system prune         | devbox doctor
docker      | context use x        | devbox
docker      | build web            | devbox bake web
compose     | create               | devbox up
compose     | watch                | devbox up --watch
compose     | scale web=3          | replicas
kubectl     | apply                | devbox up
kubectl     | get pods             | devbox ps
kubectl     | describe web         | devbox ps --json
kubectl     | delete web           | devbox down
kubectl     | rollout undo         | devbox rollback STAGE
kamal       | deploy               | devbox promote STAGE
kamal       | secrets              | devbox trust
jetify      | services up          | devbox up NAME
jetify      | global add git       | devbox hook
jetify      | generate dockerfile  | devbox export devcontainer
npm         | publish              | devbox promote STAGE
npm         | bash                 | devbox shell
nix         | flake                | devbox recipe ls
terraform   | destroy              | devbox down -v
terraform   | validate             | devbox config
just        | task hello           | devbox run TASK
git         | diff                 | devbox plan
typo        | pss                  | devbox ps
typo        | upp                  | devbox up
typo        | image lss            | devbox image ls
docker      | compose -f x.yml up   | devbox up
docker      | ps --format json      | --json
docker      | ps --filter name=web  | --json
docker      | inspect --format x db | --json
docker      | rm -f db              | devbox down db
docker      | run --rm web sh       | omit it
docker      | run -d web            | devbox up -d
docker      | exec -d db true       | devbox exec
docker      | image prune -a        | devbox image gc
docker      | volume prune          | devbox volume ls
docker      | volume create x       | set volumes
docker      | cp dev:/etc/hosts -   | devbox exec
docker      | info                  | devbox doctor
docker      | stack deploy          | devbox promote STAGE
docker      | manifest inspect x    | devbox inspect
docker      | -v                    | devbox --version
compose     | up --wait             | omit it
compose     | up --scale web=3      | set replicas
compose     | up --remove-orphans   | omit it
compose     | down --rmi all        | devbox image gc
compose     | stop -t 5 db          | stop_timeout
kubectl     | port-forward web 8000 | devbox port
kubectl     | cluster-info          | devbox ls
kubectl     | ps --namespace x      | --stage NAME
kubectl     | label web a=b         | devbox up
jetify      | remove git            | devbox rm PACKAGE
jetify      | info git              | devbox search PACKAGE
jetify      | shell --pure          | omit it
jetify      | integrate             | devbox hook
npm         | uninstall git         | devbox rm PACKAGE
npm         | i git                 | devbox add PACKAGE
npm         | run-script hello      | devbox run TASK
npm         | dlx cowsay            | devbox run -- COMMAND
npm         | ci                    | devbox test --locked
npm         | audit                 | devbox outdated
npm         | run --list            | devbox config
tox         | test -e py311         | devbox test -k
tox         | tox                   | devbox test
pip         | pip install x         | devbox exec -- pip
make        | make test             | devbox run TASK
git         | config get x          | devbox config
typo        | stauts                | devbox status
"""


def list_commands() -> tuple[Familiar, ...]:
    """Return all commands: those that work in the order to run them, then the others."""
    found = []
    for line in _WORKING.strip().splitlines():
        tool, _, rest = line.partition("|")
        words, _, code = rest.partition("||")
        found.append(Familiar(tool.strip(), words.strip(), code=-1 if code.strip() == "-" else int(code or 0)))
    for line in _INSTEAD.strip().splitlines():
        tool, words, instead = (part.strip() for part in line.split("|"))
        found.append(Familiar(tool, words, instead=instead))
    return tuple(found)


_PAGE = """# Familiar commands

Generated by `make reference`; a test runs every command.

Commands of other tools, as their users type them. {working} of {all} work as typed; the error of each other one names
the command to type.

| Typed | Known from | Response |
|---|---|---|
{rows}
"""


def render_page() -> str:
    """Return the page of all commands."""
    commands = list_commands()
    rows = [
        f"| `devbox {each.words.format(registry='REGISTRY')}` | {each.tool} | {_describe(each.instead)} |"
        for each in commands
    ]
    return _PAGE.format(working=sum(not each.instead for each in commands), all=len(commands), rows="\n".join(rows))


def _describe(instead: str) -> str:
    if not instead:
        return "works"
    return f"use `{instead}`" if instead.startswith("devbox ") else f"names the command ({instead})"
