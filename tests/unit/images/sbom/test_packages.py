"""Packages and their licences from the files of package managers."""

from __future__ import annotations

import json

import pytest

from devbox.images.sbom import packages
from devbox.images.sbom.documents import Package
from devbox.images.sbom.tree import Tree

DEBIAN = {
    "usr/lib/os-release": b'PRETTY_NAME="Debian"\nID=debian\nVERSION_ID="13"\n',
    "var/lib/dpkg/status": b"""Package: bash
Status: install ok installed
Architecture: amd64
Source: bash (5.2.37-2)
Version: 5.2.37-2+b5
Description: a shell
 Version: 1

Package: gone
Status: deinstall ok config-files
Version: 1

Package: libgcc-s1
Status: install ok installed
Architecture: amd64
Source: gcc-14
Version: 14.2.0-19
""",
    "usr/share/doc/bash/copyright": b"""Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: GPL-3+

Files: x
License: GPL-3+ or Expat

License: GPL-3+
 The text, which says
 License: nothing
""",
    "usr/share/doc/libgcc-s1/copyright": b"License: for people\n",
}


def found(files: dict[str, bytes]) -> dict[str, Package]:
    return {package.purl: package for package in packages.find_packages(Tree(files))}


def test_packages_of_dpkg():
    assert found(DEBIAN) == {
        (bash := "pkg:deb/debian/bash@5.2.37-2%2Bb5?arch=amd64&distro=debian-13&upstream=bash%405.2.37-2"): Package(
            bash, "bash", "5.2.37-2+b5", "GPL-3.0-or-later AND (GPL-3.0-or-later OR MIT)"
        ),
        (gcc := "pkg:deb/debian/libgcc-s1@14.2.0-19?arch=amd64&distro=debian-13&upstream=gcc-14"): Package(
            gcc, "libgcc-s1", "14.2.0-19"
        ),
    }


def test_packages_of_an_image_without_a_package_manager():
    files = {"etc/os-release": b"ID=debian\nVERSION_ID=12\n", "var/lib/dpkg/status.d/base": b"Package: a\nVersion: 1\n"}
    assert list(found(files)) == ["pkg:deb/debian/a@1?distro=debian-12"]


def test_packages_of_apk():
    files = {
        "etc/os-release": b"ID=alpine\nVERSION_ID=3.21.3\n",
        "lib/apk/db/installed": b"C:Q1x=\nP:ssl_client\nV:1.37.0-r12\nA:x86_64\nL:GPL-2.0-only\no:busybox\n"
        b"\nP:musl\nV:1\n",
    }
    assert found(files) == {
        (musl := "pkg:apk/alpine/musl@1?distro=alpine-3.21.3"): Package(musl, "musl", "1"),
        (ssl := "pkg:apk/alpine/ssl_client@1.37.0-r12?arch=x86_64&distro=alpine-3.21.3&upstream=busybox"): Package(
            ssl, "ssl_client", "1.37.0-r12", "GPL-2.0-only"
        ),
    }


def test_distributions_of_python_but_not_debian_s_own():
    files = {
        "opt/venv/lib/python3.13/site-packages/flask-3.1.dist-info/METADATA": b"Name: Flask\nVersion: 3.1\n"
        b"License-Expression: bsd-3-clause\nLicense: not this\n\nVersion: of the text\n",
        "usr/local/lib/python3.13/dist-packages/Old_Style.egg-info/PKG-INFO": b"Name: Old_Style\nVersion: 1\n"
        b"Classifier: License :: OSI Approved :: MIT License\nLicense: MIT or so\n",
        "usr/lib/python3/dist-packages/apt-2.dist-info/METADATA": b"Name: apt\nVersion: 2\n",
        "opt/site-packages/empty-1.dist-info/METADATA": b"\n",
    }
    assert found(files) == {
        "pkg:pypi/flask@3.1": Package("pkg:pypi/flask@3.1", "Flask", "3.1", "BSD-3-Clause"),
        "pkg:pypi/old-style@1": Package("pkg:pypi/old-style@1", "Old_Style", "1", "MIT"),
    }


def test_packages_of_npm_each_once():
    plain = {"name": "@angular/cli", "version": "19.0.0", "license": "MIT"}
    files = {
        "usr/local/lib/node_modules/@angular/cli/package.json": json.dumps(plain).encode(),
        "app/node_modules/x/node_modules/@angular/cli/package.json": json.dumps(plain).encode(),
        "app/node_modules/old/package.json": json.dumps(
            {"name": "old", "version": "1.0.0", "licenses": [{"type": "MIT"}, {"type": "Apache-2.0"}]}
        ).encode(),
        "app/node_modules/own/package.json": b'{"name": "own", "version": "1", "license": "SEE LICENSE IN X"}',
        "app/node_modules/broken/package.json": b"[[",
        "app/node_modules/odd/package.json": b'{"name": ["odd"], "version": 1}',
    }
    assert found(files) == {
        (cli := "pkg:npm/%40angular/cli@19.0.0"): Package(cli, "@angular/cli", "19.0.0", "MIT"),
        "pkg:npm/old@1.0.0": Package("pkg:npm/old@1.0.0", "old", "1.0.0", "Apache-2.0 OR MIT"),
        "pkg:npm/own@1": Package("pkg:npm/own@1", "own", "1"),
    }


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("MIT", "MIT"),
        ("Expat", "MIT"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("LGPLv2.1+", "LGPL-2.1-or-later"),
        ("AGPL-3", "AGPL-3.0-only"),
        ("GPL-1+ or Artistic", "GPL-1.0-or-later OR Artistic-1.0-Perl"),
        ("LGPLv3+_or_GPLv2+", "LGPL-3.0-or-later OR GPL-2.0-or-later"),
        ("(MIT OR Apache-2.0)", "(MIT OR Apache-2.0)"),
        ("MIT and ISC", "MIT AND ISC"),
        ("Apache-2.0 WITH LLVM-exception", "Apache-2.0 WITH LLVM-exception"),
        ("GPL-2+ with OpenSSL exception", "LicenseRef-GPL-2-with-OpenSSL-exception"),
        ("public-domain", "LicenseRef-public-domain"),
        ("Redistribution and use in source and binary forms, with or without modification, are permitted", ""),
        ("", ""),
        ("???", ""),
    ],
)
def test_licences_as_people_write_them(written: str, meant: str):
    assert packages.parse_license(written) == meant


def test_the_licences_of_an_expression():
    package = Package("pkg:npm/x@1", "x", "1", "MIT AND (GPL-2.0-only WITH Classpath-exception-2.0 OR LicenseRef-x)")
    assert package.licenses == {"MIT", "GPL-2.0-only", "LicenseRef-x"}
    assert Package("pkg:npm/x@1", "x", "1").licenses == frozenset()
