#!/usr/bin/env bash
# Instructions of the kernels: executed ones under emulation (tools/icount/counts.txt), and for AVX-512, which it does not run, those in the loops of the
# source (tools/icount/loops.txt). Fails where a kernel takes 2 % more than is recorded.
# scripts/icount.sh --update records what it finds. QEMU's user mode and a C compiler are needed (scripts/setup.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
update=false
case "${1:-}" in
--update) update=true ;;
"") ;;
*)
	echo "usage: scripts/icount.sh [--update]" >&2
	exit 2
	;;
esac
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

loops=tools/icount/loops.txt
awk -f tools/icount/loops.awk neon/*_avx512_amd64.s neon/*_vnni_amd64.s >"$tmp/loops"
if $update; then
	cp "$tmp/loops" $loops
elif ! awk '
	FNR == NR { recorded[$1, $2] = $3; next }
	{
		seen[$1, $2]
		if (!(($1, $2) in recorded) || $3 > 1.02 * recorded[$1, $2]) {
			printf "icount: %s %s: %d instructions, recorded %s\n", $1, $2, $3, recorded[$1, $2]
			bad = 1
		}
	}
	END {
		for (k in recorded) if (!(k in seen)) bad = 1
		exit bad
	}
' $loops "$tmp/loops"; then
	echo "icount: the loops of the AVX-512 kernels are not those of $loops; if they are worth it, scripts/icount.sh --update" >&2
	exit 1
fi

counts=tools/icount/counts.txt
version=$(qemu-aarch64 --version | sed -n 's/.*version \([0-9]*\).*/\1/p')
if [ "$version" -ge 9 ]; then
	echo "icount: skipped: QEMU $version does not load plugins of the interface that QEMU 5 to 8 have (Debian 12 has 7.2)"
	exit 0
fi

${CC:-cc} -O2 -Wall -shared -fPIC -o "$tmp/libicount.so" tools/icount/icount.c
while read -r arch cpu kernels; do
	case $arch in
	arm64) qemu=qemu-aarch64 ;;
	amd64) qemu=qemu-x86_64 ;;
	esac
	test=$tmp/$arch.test
	[ -e "$test" ] || GOARCH=$arch CGO_ENABLED=0 go test -c -o "$test" ./neon
	run=$tmp/$arch.$cpu.$kernels
	# Each function counts for the workload whose name and elements the test prints.
	if ! BIMAMBA_ICOUNT=$kernels "$qemu" -cpu "$cpu" -plugin "$tmp/libicount.so,prefix=bimamba/neon.,out=$run.counts" \
		"$test" -test.run 'TestInstructionCounts$' >"$run.work"; then
		cat "$run.work" >&2
		exit 1
	fi
	sed -n "s/^icount: \(.*\)/work $arch $cpu $kernels \1/p" "$run.work"
	sed -n "s/^bimamba\/neon\.\([A-Za-z0-9]*\)\.abi0 /count $arch $cpu $kernels \1 /p" "$run.counts"
done < <(awk '!/^#/ && NF { print $1, $2, $3 }' $counts | sort -u) >"$tmp/measured"

awk -v new="$tmp/new" '
	FNR == NR && $1 == "work" { elements[$2, $3, $4, $5] = $6; next }
	FNR == NR { count[$2, $3, $4, $5] = $6; next }
	/^#/ || !NF { print >new; next }
	{
		if (!(($1, $2, $3, $5) in count) || !(($1, $2, $3, $4) in elements)) {
			printf "%-6s %-10s %-6s %-10s %-14s did not run\n", $1, $2, $3, $4, $5
			bad = 1
			next
		}
		now = count[$1, $2, $3, $5] * 1024 / elements[$1, $2, $3, $4]
		worse = now > $6 * 1.02 ? "MORE" : now < $6 * 0.98 ? "less: record it with --update" : ""
		if (now > $6 * 1.02)
			bad = 1
		printf "%-6s %-10s %-6s %-10s %-14s %9.1f, recorded %9.1f  %s\n", $1, $2, $3, $4, $5, now, $6, worse
		printf "%-6s %-10s %-6s %-10s %-14s %9.1f\n", $1, $2, $3, $4, $5, now >new
	}
	END { exit bad }
' "$tmp/measured" $counts && ok=true || ok=false
if $update; then
	cp "$tmp/new" $counts
	echo "icount: recorded in $counts"
elif ! $ok; then
	echo "icount: more instructions than recorded in $counts; if they are worth it, scripts/icount.sh --update" >&2
	exit 1
fi
