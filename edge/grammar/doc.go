// Package grammar keeps a model's output in a form, by telling before each token which ones may come next.
//
// A [Grammar] is compiled once, of a JSON Schema ([Schema]), of tools ([Tools]), or of parts; [Cache] keeps compiled ones. A [Vocab] is
// the tokens of a model. [Grammar.Start] begins a text: ask the [Matcher] for a mask, choose a token of it, give it to Accept.
//
// # How
//
// The grammar is an automaton over bytes with a stack, so that tokens may hold parts of characters or reach from one value into the next.
// A mask is found by walking the automaton over the tokens' trie, and cached: inside of a string it is the same for each character.
// What a token does within a rule is cached for itself, so that a string in a place not seen before costs little more than its end.
// For each state it is known in how many tokens the text can be brought to its end, and so a text ends in time if it is told how many tokens are left.
//
// # What is JSON here
//
// Objects and arrays with one space or none behind commas and colons, one space or none in front of the whole, and no other white space.
// Numbers have at most 15 digits in front of the point and behind it, unless their limits are larger, and exponents of two digits; with one limit only, numbers that
// are no integers have 9 and 6. A text is nested at most 128 deep. Keys are in the order of the schema.
package grammar
