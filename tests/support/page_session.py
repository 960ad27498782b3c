"""The session of a page: a fresh project directory, one bash, and the removal of everything that it started."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support import pages
from support.machine import REPOSITORY, Box, lacking, wait_until

_SECONDS = 1500
_TOOLS = REPOSITORY / "tests/support/page_tools.sh"
_GIT = "[user]\nname = Ada\nemail = ada@example.org\n[init]\ndefaultBranch = main\n[advice]\ndetachedHead = false\n"


@dataclass(frozen=True)
class _Step:
    """One command line or block of the session."""

    block: pages.Block
    script: str
    documented: tuple[str, ...] = ()


def run(page: pages.Page, box: Box) -> None:
    """Run the blocks of a page; fail at the first one whose exit code or output differs."""
    for program in page.directives.get("needs", ()):
        if shutil.which(program) is None:
            lacking(f"{program} is not installed")
    base = Path(tempfile.mkdtemp(prefix="page-", dir=box.home.parent))
    if "own-home" in page.directives:
        box = replace(box, home=base / "devbox-home", projects=[])
    keys = _list_keys(box)
    steps = _list_steps(page)
    try:
        _check(page, steps, _execute(steps, box, base))
    finally:
        _clean_up(box, base, keys)


def _list_steps(page: pages.Page) -> list[_Step]:
    steps: list[_Step] = []
    for block in page.blocks:
        if not block.is_run:
            continue
        if "json" in block.directives:
            steps.append(_Step(block, ":\n"))
        elif block.file is not None:
            steps.append(_Step(block, _write_file(block)))
        elif block.language == "console":
            documented = "output" not in block.directives
            steps += [
                _Step(block, command, tuple(output) if documented else ())
                for command, output in pages.split_console(block)
            ]
        else:
            steps.append(_Step(block, block.text))
    return steps


def _write_file(block: pages.Block) -> str:
    assert block.file is not None
    name = block.file if block.file.startswith("~/") else shlex.quote(block.file)
    arrow = ">>" if "append" in block.directives else ">"
    return f"mkdir -p \"$(dirname {name})\"\ncat {arrow} {name} <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n"


def _execute(steps: list[_Step], box: Box, base: Path) -> dict[int, tuple[int, str]]:
    """Run the steps; return the exit code and the output of each one that ended."""
    project, home, scripts = base / "src/shop", base / "home", base / "scripts"
    for directory in (project, home, scripts):
        directory.mkdir(parents=True)
    (home / ".gitconfig").write_text(_GIT)
    lines = ["set -e", f"PAGE={scripts}", f". {_TOOLS}", f"cd {project}"]
    for number, step in enumerate(steps):
        script = scripts / str(number)
        script.write_text(step.script)
        lines += _call(number, step, script)
    (scripts / "all").write_text("\n".join(lines) + "\n")
    path = f"{Path(sys.executable).parent}:{home}/.local/bin:{os.environ['PATH']}"
    env = box.environment({"PATH": path, "HOME": str(home)})
    with (base / "output").open("wb") as output, contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            ["bash", str(scripts / "all")],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=_SECONDS,
            check=False,
        )
    return _read_output((base / "output").read_text(errors="replace"))


def _call(number: int, step: _Step, script: Path) -> list[str]:
    if "background" in step.block.directives:
        return [f"setsid bash -e {script} >{script}.out 2>&1 & echo $! >>{script.parent}/pids", f"echo ::{number}::0"]
    if step.block.exit:
        return ["set +e", f". {script}", f"printf '\\n::{number}::%d\\n' $?", "set -e"]
    return [f". {script}", f"printf '\\n::{number}::0\\n'"]


def _read_output(text: str) -> dict[int, tuple[int, str]]:
    found, at = {}, 0
    for mark in re.finditer(r"^::(\d+)::(\d+)\n", text, re.MULTILINE):
        found[int(mark[1])] = (int(mark[2]), text[at : mark.start()])
        at = mark.end()
    return found | {-1: (0, text[at:])}


def _check(page: pages.Page, steps: list[_Step], results: dict[int, tuple[int, str]]) -> None:
    for number, step in enumerate(steps):
        where = f"{pages.name_page(page.path)}:{step.block.line}: {step.script.strip()}"
        code, output = results.get(number, (-1, results[-1][1]))
        if code == -1:
            pytest.fail(f"{where}\nthe session ended here; its output:\n{output}")
        if step.block.exit and not _is_expected(step, code):
            pytest.fail(f"{where}\nexit code {code}, expected {step.block.exit}; output:\n{output}")
        if "json" in step.block.directives:
            _check_document(where, step.block.text, results[number - 1][1])
        if missing := pages.find_missing(list(step.documented), output):
            pytest.fail(f"{where}\nmissing lines:\n" + "\n".join(missing) + f"\noutput:\n{output}")
    for line in {step.block.line for step in steps if step.block.exit}:
        of_block = [results[number][0] for number, step in enumerate(steps) if step.block.line == line]
        expected = next(step.block.exit for step in steps if step.block.line == line)
        if expected not in of_block:
            pytest.fail(f"{pages.name_page(page.path)}:{line}: no command exits with {expected}")


def _check_document(where: str, documented: str, output: str) -> None:
    """Compare the shape of a JSON document with that of the last JSON line of the output."""
    found = [line for line in output.splitlines() if line.startswith(("{", "["))]
    if not found:
        pytest.fail(f"{where}\nno JSON document in the output:\n{output}")
    if difference := pages.compare_shapes(json.loads(documented), json.loads(found[-1]), "$"):
        pytest.fail(f"{where}\n{difference}\noutput:\n{found[-1]}")


def _is_expected(step: _Step, code: int) -> bool:
    """Any command of a console block may exit with the code; a whole `sh` block must."""
    return code == step.block.exit or (code == 0 and step.block.language == "console")


def _list_keys(box: Box) -> set[Path]:
    return set(box.home.glob("keys/*"))


def _clean_up(box: Box, base: Path, keys: set[Path]) -> None:
    """End the background blocks, remove the projects below `base` with their data, and the keys of the page."""
    pids = base / "scripts/pids"
    for pid in map(int, pids.read_text().split()) if pids.exists() else ():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
        wait_until(lambda pid=pid: _has_ended(pid), what=f"the end of process group {pid}")
    places = [json.loads(path.read_text()) for path in box.home.glob("projects/*/place.json")]
    for place in places:
        if str(place["root"]).startswith(f"{base}/") and Path(place["root"]).is_dir():
            _remove_instance(box, place)
    for key in _list_keys(box) - keys:
        key.unlink()
    shutil.rmtree(base)


def _has_ended(pid: int) -> bool:
    """True if the process is gone, or a zombie that its new parent has not reaped yet."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b""
    except OSError:
        return True


