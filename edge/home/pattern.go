package home

import (
	"regexp"
	"sync"
)

// A pattern is a regular expression that is compiled when it is first asked for: a program that has no home pays nothing for them.
type pattern = func() *regexp.Regexp

func lazy(expr string) pattern {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
