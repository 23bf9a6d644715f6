// Readme writes the table of boards into a README, from the results of measurements in a folder.
//
// Usage: readme RESULTS README
package main

import (
	"fmt"
	"io"
	"os"

	"bimamba/boards/measure"
	"bimamba/internal/atomicfile"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: readme RESULTS README")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "readme: %v\n", err)
		os.Exit(1)
	}
}

func run(results, readme string) error {
	list, err := measure.ReadResults(os.DirFS(results))
	if err != nil {
		return fmt.Errorf("%s: %w", results, err)
	}
	table, err := measure.Table(list, "boards/results")
	if err != nil {
		return err
	}
	b, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	text, err := measure.Replace(string(b), table)
	if err != nil {
		return fmt.Errorf("%s: %w", readme, err)
	}
	if text == string(b) {
		return nil
	}
	f, err := atomicfile.Create(readme, atomicfile.Options{Force: true})
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.WriteString(f, text); err != nil {
		return err
	}
	return f.Commit()
}
