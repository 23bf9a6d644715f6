# What follows README.md word by word: a script sources it, with $files, a folder of its own, and board/checks.sh.

# origin is the working tree as a repository: what a reader would clone if it were committed.
origin() {
	mkdir "$files/origin"
	git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done |
		tar --null -T - -c | tar -C "$files/origin" -x
	git -C "$files/origin" init -q -b main
	git -C "$files/origin" add -A
	git -C "$files/origin" -c user.name=e2e -c user.email= -c commit.gpgsign=false commit -q -m 'the working tree'
}

# blocks NAME: the commands behind <!-- NAME: PATTERN --> go to $files/blocks/1.sh and on, and what they are to print (grep -E) to 1.want.
blocks() {
	rm -rf "$files/blocks"
	mkdir "$files/blocks"
	awk -v dir="$files/blocks/" -v mark="<!-- $1: " '
		index($0, mark) == 1 && / -->$/ { want = substr($0, length(mark) + 1, length($0) - length(mark) - 4) }
		want != "" && /^```sh$/ { n++; print want >(dir n ".want"); want = ""; inside = 1; next }
		/^```$/ { inside = 0 }
		inside { print >(dir n ".sh") }
	' "$files/origin/README.md"
}

# follow N COMMAND...: the Nth block, as filled_in gives it, is an argument of COMMAND. Shows the end of what was said, and how long it took.
follow() {
	local n=$1 start=$SECONDS
	shift
	check "README.md: $(grep -v '^echo' "$files/blocks/$n.sh" | head -n 1 | cut -c 1-110)" block "$(cat "$files/blocks/$n.want")" "$@" "$(filled_in <"$files/blocks/$n.sh")"
	sed -e 's/.*\r//' -e 's/^/     /' "$files/said" | tail -n 6
	echo "     $((SECONDS - start)) s"
	[ $failed = 0 ]
}
block() { # PATTERN COMMAND...
	local want=$1
	shift
	"$@" >"$files/said" 2>&1 && grep -qzE -- "$want" "$files/said" || {
		tail -n 8 "$files/said"
		echo "and $want was to be there"
		return 1
	}
}
