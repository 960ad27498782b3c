#!/usr/bin/env bash
# Set up a new Debian or Ubuntu host, with a working .venv: .ci/setup.sh run|unit|docs|test|all|bench
#
# Installs missing packages (and lists them), creates .venv with the newest Python ≥ 3.11, and installs devbox into it. A
# stamp file makes the next run immediate. No daemon is started or enabled, even if a package would do so.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:?expected run, unit, docs, test, all or bench}

run_packages=(ca-certificates catatonit crun debian-archive-keyring mmdebstrap nftables passt python3-venv
    ubuntu-keyring uidmap)
test_packages=(buildah busybox-static cosign docker-cli docker-registry docker.io fish git haproxy openssh-client
    podman prometheus qemu-system-x86 runc skopeo strace umoci zsh)
docs_npm=(@mermaid-js/tiny iframe-worker)
test_npm=(@devcontainers/cli)
all_packages=(chromium lintian mandoc)
all_npm=(axe-core playwright-core)
bench_packages=(docker-buildx docker-compose hyperfine)

say() { printf 'setup: %s\n' "$*" >&2; }

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "cannot run without root: $*" "  → run it as root, then run make again"
    fi
}

# --- packages -----------------------------------------------------------------------------------------------------

missing_packages() {
    local known
    known=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true)
    local name
    for name in "$@"; do
        [[ $'\n'$known$'\n' == *$'\n'"installed $name"$'\n'* ]] || printf '%s\n' "$name"
    done
}

offered() { # those of the packages that this distribution has: docker-cli is its own package only on some
    local name
    for name in "$@"; do
        if apt-cache show --no-all-versions "$name" >/dev/null 2>&1; then printf '%s\n' "$name"; fi
    done
}

install_packages() {
    local missing wanted policy=/usr/sbin/policy-rc.d
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "missing programs: ${missing[*]}" \
        "  → install them with your distribution's package manager, then run make again"
    mapfile -t wanted < <(offered "${missing[@]}")
    if [ ${#wanted[@]} -lt ${#missing[@]} ] && [ -z "$(ls /var/lib/apt/lists/*Packages* 2>/dev/null)" ]; then
        say "apt-get update"
        as_root apt-get update -qq
        mapfile -t wanted < <(offered "${missing[@]}")
    fi
    [ ${#wanted[@]} -gt 0 ] || return 0
    say "apt-get install ${wanted[*]}"
    if [ ! -e $policy ]; then # 101: no package starts its daemon
        printf '#!/bin/sh\nexit 101\n' | as_root install -m 0755 /dev/stdin $policy
        trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" >&2 ||
        fail "apt-get install failed" "  → see the output above; if package lists are old: sudo apt-get update"
    disable_daemons "${wanted[@]}"
}

disable_daemons() {
    [ -d /run/systemd/system ] || return 0
    case " $* " in *" docker.io "*)
        as_root systemctl disable --quiet docker.service docker.socket containerd.service ;;
    esac
    case " $* " in *" docker-registry "*) as_root systemctl disable --quiet docker-registry.service ;; esac
    case " $* " in *" prometheus "*) as_root systemctl disable --quiet prometheus.service ;; esac
}

# --- Python -------------------------------------------------------------------------------------------------------

new_enough() { "$1" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

best_python() {
    local candidate
    for candidate in /usr/bin/python3 /usr/bin/python3.1{4,3,2,1} python3 python3.1{4,3,2,1}; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "missing Python ≥ 3.11 with its venv module" "  → sudo apt-get install python3 python3-venv"
}

make_venv() {
    local extras=$1 stamp=.venv/.made-for inputs made python larger
    inputs="$(cat pyproject.toml devbox/__main__.py .ci/setup.sh | cksum) $PWD"
    made=$(cat $stamp 2>/dev/null || true)
    for larger in "$extras" "${extras:-[dev]}" "[dev,dist]"; do # each set of extras includes the ones before it
        if [ "$made" = "$larger $inputs" ]; then return 0; fi
    done
    if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
        python=$(best_python)
        say "$python -m venv .venv"
        rm -rf .venv
        "$python" -m venv .venv
    fi
    say "pip install -e .$extras"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$extras"
    .venv/bin/python -m compileall -q devbox # the first command is as fast as the next
    printf '%s\n' "$extras $inputs" >$stamp
}

install_npm() {
    local name missing=()
    for name in "$@"; do [ -d ".venv/npm/node_modules/$name" ] || missing+=("$name"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v npm >/dev/null || install_packages npm
    say "npm install ${missing[*]}"
    npm install --silent --no-audit --no-fund --prefix .venv/npm "${missing[@]}" >&2 ||
        say "npm could not install ${missing[*]}: tests that require them will be skipped"
}

case $what in
run)
    install_packages "${run_packages[@]}"
    make_venv ""
    ;;
unit) # no root: only Python packages
    make_venv "[dev]"
    ;;
docs) # no root, unless npm is missing
    make_venv "[dev,dist]"
    install_npm "${docs_npm[@]}"
    ;;
test)
    install_packages "${run_packages[@]}" "${test_packages[@]}"
    make_venv "[dev]"
    install_npm "${test_npm[@]}"
    ;;
all)
    install_packages "${run_packages[@]}" "${test_packages[@]}" "${all_packages[@]}"
    make_venv "[dev,dist]"
    install_npm "${test_npm[@]}" "${docs_npm[@]}" "${all_npm[@]}"
    ;;
bench)
    install_packages "${run_packages[@]}" "${test_packages[@]}" "${bench_packages[@]}"
    make_venv "[dev]"
    install_npm "${test_npm[@]}"
    ;;
*) fail "unknown: $what" ;;
esac
