# shellcheck shell=sh
# Sourced by the scripts at the top of the tree, which set $root: installs what packages.txt lists and this machine lacks.
install_packages() {
    [ -r /etc/debian_version ] || return 0
    missing=
    # shellcheck disable=SC2154,SC2013
    for package in $(sed 's/#.*//' "$root/packages.txt"); do
        [ "$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null)" = "install ok installed" ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    echo "installing:$missing"
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    $sudo apt-get install -y --no-install-recommends $missing >/dev/null 2>&1 ||
        { $sudo apt-get update >/dev/null && $sudo apt-get install -y --no-install-recommends $missing >/dev/null; } ||
        { echo "cannot install:$missing" >&2; exit 1; }
}
