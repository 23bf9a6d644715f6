#!/usr/bin/env bash
# Installs, upgrades, removes and purges the amd64 package of dist/ (make deb) in Debian's two stable suites, in a chroot each, where the calls of systemctl are
# recorded, and checks that each step leaves what it has to. Then lintian on every package, and apt from a signed repository of them.
# Usage: deb.sh [SUITE...]     (bookworm trixie); as root on Debian
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "deb: run as root: chroot asks for it" >&2; exit 1; }
missing=()
command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
command -v lintian >/dev/null || missing+=(lintian)
command -v gpg >/dev/null || missing+=(gnupg)
[ ${#missing[@]} -eq 0 ] || { echo "deb: missing; run: apt-get install --no-install-recommends ${missing[*]}" >&2; exit 1; }
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(bookworm trixie)
deb=$(ls -t dist/bimamba_*_amd64.deb | head -n 1)
cache=${BIMAMBA_BOARD_CACHE:-$HOME/.cache/bimamba-board}
mkdir -p "$cache"
work=$(mktemp -d)
mounted=
trap '[ -z "$mounted" ] || umount "$mounted"; rm -rf "$work"' EXIT
failed=0

# check NAME COMMAND...
check() {
	local name=$1
	shift
	if "$@" >"$work/check" 2>&1; then
		echo "PASS $name"
	else
		echo "FAIL $name"
		sed 's/^/     /' "$work/check" | tail -n 8
		failed=1
	fi
}
is() { [ "$1" = "$2" ] || { echo "is $1, not $2" && false; }; }
in_root() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
# listing is all files but those that dpkg and systemd-sysusers keep for themselves.
listing() {
	(cd "$root" && find . -xdev \( -path ./proc -o -path ./tmp -o -path ./var/lib/dpkg -o -path ./var/log -o -path ./var/cache -o -path ./calls \) -prune -o -print |
		grep -v -e '^./etc/.*-$' -e '^./etc/\.pwd\.lock$' -e '^./var/lib/systemd/deb-systemd-helper' | sort)
}
called() { grep -qx -- "$1" "$root/calls" || { cat "$root/calls" && false; }; }

echo "deb: $deb"
newer=$work/newer.deb # the same package under a later version
dpkg-deb -R "$deb" "$work/tree"
sed -i 's/^Version: .*/&.next/' "$work/tree/DEBIAN/control"
echo '# of the next version' >>"$work/tree/etc/bimamba/bimambad.toml"
dpkg-deb --root-owner-group -Zgzip -z1 -b "$work/tree" "$newer" >/dev/null

for suite in "${suites[@]}"; do
	tar=$cache/chroot-$suite.tar
	[ -s "$tar" ] || { mmdebstrap --quiet --mode=root --variant=minbase --include=systemd "$suite" "$tar.new" && mv "$tar.new" "$tar"; }
	root=$work/$suite
	mkdir "$root"
	tar -C "$root" --exclude='./dev/*' -xf "$tar"
	[ -e "$root/dev/null" ] || mknod -m 666 "$root/dev/null" c 1 3
	mkdir -p "$root/run/systemd/system"
	rm -f "$root/usr/sbin/policy-rc.d"
	mount -t proc proc "$root/proc" # systemd-tmpfiles asks for it
	mounted=$root/proc
	# What would talk to a running systemd is recorded. Enabling is links of files, and real.
	for program in systemctl deb-systemd-invoke; do
		mv "$root/usr/bin/$program" "$root/usr/bin/$program.real"
		cat >"$root/usr/bin/$program" <<-END
			#!/bin/sh
			case "\$*" in
			*preset*) SYSTEMD_OFFLINE=1 exec $program.real "\$@" ;;
			esac
			echo "$program \$*" >>/calls
		END
		chmod 755 "$root/usr/bin/$program"
	done
	cp "$deb" "$root/tmp/a.deb"
	cp "$newer" "$root/tmp/b.deb"
	listing >"$work/before"

	echo "deb: Debian $suite, $(in_root dpkg --version | head -n 1)"
	check "$suite: installs" in_root dpkg -i /tmp/a.deb
	check "$suite: the daemon and the command run" eval 'in_root bimambad --version && in_root bimamba version && in_root bimamba verify default'
	check "$suite: the configuration is one that the daemon takes" in_root env STATE_DIRECTORY=/var/lib/bimamba bimambad check
	check "$suite: user and folders" is "$(in_root stat -c '%U:%G %a' /var/lib/bimamba /etc/bimamba 2>&1 | xargs)" "bimamba:bimamba 700 root:root 755"
	check "$suite: the service is on" test -L "$root/etc/systemd/system/multi-user.target.wants/bimambad.service"
	check "$suite: the socket is not" test ! -e "$root/etc/systemd/system/sockets.target.wants/bimambad.socket"
	check "$suite: it was started" called 'deb-systemd-invoke start bimambad.service'
	check "$suite: no file differs from what the package says" in_root dpkg --verify bimamba

	echo 'sessions = 3' >>"$root/etc/bimamba/bimambad.toml"
	touch "$root/var/lib/bimamba/token" || true
	rm -f "$root/etc/systemd/system/multi-user.target.wants/bimambad.service" # as systemctl disable does
	: >"$root/calls"
	check "$suite: upgrades, and keeps a changed configuration" in_root dpkg --force-confold -i /tmp/b.deb
	check "$suite: the change is there" grep -q '^sessions = 3' "$root/etc/bimamba/bimambad.toml"
	check "$suite: it was restarted" called 'deb-systemd-invoke restart bimambad.service'
	check "$suite: a service that was switched off stays so" test ! -e "$root/etc/systemd/system/multi-user.target.wants/bimambad.service"
	check "$suite: installing it again changes nothing" eval 'in_root dpkg --force-confold -i /tmp/b.deb && test -e "$root/var/lib/bimamba/token"'

	: >"$root/calls"
	check "$suite: removes" in_root dpkg -r bimamba
	check "$suite: it was stopped" called 'deb-systemd-invoke stop bimambad.socket bimambad.service'
	check "$suite: configuration and state stay" test -e "$root/etc/bimamba/bimambad.toml" -a -e "$root/var/lib/bimamba/token"
	check "$suite: no program stays" test ! -e "$root/usr/bin/bimambad" -a ! -e "$root/usr/bin/bimamba"
	check "$suite: purges" in_root dpkg -P bimamba
	listing >"$work/after"
	check "$suite: nothing of it is left" diff "$work/before" "$work/after"

	# Without systemd running, as in an image that is being built.
	rm -r "$root/run/systemd/system"
	: >"$root/calls"
	check "$suite: installs where systemd does not run" eval 'in_root dpkg -i /tmp/a.deb && test ! -s "$root/calls" && test -L "$root/etc/systemd/system/multi-user.target.wants/bimambad.service"'
	check "$suite: purges there" in_root dpkg -P bimamba
	umount "$mounted"
	mounted=
	rm -rf "$root"
done

for file in dist/bimamba_*.deb; do
	check "lintian: $(basename "$file")" lintian --allow-root --fail-on error,warning "$file"
done

echo "deb: a signed repository"
export GNUPGHOME=$work/gnupg
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --pinentry-mode loopback --passphrase '' --quick-generate-key 'Test <test@example.org>' ed25519 sign never 2>/dev/null
mkdir "$work/dist"
cp "$(ls -t dist/bimamba_*_arm64.deb | head -n 1)" "$(ls -t dist/bimamba_*_armhf.deb | head -n 1)" "$deb" "$work/dist/"
read -r _ seconds < <(scripts/version.sh)
check "apt: made" go run ./internal/release -dist "$work/dist" -time "$seconds" -key test@example.org apt
gpgconf --kill all
apt_root() {
	apt-get -q -o Dir::State="$work/apt/state" -o Dir::State::status=/dev/null -o Dir::Cache="$work/apt/cache" -o Dir::Etc::SourceList="$work/apt/list" -o Dir::Etc::SourceParts=/dev/null \
		-o APT::Sandbox::User=root -o APT::Architecture="$1" -o APT::Architectures="$1" "${@:2}"
}
mkdir -p "$work"/apt/{state/lists/partial,cache/archives/partial}
echo "deb [signed-by=$work/dist/apt/bimamba.gpg] file:$work/dist/apt stable main" >"$work/apt/list"
for arch in arm64 armhf amd64; do
	check "apt: $arch: update trusts it" apt_root $arch update --error-on=any
	check "apt: $arch: the package is fetched, and is the one" eval "(cd $work/apt && apt_root $arch download bimamba && cmp bimamba_*_$arch.deb $work/dist/bimamba_*_$arch.deb)"
done
echo 'Description: changed' >>"$work/dist/apt/dists/stable/main/binary-amd64/Packages"
rm -rf "$work"/apt/state/lists/* "$work"/dist/apt/dists/stable/main/binary-amd64/Packages.gz
check "apt: an index that was changed is refused" eval '! apt_root amd64 update --error-on=any'
exit $failed
