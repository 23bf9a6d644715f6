# What image.sh runs on the board, as root, behind checks.sh, after the first boot. Argument: the format.
url=http://127.0.0.1:11434
service=bimambad.service
boot=/boot/firmware
show() { systemctl show -P "$1" $service; }
running() { is "$(show ActiveState)" active; }
answers() {
	curl -sS -m 60 -d '{"model":"default:home","messages":[{"role":"user","content":"turn on the kitchen lights"}]}' $url/v1/chat/completions |
		jq -e '.choices[0].message.content | startswith("{\"intent\":\"HassTurnOn\",\"area\":\"kitchen\",\"domain\":\"light\"}")'
}
installed() { [ -s /etc/bimamba/image-id ]; }
check "it is installed" eventually 300 installed
check "the service runs" eventually 60 running
check "it answers" eventually 60 answers
echo "     $(cut -d ' ' -f 1 /proc/uptime) s after the start; memory peak $(cat /sys/fs/cgroup/bimamba.slice/$service/memory.peak) bytes, $(grep ^Pss: /proc/"$(show MainPID)"/smaps_rollup | tr -s ' ')"
check "it is on at the next start" systemctl -q is-enabled $service
check "the name" is "$(cat /etc/hostname) $(grep -c kitchen /etc/hosts)" "kitchen 1"
check "the user has the key" grep -q '^ssh-ed25519 ' /home/pi/.ssh/authorized_keys
check "it belongs to the user" is "$(stat -c '%U %a' /home/pi/.ssh/authorized_keys)" 'pi 600'
check "sudo asks for nothing" runuser -u pi -- sudo -n true
check "no password" eval 'getent shadow pi | cut -d : -f 2 | grep -q "^[!*]"'
check "the command" bimamba verify default
check "the boot partition has what it had" eval '[ ! -e $boot/bimamba ] && [ ! -e $boot/firstrun.sh ] && [ ! -e $boot/bimamba-error.txt ] && [ -s $boot/kernel8.img ]'
case $1 in
firstrun.sh) check "cmdline.txt is as it was" is "$(cat $boot/cmdline.txt)" "root=PARTUUID=b0a4d001-02 rootfstype=ext4 rootwait rw" ;;
cloud-init)
	# Wi-Fi is netplan's alone, which Debian does not have, and cloud-init's own detection does not know the label of a Raspberry Pi's boot partition; it says so, and
	# does the rest.
	cloud-init status --wait --format json >/tmp/cloud-init.json
	jq -r '.recoverable_errors[][]' /tmp/cloud-init.json | sed 's/^/     /' | sort -u
	check "cloud-init is done, and complains of nothing but these" jq -e '.status == "done" and .errors == [] and
		([.recoverable_errors[][]] | all(test("Custom fs_label keys is deprecated|Wifi configuration is only available|network-config-v2 failed schema validation")))' /tmp/cloud-init.json
	check "no key of the Wi-Fi is left" eval '! grep -q password $boot/network-config'
	;;
esac
check "systemd has nothing to complain of" silent journalctl -q -o cat -p warning -u $service
exit $failed
