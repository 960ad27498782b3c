"""Reasons in plans. Pure; every reason names the change in terms of the env file."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

from devbox.model.container import ContainerSpec, Setup, build_identity, fingerprint_variables
from devbox.model.image import (
    BakeStep,
    Bootstrap,
    Copy,
    Files,
    FromDockerfile,
    FromTarball,
    KeyedImage,
    KeyedStep,
    Packages,
    Run,
)
from devbox.model.observed import ObservedContainer
from devbox.model.plan import Reason, Verdict
from devbox.plan import branches

_SHOWN = 6
_OUTPUT = {True: "the output of [build] changed", False: "requires [build] to run first: devbox why build"}


def describe_change(before: BakeStep, after: BakeStep) -> str:
    """Describe which inputs differ, as "+ git, less 661-1 → 668-1"; "" if none does."""
    match before, after:
        case Bootstrap(), Bootstrap():
            found = _diff_value(f"{before.distribution} {before.suite}", f"{after.distribution} {after.suite}")
            found += _diff_names(before.packages, after.packages) or _diff_versions(before.pins, after.pins)
        case Packages(), Packages():
            found = _diff_names(before.names, after.names) or _diff_versions(before.pins, after.pins)
            found += ["their excluded files"] if before.purge != after.purge else []
        case Run(), Run():
            found = _diff_commands(before, after) + _diff_tables("variable", before.env, after.env)
            found += _diff_versions(before.pins, after.pins)
            found += ["its caches"] if before.caches != after.caches else []
        case FromDockerfile(), FromDockerfile():
            found = _diff_tables("argument", before.args, after.args)
            found += _diff_context(before, after) if before.content != after.content else []
            found += _diff_versions(before.pins, after.pins) if after.pins is not None or not found else []
        case FromTarball(), FromTarball():
            found = ["the tarball changed"] if before.content != after.content else []
        case Copy(), Copy():
            found = _diff_tables("copy of", before.paths, after.paths)
            found += [_OUTPUT[bool(after.output)]] if before.output != after.output else []
        case Files(), Files():
            found = _diff_tables("file", before.contents, after.contents) or _diff_tables(
                "mode of", before.modes, after.modes
            )
        case _:
            found = ["another kind of step"]
    return ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")


def _diff_context(before: FromDockerfile, after: FromDockerfile) -> list[str]:
    """Describe changes of a Dockerfile and its context, by file if both sides list their files."""
    old, new = before.files, after.files
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if not (old and new and names):
        return [f"{after.path} or its context changed"]
    if "" in names:
        return [f"{after.path} changed"]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{after.path} context changed: {', '.join(map(_make_printable, names[:_SHOWN]))}{more}"]


def _make_printable(name: str) -> str:
    """Replace unprintable characters of an untrusted file name."""
    return "".join(sign if sign.isprintable() else "?" for sign in name)


def _diff_value(before: str, after: str) -> list[str]:
    return [f"{before} → {after}"] if before != after else []


def _diff_names(before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    added = [f"+ {name}" for name in after if name not in before]
    gone = [f"- {name}" for name in before if name not in after]
    return added + gone or (["their order"] if before != after else [])


def _diff_versions(before: Mapping[str, str] | None, after: Mapping[str, str] | None) -> list[str]:
    """Describe changed package versions; packages that are not pinned yet do not count as changed."""
    if before is None or after is None:
        return ["the lockfile has no versions of its packages"] if before != after and after is None else []
    names = sorted(before.keys() | after.keys())
    return [
        f"{name} {before.get(name, '(none)')} → {after.get(name, '(none)')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _diff_commands(before: Run, after: Run) -> list[str]:
    if before.commands == after.commands:
        return []
    new = [command for command in after.commands if command not in before.commands]
    if not new:
        return ["fewer commands, or in another order"]
    first = new[0] if isinstance(new[0], str) else " ".join(new[0])
    return [f"the command `{first.strip().splitlines()[0][:60]}` is new"]


def _diff_tables(what: str, before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    words = {(False, True): "is new", (True, False): "was removed", (True, True): "changed"}
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [f"{what} {name} {words[name in before, name in after]}" for name in names]


_WORDS = {"supervised": "command", "mounts": "volumes"}


TAKEN_OVER = "running without its supervisor: adopted"
SETUP_REMOVED = "its setup was removed before it completed"


def why_bake(image: KeyedImage, own: tuple[KeyedStep, ...], last: KeyedImage | None, cached: frozenset[str]) -> str:
    """Explain why an image is built. `own`: its steps without those of its parent."""
    todo = [step.describe for step in own if step.key not in cached]
    if last is None:
        return Reason.routine(f"not baked yet: {'; '.join(todo) or 'every layer is in the store'}")
    if last.key == image.key:
        return "no longer in the store"
    return _describe_image_change(image, own, last)


def _describe_image_change(image: KeyedImage, own: tuple[KeyedStep, ...], last: KeyedImage) -> str:
    before, after = _find_first_difference(last.chain, image.chain)
    if before is None and after is None:
        return "its environment or command changed"
    if after is not None and after not in own:
        return f"its base changed: {_describe_step_change(before, after)}"
    return _describe_step_change(before, after)


def _find_first_difference(
    last: tuple[KeyedStep, ...], now: tuple[KeyedStep, ...]
) -> tuple[KeyedStep | None, KeyedStep | None]:
    for index in range(max(len(last), len(now))):
        before = last[index] if index < len(last) else None
        after = now[index] if index < len(now) else None
        if before is None or after is None or before.key != after.key:
            return before, after
    return None, None


def _describe_step_change(before: KeyedStep | None, after: KeyedStep | None) -> str:
    if after is None:
        return f"removed: {before.describe}" if before else "changed"
    if before is None:
        return f"added: {after.describe}"
    details = describe_change(before.step, after.step)
    if isinstance(before.step, Packages) and isinstance(after.step, Packages):
        return f"packages changed: {details}"
    if isinstance(after.step, FromDockerfile) and before.describe == after.describe:
        return details
    if before.describe != after.describe:
        return f"{before.describe} → {after.describe}"
    return f"{after.describe}: {details}"


def why_start(seen: ObservedContainer | None) -> str:
    """Explain why a container is started."""
    if seen is None:
        return Reason.routine("not running")
    if seen.state in ("exited", "dead"):
        ended = f"exited with code {seen.exit_code}" if seen.exit_code is not None else "exited"
        return f"{ended} ({seen.reason})" if seen.reason else ended
    return "is stopping: it is started again" if seen.state == "stopping" else f"it is {seen.state}"


def why_other_image(image: KeyedImage, own: tuple[KeyedStep, ...], last: KeyedImage | None, *, baked: bool) -> str:
    """Explain why a container gets another image; details of a planned build are in its own step."""
    if baked and last is not None and last.key != image.key:
        return f"its image {image.name} changed: {_describe_image_change(image, own, last)}"
    if not baked and any(isinstance(step.step, FromDockerfile) for step in image.chain):
        return f"its image {image.name} is rebuilt; the container is kept if the digest stays the same"
    return f"its image {image.name} changed"


def why_replace(spec: ContainerSpec, last: ContainerSpec | None) -> str:
    """Explain why a running container is replaced although its image is the same. `last` is fingerprinted."""
    if last is None:
        return "its definition changed"
    before, after = build_identity(last), build_identity(fingerprint_variables(spec))
    changed = [name for name in after if before.get(name) != after[name]]
    texts = {name: _describe_field_change(name, before.get(name), after[name]) for name in changed}
    if branch := branches.find_moved(spec, last):
        texts["mounts"] = f"the data of the branch {branch}"
    return ", ".join(texts.values()) or "its definition changed"


def _describe_field_change(name: str, before: object, after: object) -> str:
    word = _WORDS.get(name, name.replace("_", " "))
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        names = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        return f"{word} changed: {', '.join(names)}"
    return f"{word} changed"


def why_setup(setup: Setup, now: Mapping[str, str], last: Mapping[str, str] | None, *, fresh: bool) -> str:
    """Explain why a setup runs. `fresh`: the container's writable layer is new."""
    if fresh or last is None:
        return Reason.routine(f"new container: {_find_first_line(setup)}")
    changed = sorted(path for path in now.keys() | last.keys() if now.get(path) != last.get(path))
    return f"changed: {', '.join(changed[:4])}" if changed else f"not finished last time: {_find_first_line(setup)}"


