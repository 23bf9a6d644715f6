#!/usr/bin/env bash
# Runs bimambad under systemd on an emulated board, and checks what its unit files promise. Prints a line for each check and fails if one does.
# Usage: daemon.sh [CPU [CHECKS]]
# CPU is one of QEMU's (cortex-a72), CHECKS "all", or "kernels": that it answers, and with which kernels.
# As root on Debian, with Go. Some 5 minutes on an idle machine; BIMAMBA_BOARD_CACHE as for build.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# -le 2 ] || usage
cpu=${1:-cortex-a72} checks=${2:-all}
[[ $checks =~ ^(all|kernels)$ ]] || usage
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
"$here/build.sh" >/dev/null

files=$(mktemp -d)
name=daemon-$$
finish() {
	"$here/boot.sh" --stop $name
	rm -rf "$files"
}
trap finish EXIT
model=models/default.bimamba
mkdir -p "$files/usr/bin" "$files/usr/share/bimamba"
CGO_ENABLED=0 GOARCH=arm64 go build -trimpath -ldflags='-s -w' -o "$files/usr/bin/bimambad" ./cmd/bimambad
install -m 0644 $model "$files/usr/share/bimamba/default.bimamba"
go run ./cmd/bimamba units $model --notify-reload --sensors --root "$files" >/dev/null

run=$("$here/boot.sh" --name $name "${pi4[@]}" --cpu "$cpu" $suite)
tar -C "$files" --owner=0 --group=0 -cz . | ssh -F "$run/ssh_config" board 'mkdir /root/files && tar -C /root/files -xz'
echo "board: Debian $suite, $cpu, bimambad of $(stat -c %s "$files/usr/bin/bimambad") bytes"
cat "$here/checks.sh" "$here/daemon-checks.sh" | ssh -F "$run/ssh_config" board bash -s -- "$checks"
