"""Parsers for the output of package tools."""

from __future__ import annotations

import pytest

from devbox.errors import BakeFailed
from devbox.images.bake import apt, bootstrap
from devbox.images.bake.steps import build_purge_script, build_run_script
from devbox.model.image import Bootstrap

TRIXIE = Bootstrap(distribution="debian", suite="trixie")


def test_downloads_count_up_to_what_was_announced() -> None:
    progress = apt.AptProgress()
    lists = progress.feed("Get:4 http://deb.debian.org/debian trixie/main amd64 Packages [9679 kB]")
    assert lists == apt.Tick("downloading package lists", None, 9_679_000, None)
    progress.feed("0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.")
    assert progress.feed("Need to get 400 kB of archives.") == apt.Tick("downloading packages", 0.0, 0, 400_000)
    line = "Get:1 http://deb.debian.org/debian trixie/main amd64 less amd64 668-1 [100 kB]"
    assert progress.feed(line) == apt.Tick("downloading less", 0.25, 100_000, 400_000)
    unpacking = progress.feed("Unpacking less (668-1) ...")
    assert unpacking == apt.Tick("unpacking less", 0.25)
    assert progress.feed("Setting up less (668-1) ...") == apt.Tick("setting up less", 0.5)


def test_the_phases_of_mmdebstrap_are_reported() -> None:
    assert apt.AptProgress().feed("I: extracting archives...") == apt.Tick("extracting archives")


def test_a_partly_cached_download_counts_what_is_left() -> None:
    progress = apt.AptProgress()
    tick = progress.feed("Need to get 1,024 kB/25.4 MB of archives.")
    assert tick is not None
    assert tick.bytes_total == 1_024_000


@pytest.mark.parametrize(
    "line",
    [
        "E: Unable to locate package frobnicate",
        "Error: Unable to locate package frobnicate",
        "E: Package 'frobnicate' has no installation candidate",
    ],
)
def test_an_unknown_package_is_named(line: str) -> None:
    cause = apt.explain(f"Reading package lists...\n{line}\n", system="debian trixie")
    assert cause.sentence == "package frobnicate not found in debian trixie"
    assert cause.remedy
    assert not cause.of_host


def test_an_unreachable_mirror_is_said_and_other_failures_are_not_guessed() -> None:
    assert "cannot reach" in apt.explain("W: Temporary failure resolving 'deb.debian.org'", system="s").sentence
    assert apt.explain("Segmentation fault", system="s") == apt.Cause("", "", "Segmentation fault")


def test_a_package_that_breaks_is_named_with_the_lines_that_show_why() -> None:
    noise = "\n".join(f"Setting up p{number}" for number in range(30))
    broken = "ln: failed to create it\ndpkg: error processing package dash (--install):\n it returned 1"
    cause = apt.explain(f"{noise}\n{broken}\n{noise}\n", system="ubuntu focal")
    assert cause.sentence == "cannot install package dash of ubuntu focal"
    assert cause.evidence.splitlines()[-3:] == broken.splitlines()


def test_images_carry_canonical_sources_whatever_the_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVBOX_MIRROR_DEBIAN", "http://mirror.local/debian/")
    canonical, local = bootstrap.build_canonical_sources(TRIXIE), bootstrap.build_local_sources(TRIXIE)
    assert "mirror.local" not in canonical
    assert "http://mirror.local/debian trixie main" in local
    assert "http://mirror.local/debian-security trixie-security main" in local
    assert len(canonical.splitlines()) == len(local.splitlines()) == 3


def test_a_rolling_suite_has_no_updates() -> None:
    assert len(bootstrap.build_canonical_sources(Bootstrap(distribution="debian", suite="sid")).splitlines()) == 1


def test_the_bootstrap_call() -> None:
    step = Bootstrap(distribution="debian", suite="forky", packages=("a", "b"), check_valid_until=False)
    argv = bootstrap.build_argv(step, "/t", program="mmdebstrap")
    assert argv[-3:] == ["forky", "/t", "-"]
    assert "--include=a,b" in argv
    assert '--aptopt=Acquire::Check-Valid-Until "false"' in argv
    assert not any("Valid-Until" in word for word in bootstrap.build_argv(TRIXIE, "/t", program="mmdebstrap"))


@pytest.mark.parametrize(
    "step",
    [
        Bootstrap(distribution="debian", suite="--customize-hook=touch /tmp/evil"),
        Bootstrap(distribution="debian", suite="trixie", components=("main\ndeb [trusted=yes] http://evil ./",)),
        Bootstrap(distribution="debian", suite="trixie", packages=("a,../../evil",)),
    ],
)
def test_a_bootstrap_takes_names_only(step: Bootstrap) -> None:
    with pytest.raises(BakeFailed, match="invalid name"):
        bootstrap.check_names(step)


def test_commands_keep_their_words() -> None:
    script = build_run_script(("echo $HOME && false", ("printf", "%s", "a b")))
    assert script.splitlines()[0].endswith("/bin/sh -c 'echo $HOME && false' || exit")
    assert script.splitlines()[1].endswith("printf %s 'a b' || exit")


def test_purged_paths_may_have_patterns_and_nothing_else() -> None:
    assert build_purge_script(["/usr/lib/*/libLLVM*"]) == "rm -rf -- /usr/lib/*/libLLVM*\n"
    assert build_purge_script(["/a b/$(x)*"]) == "rm -rf -- '/a b/$(x)'*\n"


def test_a_certificate_that_is_not_trusted_names_the_setting():
    said = "E: Failed to fetch https://m/InRelease  SSL connection failed: routines::certificate verify failed"
    cause = apt.explain(said, system="debian trixie")
    assert "DEVBOX_CA_FILE" in cause.remedy
    assert cause.of_host


_FETCH = "E: Failed to fetch http://mirror.example.org/debian/pool/main/b/bash/bash_5.2_amd64.deb  "


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "W: GPG error: http://m.example.org/debian trixie: The following signatures were invalid: BADSIG 1",
            "a package list of debian trixie does not match its signature",
        ),
        (
            "E: The repository 'http://mirror.example.org/debian trixie InRelease' is not signed.",
            "a package list of debian trixie, from mirror.example.org, does not match its signature",
        ),
        (
            "Err:1 http://m.example.org/debian x InRelease\n  sqv: Bad OpenPGP signature",
            "a package list of debian trixie",
        ),
        (
            f"{_FETCH}Hash Sum mismatch",
            "a package or a list of debian trixie, from mirror.example.org, does not match the hash",
        ),
        (
            f"{_FETCH}File has unexpected size (5 != 6). Mirror sync in progress?",
            "a package or a list of debian trixie",
        ),
    ],
)
def test_issue9_c21_what_is_forged_or_altered_is_said_to_be(said: str, sentence: str) -> None:
    cause = apt.explain(f"{said}\nE: Failed to fetch something  ...\n", system="debian trixie")
    assert cause.sentence.startswith(sentence)
    assert "forged or damaged" in cause.sentence
    assert "cannot reach" not in cause.sentence
    assert cause.evidence
    assert cause.remedy


def test_issue9_c21_an_image_missing_in_a_mirror_is_not_an_outage() -> None:
    cause = apt.explain(f"{_FETCH}404  Not Found [IP: 1.2.3.4 80]\n", system="debian trixie")
    assert cause.sentence == "not found on the mirror of debian trixie: bash"
    said = "E: The repository 'http://mirror.example.org/debian nosuch Release' does not have a Release file."
    cause = apt.explain(said, system="debian nosuch")
    assert cause.sentence == "suite nosuch not found on the mirror http://mirror.example.org/debian"
