# What doctor.sh runs on the board, as root, behind checks.sh. bimamba is /usr/bin/bimamba. Arguments: what the board is.
id=$1 model=$2 core=$3 cores=$4 mib=$5 storage=$6
kept=/root/doctor # what doctor.sh --keep fetches
report=$kept/doctor.json
mkdir -p $kept
json() { jq -e "$1" $report; }
# finding has a finding of an id, as jq's $f.
finding() { jq -e --arg id "$1" '[.findings[] | select(.id == $id)] | first as $f | '"${2:-\$f != null}" $report; }
none() { jq -e --arg id "$1" 'all(.findings[]; .id != $id)' $report; }
# missing is something that doctor says it could not find out.
missing() { jq -e --arg what "$1" 'any(.board.missing[]; .what == $what and .reason != "")' $report; }
# fails runs a command that has to end with a status, and to say something.
fails() { # STATUS TEXT COMMAND...
	local want=$1 text=$2 rc=0
	shift 2
	"$@" >/tmp/out 2>&1 </dev/null || rc=$?
	cat /tmp/out
	is $rc "$want" && grep -q -- "$text" /tmp/out
}
total=$(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) * 1024))

bimamba doctor --json >$report
check "doctor --json ends with 0" is $? 0
check "it is $id" json ".board.id == \"$id\" and .board.model == \"$model\""
check "it is known to be emulated: $(json .board.emulated)" finding emulated '$f.severity == "note"'
check "cores: $cores $core" json ".board.cores | length == 1 and .[0].name == \"$core\" and .[0].count == $cores and .[0].cpus == [range($cores)]"
check "all of them are on" json ".board | .cores_present == $cores and .cores_online == $cores"
check "RAM: $((total >> 20)) MiB of $mib" json ".board.memory | .total_bytes == $total and .available_bytes > 0 and .available_bytes < $total"
check "less than the board has, and not much" eval "less $((total >> 20)) $mib && less $((mib * 85 / 100)) $((total >> 20))"
check "pages of $(getconf PAGESIZE)" json ".board.page_size_bytes == $(getconf PAGESIZE)"
check "system" json ".board | .kernel == \"$(uname -r)\" and .arch == \"aarch64\" and .userland_bits == 64"
sdot=SMLAL
grep -q asimddp /proc/cpuinfo && sdot=SDOT
check "features: $(json '.board.features | join(" ")')" json ".board.features == [$(sed -n 's/^Features.*: //p' /proc/cpuinfo | head -n 1 |
	xargs -n 1 | grep -xE 'asimd|fphp|asimdhp|asimddp|i8mm|bf16|sve2?' | sed 's/.*/"&"/' | paste -sd,)]"
check "kernels: neon, heads by $sdot" json ".kernels | .in_use == \"neon\" and .sets == [\"portable\", \"neon\"] and (.why | contains(\"$sdot\"))"
check "self-test on each core, without a fault" json ".kernels | .tested_on_cpus == [range($cores)] and .faults == []"
check "storage: $(json '.board.storage[0] | "\([.kind, .model, .device] | map(values) | join(" ")), read \((.read.bytes_per_s // 0) / 1e6 | round) MB/s"')" \
	json ".board.storage[0] | .kind == \"$storage\" and .read.bytes_per_s > 0 and .read.bytes >= 4194304"
check "no clock, no governor: said, not invented" eval 'missing clock && json "all(.board.cores[]; .governor == null and .max_mhz == null)" && none governor'
case $id in
pi-*) check "nobody tells of throttling: said, not invented" eval 'missing throttle && json ".board.throttle == null"' ;;
*) check "nobody tells of throttling" json '.board.throttle == null' ;;
esac
check "no sensor of power" json 'all(.sensors[]; .name == "cpu" or (.usable | not)) and all(.sensors[]; .usable or .reason != "")'
if [ -e /sys/class/thermal/thermal_zone0/temp ]; then
	check "a sensor of temperature" json 'any(.sensors[]; .name == "cpu" and .usable)'
fi

# The memory controller.
if grep -q cgroup_disable=memory /proc/cmdline; then
	check "the memory controller is off" finding cgroup-memory '$f.severity == "warning"'
	mend=$(finding cgroup-memory '$f.mend' | jq -r .)
	check "what mends it: $mend" is "$mend" "sudo sed -i '1s/\$/ cgroup_enable=memory/' /boot/firmware/cmdline.txt && sudo reboot"
	cp /boot/firmware/cmdline.txt /tmp/
	check "the command, but for the reboot" bash -c "${mend% && sudo reboot}"
	check "cmdline.txt is one line, longer by that" is "$(cat /boot/firmware/cmdline.txt)" "$(cat /tmp/cmdline.txt) cgroup_enable=memory"
	bimamba doctor --json >$report
	check "doctor then asks for the reboot alone" finding cgroup-memory '$f.mend | startswith("sudo reboot (")'
	cp /tmp/cmdline.txt /boot/firmware/
else
	check "the memory controller is on" none cgroup-memory
	check "controllers: $(cat /sys/fs/cgroup/cgroup.controllers)" json ".board.cgroup | .version == 2 and (.controllers | join(\" \")) == \"$(cat /sys/fs/cgroup/cgroup.controllers)\""
fi
check "no error" json 'all(.findings[]; .severity != "error")'

