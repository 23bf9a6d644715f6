// Package health asks the daemon of a board's current version whether it is well: that it runs, that it runs that version, that it is ready, and that it
// answers the version's golden question to the last bit. It finds the daemon's address as the daemon was told it, so that nothing has to be reachable from outside.
package health
