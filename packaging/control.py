"""Texts of the Debian package: control fields, maintainer scripts, copyright, changelog, lintian overrides."""

from __future__ import annotations

import email.utils
import glob
import os
from email.parser import HeaderParser

from distributions import Distribution

MAINTAINER = "The devbox authors <noreply@devbox.invalid>"
LIBRARY = "usr/lib/devbox"

# Required by every command that starts containers.
_DEPENDS = (
    "libc6 (>= 2.28)",
    "ca-certificates",
    "catatonit",
    "crun",
    "debian-archive-keyring",
    "mmdebstrap",
    "nftables",
    "passt",
    "uidmap",
)
# Required by env files with Dockerfiles.
_SUGGESTS = ("buildah",)

LAUNCHER = f"""\
#!/{LIBRARY}/bin/python3 -I
\"\"\"Starts devbox with the Python packages of /{LIBRARY}.\"\"\"

from devbox.cli.main import main

main()
"""

# The directory is a virtual environment, so that every Python process of devbox finds the bundled packages.
PYVENV = """\
home = /usr/bin
include-system-site-packages = false
version = {python}
"""

POSTINST = f"""\
#!/bin/sh
set -e

if [ "$1" = configure ]; then
    py3compile -p devbox /{LIBRARY} # otherwise every command of a user compiles the modules again
fi
"""

PRERM = """\
#!/bin/sh
set -e

py3clean -p devbox
"""

OVERRIDES = """\
# The distribution's versions of pydantic, urllib3 and cryptography are older than devbox requires. The package bundles
# the wheels that upstream published, unchanged: their hashes are those of packaging/requirements.txt.
devbox: embedded-library *
devbox: unstripped-binary-or-object *
devbox: hardening-no-fortify-functions *
devbox: hardening-no-bindnow *
devbox: binary-has-unneeded-section *
# License files and texts are part of the wheels.
devbox: extra-license-file *
devbox: package-contains-documentation-outside-usr-share-doc *
# A private virtual environment with a link to the distribution's interpreter: all processes of devbox find the bundled
# packages, and no other program does.
devbox: wrong-path-for-interpreter *
devbox: unusual-interpreter *
# `devbox init` copies the .gitignore of a template.
devbox: package-contains-vcs-control-file *
# There is no public address of the authors.
devbox: bogus-mail-host *
"""


def render_control(distribution: Distribution, *, version: str, architecture: str, size: int) -> str:
    """Return the control file. `size`: of the installed files, in KiB."""
    python = f"python3 (>= {distribution.python}), python3 (<< {distribution.next_python})"
    recommends = f"Recommends: {', '.join(distribution.recommends)}\n" if distribution.recommends else ""
    return f"""\
Package: devbox
Version: {version}
Architecture: {architecture}
Maintainer: {MAINTAINER}
Installed-Size: {size}
Depends: {python}, {", ".join(_DEPENDS)}
{recommends}Suggests: {", ".join(_SUGGESTS)}
Section: devel
Priority: optional
Description: project containers from a laptop to a gray release
 One file, devbox.toml, declares what a project requires: development
 containers, services, tools, test matrices, images and stages. devbox runs
 them in containers on one isolation core, without a daemon, and promotes the
 identical image through test, staging, gray release and production.
 .
 This package is for {distribution.label}, and bundles Python packages that are newer
 than those of the distribution.
"""


def render_changelog(*, version: str, date: int) -> str:
    """Return the Debian changelog: one entry, which refers to upstream's changes."""
    return f"""\
devbox ({version}) stable; urgency=medium

  * Release of devbox; changes are listed in /usr/share/doc/devbox/changelog.gz.

 -- {MAINTAINER}  {email.utils.formatdate(date)}
"""


def render_copyright(site_packages: str) -> str:
    """Return the copyright file: devbox, the bundled Python packages and the parts of the documentation site."""
    parts = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/",
        "Upstream-Name: devbox",
        "",
        "Files: *",
        "Copyright: 2026 The devbox authors",
        "License: Apache-2.0",
        " On Debian systems, the license is in /usr/share/common-licenses/Apache-2.0.",
        "",
        f"Files: {LIBRARY}/lib/*/site-packages/devbox/data/site/assets/*",
        "Copyright: Martin Donath and contributors (Material for MkDocs); Knut Sveidqvist and contributors (Mermaid)",
        "License: Expat",
        " See https://opensource.org/license/mit",
    ]
    for path in sorted(glob.glob(f"{site_packages}/*.dist-info/METADATA")):
        parts += _render_bundled(path)
    return "\n".join(parts) + "\n"


def _render_bundled(path: str) -> list[str]:
    with open(path, encoding="utf-8") as source:
        fields = HeaderParser().parse(source)
    name = fields["Name"]
    if name == "devbox-pipeline":
        return []
    place = os.path.basename(os.path.dirname(path))
    classified = [line.rpartition(":: ")[2] for line in fields.get_all("Classifier", []) if line.startswith("License")]
    license_name = fields["License-Expression"] or (fields["License"] or "").partition("\n")[0] or ", ".join(classified)
    holder = fields["Author"] or fields["Author-email"] or fields["Maintainer-email"] or "its authors"
    return [
        "",
        f"Files: {LIBRARY}/lib/*/site-packages/*",
        f"Comment: {name} {fields['Version']}",
        f"Copyright: {' '.join(holder.split())}",
        f"License: {license_name}",
        f" See /{LIBRARY}/lib/*/site-packages/{place}",
    ]
