#!/usr/bin/env bash
# Installs, upgrades, removes and purges the packages of dist/ (make deb) on an emulated board, arm64's and armhf's, with its real systemd.
# Usage: deb.sh      as root on Debian, with Go; some 10 minutes on an idle machine; BIMAMBA_BOARD_CACHE as for build.sh
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# -eq 0 ] || usage
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
need dpkg-deb:dpkg
newest() { ls -t dist/bimamba_*_"$1".deb 2>/dev/null | head -n 1; }
arm64=$(newest arm64) armhf=$(newest armhf)
[ -n "$arm64" ] && [ -n "$armhf" ] || die "there are no packages in dist; make deb makes them"
"$here/build.sh" >/dev/null

files=$(mktemp -d)
name=deb-$$
finish() {
	"$here/boot.sh" --stop $name
	rm -rf "$files"
}
trap finish EXIT
cp "$arm64" "$files/arm64.deb"
cp "$armhf" "$files/armhf.deb"
dpkg-deb -R "$arm64" "$files/tree"
sed -i 's/^Version: .*/&.next/' "$files/tree/DEBIAN/control"
dpkg-deb --root-owner-group -Zgzip -z1 -b "$files/tree" "$files/later.deb" >/dev/null
rm -rf "$files/tree"
run=$("$here/boot.sh" --name $name "${pi4[@]}" $suite)
tar -C "$files" -c . | ssh -F "$run/ssh_config" board 'mkdir /root/files && tar -C /root/files -x'
echo "board: Debian $suite, $(basename "$arm64"), $(basename "$armhf")"
cat "$here/checks.sh" "$here/deb-checks.sh" | ssh -F "$run/ssh_config" board bash -s
