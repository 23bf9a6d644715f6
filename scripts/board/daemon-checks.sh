# What daemon.sh runs on the board, as root, behind checks.sh. /root/files is what a package would install. Argument: all or kernels.
url=http://127.0.0.1:11434
service=bimambad.service
dropins=/etc/systemd/system/$service.d

# show is a property of the service.
show() { systemctl show -P "$1" "${2:-$service}"; }
seconds() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(seconds)" 'BEGIN { printf "%.2f", b - a }'; }
state_is() { is "$(show ActiveState)" "$1"; }
restarted() { is "$(show NRestarts)" "$1" && state_is active; }
log() { journalctl -q -o cat -u $service "$@"; }
logged() { log --since "@${2:-0}" | grep -q -- "$1"; }
question='{"model":"default:home","messages":[{"role":"user","content":"turn on the kitchen lights"}]}'
# ask has to get the right answer.
ask() {
	curl -sS -m 60 -H 'Content-Type: application/json' -d "$question" "$url/v1/chat/completions" >/tmp/answer &&
		jq -e '.choices[0].message.content | startswith("{\"intent\":\"HassTurnOn\",\"area\":\"kitchen\",\"domain\":\"light\"}")' /tmp/answer || {
		cat /tmp/answer
		false
	}
}
complete() { # SESSION PROMPT -> /tmp/answer
	curl -sS -m 60 -d "{\"model\":\"default\",\"prompt_cache_key\":\"$1\",\"prompt\":\"$2\",\"max_tokens\":1,\"temperature\":0}" "$url/v1/completions" >/tmp/answer
}
state() { curl -sS -m 60 --fail-with-body -d "$1" "$url/v1/state"; }
# dropin NAME LINE...: further lines for the service.
dropin() {
	local name=$1
	shift
	mkdir -p $dropins
	printf '%s\n' '[Service]' "$@" >$dropins/"$name".conf
	systemctl daemon-reload
}

echo "     kernel $(uname -r), $(systemctl --version | head -n 1), Landlock $(grep -q landlock /sys/kernel/security/lsm && echo on || echo off)"
cp -r /root/files/usr / && rm -rf /root/files/usr
systemctl daemon-reload
check "sysusers" systemd-sysusers /usr/lib/sysusers.d/bimamba.conf
check "sysusers, again: nothing to do" silent systemd-sysusers /usr/lib/sysusers.d/bimamba.conf
check "tmpfiles" silent systemd-tmpfiles --create /usr/lib/tmpfiles.d/bimamba.conf
sync
echo 3 >/proc/sys/vm/drop_caches # or the model's pages belong to who copied it

check "socket starts" systemctl enable -q --now bimambad.socket
check "the service does not run yet" state_is inactive
start=$(seconds)
check "the first request starts it and is answered" ask
echo "     first answer after $(since "$start") s, $(log | sed -n 's/.*msg=ready.*seconds=\([0-9.]*\).*/\1/p' | head -n 1) s of it from start to ready"
check "systemd has nothing to complain of" silent journalctl -q -o cat -p warning -u bimambad.socket -u $service -u bimamba.slice
kernel=$(curl -sS $url/status | jq -r .kernel)
echo "     kernels: $kernel, threads: $(curl -sS $url/status | jq .threads)"
check "kernels of arm64" grep -q '^neon' <<<"$kernel"
if [ "$1" = kernels ]; then
	complete k 'turn off the lamp in the bedroom'
	check "it did not restart" restarted 0
	exit $failed
fi

check "verify says nothing" silent systemd-analyze verify --man=no $service bimambad.socket bimamba.slice
exposure() { systemd-analyze security --no-pager $service | sed -n 's/.*Overall exposure level[^:]*: \([0-9.]*\).*/\1/p'; }
check "exposure at most 2.0: $(exposure)" less "$(exposure)" 2.0
check "STATUS: $(show StatusText)" grep -q 'answering at http://127.0.0.1:11434' <<<"$(show StatusText)"
pid=$(show MainPID)
check "runs as bimamba" is "$(ps -o user= -p "$pid")" bimamba
check "no capabilities, no new privileges, a filter" is "$(sed -n 's/^\(CapEff\|CapBnd\|NoNewPrivs\|Seccomp\):\t//p' /proc/"$pid"/status | xargs)" \
	"0000000000000000 0000000000000000 1 2"
