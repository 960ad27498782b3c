"""`promote` and `rollback`: releases through stages."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from devbox.cli.display.select import choose
from devbox.cli.locate import open_from_args
from devbox.cli.prompts import find_passphrase_prompt
from devbox.cli.terminal import print_line
from devbox.commands import gray_releases
from devbox.commands import promote as verbs
from devbox.commands.promotion_records import choose_promoter
from devbox.deploy.stage_file import load_with_fallback
from devbox.errors import FAILED, UsageError
from devbox.model.ledger_payloads import AppliedPayload
from devbox.project import prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from devbox.commands.promote import PromotionResult
    from devbox.commands.signing import NamedSigner
    from devbox.commands.table.options import Args
    from devbox.model.spec import Spec
    from devbox.project import Project


def promote(args: Args) -> int:
    """Promote a release to a stage; print the running release (data)."""
    stage, release = _parse_words(args)
    if args.get_flag("dry_run"):
        return _print_preview(args, stage, release)
    project, by = _open_with_signer(args)
    with choose(args.get_text("progress")) as display:
        if args.get_flag("supersede"):
            gray_releases.supersede(project, display, stage=stage, release=release)
        gray_releases.wait_for_turn(project, display, stage=stage, release=release)
        if args.get_flag("detach"):
            gray_releases.detach(project, display, stage=stage, release=release, key=args.get_text("key"))
            return 0
        moved = verbs.promote(project, display, stage=stage, release=release, by=by)
    return _print_result(args, moved)


def rollback(args: Args) -> int:
    """Roll back a stage; print the running release (data)."""
    stage = args.get_text("stage")
    if not stage:
        raise UsageError("missing argument: STAGE", remedy="devbox rollback production")
    project, by = _open_with_signer(args, load=load_with_fallback)
    with choose(args.get_text("progress")) as display:
        went = gray_releases.abort_for_rollback(project, display, stage=stage)
        moved = (
            verbs.read_current(project, stage=stage) if went else verbs.rollback(project, display, stage=stage, by=by)
        )
    return _print_result(args, moved)


def _open_with_signer(args: Args, *, load: Callable[..., Spec] = prepare) -> tuple[Project, NamedSigner | None]:
    """Return the project and the signer of the record, with the passphrase prompt before any change."""
    project = open_from_args(args)
    return project, choose_promoter(project, load(project, fresh=True), args.get_text("key"), find_passphrase_prompt())


def _parse_words(args: Args) -> tuple[str, str]:
    words = args.get_texts("what")
    if len(words) not in (len(("STAGE",)), len(("STAGE", "RELEASE"))):
        wrong = "invalid arguments: expected STAGE [RELEASE]" if words else "missing argument: STAGE"
        raise UsageError(wrong, remedy="devbox promote staging")
    return words[0], "".join(words[1:])


def _print_preview(args: Args, stage: str, release: str) -> int:
    """Print the verdicts and the steps of a promotion (data); return FAILED if a gate blocks it."""
    from devbox.cli import output
    from devbox.cli.plan import format_verdict, verdict_to_plain
    from devbox.commands import preview

    found = preview.preview_promotion(open_from_args(args), stage=stage, release=release, sink=output.print_notes)
    if args.get_flag("json"):
        output.print_document(
            {
                "stage": stage,
                "release": found.deployment.release.id,
                "digest": found.deployment.release.image,
                "allowed": found.is_allowed,
                "gates": [verdict_to_plain(verdict) for verdict in found.verdicts],
                "steps": [{"step": step, "details": details} for step, details in found.steps],
            }
        )
        return 0 if found.is_allowed else FAILED
    for line in [format_verdict(verdict) for verdict in found.verdicts]:
        print_line(line, stream=sys.stdout)
    if not found.is_allowed:
        print_line(f"· promote {stage} would be denied\n  → devbox why {stage}")
        return FAILED
    for line in output.align_columns(found.steps):
        print_line(line, stream=sys.stdout)
    print_line("· nothing was changed" if found.steps else f"· nothing to do: {stage} already runs this release")
    return 0


def _print_result(args: Args, moved: PromotionResult) -> int:
    release, stage = moved.deployment.release, moved.deployment.stage
    if args.get_flag("json"):
        applied = AppliedPayload.read(moved.entry)
        plain = {
            "stage": stage.name,
            "release": release.id,
            "digest": release.image,
            "config": moved.deployment.config_digest,
            "address": moved.address,
            "changed": moved.changed,
            "entry": moved.entry.seq,
            "record": applied.record,
            "lost_requests": applied.lost_requests,
            "lost_by_cause": applied.lost_by_cause,
            "lost_unknown": applied.lost_unknown,
        }
        sys.stdout.write(f"{json.dumps(plain)}\n")
        return 0
    if not moved.changed and args.get_text("progress") not in ("quiet", "json"):
        print_line(f"· nothing to do: {stage.name} already runs this release")
    for name, value in (("release", release.id), ("digest", release.image), ("address", moved.address)):
        if value:
            print_line(f"{name.ljust(8)} {value}", stream=sys.stdout)
    return 0
