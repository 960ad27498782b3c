"""`approve`, `verify`, `release sign`, `release revoke`: signed statements about releases."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from devbox.attest import keys as crypto
from devbox.cli import image, key, output, prompts, terminal
from devbox.cli.display.select import choose
from devbox.cli.locate import open_from_args
from devbox.cli.prompts import find_passphrase_prompt
from devbox.cli.terminal import print_line
from devbox.commands import approvals, signing
from devbox.errors import FAILED, UsageError, to_one_line
from devbox.host.paths import get_default_paths
from devbox.images.registry.transfers import Transfers
from devbox.project import prepare
from devbox.records import keyring
from devbox.records.keyring import Keyring
from devbox.records.releases import Releases

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devbox.attest.verify import AttachmentFinding
    from devbox.commands.signing import ImageVerification
    from devbox.commands.table.options import Args
    from devbox.model.release import Release
    from devbox.project import Project

_SHORT = 12
_SIGNS = {"ok": ("✓", "green"), "unknown": ("·", "dim"), "failed": ("✗", "red")}


def approve(args: Args) -> int:
    """Approve a release for a stage; print the digest of the approval (data)."""
    words = args.get_texts("words")
    if len(words) not in (1, 2):
        wrong = "invalid arguments: expected STAGE [RELEASE]" if words else "missing argument: STAGE"
        raise UsageError(wrong, remedy="devbox approve production")
    project, seconds = open_from_args(args), _parse_seconds(args.get_text("expires"))
    with choose(args.get_text("progress")) as display:
        done = approvals.approve(
            project,
            prepare(project, fresh=True),
            words[0],
            words[1] if len(words) > 1 else "",
            display,
            key=args.get_text("key"),
            ask=find_passphrase_prompt(),
            seconds=seconds,
            comment=args.get_text("comment"),
        )
    approval = done.approval
    if args.get_flag("json"):
        return output.print_document(
            {**vars(approval), "evidence": done.evidence, "differences": list(done.differences)}
        )
    print_line(done.evidence, stream=sys.stdout)
    print_line(
        f"· {approval.approver} approved {_shorten_digest(approval.release)} for {approval.stage}, "
        f"until {approval.expires[:16]}\n"
        f"  → devbox why {approval.stage} · devbox promote {approval.stage}"
    )
    return 0


def sign(args: Args) -> int:
    """Sign the image of a release."""
    project = open_from_args(args)
    with choose(args.get_text("progress")) as display:
        release, done = signing.sign(
            project,
            prepare(project, fresh=True),
            find_release(args, project, args.get_text("release")).id,
            display,
            key=args.get_text("key"),
            ask=find_passphrase_prompt(),
        )
    print_line(release.image, stream=sys.stdout)
    print_line(f"· signed by {done.by}" if done.what else f"· already signed by {done.by}")
    return 0


def revoke(args: Args) -> int:
    """Revoke a release; print the digest of the revocation (data)."""
    if not args.get_text("release"):
        raise UsageError("missing argument: RELEASE", remedy="devbox release ls")
    project = open_from_args(args)
    named = args.get_text("release")
    if not prompts.agree(
        args, f"Block release {named} from all stages? This cannot be undone.", command=f"release revoke {named}"
    ):
        return FAILED
    with choose(args.get_text("progress")) as display:
        desired = prepare(project, fresh=True)
        release, evidence = signing.revoke(
            project,
            desired,
            approvals.find_named(project, desired, args.get_text("release"), display).id,
            display,
            reason=args.get_text("reason"),
            key=args.get_text("key"),
            ask=find_passphrase_prompt(),
        )
    print_line(evidence, stream=sys.stdout)
    print_line(
        f"· {_shorten_digest(release.id)} is blocked from all stages; running deployments are not stopped\n"
        "  → devbox rollback STAGE"
    )
    return 0


def verify(args: Args) -> int:
    """Print all attachments of an image; exit 1 without a valid signature, or if anything is invalid."""
    paths = get_default_paths()
    ring, release = _load_keys_and_release(args)
    if args.get_texts("public_key"):
        ring = Keyring(builders={path: _read_public_key(path) for path in args.get_texts("public_key")}, approvers={})
    if ring is None:
        raise UsageError(
            "missing option outside a project: --public-key", remedy="devbox verify IMAGE --public-key FILE"
        )
    digest = release.image if release else image.find(args, Transfers(paths), args.get_text("what")).digest
    found = signing.verify_image(digest, ring.known_keys, paths=paths)
    if args.get_flag("json"):
        output.print_document(_to_plain(found, release, ring))
    else:
        _print(found, release, ring)
    return 0 if found.is_good else FAILED


def find_release(args: Args, project: Project, name: str) -> Release:
    """Return the named release; without a name, that of `--stage`, or the newest one built here."""
    if stage := args.get_text("stage"):
        return approvals.find_default(project, prepare(project, fresh=True), stage, name, output.print_notes)
    return Releases(project.paths, project.id).find(name)


def _load_keys_and_release(args: Args) -> tuple[Keyring | None, Release | None]:
    """Return the keys of the project's file and the selected release; None without a project."""
    try:
        project = open_from_args(args)
    except UsageError:
        return None, None
    desired = prepare(project, fresh=True)
    ring = keyring.read(project.root, builders=desired.builders, approvers=desired.approvers)
    if args.get_text("stage"):
        return ring, find_release(args, project, args.get_text("what"))
    return ring, _find_release(project, args.get_text("what"))


