#!/usr/bin/env bash
# Deploys to an emulated board whose ext4 has fs-verity: its kernel checks each page of the model from then on, nobody can write to it, and a page that the card
# has lost is an error instead of another answer. Prints a line for each check and fails if one does.
# Usage: verity.sh
# As root on Debian, with Go. Some 8 minutes on an idle machine; BIMAMBA_BOARD_CACHE as for build.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# -eq 0 ] || usage
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
need tune2fs:e2fsprogs
image=$("$here/build.sh")
. "$here/checks.sh"

files=$(mktemp -d)
name=verity-$$
finish() {
	"$here/boot.sh" --stop $name
	rm -rf "$files"
}
trap finish EXIT
build_arm64 "$files"
bimamba=$files/here
CGO_ENABLED=0 go build -trimpath -o "$bimamba" ./cmd/bimamba
cp --sparse=always "$image" "$files/board.img"
root_offset=$((fat_offset + (256 << 20)))
root="$files/board.img?offset=$root_offset"
tune2fs -O verity "$root" >/dev/null
boot() { run=$("$here/boot.sh" --name $name --keep "${pi4[@]}" "$files/board.img"); }
verity() { slot status --json | grep -o '"verity":"[a-z]*"' | sort | uniq -c | tr -s ' ' | tr -d '\n'; } # of all versions

boot
echo "board: Debian $suite, 512 MiB, ext4 with verity, Linux $(on uname -r)"
check "the first deployment" deploy pi@board --model default --daemon "$files/bimambad" --cli "$files/bimamba"
[ $failed = 0 ] || exit 1
check "it answers" answers
first=$(status current)
model=/opt/bimamba/versions/$first/model.bimamba
check "the status says that the kernel checks the model" is "$(verity)" ' 1 "verity":"on"'
"$bimamba" deploy status --ssh-config "$run/ssh_config" pi@board | sed 's/^/     /'
check "root cannot write to it" eval '! on "echo x >>$model" && ! on "truncate -s 0 $model"'
check "the model is what it was" is "$(on "sha256sum <$model")" "$(sha256sum <models/default.bimamba)"

echo 'max_tokens = 100' >"$files/bimambad.toml"
check "a version with the same model" deploy pi@board --model default --config "$files/bimambad.toml"
second=$(status current)
check "the kernel checks it, too" is "$(verity)" ' 2 "verity":"on"'
check "they share one file" is "$(on "stat -c %h $model")" 2

# A block in the middle of the model is lost while the board is off.
"$here/boot.sh" --stop $name
size=$(dumpe2fs -h "$root" 2>/dev/null | sed -n 's/^Block size: *//p')
block=$(debugfs -R "bmap $model 300" "$root" 2>/dev/null)
[ "${block:-0}" -gt 0 ] || die "the model's block is not found"
printf 'a block that the card has lost' | dd of="$files/board.img" bs=1 seek=$((root_offset + block * size + 64)) conv=notrunc status=none
boot
check "the page that is lost is an error" eval 'on "cat $model 2>&1 >/dev/null" | grep -q "Input/output error"'
check "the others are not" on "dd if=$model of=/dev/null bs=4096 count=300 status=none"
check "the kernel says which file" eval 'on "dmesg | grep -i verity" | grep -qi corrupt'
on 'dmesg | grep -i verity' | sed 's/^/     /' || true
check "the same under another name: what is lost is sent again" deploy pi@board --model default --config "$files/bimambad.toml" --label again
third=$(status current)
check "it serves" eval '[ "$third" != "$second" ] && serves "$third" && answers'
slot log | sed 's/^/     /'
exit $failed
