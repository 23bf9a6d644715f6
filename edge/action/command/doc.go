// Package command does actions by running a program. The daemon does not use it: its sandbox lets it start none. `bimamba voice` does.
package command
