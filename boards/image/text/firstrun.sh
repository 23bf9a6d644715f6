#!/bin/sh
# Written by `bimamba image`: systemd runs it once, at the first boot, and it removes itself. It may be cut off at any moment and run again.
set -u
root=${BIMAMBA_ROOT:-}
firmware=$root{{.Firmware}}
{{- if .Settings}}
hostname={{quote .Hostname}}
user={{quote .User}}

# append FILE LINE... adds the lines that are not there, all at once.
append() {
	file=$1
	shift
	[ -f "$file" ] || : >"$file"
	printf '%s\n' "$@" | awk '!seen[$0]++' "$file" - >"$file.new" && sync && mv -f "$file.new" "$file"
}

set_hostname() {
	printf '%s\n' "$hostname" >"$root/etc/hostname"
	if grep -q '^127\.0\.1\.1[[:space:]]' "$root/etc/hosts"; then
		sed -i "s/^127\.0\.1\.1[[:space:]].*/127.0.1.1\t$hostname/" "$root/etc/hosts"
	else
		printf '127.0.1.1\t%s\n' "$hostname" >>"$root/etc/hosts"
	fi
}

# The user of number 1000 gets the name. Without a password: "!" locks it, and the key is how to log in.
set_user() {
	old=$(getent passwd 1000 | cut -d : -f 1)
	if [ -x "$root/usr/lib/userconf-pi/userconf" ]; then
		"$root/usr/lib/userconf-pi/userconf" "$user" '!'
	elif [ -z "$old" ]; then
		useradd -m -u 1000 -s /bin/bash "$user"
	elif [ "$old" != "$user" ]; then
		usermod -l "$user" "$old"
		usermod -m -d "/home/$user" "$user"
		groupmod -n "$user" "$old"
	fi
	home=$root$(getent passwd "$user" | cut -d : -f 6)
	mkdir -p "$home/.ssh"
	append "$home/.ssh/authorized_keys"{{range .Keys}} {{quote .}}{{end}}
	chmod 700 "$home/.ssh"
	chmod 600 "$home/.ssh/authorized_keys"
	chown -R "$user:" "$home/.ssh"
	printf '%s ALL=(ALL) NOPASSWD: ALL\n' "$user" >"$root/etc/sudoers.d/010_bimamba"
	chmod 440 "$root/etc/sudoers.d/010_bimamba"
	mkdir -p "$root/etc/ssh/sshd_config.d"
	echo 'PasswordAuthentication no' >"$root/etc/ssh/sshd_config.d/10-bimamba.conf"
	systemctl enable ssh
}
{{- if .SSID}}

# NetworkManager's keyfile of the network waits on this partition until it is in its place.
wifi=$firmware/bimamba-wifi.nmconnection
set_wifi() {
	to=$root/etc/NetworkManager/system-connections/bimamba.nmconnection
	mkdir -p "${to%/*}"
	if [ -f "$wifi" ]; then
		(umask 077 && cat "$wifi" >"$to.new") && sync && mv -f "$to.new" "$to"
	fi
	if command -v raspi-config >/dev/null; then
		raspi-config nonint do_wifi_country {{.Country}}
	fi
	for f in "$root"/var/lib/systemd/rfkill/*:wlan; do
		[ ! -f "$f" ] || echo 0 >"$f"
	done
}
{{- end}}
{{- if .Timezone}}

set_timezone() {
	ln -sf {{quote (print "/usr/share/zoneinfo/" .Timezone)}} "$root/etc/localtime"
	printf '%s\n' {{quote .Timezone}} >"$root/etc/timezone"
}
{{- end}}
{{- if .Locale}}

set_locale() {
	if [ -f "$root/etc/locale.gen" ]; then
		append "$root/etc/locale.gen" {{quote (print .Locale " UTF-8")}}
		locale-gen
	fi
	printf 'LANG=%s\n' {{quote .Locale}} >"$root/etc/default/locale"
}
{{- end}}
{{- end}}

main() {
{{- if .Settings}}
	set_hostname
	set_user
{{- if .SSID}}
	set_wifi
{{- end}}
{{- if .Timezone}}
	set_timezone
{{- end}}
{{- if .Locale}}
	set_locale
{{- end}}
{{- end}}
	# Whether that ends well or not, the next boot is an ordinary one: what went wrong is in bimamba-error.txt on this partition, and install.sh can be run again.
	[ ! -f "$firmware/bimamba/install.sh" ] || sh "$firmware/bimamba/install.sh"
{{- if and .Settings .SSID}}
	# The key is overwritten while this script is still sure to run again. The card's own electronics may keep a copy.
	[ ! -f "$wifi" ] || mv -f "$wifi" "$wifi.old"
	if [ -f "$wifi.old" ]; then
		dd if=/dev/zero of="$wifi.old" bs="$(wc -c <"$wifi.old")" count=1 conv=notrunc,fsync 2>/dev/null
		rm -f "$wifi.old"
		sync
	fi
{{- end}}
	sed 's/{{.Args}}//' "$firmware/cmdline.txt" >"$firmware/cmdline.new" && [ -s "$firmware/cmdline.new" ] || exit 1
	sync
	mv -f "$firmware/cmdline.new" "$firmware/cmdline.txt"
	sync
	rm -f "$firmware/firstrun.sh"
	sync
	exit 0
}
main
