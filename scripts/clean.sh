#!/usr/bin/env bash
# Follows README.md's "An assistant in ten minutes" word by word on a clean Debian: nothing but its essential packages, git, make, sudo and Go, and a user who is
# not root. It has a network for what is to be cloned, built and installed, and from then on none at all.
# Usage: clean.sh [SUITE]     as root on Debian, with Go; SUITE is trixie if it is not said. Some minutes, 2 GB of disk.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/board/lib.sh"
suite=${1:-$suite}
cd "$here/.."
[ "$(id -u)" = 0 ] || die "run as root: it makes a machine"
need git:git mmdebstrap:mmdebstrap unshare:util-linux ip:iproute2
files=$(mktemp -d)
root=$files/root
trap 'rm -rf "$files"' EXIT
. "$here/board/checks.sh"
. "$here/readme.sh"

filled_in() { sed -e 's|\bADDRESS\b|/srv/origin|'; }
# in_machine [--net] COMMANDS: as its user, where the block before ended. With --net there is no network. What a block leaves running ends with it.
in_machine() {
	local apart=() lo=:
	[ "$1" != --net ] || { apart=(--net) lo='ip link set lo up' && shift; }
	unshare --mount --pid --fork --kill-child "${apart[@]}" bash -euc "$lo"'
		mount -t proc proc "$1/proc"
		exec chroot "$1" runuser -u guest -- env -i HOME=/home/guest USER=guest TERM=dumb PATH=/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin \
			bash -euo pipefail -c "cd \"\$(cat ~/.where)\"
$2
pwd >~/.where"' - "$root" "$1" </dev/null
}

echo "clean: Debian $suite with git, make, sudo and $(go env GOVERSION)"
mmdebstrap --quiet --mode=root --variant=apt --include=git,make,sudo,passwd,ca-certificates --aptopt='APT::Install-Recommends "false"' "$suite" "$root"
cp -a "$(go env GOROOT)" "$root/usr/local/go"
cp /etc/resolv.conf "$root/etc/" # a network is entered through its resolver and, where a proxy signs, its certificates
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf '127.0.0.1 localhost %s\n' "$(hostname)" >"$root/etc/hosts"
chroot "$root" useradd -m -s /bin/bash guest
echo 'guest ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/guest"
echo /home/guest >"$root/home/guest/.where"
chroot "$root" chown guest /home/guest/.where
origin
mkdir -p "$root/srv"
cp -a "$files/origin" "$root/srv/origin"
chroot "$root" chown -R guest /srv/origin # git asks for that

blocks clean
check "README.md has such blocks" test -s "$files/blocks/3.sh"
follow 1 in_machine
follow 2 in_machine --net
# "The broker, which its package has started (without systemd: `/usr/sbin/mosquitto -d`)": there is none here.
filled_in() { echo '/usr/sbin/mosquitto -d' && cat; }
follow 3 in_machine --net
spoken() { in_machine --net 'test "$(stat -c %s reply.wav)" -gt 16000'; }
check "reply.wav has an answer of half a second or more" spoken
[ $failed = 0 ] && echo "clean: all checks passed, in $((SECONDS / 60)) minutes" || echo "clean: checks failed"
exit $failed
