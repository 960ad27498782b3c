"""Why: the sentences of a plan. Pure; every reason is what changed, in the words of the file."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.model.container import ContainerSpec, Setup
from devbox.model.image import FromDockerfile, KeyedImage, KeyedStep, Packages
from devbox.model.observed import ObservedContainer
from devbox.plan import branches, inputs, keys

# How reasons begin that tell of no change: something was not there, or was asked for.
_EXPECTED = (
    "not baked yet",
    "not there yet",
    "not running",
    "new container",
    "its setup ran",
    "not run yet",
    "containers started",
    "restart",
    "asked to",
    "down",
)
_WORDS = {"supervised": "command", "mounts": "volumes"}


TAKEN_OVER = "it runs on without its supervisor: taken over"


def goes_without_saying(reason: str) -> bool:
    """Whether a reason says nothing that the step, once done, does not say by itself."""
    return reason.startswith(_EXPECTED)


def why_bake(image: KeyedImage, own: tuple[KeyedStep, ...], last: KeyedImage | None, cached: frozenset[str]) -> str:
    """Why an image has to be baked. `own` are its steps without its parent's."""
    todo = [step.describe for step in own if step.key not in cached]
    if last is None:
        return f"not baked yet: {'; '.join(todo)}" if todo else "not baked yet: every layer is in the store"
    if last.key == image.key:
        return "no longer in the store"
    return _image_change(image, own, last)


def _image_change(image: KeyedImage, own: tuple[KeyedStep, ...], last: KeyedImage) -> str:
    before, after = _first_difference(last.chain, image.chain)
    if before is None and after is None:
        return "its environment or command changed"
    if after is not None and after not in own:
        return f"its base changed: {_step_change(before, after)}"
    return _step_change(before, after)


def _first_difference(
    last: tuple[KeyedStep, ...], now: tuple[KeyedStep, ...]
) -> tuple[KeyedStep | None, KeyedStep | None]:
    for index in range(max(len(last), len(now))):
        before = last[index] if index < len(last) else None
        after = now[index] if index < len(now) else None
        if before is None or after is None or before.key != after.key:
            return before, after
    return None, None


def _step_change(before: KeyedStep | None, after: KeyedStep | None) -> str:
    if after is None:
        return f"removed: {before.describe}" if before else "changed"
    if before is None:
        return f"added: {after.describe}"
    details = inputs.changed(before.step, after.step)
    if isinstance(before.step, Packages) and isinstance(after.step, Packages):
        return f"packages changed: {details}"
    if isinstance(after.step, FromDockerfile) and before.describe == after.describe:
        return details
    if before.describe != after.describe:
        return f"{before.describe} → {after.describe}"
    return f"{after.describe}: {details}"


def why_start(seen: ObservedContainer | None) -> str:
    """Why a container that the file wants has to be started."""
    if seen is None:
        return "not running"
    if seen.state in ("exited", "dead"):
        ended = f"it ended with {seen.exit_code}" if seen.exit_code is not None else "it ended"
        return f"{ended} ({seen.reason})" if seen.reason else ended
    return "it is being stopped: started again" if seen.state == "stopping" else f"it is {seen.state}"


def why_other_image(image: KeyedImage, own: tuple[KeyedStep, ...], last: KeyedImage | None, *, baked: bool) -> str:
    """Why a container gets another image. What changed about one that is to be baked, its own step says."""
    if baked and last is not None and last.key != image.key:
        return f"its image {image.name} changed: {_image_change(image, own, last)}"
    if not baked and any(isinstance(step.step, FromDockerfile) for step in image.chain):
        return f"its image {image.name} is built again; it is kept if the digest stays the same"
    return f"its image {image.name} changed"


def why_replace(spec: ContainerSpec, last: ContainerSpec | None) -> str:
    """Why a running container is replaced that keeps its image. `last` is fingerprinted, as records keep it."""
    if last is None:
        return "its definition changed"
    before, after = keys.identity(last), keys.identity(keys.fingerprinted(spec))
    changed = [name for name in after if before.get(name) != after[name]]
    texts = {name: _field_change(name, before.get(name), after[name]) for name in changed}
    if branch := branches.moved(spec, last):
        texts["mounts"] = f"the data of the branch {branch}"
    return ", ".join(texts.values()) or "its definition changed"


def _field_change(name: str, before: object, after: object) -> str:
    word = _WORDS.get(name, name.replace("_", " "))
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        names = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        return f"{word} changed: {', '.join(names)}"
    return f"{word} changed"


def why_setup(setup: Setup, now: Mapping[str, str], last: Mapping[str, str] | None, *, fresh: bool) -> str:
    """Why a setup runs. `fresh`: its container's writable top is new."""
    if fresh or last is None:
        return f"new container: {_first_line(setup)}"
    changed = sorted(path for path in now.keys() | last.keys() if now.get(path) != last.get(path))
    return f"changed: {', '.join(changed[:4])}" if changed else f"not finished last time: {_first_line(setup)}"


def _first_line(setup: Setup) -> str:
    first = setup.commands[0]
    return first if isinstance(first, str) else " ".join(first)


def why_hook(*, started: bool, name: str) -> str:
    """Why a hook runs."""
    if name == "created":
        return "not run yet for this instance"
    return "containers started" if started else "not finished last time"


def why_network(*, standing: bool, added: list[str], ports: tuple[int, ...], was: tuple[int, ...]) -> str:
    """Why the network is made or changed."""
    if not standing:
        listed = f"; publishes {', '.join(map(str, ports))}" if ports else ""
        return f"not there yet{listed}"
    if ports != was:
        return f"published ports changed: {', '.join(map(str, was)) or 'none'} → {', '.join(map(str, ports)) or 'none'}"
    if added:
        return f"new names: {', '.join(added)}"
    return f"published ports lead elsewhere: {', '.join(map(str, ports))}"
