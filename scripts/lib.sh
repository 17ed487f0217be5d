# Shared by the scripts here and examples/static-binary/make; to be sourced from the repository's root.

say() { printf '%s\n' "$*" >&2; }

die() { say "$0: $*"; exit 1; }

now_ms() { date +%s%3N; }

# seconds FROM_MS [TO_MS]: seconds with two digits.
seconds() {
    local ms=$(( ${2:-$(now_ms)} - $1 ))
    printf "%d.%02d" $((ms / 1000)) $((ms % 1000 / 10))
}

need_root() {
    [ "$(id -u)" = 0 ] || die "run as root: namespaces, mounts and cgroups of containers need it"
}

need_cargo() {
    if ! command -v cargo >/dev/null && [ -f "$HOME/.cargo/env" ]; then
        # shellcheck disable=SC1091
        . "$HOME/.cargo/env"
    fi
    command -v cargo >/dev/null || die "cargo is missing; install a Rust toolchain first (https://rustup.rs)"
}

# build_program NAME [OPTION...]: builds a program of the workspace; its path is then in $program.
build_program() {
    # What cargo tells a test or a task of its package. Build scripts watch some of it, and would run again.
    unset "${!CARGO_MANIFEST_@}" "${!CARGO_PKG_@}"
    # --workspace: with --package the features of dependencies would differ, and they would be compiled twice.
    cargo build "${@:2}" --locked --workspace --bin "$1" </dev/null
    program=$(realpath -m "${CARGO_TARGET_DIR:-target}")/debug/$1
}

# install_packages LIST...: installs what is missing of the packages named in the files, and says so before.
install_packages() {
    local wanted missing=()
    wanted=$(sed 's/#.*//' "$@")
    for package in $wanted; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "Debian packages that will be installed: ${missing[*]}"
    # nginx, haproxy and the registry must not start as services: the tests run their own. In a shell of its own,
    # so that the file goes away however it ends.
    (
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap 'rm -f "$policy"' EXIT
            trap 'exit 130' INT TERM HUP
            printf '#!/bin/sh\nexit 101\n' > "$policy"
            chmod 755 "$policy"
        fi
        export DEBIAN_FRONTEND=noninteractive
        apt-get -qq update && apt-get -qq -y --no-install-recommends install "${missing[@]}"
    ) </dev/null >&2 || die "apt-get could not install: ${missing[*]}"
}
