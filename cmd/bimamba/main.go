// Command bimamba makes, checks and runs Bi-Mamba models on the machine at hand; `bimamba help` lists its commands.
package main

import (
	"os"

	"bimamba/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
