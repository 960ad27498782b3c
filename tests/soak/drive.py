"""A soak: random commands on two projects of one home and random kills, with a check of the state after each cycle."""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from soak import truth, victims
from soak.remains import Remains
from soak.victims import Ground
from support.machine import Box, wait_until

FILE = """
[base.system]
recipe = "debian"

[dev]
from = "base.system"
needs = ["job"]
command = "while :; do echo tick; sleep 1; done"

[service.web]
from = "base.system"
command = 'while :; do sleep 1; done'
ports = [8000]
restart = "always"
health = { command = ["test", "-d", "/data"] }
volumes = { data = "/data" }

[service.worker]
from = "base.system"
command = "sleep 0.3; exec sleep 10000"
needs = ["web"]

[service.job]
from = "base.system"
kind = "job"
command = "true"
"""
_COMMANDS: tuple[tuple[str, ...], ...] = (
    *[("up",)] * 5,
    ("up", "-d"),
    ("up", "web"),
    ("stop",),
    ("stop", "worker"),
    ("restart", "web"),
    ("restart",),
    ("down",),
    ("down", "-v"),
    ("exec", "--", "true"),
    ("exec", "web", "--", "sh", "-c", "sleep 0.3; echo through"),
    ("run", "--", "sleep", "0.2"),
    ("run", "-T", "--", "true"),
    ("ps",),
    ("logs",),
    ("plan",),
)
_HANGS = 150.0  # no command takes longer on any host
_AT_ONCE = (1, 1, 2, 3)
_TRACES = ("Traceback", "internal error")


@dataclass
class Soak:
    """Two projects in a box, and everything random about them."""

    box: Box
    seed: int
    projects: list[Path] = field(default_factory=list)
    story: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._scraps = self.box.home.parent / "scraps"  # what commands would leave in /tmp, which others use, too
        self._scraps.mkdir(exist_ok=True)
        self._scraps.chmod(0o1777)
        self.projects = [self.box.project(FILE, name) for name in ("left", "right")]
        for project in self.projects:
            self.box.ok("up", cwd=project)
            self.box.ok("down", "-v", cwd=project)
        self._remains = Remains(self.box, self._scraps)
        self._at_rest = self._remains.now()

    def cycle(self) -> None:
        """Some commands at once on a project, perhaps a kill among them; afterwards nothing lies and nothing hangs."""
        ground = Ground(self.box, self._chance.choice(self.projects))
        commands = [self._chance.choice(_COMMANDS) for _ in range(self._chance.choice(_AT_ONCE))]
        started = [self._start(ground.project, words) for words in commands]
        killed = self._perhaps_kill(ground, started)
        self._say(f"{ground.project.name}: {', '.join(' '.join(words) for words in commands)}{killed}")
        for words, process in zip(commands, started, strict=True):
            self._end(words, process, alone=len(commands) == 1 and not killed)
        self._quiet()
        if killed or self._chance.random() < 0.2:
            self._converge(ground)

    def finish(self) -> None:
        """Take everything down; nothing of it may be left."""
        for project in self.projects:
            self.box.ok("down", "-v", cwd=project, timeout=_HANGS)
        with contextlib.suppress(AssertionError):  # said below, with what they are
            wait_until(lambda: not truth.of_box(self.box), seconds=30)
        left = [truth.story(pid) for pid in sorted(truth.of_box(self.box))]
        assert not left, f"processes that did not end: {left}"
        with contextlib.suppress(AssertionError):  # said below, with what it is
            wait_until(lambda: self._remains.now() == self._at_rest, seconds=30)
        changed = sorted(self._remains.now() ^ self._at_rest)
        assert not changed, f"left or lost: {changed}"

    def _start(self, project: Path, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.box.argv(*words),
            cwd=project,
            env=self.box.environment({"TMPDIR": str(self._scraps)}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _perhaps_kill(self, ground: Ground, started: list[subprocess.Popen[bytes]]) -> str:
        """Usually kill a process after a random delay; return its kind."""
        kind = self._chance.choice(["", "", "", "command", "command", *victims.KINDS])
        if not kind:
            return ""
        time.sleep(self._chance.choice((0.05, 0.3, 1.0, 2.5)) * self._chance.random())
        if kind == "command":
            victim = self._chance.choice(started)
            victim.kill()
            return f"; killed {kind} {victim.pid}"
        return f"; killed {kind} {victims.kill_one(ground, kind, self._chance)}"

    def _end(self, words: tuple[str, ...], process: subprocess.Popen[bytes], *, alone: bool) -> None:
        output = process.communicate(timeout=_HANGS)[0].decode(errors="replace")
        assert not any(trace in output for trace in _TRACES), f"{' '.join(words)}: {output}"
        may_say_no = words[0] in ("exec", "run", "restart", "stop", "plan")  # all is down, or something is to be done
        assert not alone or may_say_no or process.returncode == 0, f"{' '.join(words)}: {process.returncode}\n{output}"

    def _quiet(self) -> None:
        """Nothing is under way: `ps` must be right, and no supervisor may have stumbled or grown."""
        truth.check(self.box, self.projects)
        self._remains.note()
        for project in self.projects:
            ground = Ground(self.box, project)
            assert not any(trace in ground.complaints() for trace in _TRACES), ground.complaints()
            self._check_supervisor(ground)

    def _check_supervisor(self, ground: Ground) -> None:
        now = ground.now()
        if now is None or not Path(f"/proc/{now.supervisor.pid}").exists():
            return
        pid = now.supervisor.pid
        wait_until(lambda: not truth.zombies(pid), seconds=30, what="the reaping of zombies")

        def few() -> bool:
            return not Path(f"/proc/{pid}").exists() or truth.open_files(pid) <= 12 + 4 * len(now.containers)

        wait_until(few, seconds=30, what=f"few open files in {ground.project}")

    def _converge(self, ground: Ground) -> None:
        """Assert that the next `up` works after any kill."""
        self._say(f"{ground.project.name}: up converges")
        words = ("up",)
        self._end(words, self._start(ground.project, words), alone=True)
        claims = truth.check(self.box, self.projects)
        states = {name: state for (project, name), (state, _) in claims.items() if project == ground.project}
        desired = {"dev": "running", "web": "running", "worker": "running", "job": "exited"}
        assert states == desired, states

    def _say(self, line: str) -> None:
        self.story.append(line)
        print(f"{len(self.story):4} {line}", flush=True)


def soak(box: Box, *, seed: int, cycles: int | None = None, seconds: float | None = None) -> int:
    """Run cycles until there were enough or time is up; how many there were. The seed makes the same choices again."""
    print(f"soak with seed {seed}: again with `python -m soak --seed {seed}` (from tests/)", flush=True)
    made, begun = Soak(box, seed), time.monotonic()
    done = 0
    try:
        while (cycles is None or done < cycles) and (seconds is None or time.monotonic() - begun < seconds):
            made.cycle()
            done += 1
        made.finish()
    except AssertionError:
        for project in made.projects:
            print(Ground(box, project).evidence(), flush=True)
        raise
    return done
