#!/usr/bin/env bash
# Puts the product into the board's image with `bimamba image`, lets the emulated board set itself up at its first boot, boots it again, and checks what is there.
# Prints a line for each check and fails if one does.
# Usage: image.sh [FORMAT]     firstrun.sh (the default), or cloud-init, for which the board gets Debian's cloud-init
# As root on Debian, with Go. Some 5 minutes on an idle machine; BIMAMBA_BOARD_CACHE as for build.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# -le 1 ] || usage
format=${1:-firstrun.sh}
case $format in
firstrun.sh) ;;
cloud-init) # another image, beside that of the other scripts
	export BIMAMBA_BOARD_PACKAGES='cloud-init e2fsprogs' BIMAMBA_BOARD_CACHE=$cache/cloud-init
	cache=$BIMAMBA_BOARD_CACHE
	;;
*) usage ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
need fsck.fat:dosfstools e2fsck:e2fsprogs
base=$("$here/build.sh")

files=$(mktemp -d)
name=image-$$
finish() {
	"$here/boot.sh" --stop $name
	rm -rf "$files"
}
trap finish EXIT
build_arm64 "$files"
wifi=()
# Debian's board has no NetworkManager, which firstrun.sh would need; cloud-init writes the network for whatever is there.
[ "$format" = firstrun.sh ] || wifi=(--wifi "it's \"\$(reboot)\"" --wifi-country DE --wifi-password-file "$files/password")
echo 'a password' >"$files/password"
go run ./cmd/bimamba image --base "$base" -o "$files/card.img" --hostname kitchen --ssh-key "$cache/id_ed25519.pub" --first-boot "$format" "${wifi[@]}" \
	--daemon "$files/bimambad" --cli "$files/bimamba"

fsck "$base" >"$files/before"
# What the base has already is no fault of ours.
fsck "$files/card.img" | diff "$files/before" - && echo "PASS fsck finds nothing that the base has not" || die "FAIL fsck"

board() { "$here/boot.sh" --name $name --keep "${pi4[@]}" "$@"; }
[ "$format" = cloud-init ] || board --wait exit "$files/card.img" # its first boot ends in another
run=$(board "$files/card.img")
cat "$here/checks.sh" "$here/image-checks.sh" | ssh -F "$run/ssh_config" board bash -s -- "$format"
"$here/boot.sh" --stop $name
fsck "$files/card.img" | diff "$files/before" - && echo "PASS fsck finds nothing after the boots" || die "FAIL fsck after the boots"
