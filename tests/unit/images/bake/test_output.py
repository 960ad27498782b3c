"""Logs of bakes: bounded, with the end kept; the oldest are removed."""

from __future__ import annotations

import os
from pathlib import Path

from devbox.images.bake.apt import Tick
from devbox.images.bake.output import JobOutput, parse_line


def written(log: Path, lines: int) -> JobOutput:
    """An output after this many printed lines of 1000 bytes."""
    answers = os.open(os.devnull, os.O_WRONLY)
    made = JobOutput(answers, str(log))
    with made.pipe_lines(lambda _: None) as sink, os.fdopen(os.dup(sink), "w") as program:
        for number in range(lines):
            program.write(f"{number:07}{'ö' * 496}\n")
    os.close(answers)
    return made


def test_a_long_log_keeps_its_end(tmp_path: Path):
    log = tmp_path / "logs/a.log"
    made = written(log, 20_000)
    assert log.stat().st_size < 9_000_000
    lines = log.read_text().splitlines()
    assert lines[0] == "(what came before is not kept)"
    numbers = [int(line[:7]) for line in lines[1:]]
    assert numbers == list(range(numbers[0], 20_000))
    assert made.read_tail().splitlines()[-1].startswith("0019999")


def test_a_short_log_is_whole(tmp_path: Path):
    written(tmp_path / "a.log", 3)
    assert len((tmp_path / "a.log").read_text().splitlines()) == 3


def test_a_log_by_another_name_stays_what_it_was(tmp_path: Path):
    written(tmp_path / "a.log", 3)
    os.link(tmp_path / "a.log", tmp_path / "b.log")
    written(tmp_path / "a.log", 1)
    assert len((tmp_path / "b.log").read_text().splitlines()) == 3
    assert len((tmp_path / "a.log").read_text().splitlines()) == 1


def test_the_oldest_of_many_logs_are_removed(tmp_path: Path):
    for number in range(120):
        (tmp_path / f"{number}.log").touch()
        os.utime(tmp_path / f"{number}.log", (number, number))
    written(tmp_path / "new.log", 1)
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 100
    assert {"new.log", "119.log"} <= left
    assert "0.log" not in left


def test_an_empty_line_is_not_progress():
    assert parse_line(" ") is None
    assert parse_line("x") == Tick("x")