check "Landlock: $(log | sed -n 's/.*msg=sandbox rules=//p' | head -n 1)" logged 'are restricted (Landlock [1-9]'
check "the socket of the socket unit: $(stat -c '%U:%G %a' /run/bimamba/bimambad.sock)" is "$(stat -c '%U:%G %a' /run/bimamba/bimambad.sock)" "root:bimamba 660"
check "members of group bimamba use it" runuser -u pi -g bimamba -- curl -sS --unix-socket /run/bimamba/bimambad.sock http://board/health
check "others do not" eval '! runuser -u pi -- curl -sS --unix-socket /run/bimamba/bimambad.sock http://board/health'

# Memory.
group=/sys/fs/cgroup$(show ControlGroup)
check "MemoryMax: $(show MemoryMax)" is "$(cat "$group/memory.max")" $(($(show MemoryMax) / 4096 * 4096))
check "MemoryMin: $(show MemoryMin), and of the slice $(show MemoryMin bimamba.slice)" is "$(cat "$group/memory.min") $(cat "$group/../memory.min")" \
	"$(($(show MemoryMin) / 4096 * 4096)) $(($(show MemoryMin bimamba.slice) / 4096 * 4096))"
hundred() { # of one client
	is "$(curl -sS -m 300 -d '{"model":"default","prompt":"on","max_tokens":2}' "$url/v1/completions?n=[1-100]" | grep -o '"finish_reason"' | wc -l)" 100
}
two_hundred() {
	hundred &
	hundred && wait $!
}
start=$(seconds)
check "200 requests of two clients" two_hundred
echo "     in $(since "$start") s"
peak=$(cat "$group/memory.peak")
check "memory.peak $peak at most MemoryMax" less "$peak" "$(show MemoryMax)"
check "nothing was killed or held back for memory" is "$(sed -n 's/^\(max\|oom\|oom_kill\) //p' "$group/memory.events" | xargs)" "0 0 0"
sleep 3
echo "     memory.current $(cat "$group/memory.current"), $(sed -n 's/^\(Rss\|Pss_Anon\|Pss_File\): *\([0-9]*\) kB/\1 \2 kB/p' /proc/"$pid"/smaps_rollup | xargs)," \
	"heap $(curl -sS $url/status | jq .memory.heap), arena $(curl -sS $url/status | jq .memory.arena)"

# Snapshots.
complete one 'turn on the kitchen lights'
first=$(cat /tmp/answer)
check "a state is saved" state '{"op":"save","name":"kitchen","session":"one"}'
check "of mode 600 in a folder of mode 700" is "$(stat -c %a /var/lib/bimamba /var/lib/bimamba/kitchen* | xargs)" "700 600"
systemctl restart $service
check "it is there after a restart" eval "curl -sS $url/v1/state | jq -e '.data[0] | .name == \"kitchen\" and .usable'"
check "and can be loaded" eval "state '{\"op\":\"load\",\"name\":\"kitchen\",\"session\":\"two\"}' >/tmp/loaded"
complete two "turn on the kitchen lights$(jq -r '.choices[0].text' <<<"$first")and more"
cached=$(jq .usage.prompt_tokens_details.cached_tokens /tmp/answer)
check "and is the beginning of a longer prompt: $cached of $(jq .usage.prompt_tokens /tmp/answer) tokens" is "$cached" "$(jq .tokens /tmp/loaded)"

# Reload, with requests under way.
rm -f /tmp/stop /tmp/lost
(while [ ! -e /tmp/stop ]; do curl -sS -m 60 -o /dev/null --fail -d '{"model":"default","prompt":"a","max_tokens":4}' $url/v1/completions || echo lost >>/tmp/lost; done) &
client=$!
now=$(date +%s)
pid=$(show MainPID)
check "reload" systemctl reload $service
check "the journal says reloaded" eventually 20 logged 'msg=reloaded' "$now"
cp /usr/share/bimamba/default.bimamba /usr/share/bimamba/next && mv /usr/share/bimamba/next /usr/share/bimamba/default.bimamba
now=$(date +%s)
check "reload with another file" systemctl reload $service
check "opens it" eventually 20 logged 'msg=model' "$now"
eventually 20 logged 'msg=reloaded' "$now"
echo 'sessions = "two"' >/etc/bimamba/bimambad.toml
now=$(date +%s)
systemctl reload $service
check "a wrong configuration changes nothing and is logged" eventually 20 logged 'all stays as it was.*sessions: the value is a string' "$now"
rm /etc/bimamba/bimambad.toml
touch /tmp/stop
wait $client
check "no request was lost" test ! -e /tmp/lost
check "it is the same process" is "$(show MainPID)" "$pid"
check "STATUS after a reload: $(show StatusText)" grep -q '^answering' <<<"$(show StatusText)"
check "it answers" ask

