"""`approve`, `verify`, `release sign`, `release revoke`: what is said about releases, by whom, and whether it is so."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from devbox.attest import keys as crypto
from devbox.cli import image, key, output, terminal
from devbox.cli.columns import aligned
from devbox.cli.display.choose import choose
from devbox.cli.passphrase import asker
from devbox.cli.project import opened
from devbox.cli.terminal import say
from devbox.errors import FAILED, UsageError, one_line
from devbox.host.paths import default_paths
from devbox.images.registry.transfers import Transfers
from devbox.opened import load
from devbox.records import keyring
from devbox.records.keyring import Keyring
from devbox.records.releases import Releases
from devbox.verbs import approvals, selecting, signing, verifying

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devbox.attest.verify import Finding
    from devbox.cli.options import Args
    from devbox.model.release import Release
    from devbox.opened import Project
    from devbox.verbs.verifying import Verified

_SHORT = 12
_SIGNS = {"ok": ("✓", "green"), "unknown": ("·", "dim"), "failed": ("✗", "red")}


def approve(args: Args) -> int:
    """Let a release into a stage; the digest of what says so is the data."""
    words = args.many("words")
    if len(words) not in (1, 2):
        raise UsageError("approve expects a stage and optionally a release", remedy="devbox approve production")
    project, seconds = opened(args), _seconds(args.text("expires"))
    with choose(args.text("progress")) as display:
        done = approvals.approve(
            project,
            load(project, fresh=True),
            words[0],
            words[1] if len(words) > 1 else "",
            display,
            key=args.text("key"),
            ask=asker(),
            seconds=seconds,
            comment=args.text("comment"),
        )
    said = done.approval
    if args.flag("json"):
        return output.document({**vars(said), "evidence": done.evidence, "differences": list(done.differences)})
    say(done.evidence, stream=sys.stdout)
    say(
        f"· {said.approver} approved {_digits(said.release)} for {said.stage}, until {said.expires[:16]}\n"
        f"  → devbox why {said.stage} · devbox promote {said.stage}"
    )
    return 0


def sign(args: Args) -> int:
    """Sign the image of a release."""
    project = opened(args)
    with choose(args.text("progress")) as display:
        release, done = signing.sign(
            project, load(project, fresh=True), args.text("release"), display, key=args.text("key"), ask=asker()
        )
    say(release.image, stream=sys.stdout)
    say(f"· signed by {done.by}" if done.what else f"· {done.by} had signed it before")
    return 0


def revoke(args: Args) -> int:
    """Let a release go nowhere any more; the digest of what says so is the data."""
    if not args.text("release"):
        raise UsageError("release revoke wants a release", remedy="devbox release ls")
    project = opened(args)
    with choose(args.text("progress")) as display:
        resolved = load(project, fresh=True)
        release, evidence = signing.revoke(
            project,
            resolved,
            selecting.find_named(project, resolved, args.text("release"), display).id,
            display,
            reason=args.text("reason"),
            key=args.text("key"),
            ask=asker(),
        )
    say(evidence, stream=sys.stdout)
    say(f"· {_digits(release.id)} goes into no stage any more; where it runs, it runs on\n  → devbox rollback STAGE")
    return 0


def verify(args: Args) -> int:
    """Print all that is attached to an image; 1 where it is not signed by a key that counts, or something is wrong."""
    paths = default_paths()
    ring, release = _of_project(args)
    if args.many("key"):
        ring = Keyring(builders={path: _public(path) for path in args.many("key")}, approvers={})
    if ring is None:
        raise UsageError("verify wants a key where there is no project", remedy="devbox verify IMAGE --key FILE")
    digest = release.image if release else image.find(args, Transfers(paths), args.text("what")).digest
    found = verifying.verify_image(digest, ring.known, paths=paths)
    if args.flag("json"):
        output.document(_plain(found, release, ring))
    else:
        _print(found, release, ring)
    return 0 if found.is_good else FAILED


def _of_project(args: Args) -> tuple[Keyring | None, Release | None]:
    """The keys that the project's file names, and the release that is meant; neither without a project."""
    try:
        project = opened(args)
    except UsageError:
        return None, None
    resolved = load(project, fresh=True)
    ring = keyring.read(project.root, builders=resolved.builders, approvers=resolved.approvers)
    return ring, _release(project, args.text("what"))


def _release(project: Project, name: str) -> Release | None:
    """The release of a name, the newest for ""; None where the name is an image's."""
    releases = Releases(project.paths, project.id)
    if not name:
        return releases.find("")
    try:
        return releases.find(name)
    except UsageError:
        return None


def _public(path: str) -> crypto.PublicKey:
    return crypto.read_public(key.text_of(path, remedy="devbox key export NAME > FILE"), where=path)


def _print(found: Verified, release: Release | None, ring: Keyring) -> None:
    color = terminal.has_color(sys.stdout)
    say(f"image    {found.image}", stream=sys.stdout)
    if release:
        say(f"release  {release.id}", stream=sys.stdout)
    state = "damaged" if found.faults else "whole"
    verdicts = ["failed" if found.faults else "ok", *(each.verdict for each in found.findings)]
    rows = [("content", f"{found.blobs} blobs", state), *(_row(each, ring) for each in found.findings)]
    for verdict, line in zip(verdicts, aligned(rows), strict=True):
        sign, shade = _SIGNS[verdict]
        say(f"{terminal.paint(sign, shade, when=color)} {line}", stream=sys.stdout)
    for fault in found.faults:
        say(f"  {fault}", stream=sys.stdout)
    say(f"· {_verdict(found)}")


def _row(each: Finding, ring: Keyring) -> tuple[str, str, str]:
    by = ring.name(each.by) if each.by else "?"
    return one_line(each.name), one_line(by), one_line(verifying.told(each))


def _verdict(found: Verified) -> str:
    if found.faults:
        return "the image is damaged\n  → devbox image verify"
    if found.is_revoked:
        return "the release was revoked"
    if any(each.verdict == "failed" for each in found.findings):
        return "something is attached that is not what it says"
    return (
        "verified"
        if found.is_signed
        else "no key that counts signed it\n  → devbox build --key NAME, devbox release sign"
    )


def _plain(found: Verified, release: Release | None, ring: Keyring) -> dict[str, object]:
    return {
        "image": found.image,
        "release": release.id if release else None,
        "verified": found.is_good,
        "blobs": found.blobs,
        "faults": list(found.faults),
        "findings": [_finding(each, ring) for each in found.findings],
    }


def _finding(each: Finding, ring: Keyring) -> Mapping[str, object]:
    return {
        "what": each.name,
        "type": each.what,
        "verdict": each.verdict,
        "by": ring.name(each.by) if each.by else None,
        "key": each.by or None,
        "evidence": each.evidence,
        "reason": verifying.told(each),
        "predicate": each.statement.predicate if each.statement and each.what in verifying.OURS else None,
    }


def _seconds(text: str) -> float:
    from devbox.roles.fields import parse_duration

    try:
        return parse_duration(text) if text else approvals.WEEK
    except ValueError as error:
        raise UsageError(f"--expires {error}", remedy="devbox approve STAGE --expires 2d") from None


def _digits(digest: str) -> str:
    return digest.removeprefix("sha256:")[:_SHORT]
