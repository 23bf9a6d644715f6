# What the checks that run on the board share; it goes before them into the board's shell. They print PASS or FAIL for each check, with figures, and exit with
# $failed.
set -uo pipefail
failed=0

# check NAME CONDITION...: the condition is a command; its output is not shown.
check() {
	local name=$1
	shift
	if "$@" >/tmp/check 2>&1; then
		echo "PASS $name"
	else
		echo "FAIL $name"
		sed 's/^/     /' /tmp/check | tail -n 5
		failed=1
	fi
}
# silent runs a command that has to succeed and to say nothing.
silent() {
	local out
	out=$("$@" 2>&1) && [ -z "$out" ] || {
		echo "$out"
		return 1
	}
}
is() { [ "$1" = "$2" ] || { echo "is $1, not $2" && false; }; }
# less compares numbers with a fraction.
less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 <= b + 0) }' || { echo "$1 is more than $2" && false; }; }
# eventually retries a command for some seconds.
eventually() {
	local i limit=$1
	shift
	for ((i = 0; i < limit * 5; i++)); do
		"$@" && return
		sleep 0.2
	done
	return 1
}
