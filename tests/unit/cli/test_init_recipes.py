"""`init` from recipes: by options, by the files of the directory, and by questions on a terminal."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pexpect
import pytest
from support.machine import REPOSITORY

from devbox.cli import init, main
from devbox.convert import scaffold
from devbox.convert.detect import detect_kind
from devbox.envfile import recipes
from devbox.envfile.load import load
from devbox.errors import UsageError
from devbox.host import safe_files

LANGUAGES = [name for name in sorted(recipes.list_shipped()) if recipes.describe_recipe(name, "").service is None]
SERVICES = [name for name in sorted(recipes.list_shipped()) if recipes.describe_recipe(name, "").service is not None]


def read(directory: Path) -> dict[str, Any]:
    load(str(directory))
    return tomllib.loads((directory / "devbox.toml").read_text())


@pytest.mark.parametrize("recipe", LANGUAGES)
def test_a_recipe_is_a_valid_file_with_its_default_version(recipe: str, tmp_path: Path):
    assert main.run(["init", str(tmp_path), "--recipe", recipe]) == 0
    default = recipes.describe_recipe(recipe, "").parameters[0].default
    assert [default] == list(read(tmp_path)["dev"]["with"].values())


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "haproxy"])
def test_a_service_is_a_need_of_dev(service: str, tmp_path: Path):
    (tmp_path / "public").mkdir()  # served by nginx
    assert main.run(["init", str(tmp_path), "--recipe", "python", "--service", service]) == 0
    found = read(tmp_path)
    assert found["dev"]["needs"] == [service]
    assert found["service"][service]["recipe"] == service


def test_an_unknown_service_lists_services_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main.run(["init", str(tmp_path), "--service", "postgre"]) == 2
    error = capsys.readouterr().err
    assert "did you mean postgres?" in error
    assert "debian" not in error


def test_several_services(tmp_path: Path):
    words = ["init", str(tmp_path), "--recipe", "python", "--service", "postgres", "--service", "redis"]
    assert main.run(words) == 0
    assert read(tmp_path)["dev"]["needs"] == ["postgres", "redis"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--service", "python"], "the recipe python is not a service"),
        (["--service", "postgres", "--service", "mariadb"], "both export DATABASE_URL"),
        (["--recipe", "pyton"], "recipe pyton not found"),
        (["--template", "bare", "--service", "redis"], "--template conflicts with --service"),
    ],
)
def test_invalid_choices_write_nothing(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main.run(["init", str(tmp_path / "app"), *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "app").exists()


@pytest.mark.parametrize(
    ("files", "recipe", "setup"),
    [
        ({"package.json": "{}"}, "node", "npm install"),
        ({"package.json": "{}", "package-lock.json": "{}"}, "node", "npm ci"),
        ({"package.json": "no JSON"}, "node", "npm install"),
        ({"pyproject.toml": "[project]"}, "python", "pip install -e ."),
        ({"pyproject.toml": "[build-system]"}, "python", "pip install -e ."),
        ({"pyproject.toml": "[tool.ruff]"}, "python", ""),
        ({"pyproject.toml": "no TOML"}, "python", ""),
        ({"pyproject.toml": "", "requirements.txt": ""}, "python", "pip install -r requirements.txt"),
        ({"requirements.txt": ""}, "python", "pip install -r requirements.txt"),
        ({"go.mod": ""}, "go", ""),
        ({"go.mod": "", "go.sum": ""}, "go", "go mod download"),
        ({"Cargo.toml": "", "Cargo.lock": ""}, "rust", "cargo fetch --locked"),
        ({"pom.xml": ""}, "java", ""),
        ({"composer.json": "{}"}, "php", "composer install"),
    ],
)
def test_the_files_of_a_directory_decide(files: dict[str, str], recipe: str, setup: str, tmp_path: Path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert main.run(["-C", str(tmp_path), "init"]) == 0
    found = read(tmp_path)["dev"]
    assert found["recipe"] == recipe
    assert found.get("setup", {}).get("run", [""]) == [setup]
    assert all((tmp_path / name).read_text() == text for name, text in files.items())


@pytest.mark.parametrize(
    ("file", "text", "command"),
    [
        ("package.json", '{"scripts": {"test": "node --test"}}', "npm test"),
        ("package.json", "{}", ""),
        ("go.mod", "", "go test ./..."),
        ("Cargo.toml", "", "cargo test"),
        ("pom.xml", "", "mvn test"),
        ("requirements.txt", "", ""),
    ],
)
def test_the_tests_of_a_project_are_a_task(
    file: str, text: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / file).write_text(text)
    assert main.run(["-C", str(tmp_path), "init"]) == 0
    assert read(tmp_path).get("tasks", {}).get("test", "") == command
    assert ("devbox run test" in capsys.readouterr().err) == bool(command)


def test_a_script_of_package_json_is_the_command(tmp_path: Path):
    (tmp_path / "package.json").write_text(json.dumps({"scripts": {"start": "node app.js"}}))
    kind = detect_kind(str(tmp_path))
    assert kind
    assert (kind.command, kind.port) == ("npm run start", 3000)


def test_a_file_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "devbox.toml").write_text("mine")
    for words in ([], ["--recipe", "python"], ["--template", "shop"]):
        assert main.run(["init", str(tmp_path), *words]) == 2
        assert "edit devbox.toml" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["devbox.toml"]
    assert (tmp_path / "devbox.toml").read_text() == "mine"


def test_an_interrupted_copy_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine").write_text("")
    write, written = safe_files.write, []

    def write_four(root: str, path: str, data: bytes | str, *, mode: int = 0o644) -> None:
        written.append(path)
        write(root, path, data, mode=mode)
        if len(written) == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(safe_files, "write", write_four)
    assert main.run(["init", str(tmp_path / "deep/app"), "--template", "shop"]) == 130
    assert any("/" in path for path in written)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_next_commands_are_those_that_the_file_provides_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main.run(["init", str(tmp_path / "shop"), "--template", "shop"])
    assert "devbox test · devbox build · devbox promote test" in capsys.readouterr().err
    main.run(["init", str(tmp_path / "bare")])
    assert capsys.readouterr().err.endswith("devbox up\n    then: devbox shell\n")


def test_changes_of_a_template_are_limited_to_their_tables():
    text = '\n[vars]\npg = "17"\n\n[test.matrix]\npg = ["15"]\n\n[dev]\nports = [8000]\n\n'
    text += "[image.process.web]\nports = [8000]\n"
    changed = scaffold.append_name(scaffold.fix_port(scaffold.replace_variable(text, "pg", "15"), 8000, 9000), "x")
    assert tomllib.loads(changed) == {
        "vars": {"pg": "15"},
        "test": {"matrix": {"pg": ["15"]}},
        "dev": {"ports": ["9000:8000"]},
        "image": {"process": {"web": {"ports": [8000]}}},
        "project": {"name": "x"},
    }


def start(directory: Path, *words: str, columns: int = 80) -> pexpect.spawn:
    env = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(directory), "NO_COLOR": "1"}
    argv = ["-m", "devbox", "-C", str(directory), "init", *words]
    size = (24, columns)
    return pexpect.spawn(sys.executable, argv, env=env, timeout=30, encoding="utf8", dimensions=size)  # type: ignore[arg-type]


def answer(child: pexpect.spawn, *answers: tuple[str, str]) -> None:
    for question, text in answers:
        child.expect(question)
        child.sendline(text)


def end(child: pexpect.spawn) -> int:
    child.expect(pexpect.EOF)
    child.close()
    return int(child.exitstatus or 0)


def test_enter_accepts_each_default(tmp_path: Path):
    (tmp_path / "package.json").write_text('{"scripts": {"dev": "vite"}}')
    child = start(tmp_path)
    questions = (
        r"recipe \[node\]",
        r"node \(.*\) \[24\]",
        r"Services.*\[none\]",
        r"application \[3000\]",
        r"project \[.*\]",
    )
    answer(child, *((question, "") for question in questions))
    assert end(child) == 0
    found = read(tmp_path)["dev"]
    assert (found["recipe"], found["ports"], found["command"]) == ("node", [3000], "npm run dev")


def test_lists_are_wrapped_between_words(tmp_path: Path):
    child = start(tmp_path, columns=60)
    child.expect(r"recipe \[bare\]")
    lines = child.before.splitlines()
    assert all(len(line) <= 60 for line in lines)
    assert any(line.startswith(" " * 14) for line in lines)
    child.sendintr()
    assert end(child) == 130


def test_answers_are_used_and_checked(tmp_path: Path):
    child = start(tmp_path)
    answer(child, (r"recipe \[bare\]", "pyton"), ("did you mean.*recipe", "python"), (r"\[3\.13\]", "3.12"))
    answer(child, (r"Services.*\[none\]", "postgres mariadb"), ("both export.*Services", "postgres redis"))
    answer(
        child,
        (r"postgres.*\[17\]", "15"),
        (r"redis.*\[8\]", ""),
        (r"\[none\]", "x"),
        (r"expected 1.*\[none\]", "9000"),
    )
    answer(child, (r"Name", "web-shop"))
    assert end(child) == 0
    found = read(tmp_path)
    assert found["project"]["name"] == "web-shop"
    assert found["dev"]["with"] == {"version": "3.12"}
    assert found["dev"]["ports"] == [9000]
    assert found["service"]["postgres"]["with"] == {"version": "15"}


def test_a_template_with_other_versions_and_a_fixed_port(tmp_path: Path):
    child = start(tmp_path, "app")
    answer(child, (r"recipe \[bare\]", "shop"), (r"python \(.*\) \[3\.13\]", "3.12"), (r"pg \(13, 15, 17\)", ""))
    answer(child, (r"port 8000 of dev \[any\]", "9000"), (r"Name.*\[app\]", ""))
    assert end(child) == 0
    found = read(tmp_path / "app")
    assert found["vars"] == {"python": "3.12", "pg": "17"}
    assert found["dev"]["ports"] == ["9000:8000"]
    assert found["image"]["process"]["web"]["ports"] == [8000]
    assert "project" not in found


def test_a_template_that_would_overwrite_a_file_is_refused_at_once(tmp_path: Path):
    (tmp_path / "README.md").write_text("mine")
    child = start(tmp_path)
    answer(child, (r"recipe \[bare\]", "shop"))
    child.expect(r"README\.md already exists")
    assert end(child) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_ctrl_c_and_the_end_of_the_input_leave_nothing(key: str, tmp_path: Path):
    child = start(tmp_path, "deep/app")
    answer(child, (r"recipe \[bare\]", "shop"))
    child.expect(r"\[3\.13\]")
    child.send(key)
    assert end(child) == 130
    assert list(tmp_path.iterdir()) == []


def test_options_ask_nothing(tmp_path: Path):
    for name, words in {"yes": ["-y"], "recipe": ["--recipe", "go"], "template": ["--template", "bare"]}.items():
        child = start(tmp_path, name, *words)
        assert end(child) == 0
        assert (tmp_path / name / "devbox.toml").exists()


def test_a_template_is_found_by_its_exact_name(tmp_path: Path):
    with pytest.raises(UsageError):
        init.copy("../recipes", str(tmp_path / "app"))