def _find_release(project: Project, name: str) -> Release | None:
    """Return a release by name, the newest for ""; None if the name is not a release."""
    releases = Releases(project.paths, project.id)
    if not name:
        return releases.find("")
    try:
        return releases.find(name)
    except UsageError:
        return None


def _read_public_key(path: str) -> crypto.PublicKey:
    return crypto.read_public(key.read_key_text(path, remedy="devbox key export NAME > FILE"), where=path)


def _print(found: ImageVerification, release: Release | None, ring: Keyring) -> None:
    color = terminal.has_color(sys.stdout)
    print_line(f"image    {found.image}", stream=sys.stdout)
    if release:
        print_line(f"release  {release.id}", stream=sys.stdout)
    state = "damaged" if found.faults else "intact"
    verdicts = ["failed" if found.faults else "ok", *(each.verdict for each in found.findings)]
    rows = [("content", f"{found.blobs} blobs", state), *(_format_row(each, ring) for each in found.findings)]
    for verdict, line in zip(verdicts, output.align_columns(rows), strict=True):
        sign, shade = _SIGNS[verdict]
        print_line(f"{terminal.paint(sign, shade, when=color)} {line}", stream=sys.stdout)
    for fault in found.faults:
        print_line(f"  {fault}", stream=sys.stdout)
    print_line(f"· {_format_verdict(found)}")


def _format_row(each: AttachmentFinding, ring: Keyring) -> tuple[str, str, str]:
    by = ring.get_name(each.by) if each.by else "?"
    return to_one_line(each.name), to_one_line(by), to_one_line(signing.format_finding(each))


def _format_verdict(found: ImageVerification) -> str:
    if found.faults:
        return "the image is damaged\n  → devbox image verify"
    if found.is_revoked:
        return "the release was revoked"
    if any(each.verdict == "failed" for each in found.findings):
        return "an attachment is invalid"
    return (
        "verified"
        if found.is_signed
        else "not signed by an authorized key\n  → devbox build --key NAME, devbox release sign"
    )


def _to_plain(found: ImageVerification, release: Release | None, ring: Keyring) -> dict[str, object]:
    return {
        "image": found.image,
        "release": release.id if release else None,
        "verified": found.is_good,
        "blobs": found.blobs,
        "faults": list(found.faults),
        "findings": [_finding_to_plain(each, ring) for each in found.findings],
    }


def _finding_to_plain(each: AttachmentFinding, ring: Keyring) -> Mapping[str, object]:
    return {
        "what": each.name,
        "type": each.what,
        "verdict": each.verdict,
        "by": ring.get_name(each.by) if each.by else None,
        "key": each.by or None,
        "evidence": each.evidence,
        "reason": signing.format_finding(each),
        "predicate": each.statement.predicate if each.statement and each.what in signing.OURS else None,
    }


def _parse_seconds(text: str) -> float:
    from devbox.roles.fields import parse_duration

    try:
        return parse_duration(text) if text else approvals.WEEK
    except ValueError as error:
        raise UsageError(f"invalid value for --expires: {error}", remedy="devbox approve STAGE --expires 2d") from None


def _shorten_digest(digest: str) -> str:
    return digest.removeprefix("sha256:")[:_SHORT]
