// Package config is the daemon's configuration: one table of options, and everything that follows from it.
//
// An option `foo_bar` is the flag --foo-bar, the environment variable BIMAMBAD_FOO_BAR and the key foo_bar of a TOML file; a flag goes before the
// environment, the environment before the file, the file before the default. [Load] reads all of them, [Help] and [Sample] describe them,
// [Config.Sources] says where each value came from, and [Config.Diff] what a reload can change.
package config
