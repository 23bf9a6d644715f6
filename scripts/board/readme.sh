# Follows README.md's "Ten minutes to a talking Pi" word by word: runs its blocks behind <!-- board: PATTERN --> one after the other, in one folder, and checks
# that each succeeds and prints what matches the pattern (grep -E). e2e.sh sources it, and says with insert_card what happens to the card in between.
#
# The words that a reader fills in, and what stands for them here. kitchen.local is no such word: it is the board's name in the network of e2e.sh.
filled_in() {
	sed -e "s|\bADDRESS\b|$files/origin|" -e "s|\braspios\.img\.xz\b|$base|" -e "s|/dev/sdX\b|$card|"
}
substituted='ADDRESS: a repository of this working tree; raspios.img.xz: the Debian image of build.sh; /dev/sdX: a file, so that flash asks for no name'

# origin is the working tree as a repository: what a reader would clone if it were committed.
origin() {
	mkdir "$files/origin"
	git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done |
		tar --null -T - -c | tar -C "$files/origin" -x
	git -C "$files/origin" init -q -b main
	git -C "$files/origin" add -A
	git -C "$files/origin" -c user.name=e2e -c user.email= -c commit.gpgsign=false commit -q -m 'the working tree'
}

# follow_readme runs the blocks from the folder $laptop on. insert_card is called once, when there is a card.
follow_readme() {
	local n=0 want block start inserted=''
	rm -rf "$files/blocks"
	mkdir "$files/blocks"
	awk -v dir="$files/blocks/" '
		/^<!-- board: .* -->$/ { want = substr($0, 13, length($0) - 16) }
		want != "" && /^```sh$/ { n++; print want >(dir n ".want"); want = ""; inside = 1; next }
		/^```$/ { inside = 0 }
		inside { print >(dir n ".sh") }
	' "$files/origin/README.md"
	check "README.md has such blocks" test -s "$files/blocks/5.sh"
	echo "$laptop" >"$files/where"
	while n=$((n + 1)) && [ -s "$files/blocks/$n.sh" ]; do
		[ -n "$inserted" ] || [ ! -e "$card" ] || { insert_card && inserted=1; } || return
		want=$(cat "$files/blocks/$n.want") block=$(filled_in <"$files/blocks/$n.sh")
		start=$SECONDS
		check "README.md: $(grep -v '^echo' "$files/blocks/$n.sh" | head -n 1 | cut -c 1-110)" block "$block" "$want"
		sed -e 's/.*\r//' -e 's/^/     /' "$files/said" | tail -n 6
		echo "     $((SECONDS - start)) s"
		[ $failed = 0 ] || return
	done
	[ -n "$inserted" ]
}

# block COMMANDS PATTERN runs a block where the one before it ended.
block() {
	(cd "$(cat "$files/where")" && bash -euo pipefail -c "$1"$'\n''pwd >"$0"' "$files/where" </dev/null) >"$files/said" 2>&1 && grep -qzE -- "$2" "$files/said" || {
		tail -n 8 "$files/said"
		echo "and $2 was to be there"
		return 1
	}
}
