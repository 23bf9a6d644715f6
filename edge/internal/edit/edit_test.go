package edit

import "testing"

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"lamp", "lamp", 0}, {"lamp", "lamb", 1}, {"lamp", "amp", 1}, {"lamp", "clamp", 1}, {"kitchin", "kitchen", 1},
		{"ab", "ba", 2}, {"sessions", "session", 1}, {"kitten", "sitting", 3}, {"abc", "xyz", 3},
	} {
		for limit := range 5 {
			for _, d := range []int{Distance(c.a, c.b, limit), Distance(c.b, c.a, limit)} {
				if c.want <= limit && d != c.want || c.want > limit && d <= limit {
					t.Errorf("%q and %q within %d: %d, not %d", c.a, c.b, limit, d, c.want)
				}
			}
		}
	}
}
