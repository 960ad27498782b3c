"""The `isolation` presets, as seen from inside a container."""

from __future__ import annotations

import pytest
from support.agents import ssh_agent
from support.machine import Box

pytestmark = pytest.mark.scenario

ISOLATED = """
[dev]
recipe = "debian"
isolation = "isolated"
volumes = { data = "/data" }
"""


def test_isolated_is_the_project_and_nothing_else(any_box: Box):
    project = any_box.project(ISOLATED)
    any_box.ok("up", cwd=project, env={"PIP_INDEX_URL": "http://mirror.example/simple"})

    def inside(script: str) -> tuple[int, str]:
        done = any_box.run("exec", "--", "sh", "-c", script, cwd=project)
        return done.returncode, done.stdout.decode()

    for place in ("/workspace", "/data", "/tmp", "/run", "/var/tmp"):
        assert inside(f"echo here > {place}/file && cat {place}/file") == (0, "here\n"), place
    assert (project / "file").stat().st_uid == project.stat().st_uid
    for place in ("/", "/etc", "/root", "/usr/bin"):
        assert inside(f"touch {place}/file")[0] != 0, place
    assert inside("ls /etc/gitconfig")[0] != 0
    assert inside("ls /sys/class/net")[1].split() == ["lo"]
    assert inside("env | grep -ci -e proxy -e cert -e pip")[1] == "0\n"
    assert inside("grep CapEff /proc/1/status /proc/self/status | sort -u -k2")[1].split()[1] == "0" * 16
    assert inside("mount -t tmpfs none /tmp")[0] != 0


def test_a_container_without_a_network_has_the_caller_s_git_settings(any_box: Box):
    """The first `up` failed: its supervisor removed the file with the settings."""
    project = any_box.project('[dev]\nrecipe = "debian"\nisolation = { network = "none" }\n')
    assert any_box.ok("run", "--", "cat", "/etc/gitconfig", cwd=project)
    any_box.ok("down", cwd=project)
    any_box.ok("up", cwd=project)
    assert any_box.ok("exec", "--", "cat", "/etc/gitconfig", cwd=project)


def test_issue9_a2_an_isolated_container_cannot_loosen_its_own_isolation(any_box: Box):
    project = any_box.project(
        ISOLATED, files={"recipes/own.toml": "", ".git/config": "[core]\n", ".git/HEAD": "ref: x\n"}
    )
    any_box.ok("up", cwd=project)
    any_box.ok("restart", cwd=project)  # the lock is there now
    before = {path: path.read_text() for path in sorted(project.glob("*.toml"))}
    attack = """
        for file in devbox.toml devbox.lock.toml recipes/own.toml .git/config; do
            (echo "# mine" >> $file) && echo wrote $file
            mv $file there && echo moved $file
            rm -f $file && echo removed $file
        done
        for directory in .git recipes .git/hooks; do mv $directory there && echo moved $directory; done
        touch recipes/python.toml && echo made a recipe; touch .git/hooks/pre-commit && echo made a hook
        touch .git/index file || echo "git does not work any more"
        printf '[dev]\\nisolation = "integrated"\\n' > devbox.local.toml
    """
    assert any_box.run("exec", "--", "sh", "-c", attack, cwd=project).stdout == b""
    assert before == {path: path.read_text() for path in before}

    refused = any_box.run("up", cwd=project)
    assert refused.returncode == 1
    assert "the file grants dev more access than in its last isolated run" in refused.stderr.decode()
    assert "devbox.local.toml: read as part of the env file" in refused.stderr.decode()
    assert "devbox trust" in refused.stderr.decode()
    (project / "devbox.local.toml").unlink()
    file = project / "devbox.toml"
    file.write_text(ISOLATED.replace('"isolated"', '{ preset = "isolated", egress = ["pypi.org"] }'))
    for command in ("up", "restart"):
        assert any_box.run(command, cwd=project).returncode == 1, command
    assert "connections to pypi.org" in any_box.ok("trust", "--show", cwd=project)
    any_box.ok("trust", cwd=project)
    any_box.ok("up", cwd=project)
    file.write_text(ISOLATED)
    any_box.ok("up", cwd=project)
    file.write_text(ISOLATED.replace('"isolated"', '{ preset = "isolated", egress = ["pypi.org"] }'))
    assert any_box.run("up", cwd=project).returncode == 1, "what was closed again is allowed again by hand only"


def test_capabilities_are_given_and_taken_by_name(box: Box):
    project = box.project(
        '[dev]\nrecipe = "debian"\nisolation = { capabilities = ["NET_ADMIN", "-CHOWN", "-NET_RAW"] }\n'
    )
    box.ok("up", cwd=project)
    effective = int(box.ok("exec", "--", "grep", "CapEff", "/proc/self/status", cwd=project).split()[1], 16)
    chown, net_admin, net_raw = (effective >> number & 1 for number in (0, 12, 13))
    assert (chown, net_admin, net_raw) == (0, 1, 0)


GIT = '[dev]\nrecipe = "debian"\npackages = ["git", "openssh-client"]\n'


@pytest.mark.long  # bakes git
def test_git_knows_the_caller_and_trusts_the_project_where_integrated(any_box: Box):
    config = "[user]\nname = Ann\nemail = a@example.org\n[credential]\nhelper = store\n"
    project = any_box.project(GIT, files={"callers": config})
    caller = {"GIT_CONFIG_GLOBAL": str(project / "callers")}
    any_box.ok("up", cwd=project, env=caller)
    script = "git init -q && git commit -q --allow-empty -m one && git status --short && git log --format=%an:%ae"
    assert any_box.ok("exec", "--", "sh", "-c", script, cwd=project).splitlines()[-1] == "Ann:a@example.org"
    assert any_box.run("exec", "--", "git", "config", "credential.helper", cwd=project).returncode == 1
    any_box.ok("exec", "--", "git", "config", "--global", "user.name", "Other", cwd=project)
    assert any_box.ok("exec", "--", "git", "config", "user.name", cwd=project) == "Other\n"


@pytest.mark.long  # bakes git
def test_ssh_and_signed_commits_use_the_callers_agent(any_box: Box):
    with ssh_agent(any_box) as ann:
        signing = f"[user]\nname = Ann\nemail = a@example.org\nsigningKey = {ann.public}\n"
        project = any_box.project(GIT, files={"callers": f"{signing}[gpg]\nformat = ssh\n[commit]\ngpgSign = true\n"})
        caller = ann.caller | {"GIT_CONFIG_GLOBAL": str(project / "callers")}
        any_box.ok("up", cwd=project, env=caller)
        assert any_box.ok("exec", "--", "ssh-add", "-L", cwd=project, env=caller).strip() == ann.public
        script = "git init -q && git commit -q --allow-empty -m one && git cat-file commit HEAD"
        assert "BEGIN SSH SIGNATURE" in any_box.ok("exec", "--", "sh", "-c", script, cwd=project, env=caller)
        alone = any_box.run("exec", "--", "ssh-add", "-L", cwd=project, env={"SSH_AUTH_SOCK": ""})
        assert alone.returncode in (1, 2)
        assert not alone.stdout
