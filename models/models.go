// Package models embeds the default model. Only the CLI imports it; the daemon maps a file.
package models

import (
	_ "embed"
	"strings"
)

// Default is the blob of the default model (its card: default.md).
//
//go:embed default.bimamba
var Default []byte

//go:embed default.sha256
var sum string

// DefaultSHA256 is the SHA-256 of Default in hex, so that nobody has to compute it at every start.
func DefaultSHA256() string { return strings.TrimSpace(sum) }
