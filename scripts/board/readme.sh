# Follows README.md's "Ten minutes to a talking Pi" word by word: runs its blocks behind <!-- board: PATTERN --> one after the other, in one folder, and checks
# that each succeeds and prints what matches the pattern. e2e.sh sources it, and says with insert_card what happens to the card in between.
. "$here/../readme.sh"

# The words that a reader fills in, and what stands for them here. kitchen.local is no such word: it is the board's name in the network of e2e.sh.
filled_in() {
	sed -e "s|\bADDRESS\b|$files/origin|" -e "s|\braspios\.img\.xz\b|$base|" -e "s|/dev/sdX\b|$card|"
}
substituted='ADDRESS: a repository of this working tree; raspios.img.xz: the Debian image of build.sh; /dev/sdX: a file, so that flash asks for no name'

# follow_readme runs the blocks from the folder $laptop on. insert_card is called once, when there is a card.
follow_readme() {
	local n=0 inserted=''
	blocks board
	check "README.md has such blocks" test -s "$files/blocks/5.sh"
	echo "$laptop" >"$files/where"
	while n=$((n + 1)) && [ -s "$files/blocks/$n.sh" ]; do
		[ -n "$inserted" ] || [ ! -e "$card" ] || { insert_card && inserted=1; } || return
		follow $n on_laptop || return
	done
	[ -n "$inserted" ]
}

# on_laptop runs a block where the one before it ended.
on_laptop() { (cd "$(cat "$files/where")" && bash -euo pipefail -c "$1"$'\n''pwd >"$0"' "$files/where" </dev/null); }
