#!/usr/bin/env bash
# Deploys to an emulated board: a first version, a new one, broken ones, and one in whose trial the machine is killed. Prints a line for each check and fails
# if one does.
# Usage: deploy.sh
# As root on Debian, with Go. Some 10 minutes on an idle machine; BIMAMBA_BOARD_CACHE as for build.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# -eq 0 ] || usage
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
image=$("$here/build.sh")
. "$here/checks.sh"

files=$(mktemp -d)
name=deploy-$$
finish() {
	"$here/boot.sh" --stop $name
	rm -rf "$files"
}
trap finish EXIT
build_arm64 "$files"
bimamba=$files/here
CGO_ENABLED=0 go build -trimpath -o "$bimamba" ./cmd/bimamba
cp --sparse=always "$image" "$files/board.img" # written to: it is booted again
boot() { run=$("$here/boot.sh" --name $name --keep "${pi4[@]}" "$files/board.img"); }
dropin() { # LINE: further settings of the daemon
	on "mkdir -p /run/systemd/system/bimambad.service.d && printf '[Service]\n$1\n' >/run/systemd/system/bimambad.service.d/test.conf && systemctl daemon-reload"
}
show() { on "systemctl show -P $1 bimambad.service"; }

boot
echo "board: Debian $suite, 512 MiB"
check "the first deployment" deploy pi@board --model default --daemon "$files/bimambad" --cli "$files/bimamba"
tail -n 1 "$files/out" | sed 's/^/     /'
[ $failed = 0 ] || exit 1
check "a unit can be enabled beside its drop-ins" on systemctl enable bimambad.service
check "it answers" answers
check "its memory is limited: $(show MemoryMax)" less "$(show MemoryMax)" 200000000
check "exposure at most 2.0" on "systemd-analyze security --threshold=20 --no-pager bimambad.service"
check "systemd has nothing to complain of" silent on "systemd-analyze verify --man=no bimambad.service bimamba-slot.service bimamba-slot-expire.timer"
first=$(status current)
check "the same again: nothing to do" deploy pi@board --model default --daemon "$files/bimambad" --cli "$files/bimamba"
grep -q 'current already and well' "$files/out"

echo 'precision = "exact"' >"$files/exact.toml"
check "a new version" deploy pi@board --model default --config "$files/exact.toml"
tail -n 1 "$files/out" | sed 's/^/     /'
second=$(status current)
check "it is another, and answers" eval '[ "$first" != "$second" ] && answers'

check "a daemon that does not start is rolled back" fails 'serves again' pi@board --model default --daemon "$files/bimamba"
check "the version before serves" serves "$second"
dropin 'Environment=BIMAMBAD_PRECISION=fast'
check "one that computes otherwise is rolled back" fails 'the golden prompt' pi@board --model default --config "$files/exact.toml" --label otherwise
sed -n 's/.*\(the golden prompt.*right\):.*/     \1/p' "$files/out"
dropin ''
on systemctl restart bimambad.service
check "the version before serves" serves "$second"

dropin 'WatchdogSec=10'
slot activate "$first" --limit 10m
check "on trial" is "$(status current)" "$first"
on 'kill -STOP $(systemctl show -P MainPID bimambad.service)'
check "one that hangs is rolled back by the watchdog" eventually 120 eval '[ "$(status current)" = "$second" ]'
check "the version before serves" eventually 60 serves "$second"
check "the log says why: $(slot log | tail -n 1)" eval 'slot log | tail -n 1 | grep -q "the daemon ended: watchdog"'
dropin ''

slot activate "$first" --limit 10s
check "one that nobody confirms is rolled back by the timer" eventually 120 eval '[ "$(status current)" = "$second" ]'
check "the version before serves" eventually 60 serves "$second"
check "the timer has stopped" eval '[ "$(on systemctl is-active bimamba-slot-expire.timer)" = inactive ]'

slot activate "$first" --limit 10m
check "on trial, and the power fails" is "$(status current)" "$first"
kill -KILL "$(cat "$run/qemu.pid")"
sleep 1
boot
check "the version before serves after the boot" eventually 120 serves "$second"
check "it answers" answers
check "the log says why: $(slot log | tail -n 1)" eval 'slot log | tail -n 1 | grep -q "started again before it was confirmed"'
check "back to the first version, by hand" deploy rollback pi@board
check "it serves" serves "$first"
"$bimamba" deploy status --ssh-config "$run/ssh_config" pi@board | sed 's/^/     /'
slot log | sed 's/^/     /'
exit $failed
