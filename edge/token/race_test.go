//go:build race

package token_test

func init() { raced = true }
