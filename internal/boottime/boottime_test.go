package boottime

import (
	"testing"
	"time"
)

func TestNow(t *testing.T) {
	before := Now()
	time.Sleep(time.Millisecond)
	if after := Now(); before <= 0 || after-before < time.Millisecond {
		t.Errorf("%v, and later %v", before, after)
	}
	a, err := ID()
	b, _ := ID()
	if err != nil || len(a) != 36 || a != b {
		t.Errorf("%q, then %q, %v", a, b, err)
	}
}