def _remove_instance(box: Box, place: dict[str, str]) -> None:
    root, stage = Path(place["root"]), place.get("stage", "")
    words = ["down", "-v", "-y", *(["--stage", stage, "--confirm", stage] if stage else [])]
    if (file := place.get("file")) and file != "devbox.toml":
        words += ["--file", file]
    done = box.run(*words, cwd=root, timeout=120)
    assert done.returncode == 0, f"devbox {' '.join(words)} in {root}: {done.stderr.decode()}"


def render_script(page: pages.Page) -> str:
    """Return one script that runs the blocks of a page and compares their exit codes, for a system without pytest."""
    lines = ["set -e", "exec 2>&1"]
    for step in _list_steps(page):
        text = step.script.rstrip("\n")
        if "background" in step.block.directives:
            lines.append(f"setsid bash -ec {shlex.quote(text)} >/dev/null 2>&1 & background=$!")
        elif step.block.exit and step.block.language == "sh":
            lines.append(f"set +e\n{text}\n[ $? = {step.block.exit} ] || exit 99\nset -e")
        elif step.block.exit:
            lines.append(f"set +e\n{text}\ncase $? in 0|{step.block.exit}) ;; *) exit 99;; esac\nset -e")
        else:
            lines.append(text)
    return "\n".join([*lines, 'kill -- "-$background" 2>/dev/null || true', "echo every block ran"]) + "\n"


def read_page(name: str) -> pages.Page:
    """Read a page by its path in the repository."""
    return pages.read(REPOSITORY / name)
