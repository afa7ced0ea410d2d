#!/bin/sh
# Installs, on Debian 12, every program that the integration tests and benches start: the one list of them.
# Does nothing, quickly, when all are there. Needs root or sudo only when something is missing.
#
# The tests start these programs themselves, on ports of their own. So this script sees to it that none of them is
# started or enabled as a system service: a freshly installed server would otherwise take the standard ports.
set -eu

packages="
    gcc libc6-dev
    prosody lua-unbound
    ejabberd
    kamailio kamailio-tls-modules kamailio-presence-modules
    dnsmasq-base
    rabbitmq-server
    prometheus
    postgresql-15 postgresql-client-15
    slapd
    stunnel4 openssl
    sip-tester
    python3 python3-slixmpp python3-venv
    liblinphone10 linphone-common
    pkg-config libglib2.0-dev libjson-glib-dev libxml2-dev
    libpurple-dev pidgin-sipe
    libmeanwhile-dev
"
services="prosody.service ejabberd.service kamailio.service rabbitmq-server.service prometheus.service prometheus-node-exporter.service postgresql.service postgresql@.service epmd.socket epmd.service"

missing=""
for package in $packages; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done

# Not in Debian: the fuzzer of the API, in a folder of its own in the user's cache.
schemathesis=4.32.5
tools="${XDG_CACHE_HOME:-$HOME/.cache}/interchange-test-tools"
fetch_schemathesis() {
    [ "$(cat "$tools/schemathesis/version" 2>/dev/null || true)" != "$schemathesis" ] || return 0
    echo "installing for the integration tests: schemathesis $schemathesis"
    rm -rf "$tools/schemathesis"
    mkdir -p "$tools"
    /usr/bin/python3 -m venv "$tools/schemathesis"
    "$tools/schemathesis/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$schemathesis"
    echo "$schemathesis" >"$tools/schemathesis/version"
}

if [ -z "$missing" ]; then
    fetch_schemathesis
    exit 0
fi

echo "installing for the integration tests:$missing"

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Services that were here before are the owner's, and stay as they are.
new_services=""
for service in $services; do
    [ -e "/lib/systemd/system/$service" ] || new_services="$new_services $service"
done

# While packages are set up, invoke-rc.d and deb-systemd-invoke ask this file, and are told to start nothing.
policy=/usr/sbin/policy-rc.d
kept=$policy.before-test-tools
restore_policy() {
    as_root rm -f "$policy"
    if [ -e "$kept" ]; then as_root mv "$kept" "$policy"; fi
}
if [ -e "$policy" ] && [ ! -e "$kept" ]; then as_root mv "$policy" "$kept"; fi
trap restore_policy EXIT
trap 'exit 1' HUP INT TERM
printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
as_root chmod 755 "$policy"

as_root apt-get update
# shellcheck disable=SC2086 # a list of words
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing

# What was set up is enabled for the next boot. Its links are all that says so, with and without a running systemd.
for service in $new_services; do
    as_root find /etc/systemd/system -type l -path "*.wants/$service" -delete
done
# These have no unit, only a script of the old kind.
case "$missing " in
    *" slapd "*) as_root update-rc.d slapd disable ;;
esac
case "$missing " in
    *" stunnel4 "*) as_root update-rc.d stunnel4 disable ;;
esac

fetch_schemathesis
