"""What other tools call things, and devbox's own term: the answer to a key of Compose, Dev Containers, tox or jetify.

Facts about other formats: the Compose specification, the Dev Container reference, the manuals of tox and devbox.json.
"""

from __future__ import annotations

from collections.abc import Container

# Another tool's key → devbox's key in the same table.
_KEYS = {
    "environment": "env",
    "envs": "env",
    "containerEnv": "env",
    "remoteEnv": "env",
    "setenv": "env",
    "set_env": "env",
    "env_file": "env_files",
    "depends_on": "needs",
    "depends": "needs",
    "links": "needs",
    "requires": "needs",
    "entrypoint": "command",
    "cmd": "command",
    "commands": "command",
    "healthcheck": "health",
    "working_dir": "workdir",
    "workspaceFolder": "workspace",
    "cwd": "workdir",
    "change_dir": "workdir",
    "forwardPorts": "ports",
    "appPort": "ports",
    "expose": "ports",
    "remoteUser": "user",
    "containerUser": "user",
    "features": "packages",
    "apt": "packages",
    "deps": "packages",
    "dockerFile": "dockerfile",
    "build": "dockerfile",
    "template": "recipe",
    "stop_grace_period": "stop_timeout",
    "stop_signal_timeout": "stop_timeout",
    "postCreateCommand": "setup",
    "onCreateCommand": "setup",
    "init_hook": "setup",
    "volume": "volumes",
    "port": "ports",
    "args": "with",
    "scale": "replicas",
    "instances": "replicas",
    "envlist": "matrix",
    "env_list": "matrix",
}
# Another tool's key → where devbox has it, if that is not a key of the same table.
_ELSEWHERE = {
    "version": '[project] requires = ">=0.1" is the least devbox; the file has no version',
    "services": "write one [service.NAME] for each service",
    "volumes": 'a container lists its own: volumes = { data = "/var/lib/data" }',
    "networks": "the containers of a project share one network; isolation = { network = … } changes that",
    "network_mode": 'isolation = { network = "none" } closes the network',
    "network": 'isolation = { network = "none" } closes the network',
    "packages": "write them into the table of a container: [dev] packages = […]",
    "environment": "write it into the table of a container: [dev] env = { … }",
    "env": "write it into the table of a container: [dev] env = { … }",
    "shell": "[dev.setup] run = […] prepares the shell, [tasks] has the scripts",
    "scripts": '[tasks] has them: NAME = "COMMAND"',
    "tasks": "[tasks] is a table of the file",
    "cap_add": 'isolation = { capabilities = ["NAME"] }',
    "cap_drop": 'isolation = { capabilities = ["-NAME"] }',
    "privileged": "isolation = { capabilities = […] } gives what is needed; nothing gives everything",
    "read_only": "isolation = { read_only = true }",
    "security_opt": 'isolation = "isolated" is the tight preset',
    "mem_limit": 'limits = { memory = "1GiB" }',
    "memory": 'limits = { memory = "1GiB" }',
    "cpus": "limits = { cpus = 1.5 }",
    "pids_limit": "limits = { pids = 200 }",
    "deploy": "limits = { … } bounds a container, [stage.NAME] replicas = { … } multiplies a process",
    "container_name": "the name of the table is the container's name",
    "hostname": "the name of the table is the host name",
    "extends": 'from = "NAME" builds on a container of the file',
    "image_name": 'image = "REFERENCE"',
    "logging": "devbox logs shows the output; no driver is chosen in the file",
    "init": "an init process always is pid 1",
    "tty": "devbox shell and devbox exec decide whether there is a terminal",
    "stdin_open": "devbox shell and devbox exec decide whether there is a terminal",
    "runArgs": "there are no engine options; ports, mounts, limits and isolation have keys of their own",
    "postStartCommand": '[hooks] started = "COMMAND" runs on the host, `command` in the container',
    "customizations": "editors are not configured in this file: docs/how-to/editors.md",
    "configs": 'mounts = [{ source = "FILE", target = "/path" }]',
    "schema": "for editors, write a comment in the first line: #:schema URL",
    "$schema": "for editors, write a comment in the first line: #:schema URL",
    "name": '[project] name = "NAME"',
    "tox": "[test] and [test.matrix] have the environments",
    "testenv": "[test] and [test.matrix] have the environments",
}  # fmt: skip


# The form of a key of devbox that other tools write as a list.
_FORMS = {
    "volumes": 'volumes = { data = "/data" }; a directory: mounts = [{ source = "src", target = "/src" }]',
    "env": 'env = { NAME = "value" }',
    "limits": 'limits = { memory = "1GiB", cpus = 2 }',
    "with": 'with = { version = "3.13" }',
}


def devbox_form(name: str) -> str:
    """`; write X` for a key whose value is not the table that devbox expects; "" for any other key."""
    return f"; write {_FORMS[name]}" if name in _FORMS else ""


def devbox_term(name: str, known: Container[str]) -> str:
    """`; devbox calls it X` for another tool's key in a table with the `known` keys; "" for any other key."""
    own = _KEYS.get(name, "")
    if own in known:
        return f"; devbox calls it `{own}`"
    return f"; {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