# For people.
bimamba doctor >$kept/doctor.txt
check "doctor ends with 0" is $? 0
check "says what the board is" grep -q "^board  *$model, " $kept/doctor.txt
check "says that the self-test went well" grep -q "^self-test  *portable, neon on $cores cores: all right$" $kept/doctor.txt
check "says that it is emulated" grep -q '^note: this board is emulated: ' $kept/doctor.txt
check "on one core" eval "taskset -c 1 bimamba doctor --json | jq -e '.kernels.tested_on_cpus == [1]'"
check "a user without rights" runuser -u pi -- env HOME=/home/pi bimamba doctor --json
check "kernels that are not here: status 1" fails 1 'BIMAMBA_KERNEL=vax' env BIMAMBA_KERNEL=vax bimamba doctor
check "kernels that are forced: a warning" fails 0 '^warning: BIMAMBA_KERNEL=portable keeps the kernels neon' env BIMAMBA_KERNEL=portable bimamba doctor
check "a model that is not there: status 1" fails 1 'none.bimamba' bimamba doctor none.bimamba
check "a file that is no model: status 1" fails 1 'bimamba: /etc/passwd' bimamba doctor /etc/passwd
check "the default model" eval 'bimamba doctor default --json | jq -e ".model.file_bytes > 0 and .model.resident_bytes > .model.file_bytes"'

# Plan.
check "plan for this board: its own memory" eval "bimamba plan default --board here --json | jq -e '.[0] | .board == \"$id\" and .fits and .memory.total == $total and .memory.ram > $total'"
check "the same by its name: another's" eval "bimamba plan default --board $id --json | jq -e '.[0] | .board == \"$id\" and .memory.total != $total'"
check "what does not fit: status 1, and what would" fails 1 'what would fit: ' bimamba plan --size 2.7B --board here --sessions 4 --checkpoints 32
check "a size that fits" fails 0 '^fits  *yes: ' bimamba plan --size 780M --board here --sessions 1 --checkpoints 1
check "without a board: all, this one among them" fails 0 "^$id " bimamba plan

# Measure, for so long that there is something of everything. Its figures are those of an emulator, and nobody's.
report=$kept/report/report.json
check "measure" bimamba measure default --duration 10s --repeat 2 --soak 20s -o $kept/report </dev/null
check "it wrote three files" test -s $report -a -s $kept/report/report.md -a -s $kept/report/report.html
check "all of it was measured" json '.complete and (.runs | length == 2) and all(.runs[]; .load and .prefill.tokens > 0 and .decode.answers > 0 and .decode.first_token.p50_ms > 0 and .decode.next_token.p95_ms > 0)'
check "idle without the model, and with it" json '.idle_before.seconds > 0 and .idle_after.seconds > 0'
check "a summary: nothing was throttled that anyone knows of" json '.summary.decode_tokens_per_s != null and .unsteady == null and .throttling == null'
check "soak" json '.soak.tokens > 0 and .soak.drift.tokens_per_s_percent != null'
check "the board" json ".board | .id == \"$id\" and .cores[0].name == \"$core\" and .cores[0].count == $cores and .memory_bytes == $total and .kernel == \"$(uname -r)\""
check "the machine: $(json '.machine | "\(.kind), \(.evidence)"')" json '.machine.kind == "emulator" and .machine.evidence != null'
check "kernels: neon" json '.program.kernels == "neon" and .program.arch == "arm64"'
check "PSS, the peak, page faults" json '.summary.pss_bytes > .model.file_bytes and .summary.peak_rss_bytes >= .summary.pss_bytes and all(.runs[]; .load.page_faults != null)'
if grep -q cgroup_disable=memory /proc/cmdline; then
	check "no peak of a cgroup" json '.summary.cgroup_peak_bytes == null'
else
	check "the peak of a cgroup, or why not" json '.summary | .cgroup_peak_bytes > 0 or .no_cgroup_peak != null'
fi
check "no joules, and not 0: said why" json '.sensors | .power == null and .no_power != "" and .no_power != null'
check "in no phase" json '[.. | objects | select(has("energy")) | .energy] | length > 8 and all(. == null)'
check "no clock, no throttling: said why" json '.sensors | .no_clock != null and .no_throttling != null'
if [ -e /sys/class/thermal/thermal_zone0/temp ]; then
	check "temperature" json ".summary.celsius.max * 1000 | round == $(cat /sys/class/thermal/thermal_zone0/temp)"
else
	check "no temperature: said why" json '.sensors.no_temperature != null and .summary.celsius == null'
fi
check "no names, paths or prompts in it" eval "! grep -qE 'b0a4d001|/root|/home|kitchen' $report"
check "report.md names the board, and says that it is emulated" eval "grep -q '$model' $kept/report/report.md && grep -qi 'emulat' $kept/report/report.md"
check "report.html too, and loads nothing" eval "grep -q '$model' $kept/report/report.html && grep -qi 'emulat' $kept/report/report.html && ! grep -qE '(src|href)=.?(https?:)?//' $kept/report/report.html"
check "a report that is there is not replaced: status 1" fails 1 'exists; --force replaces it' bimamba measure default -o $kept/report
check "nothing is shared: status 1" fails 1 'emulat' bimamba measure default --duration 2s --repeat 1 --share --json
check "nothing lies there" eval '! ls boards results *.json'
exit $failed
