#!/usr/bin/env bash
# From a clone to an emulated board that answers, and from one version to the next: follows README.md's "Ten minutes to a talking Pi" word by word (readme.sh),
# and then has what can go wrong go wrong: a model that nobody signed, a broken version, the power cut while a version is sent and while it is on trial, too
# little memory, a root that cannot be written to. Prints a line for each check and a table at the end; fails if one does.
# Usage: e2e.sh [BOARD]...
# BOARD is pi-4 (QEMU's virt under its name, 512 MB) or pi-3 (raspi3b, 1 GB); without one, both, each with a fresh card.
# As root on Debian, with Go. 15 to 30 minutes a board on two busy cores; BIMAMBA_BOARD_CACHE as for build.sh. This machine and the boards are in a network of
# their own for that time, which other programs do not see: they reach one another by name and by multicast, and nothing else.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
boards=()
for b in "$@"; do
	case $b in
	pi-3 | pi-4) boards+=("$b") ;;
	*) usage ;;
	esac
done
[ ${#boards[@]} -gt 0 ] || boards=(pi-4 pi-3)
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
[ "$(id -u)" = 0 ] || die "run as root: it makes a network"
need git:git curl:curl sudo:sudo ip:iproute2 unshare:util-linux dnsmasq:dnsmasq-base fsck.fat:dosfstools e2fsck:e2fsprogs
if [ -z "${BIMAMBA_LAN:-}" ]; then
	"$here/build.sh" >/dev/null # has to reach Debian
	go mod download
	mkdir -p -m 0700 ~/.ssh # ssh looks for it there, whatever HOME says
	exec env BIMAMBA_LAN=1 unshare --net --mount "$here/e2e.sh" "$@"
fi
base=$("$here/build.sh")
. "$here/checks.sh"
. "$here/readme.sh"
export GOPROXY=off
unset MAKEFLAGS MAKELEVEL MFLAGS # of the make that runs this
files=$(mktemp -d)
name=e2e-$$
dhcp='' run='' all=0
declare -A figures seen
names=()
finish() {
	"$here/boot.sh" --stop $name
	[ -z "$dhcp" ] || kill "$dhcp"
	rm -rf "$files"
}
trap finish EXIT

# The network of a home: a router that gives the board its address, and the board's name, which on a laptop comes from multicast DNS. raspi3b's usb-net has the
# hardware address that follows QEMU's.
address=192.168.77.2
ip link set lo up
ip tuntap add tap0 mode tap
ip address add ${address%.*}.1/24 dev tap0
ip link set tap0 up
dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --interface=tap0 --bind-interfaces --dhcp-range=$address,$address --dhcp-host=52:54:00:12:34:56,52:54:00:12:34:57,$address \
	--dhcp-ignore-clid --dhcp-leasefile="$files/leases" --user=root --log-facility="$files/dnsmasq.log" &
dhcp=$!
printf '127.0.0.1 localhost %s\n%s kitchen.local\n' "$(hostname)" $address >"$files/hosts"
mount --bind "$files/hosts" /etc/hosts
# Who lives there has no other key and knows no other hosts than these.
mkdir -m 0700 "$files/ssh"
ssh-keygen -q -t ed25519 -N '' -f "$files/ssh/id_ed25519"
mount --bind "$files/ssh" ~/.ssh

boot() { run=$("$here/boot.sh" --name $name --keep --tap tap0/$address "${machine[@]}" "$@" "$card"); }
# on_board FUNCTION ARGUMENT...: one of e2e-checks.sh. Its figures go into the table.
on_board() {
	local name value status=0
	cat "$here/checks.sh" "$here/e2e-checks.sh" | on bash -s -- "$@" >"$files/said" 2>&1 || status=$?
	[ $status = 0 ] || failed=1
	while read -r value; do
		case $value in
		'= '*) figure "${value#= }" ;;
		*) echo "$value" ;;
		esac
	done <"$files/said"
	return $status
}
# figure "NAME VALUE": one for the table; VALUE is the last word.
figure() {
	local name=${1% *} value=${1##* }
	echo "     $name: $value"
	[ -n "${seen[$name]:-}" ] || names+=("$name")
	seen[$name]=1 figures[$board/$name]=$value
}
# lan PATH ARGUMENT... asks the board as a laptop does.
lan() {
	local path=$1
	shift
	curl -sS -m 20 -H "Authorization: Bearer $(cat "$laptop/bimamba/kitchen.token")" "http://kitchen.local:11434$path" "$@"
}
asked() { lan /v1/chat/completions -d '{"model":"default:home","messages":[{"role":"user","content":"turn on the kitchen lights"}]}' | grep HassTurnOn >/dev/null; }
elapsed() { awk -v a="$1" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }'; }
between() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", b - a }'; }

# insert_card is when README.md's card is in the board, and that is switched on.
insert_card() {
	local start
	check "fsck finds nothing on the card that the base image has not" same_file_systems
	start=$(date +%s.%N)
	boot --wait exit || return # the board starts again by itself
	figure "first boot, sets itself up, wall, s $(elapsed "$start")"
	boot && on_board first
}
# After a power cut a FAT has a mark that it was not unmounted, which nobody takes away unless the system has fsck.fat.
same_but_mark() { diff <(fsck "$card" | grep -v -e 'Dirty bit\|dirty bit' -e 'differences between boot sector\|mostly harmless' -e '65:01/00' -e 'Not automatically fixing') "$files/before"; }
same_file_systems() { fsck "$card" | diff "$files/before" -; }

# power_cut kills the machine, and boots it again. Meanwhile somebody asks until there is an answer.
power_cut() {
	local start at asking
	kill -KILL "$(cat "$run/qemu.pid")"
	sleep 1
	start=$(date +%s.%N)
	rm -f "$files/answered"
	(until asked; do sleep 0.3; done && date +%s.%N >"$files/answering" && mv "$files/answering" "$files/answered") 2>/dev/null &
	asking=$!
	boot
	check "after the boot it answers" eventually 300 test -s "$files/answered"
	if [ -s "$files/answered" ]; then
		at=$(cat "$files/answered")
		figure "after a power cut, to the first answer, wall, s $(between "$start" "$at")"
		figure "the same, since the kernel's start, s $(between "$(elapsed "$at")" "$(on cut -d "' '" -f 1 /proc/uptime)")"
	fi
	kill $asking 2>/dev/null || true
}

# walk is all of it on one board.
walk() {
	local first signed last deployer asking start
	echo "board: $board, Debian $suite; in README.md's words: $substituted"
	laptop=$files/laptop card=$files/card.img
	rm -rf "$laptop" "$card"
	: >"$files/ssh/known_hosts"
	mkdir "$laptop"
	follow_readme || return 0
	bimamba=$laptop/bimamba/dist/amd64/bimamba
	first=$(status current)
	check "the version is confirmed, and serves" serves "$first"
	check "/status says what it is" eval 'lan /status | grep "\"version\":" >/dev/null'
	check "/metrics" eval 'lan /metrics | grep "^bimamba_tokens_total" >/dev/null'

	"$bimamba" keygen --no-password -o "$files/models.key" --force >/dev/null
	cp models/default.bimamba "$files/m.bimamba"
	cp models/default.bimamba "$files/unsigned.bimamba"
	"$bimamba" sign "$files/m.bimamba" --key "$files/models.key" --force >/dev/null
	{ cat "$laptop/bimamba/bimambad.toml" && echo "verify_key = [\"$(sed -n 2p "$files/models.key.pub")\"]"; } >"$files/signed.toml"
	start=$(date +%s.%N)
	check "a new version, whose model is signed" deploy pi@board --model "$files/m.bimamba" --config "$files/signed.toml"
	figure "deployment of a new version, s $(elapsed "$start")"
	tail -n 1 "$files/out" | sed 's/^/     /'
	signed=$(status current)
	check "it is another, and answers" eval '[ "$first" != "$signed" ] && asked'
	check "a model that nobody signed is rolled back" fails 'serves again' pi@board --model "$files/unsigned.bimamba" --config "$files/signed.toml" --label unsigned
	sed -n 's/^bimamba: /     /p' "$files/out" | cut -c 1-200
	check "the version before serves" serves "$signed"
	check "a daemon that does not start is rolled back" fails 'serves again' pi@board --daemon "$laptop/bimamba/dist/arm64/bimamba"
	check "the version before serves, and answers" eval 'serves "$signed" && asked'

	# Programs that have little in common with those that are there, over a slow line.
	tc qdisc add dev tap0 root tbf rate 16mbit burst 64kb latency 400ms
	"$bimamba" deploy --ssh-config "$run/ssh_config" pi@board --daemon "$files/other/bimambad" --cli "$files/other/bimamba" >"$files/out" 2>&1 &
	deployer=$!
	check "a version is on its way" on 'for i in $(seq 600); do
		for o in /opt/bimamba/versions/*/offer.json; do
			[ -e "$o" ] && [ "$(cd "${o%/*}" && du -k bimamba bimambad | awk "{ n += \$1 } END { print n }")" -gt 4096 ] && exit
		done
		sleep 0.2
	done; exit 1'
	kill $deployer
	wait $deployer || true
	check "it is not whole" on 'ls /opt/bimamba/versions/*/offer.json'
	power_cut
	tc qdisc del dev tap0 root
	check "power cut in mid-transfer: the version before serves" serves "$signed"

	"$bimamba" deploy --ssh-config "$run/ssh_config" pi@board --daemon "$files/other/bimambad" --cli "$files/other/bimamba" >"$files/out" 2>&1 &
	deployer=$!
	check "it is sent again, and on trial" on 'for i in $(seq 6000); do grep -q "\"trial\":{" /opt/bimamba/state.json && exit; sleep 0.05; done; exit 1'
	power_cut
	check "power cut on trial: the version before serves" serves "$signed"
	check "the log says why: $(slot log | tail -n 1)" eval 'slot log | tail -n 1 | grep -q "started again before it was confirmed"'
	check "the deployment ends, and says so" eval '! wait $deployer'
	tail -n 1 "$files/out" | cut -c 1-200 | sed 's/^/     /'
	check "once more: it is deployed" deploy pi@board --daemon "$files/other/bimambad" --cli "$files/other/bimamba"
	tail -n 1 "$files/out" | sed 's/^/     /'
	last=$(status current)
	check "it is another, and answers" eval '[ "$last" != "$signed" ] && asked'

	(while :; do asked || true; sleep 4; done) >/dev/null 2>&1 &
	asking=$!
	on_board gentle 60 || true
	kill $asking
	wait $asking 2>/dev/null || true
	on_board memory || true
	on_board swap || true

	on_board readonly_root
	"$here/boot.sh" --stop $name
	boot
	on_board readonly_checks || true
	check "a version cannot be deployed there: it is said" fails 'ead-only' pi@board --model default --label readonly
	sed -n 's/^bimamba: /     /p' "$files/out" | cut -c 1-200
	check "the version serves" slot health "$last"
	slot log | sed 's/^/     /'
	"$here/boot.sh" --stop $name
	check "fsck finds nothing on the card after all that" same_but_mark
}

origin
build_arm64 "$files/other" '' # with symbols: other bytes in other places
fsck "$base" >"$files/before"
for board in "${boards[@]}"; do
	case $board in
	pi-4) machine=("${pi4[@]}") ;;
	pi-3) machine=(--machine raspi3b) ;;
	esac
	all=$((${all:-0} | failed)) failed=0
	walk
	"$here/boot.sh" --stop $name
done

all=$((all | failed))
printf '\n%-70s' ''
printf '%10s' "${boards[@]}"
echo
for n in "${names[@]}"; do
	printf '%-70s' "$n"
	for board in "${boards[@]}"; do printf '%10s' "${figures[$board/$n]:--}"; done
	echo
done
[ $all = 0 ] && echo "e2e: all checks passed, in $((SECONDS / 60)) minutes" || echo "e2e: checks failed"
exit $all
