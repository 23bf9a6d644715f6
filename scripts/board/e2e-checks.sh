# What e2e.sh runs on the board, as root, behind checks.sh. Arguments: what is to be checked, and its own. A line "= NAME VALUE" is a figure for the table.
service=bimambad.service
group=/sys/fs/cgroup/bimamba.slice/$service
show() { systemctl show -P "$1" $service; }
figure() { echo "= $1 $2"; }
ask() {
	curl -sS -m 60 -H "Authorization: Bearer $(cat /var/lib/bimamba/token)" http://127.0.0.1:11434/v1/chat/completions \
		-d '{"model":"default:home","messages":[{"role":"user","content":"turn on the kitchen lights"}]}' | grep -q HassTurnOn
}
running() { is "$(show ActiveState)" active; }
kb() { sed -n "s/^$2:[[:space:]]*\([0-9]*\) kB/\1/p" "/proc/$(show MainPID)/$1"; }

# first: of a boot.
first() {
	check "it answers" eventually 300 ask
	figure "kernel's start to the first answer, s" "$(cut -d ' ' -f 1 /proc/uptime)"
	check "the service runs" running
	check "what the boot partition had for the first boot is gone" eval '[ ! -e /boot/firmware/bimamba ] && [ ! -e /boot/firmware/firstrun.sh ] && [ ! -e /boot/firmware/bimamba-error.txt ]'
	check "it did not restart" is "$(show NRestarts)" 0
}

memory() {
	figure "memory.peak, MB" "$(awk '{ printf "%.1f", $1 / 1e6 }' $group/memory.peak)"
	figure "PSS, MB" "$(awk -v kb="$(kb smaps_rollup Pss)" 'BEGIN { printf "%.1f", kb * 1024 / 1e6 }')"
	figure "PSS that is the file's, MB" "$(awk -v kb="$(kb smaps_rollup Pss_File)" 'BEGIN { printf "%.1f", kb * 1024 / 1e6 }')"
	check "memory.peak is less than the limit" less "$(cat $group/memory.peak)" "$(show MemoryMax)"
}

# swap: with a swap file, and more asked for than is free, others are swapped and the daemon is not. Swappiness leaves the pages of programs in memory: an emulator
# that has to translate them again and again stands still for minutes.
swap() {
	local size hog
	# An emulator that swaps stands still for longer than the watchdog waits.
	mkdir -p /run/systemd/system/$service.d && printf '[Service]\nWatchdogSec=0\n' >/run/systemd/system/$service.d/e2e.conf && systemctl daemon-reload && systemctl restart $service
	dd if=/dev/zero of=/swap bs=1M count=128 oflag=direct status=none && chmod 600 /swap && mkswap -q /swap && swapon /swap || exit 1
	sysctl -q vm.swappiness=200 vm.drop_caches=1
	size=$(($(sed -n 's/^MemFree: *\([0-9]*\) kB/\1/p' /proc/meminfo) + 40 * 1024))
	mkfifo /run/hog
	dd if=/dev/zero of=/run/hog bs=${size}K count=1 status=none &
	hog=$!
	exec 3</run/hog # it fills its memory, and waits until somebody reads
	swapped() { [ "$(awk 'NR > 1 { print $4 }' /proc/swaps)" -gt 8192 ]; }
	check "the board swaps" eventually 120 swapped
	check "it answers meanwhile" ask
	check "no swap is used by the daemon, $(awk 'NR > 1 { print $4 }' /proc/swaps) KiB by others" is "$(kb status VmSwap) $(cat $group/memory.swap.current)" '0 0'
	figure "swap of the daemon under pressure, KiB" "$(kb status VmSwap)"
	kill $hog
	exec 3<&-
	swapoff /swap && rm /swap /run/hog
	check "it was not killed" is "$(show NRestarts)" 0
}

# gentle SECONDS: what is written while a client asks now and then.
gentle() {
	local root disk pid before after written p asked since trace=/sys/kernel/tracing ino pages
	root=$(findmnt -no SOURCE /) disk=${root#/dev/} disk=${disk%2} disk=${disk%p} pid=$(show MainPID)
	sectors() { awk '{ print $7 }' "/sys/block/$disk/stat"; }
	writers() { for p in /proc/[0-9]*; do echo "${p#/proc/} $(cat "$p/comm") $(sed -n 's/^write_bytes: //p' "$p/io")"; done 2>/dev/null | awk 'NF == 3' | sort; }
	requests() { curl -sS -m 60 -H "Authorization: Bearer $(cat /var/lib/bimamba/token)" http://127.0.0.1:11434/metrics | awk '/^bimamba_requests_total/ { n += $NF } END { print n + 0 }'; }
	sync
	journalctl --sync
	sleep 6 # what ext4 still had to commit
	mountpoint -q $trace || mount -t tracefs tracefs $trace
	echo 1 >$trace/events/writeback/writeback_single_inode/enable
	asked=$(requests) since=$(date +%s.%N) before=$(sectors)
	writers >/run/before
	sleep "$1"
	writers >/run/after
	after=$(sectors) written=$(awk 'NR == FNR { was[$1] = $3; next } $1 in was && $1 == pid { print $3 - was[$1] }' pid="$pid" /run/before /run/after)
	asked=$(($(requests) - asked))
	echo 0 >$trace/events/writeback/writeback_single_inode/enable
	sed -n 's/.* ino=\([0-9]*\) .* wrote=\([1-9][0-9]*\) .*/\1 \2/p' $trace/trace | awk '{ n[$1] += $2 } END { for (i in n) print i, n[i] }' |
		while read -r ino pages; do echo "$(find / -xdev -inum "$ino" -print -quit | grep . || echo 'the file system itself'), $pages pages"; done >/run/written
	check "$asked requests were answered in $1 s" [ "$asked" -ge 5 ]
	check "the daemon wrote $written bytes to storage" is "$written" 0
	check "it logged nothing" silent journalctl -q -b -o cat -u $service --since "@$since" # a board without a clock has been at that time before
	check "no file of its was written" eval '! grep bimamba /run/written'
	figure "bytes the daemon wrote in $1 s" "$written"
	figure "KiB written to the card in $1 s" "$(((after - before) / 2))"
	join -j 1 /run/before /run/after | awk '$2 == $4 && $5 > $3 { printf "     %s wrote %d KiB\n", $2, ($5 - $3) / 1024 }'
	sed 's/^/     written: /' /run/written # and what belongs to it: the journal and the inodes of the file system
}

# readonly makes the root one that is not written to, as of the next boot.
readonly_root() {
	sed -i 's|^\([^ ]* / ext4 \)|\1ro,|' /etc/fstab
	for d in /var/lib/bimamba /var/log /var/tmp; do echo "tmpfs $d tmpfs defaults 0 0"; done >>/etc/fstab
}
readonly_checks() {
	check "the root is read-only" eval 'findmnt -no OPTIONS / | grep -q "^ro," && ! touch /root/x'
	check "it answers" eventually 120 ask
	check "it is restarted" systemctl restart $service
	check "it answers" eventually 60 ask
	systemctl stop $service
	check "its folder of states is read-only, too" eval 'umount /var/lib/bimamba && ! touch /var/lib/bimamba/x'
	check "it starts" systemctl start $service
	check "it answers" eventually 60 ask
}

"$@"
exit $failed
