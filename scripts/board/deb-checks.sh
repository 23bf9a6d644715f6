# What deb.sh runs on the board, as root, behind checks.sh. /root/files has arm64.deb, the same as later.deb under a later version, and armhf.deb.
url=http://127.0.0.1:11434
service=bimambad.service
cd /root/files
export DEBIAN_FRONTEND=noninteractive
# The board's packages were unpacked and not installed, so dpkg does not know that systemd is there.
install() { dpkg --force-depends --force-confold -i "$@"; }
show() { systemctl show -P "$1" $service; }
answers() {
	curl -sS -m 60 -d '{"model":"default:home","messages":[{"role":"user","content":"turn on the kitchen lights"}]}' $url/v1/chat/completions |
		jq -e '.choices[0].message.content | startswith("{\"intent\":\"HassTurnOn\",\"area\":\"kitchen\",\"domain\":\"light\"}")'
}
find / -xdev \( -path /var/log -o -path /var/lib/dpkg -o -path /tmp -o -path /root \) -prune -o -print | sort >/tmp/before
check "arm64 installs" install arm64.deb
running() { is "$(show ActiveState)" active; }
check "the service runs" eventually 60 running
check "it answers" eventually 60 answers
check "it is on at the next start" systemctl -q is-enabled $service
check "the socket is not" eval '! systemctl -q is-enabled bimambad.socket'
check "verify says nothing" silent systemd-analyze verify --man=no $service bimambad.socket bimamba.slice
check "systemd and the daemon have nothing to complain of" silent journalctl -q -o cat -p warning -u $service
check "$(bimambad --version), $(bimamba version)" bimamba verify default
check "as user bimamba" is "$(stat -c %U /proc/"$(show MainPID)")" bimamba
check "no file differs from what the package says" silent dpkg --verify bimamba

echo 'sessions = 3' >>/etc/bimamba/bimambad.toml
pid=$(show MainPID)
check "upgrades" install later.deb
check "it is another process" eval '[ "$(show MainPID)" != "$pid" ]'
check "it answers" eventually 60 answers
check "the configuration was kept, and holds" is "$(curl -sS $url/status | jq .sessions.total)" 3

systemctl disable -q --now $service
check "a service that was switched off is not started by an upgrade" eval 'install arm64.deb; ! systemctl -q is-enabled $service && ! systemctl -q is-active $service'
systemctl enable -q --now $service
check "it answers" eventually 60 answers

check "removes" dpkg -r bimamba
check "nothing listens" eval '! curl -sS -m 5 $url/health'
check "systemd has forgotten it" is "$(show LoadState)" not-found
check "configuration and state stay" test -e /etc/bimamba/bimambad.toml -a -d /var/lib/bimamba
check "purges" dpkg -P bimamba
find / -xdev \( -path /var/log -o -path /var/lib/dpkg -o -path /tmp -o -path /root \) -prune -o -print | sort >/tmp/after
# left is what was not there before; the user stays, with the copies that systemd-sysusers makes of its files. Folders that were empty before go with the package's files.
left() { comm -13 /tmp/before /tmp/after | { grep -v -e '^/etc/[a-z]*-$' -e '^/etc/\.pwd\.lock$' -e '^/var/lib/systemd' -e '^/var/cache' -e '^/var/tmp' || true; }; }
check "nothing of it is left" silent left

dpkg --add-architecture armhf
check "armhf installs on a 64-bit kernel" install armhf.deb
check "it answers" eventually 60 answers
check "purges" dpkg -P bimamba:armhf
exit $failed
