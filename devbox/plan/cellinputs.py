"""What the result of a cell depends on, and why it has to run or need not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from devbox.model import codec, ids
from devbox.model.image import keyed
from devbox.model.matrix import CellInputs, CellResult, Tests
from devbox.model.release import Release
from devbox.model.resolved import Resolved
from devbox.plan import keys

# Part of every cell's inputs. Raise it when the same tests come to run in another way.
_RUNNER = 1
_SHOWN = 3


def inputs(resolved: Resolved, tests: Tests, *, release: Release | None = None) -> CellInputs:
    """What one cell depends on, its files aside: the images by what is fixed of them, services, command, variables.

    Against a `release`, that as well, and how the tests meet it.
    """
    spec = tests.container
    image = keyed(spec.image, resolved.images).key
    services = {name: _service(resolved, name) for name in resolved.containers if name != spec.name}
    command = ids.key_of(list(tests.command))
    settings = keys.identity(replace(spec, env={})) | {"junit": tests.junit, "coverage": tests.coverage}
    if spec.setup is not None:
        settings |= {"setup": codec.dump(spec.setup.commands)}
    ready = codec.dump(tests.ready)
    own = keys.fingerprinted(spec)
    if release is not None:
        services |= {"the release": ids.key_of([release.id, tests.release, tests.release_env])}
    everything = {
        "runner": _RUNNER,
        "image": image,
        "services": services,
        "command": command,
        "env": spec.env,
        "settings": settings,
        "ready": ready,
        "needs": spec.needs,
    }
    return CellInputs(
        image=image,
        services=services,
        command=command,
        environment=own.env,
        settings=ids.key_of(settings),
        ready=ids.key_of(ready),
        exact=ids.key_of(everything),
    )


def ready_key(resolved: Resolved, tests: Tests, files: Mapping[str, str]) -> str:
    """The identity of the data that started services are left with once they are ready for tests.

    The image that the commands run in is no part of it: one migration serves the cells of all interpreters.
    """
    services = {name: _service(resolved, name) for name in resolved.containers if name != tests.container.name}
    return ids.key_of({"services": services, "ready": codec.dump(tests.ready), "files": dict(files)})


def why_cached(last: CellResult) -> str:
    """Why a cell need not run."""
    return f"nothing changed since it passed at {last.ended_at} ({last.seconds:.1f} s)"


def why_run(now: CellInputs, before: CellInputs | None, last: CellResult | None, changed: Iterable[str]) -> str:
    """Why a cell runs. `changed`: the files that are others than when it ran last."""
    if before is None or last is None:
        return "it never ran"
    if last.state not in ("passed", "cached"):
        return _again(last)
    found = _changes(now, before, list(changed))
    return ", ".join(found) or "asked to"


def _again(last: CellResult) -> str:
    words = {
        "flaky": "it passed only on a retry last time",
        "interrupted": "it was interrupted last time",
        "error": "it could not be run last time",
        "timeout": "it took too long last time",
    }
    return words.get(last.state, "it failed last time")


def _changes(now: CellInputs, before: CellInputs, files: list[str]) -> list[str]:
    found = ["its image changed"] if now.image != before.image else []
    found += _table(now.services, before.services)
    found += ["its command changed"] if now.command != before.command else []
    found += _table(now.environment, before.environment)
    found += ["how it runs changed"] if now.settings != before.settings else []
    found += ["what makes services ready changed"] if now.ready != before.ready else []
    if not found and now.exact != before.exact:
        found.append("the value of a variable changed")
    if now.files != before.files:
        more = f" and {len(files) - _SHOWN} more" if files[_SHOWN:] else ""
        found.append(f"{', '.join(files[:_SHOWN]) or 'a file'}{more} changed")
    return found


def _table(now: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    names = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
    words = {(False, True): "is new", (True, False): "is gone", (True, True): "changed"}
    return [f"{name} {words[name in before, name in now]}" for name in names]


def _service(resolved: Resolved, name: str) -> str:
    spec = resolved.containers[name]
    return ids.key_of({**keys.identity(spec), "image": keyed(spec.image, resolved.images).key})
