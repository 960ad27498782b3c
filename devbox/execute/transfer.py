"""Image pulls and pushes as plans of one step, for the same display, cancellation and errors as other plans."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from devbox.execute.events import Note, Sink, StepProgress
from devbox.execute.runner import run
from devbox.host.paths import Paths
from devbox.images.archive import exporter
from devbox.images.archive import importer as intake
from devbox.images.registry.blobs import OnTransfer, Transfer
from devbox.images.registry.push import PushResult
from devbox.images.registry.reference import Reference
from devbox.images.registry.transfers import Transfers
from devbox.images.sbom import attach
from devbox.images.store.layout import Descriptor
from devbox.images.verify import LostImage
from devbox.model.plan import Op, Plan, Reason, Step

_SHORT = 12  # digits of a short digest


def pull(transfers: Transfers, reference: Reference, sink: Sink, *, all_platforms: bool = False) -> Descriptor:
    """Pull an image with progress; return its index."""
    found: list[Descriptor] = []

    def work(on_transfer: OnTransfer) -> str:
        found.append(transfers.pull(reference, on_transfer, all_platforms=all_platforms))
        return found[0].digest

    _run_watched(Op.PULL, reference.familiar_name, work, sink)
    return found[0]


def push(transfers: Transfers, image: Descriptor, reference: Reference, sink: Sink, *, paths: Paths) -> PushResult:
    """Push an image and its referrers with progress; an image built here gets its SBOM first."""
    done: list[PushResult] = []

    def work(on_transfer: OnTransfer) -> str:
        on_transfer(Transfer("listing packages", 0, 0))
        attach.ensure_attached(image, paths)
        done.append(transfers.push(image, reference, on_transfer))
        return f"{done[0].digest}, {done[0].sent / 1e6:.1f} MB sent, {done[0].skipped / 1e6:.1f} MB already present"

    _run_watched(Op.PUSH, reference.familiar_name, work, sink)
    return done[0]


def repair(transfers: Transfers, lost: LostImage, sink: Sink) -> None:
    """Pull the missing blobs of an image with progress."""

    def work(on_transfer: OnTransfer) -> str:
        transfers.pull_lost(lost.name, lost.digest, lost.blobs, on_transfer)
        return lost.digest

    _run_watched(Op.PULL, lost.name, work, sink)


def export(paths: Paths, image: Descriptor, kind: str, name: str, out: IO[bytes], sink: Sink) -> None:
    """Write an image archive with progress."""

    def work(on_transfer: OnTransfer) -> str:
        exporter.export(image, paths=paths, kind=kind, name=name, out=out, on_transfer=on_transfer)
        return image.digest

    _run_watched(Op.EXPORT, name or image.digest.removeprefix("sha256:")[:_SHORT], work, sink)


def hand_over(paths: Paths, image: Descriptor, engine: str, name: Reference, sink: Sink) -> str:
    """Load an image into another engine with progress; return the ID there."""
    found: list[str] = []

    def work(on_transfer: OnTransfer) -> str:
        found.append(exporter.load_into_engine(image, paths=paths, engine=engine, name=name, on_transfer=on_transfer))
        return found[0]

    _run_watched(Op.EXPORT, f"{name.familiar_name} to {engine}", work, sink)
    return found[0]


def import_(paths: Paths, source: str | IO[bytes], name: Reference | None, sink: Sink) -> list[intake.ImportedImage]:
    """Import the images of an archive with progress; report missing layers."""
    found: list[intake.ImportedImage] = []

    def work(on_transfer: OnTransfer) -> str:
        found.extend(intake.import_images(source, paths=paths, name=name, on_transfer=on_transfer))
        return ", ".join(dict.fromkeys(each.name for each in found))

    _run_watched(Op.IMPORT, source if isinstance(source, str) else "standard input", work, sink)
    for each in found:
        if each.absent:
            sink(Note(text=f"{each.name}: layers missing in the archive: {', '.join(each.absent)}"))
    return found


def build_progress(step: str, transfer: Transfer) -> StepProgress:
    """Convert a transfer into a progress event."""
    return StepProgress(id=step, text=transfer.text, done=transfer.done, total=transfer.total or None)


def _run_watched(op: Op, resource: str, work: Callable[[OnTransfer], str], sink: Sink) -> None:
    step = Step(op=op, resource=resource, reason=Reason.routine("requested"))
    run(Plan(steps=(step,)), {op: lambda _: work(lambda transfer: sink(build_progress(step.id, transfer)))}, sink)
