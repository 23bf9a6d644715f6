# The loops of kernels in Go assembly: function, label, and how many instructions stand between the label and the jump back to it.
# For AVX-512, which QEMU's user emulation does not run. Usage: awk -f loops.awk FILE.s ...
/^TEXT / {
	function_ = $2
	sub(/^·/, "", function_)
	sub(/\(.*/, "", function_)
	sub(/,.*/, "", function_)
	split("", at)
	n = 0
	next
}
/^[A-Za-z_][A-Za-z_0-9]*:/ {
	label = $1
	sub(/:.*/, "", label)
	at[label] = n
	next
}
/^\t[A-Z]/ {
	n++
	if ($1 ~ /^J/ && $2 in at)
		printf "%-24s %-12s %d\n", function_, $2, n - at[$2]
}
