package neon

import (
	"slices"
	"testing"
)

func TestSelfTest(t *testing.T) {
	eachKernel(t, func(t *testing.T) {
		before := chosen
		for _, f := range SelfTest() {
			t.Errorf("%s: %s is wrong", f.Kernels, f.Name)
		}
		if chosen != before {
			t.Errorf("the kernels are %s afterwards, %s before", chosen, before)
		}
	})
}

// TestSelfTestFinds pins another result: each test finds it, in each set.
func TestSelfTestFinds(t *testing.T) {
	tests := selfTests()
	for i := range tests {
		t.Run(tests[i].name, func(t *testing.T) {
			one := []pinned{tests[i]}
			one[0].want ^= 1 << i
			var want []Fault
			for _, k := range Kernels() {
				want = append(want, Fault{k, tests[i].name})
			}
			if got := selfTest(one); !slices.Equal(got, want) {
				t.Errorf("faults %v, want %v", got, want)
			}
		})
	}
}

// TestSelfTestPins: two tests with one result would test one thing.
func TestSelfTestPins(t *testing.T) {
	seen := map[uint64]string{}
	for _, p := range selfTests() {
		if other, ok := seen[p.want]; ok {
			t.Errorf("%s and %s have one result", p.name, other)
		}
		seen[p.want] = p.name
	}
}

func BenchmarkSelfTest(b *testing.B) {
	for b.Loop() {
		if f := SelfTest(); f != nil {
			b.Fatal(f)
		}
	}
}
