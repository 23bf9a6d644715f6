package token

import (
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// TestNFC composes runs of any length, and without U+034F.
func TestNFC(t *testing.T) {
	acute, dot, cedilla := "\u0301", "\u0323", "\u0327"
	many := func(s string) string { return strings.Repeat(s, 40) }
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"a" + acute, "á"},
		{"a" + many(acute) + "b" + acute, "á" + strings.Repeat(acute, 39) + "b" + acute},
		{"x" + many(acute+dot) + "y", "x" + many(dot) + many(acute) + "y"},
		{"c" + many(acute) + cedilla + acute, "ḉ" + many(acute)}, // the cedilla comes first, then one acute fits too
		{many(acute), many(acute)},
		{"\xff" + many(acute) + "\xffe" + acute, "\xff" + many(acute) + "\xffé"},
		{many(acute) + "\u1100\u1161\u11a8", many(acute) + "각"},
		{many(acute) + "\u0958", many(acute) + "\u0915\u093c"}, // excluded from composition
		{many("\u0344"), many("\u0308\u0301")},
	} {
		if got := nfc(c.text); got != c.want {
			t.Errorf("%+q became %+q, not %+q", c.text, got, c.want)
		}
	}
}

// TestNFCLong agrees with package norm where that is NFC: on runs of at most 30.
func TestNFCLong(t *testing.T) {
	alphabet := []rune("aceqoSK <=\u00e9\u1e69\u00c5\u212b\u1ea1\u0300\u0301\u0302\u0307\u0308\u031b\u0323\u0327\u0328\u0338\u0344\u0345\u034f\u0958\u0915\u093c\u09c7\u09be\u1100\u1161\u11a8\uac00\u3099\u304b\U0001d15e\U00011099\U000110ba")
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		text := make([]rune, r.IntN(10))
		for i := range text {
			text[i] = alphabet[r.IntN(len(alphabet))]
		}
		if got, want := composeLong(string(text)), norm.NFC.String(string(text)); got != want {
			t.Fatalf("%+q became %+q, not %+q", string(text), got, want)
		}
	}
}