def _find_first_line(setup: Setup) -> str:
    first = setup.commands[0]
    return first if isinstance(first, str) else " ".join(first)


def why_hook(*, started: bool, name: str) -> str:
    """Explain why a hook runs."""
    if name == "created":
        return Reason.routine("not run yet for this instance")
    return Reason.routine("containers started") if started else "not finished last time"


def why_network(*, standing: bool, added: list[str], ports: tuple[int, ...], was: tuple[int, ...]) -> str:
    """Explain why the network is created or changed."""
    if not standing:
        listed = f"; publishes {', '.join(map(str, ports))}" if ports else ""
        return Reason.routine(f"does not exist yet{listed}")
    if ports != was:
        return f"published ports changed: {', '.join(map(str, was)) or 'none'} → {', '.join(map(str, ports)) or 'none'}"
    if added:
        return f"new names: {', '.join(added)}"
    return f"targets of published ports changed: {', '.join(map(str, ports))}"


UNCHANGED, CHANGED, ADDED, REMOVED, FOLLOWS, MISSING = "unchanged", "changed", "added", "removed", "follows", "missing"


def why_image(image: KeyedImage, last: KeyedImage | None, digest: str | None) -> tuple[Verdict, ...]:
    """Return one verdict per step that has to be rebuilt, or one about the whole image.

    `last`: the image as last built for this project; `digest`: index digest of the desired image in the store.
    """
    subject = f"image {image.name}"
    if last is None:
        state = f"baked for another project: {digest}" if digest else "not baked yet"
        return (Verdict(subject=subject, verdict=UNCHANGED if digest else MISSING, reason=state),)
    found = [
        verdict
        for before, after in zip_longest(last.chain, image.chain)
        if (verdict := _judge_step(subject, before, after)) is not None
    ]
    if last.config != image.config:
        found.append(Verdict(subject=subject, verdict=CHANGED, reason="its environment, command or user changed"))
    if found:
        return tuple(found)
    if digest is None:
        return (
            Verdict(subject=subject, verdict=MISSING, reason="nothing changed, but the image is missing in the store"),
        )
    return (Verdict(subject=subject, verdict=UNCHANGED, reason=f"nothing changed since it was baked: {digest}"),)


def _judge_step(subject: str, before: KeyedStep | None, after: KeyedStep | None) -> Verdict | None:
    if after is None:
        return None if before is None else Verdict(subject=f"{subject}: {before.describe}", verdict=REMOVED, reason="")
    place = f"{subject}: {after.describe}"
    if before is None:
        return Verdict(subject=place, verdict=ADDED, reason="a new step")
    if before.key == after.key:
        return None
    if before.step == after.step:
        return Verdict(subject=place, verdict=FOLLOWS, reason="a step below it changed")
    return Verdict(subject=place, verdict=CHANGED, reason=describe_change(before.step, after.step))