# Stop, with a long answer under way.
curl -sS -m 60 -o /dev/null -d '{"model":"default","prompt":"a","max_tokens":4096,"temperature":1.5,"stream":true}' $url/v1/completions &
sleep 1
systemctl stop bimambad.socket $service
took=$(awk -v a="$(show ActiveExitTimestampMonotonic)" -v b="$(show InactiveEnterTimestampMonotonic)" 'BEGIN { printf "%.2f", (b - a) / 1e6 }')
check "stops within 5 s: $took" less "$took" 5
check "and well" is "$(show Result)" success
wait $! 2>/dev/null
check "systemd's socket is there again" systemctl start bimambad.socket

# Idle exit.
echo 'idle_exit = "3s"' >/etc/bimamba/bimambad.toml
check "starts with idle_exit" ask
check "ends when nobody asks" eventually 30 state_is inactive
check "and well" is "$(show Result) $(show NRestarts)" "success 0"
start=$(seconds)
check "comes back for the next request" ask
echo "     in $(since "$start") s, $(log | sed -n 's/.*msg=ready.*seconds=\([0-9.]*\).*/\1/p' | tail -n 1) s of it from start to ready"
rm /etc/bimamba/bimambad.toml

# Watchdog.
dropin watchdog WatchdogSec=15
systemctl restart $service
sleep 20
check "the watchdog is fed" restarted 0
now=$(date +%s)
start=$(seconds)
kill -STOP "$(show MainPID)"
check "a process that stands still is replaced" eventually 90 restarted 1
echo "     after $(since "$start") s"
check "by the watchdog" eval "journalctl -q -o cat -u $service --since @$now | grep -i watchdog"
check "it answers" ask
rm $dropins/watchdog.conf
systemctl daemon-reload

# A crash.
kill -SEGV "$(show MainPID)"
check "a crash is, too" eventually 30 restarted 2
check "it answers" ask

# System calls: none is denied. Those outside of the filter are logged instead, while it does all that it does.
filter=$(sed -n 's/^SystemCallFilter=//p' /usr/lib/systemd/system/$service | grep -v '^~')
dropin log SystemCallFilter= "SystemCallLog=~$filter" "SystemCallLog=@privileged @resources"
denied() { # COMMAND SINCE: the numbers of the system calls that were logged
	journalctl -q -o cat --since "@$2" _TRANSPORT=kernel + _TRANSPORT=audit | sed -n "s/.*comm=\"$1\".*syscall=\([0-9]*\).*/\1/p" | sort -nu | xargs
}
now=$(date +%s)
systemd-run -q --wait -p "SystemCallLog=~$filter" -p "SystemCallLog=@privileged @resources" nice -n 1 true
check "system calls that the filter denies are seen" is "$(denied nice "$now")" 140 # setpriority
now=$(date +%s)
systemctl restart $service
ask >/dev/null
complete one 'turn on the kitchen lights'
state '{"op":"save","name":"other","session":"one"}' >/dev/null
state '{"op":"load","name":"other","session":"three"}' >/dev/null
state '{"op":"delete","name":"other"}' >/dev/null
for path in /status /metrics /; do curl -sS -o /dev/null $url$path; done
systemctl reload $service
eventually 20 logged 'msg=reloaded' "$now"
systemctl stop bimambad.socket $service
systemctl start bimambad.socket
check "no system call of the daemon is one of them" is "$(denied bimambad "$now")" ""
rm $dropins/log.conf
systemctl daemon-reload

# Sensors.
mkdir -p $dropins
cp /root/files$dropins/sensors.conf $dropins/
systemctl daemon-reload
check "with sensors, verify says nothing" silent systemd-analyze verify --man=no $service
check "with sensors, exposure at most 2.5: $(exposure)" less "$(exposure)" 2.5
check "with sensors, it answers" ask
check "with sensors, it is in their groups" is "$(sed -n 's/^Groups:\t//p' /proc/"$(show MainPID)"/status | xargs -n 1 | sort -n | xargs)" \
	"$(getent group bimamba video i2c | cut -d: -f3 | sort -n | xargs)"
echo "     the last lines of the log:"
log -n 4 | sed 's/^/     /'
exit $failed
