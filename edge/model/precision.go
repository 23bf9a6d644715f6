package model

import (
	"fmt"

	"bimamba/neon"
)

// Precision chooses the arithmetic of the matrices. Each gives the same bits on every CPU and with any number of threads.
type Precision int

// Precisions.
const (
	LUT16 Precision = iota // 14-bit activations, exact integer sums: relative error about 1e-4; the default
	Exact                  // float32 sums
	Fast                   // 1-bit matrices with 7-bit sums of activations, relative error about 1e-2; else as LUT16
)

var precisions = [...]string{LUT16: "lut16", Exact: "exact", Fast: "fast"}

func (p Precision) String() string { return precisions[p] }

// ParsePrecision is the inverse of String.
func ParsePrecision(s string) (Precision, error) {
	for p, name := range precisions {
		if s == name {
			return Precision(p), nil
		}
	}
	return 0, fmt.Errorf("precision %q is not lut16, exact or fast", s)
}

// form is the tables of a precision's 1-bit matrices.
func (p Precision) form() neon.Form {
	if p == Fast {
		return neon.LUT8
	}
	return neon.LUT16
}

// State is the type that recurrent states are stored in. The arithmetic is float32 with either.
type State int

// States.
const (
	StateF16 State = iota // binary16: half the memory and traffic; the default
	StateF32
)

var states = [...]string{StateF16: "f16", StateF32: "f32"}

func (s State) String() string { return states[s] }

// ParseState is the inverse of String.
func ParseState(name string) (State, error) {
	for s, n := range states {
		if name == n {
			return State(s), nil
		}
	}
	return 0, fmt.Errorf("state %q is not f16 or f32", name)
}

// size is the bytes of an element.
func (s State) size() int64 {
	if s == StateF32 {
		return 4
	}
	return 2
}
