// Command units writes what a package would install for systemd beneath a folder: the files of package unit, with the memory of a model.
//
// Usage: units [-reload] MODEL FOLDER
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"bimamba/edge/daemon"
	"bimamba/edge/daemon/config"
	"bimamba/systemd/unit"
)

// threads is how many cores boards have; the workspace that is reserved depends on it.
const threads = 4

func main() {
	reload := flag.Bool("reload", false, "Type=notify-reload, for systemd 253 and newer")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: units [-reload] MODEL FOLDER")
		os.Exit(2)
	}
	if err := write(flag.Arg(0), flag.Arg(1), *reload); err != nil {
		fmt.Fprintln(os.Stderr, "units:", err)
		os.Exit(1)
	}
}

// write writes the files for a model beneath dir. The drop-in for sensors goes to dir itself: it is not installed, but offered.
func write(model, dir string, reload bool) error {
	c := config.Default()
	c.Model, c.Threads = model, threads
	m, err := daemon.Check(c)
	if err != nil {
		return err
	}
	files := unit.Files(unit.Params{Mapped: m.Mapped, Arena: m.Arena, Heap: m.Heap, NotifyReload: reload})
	files = append(files, unit.File{Path: "sensors.conf", Mode: 0o644, Text: unit.Sensors()})
	for _, f := range files {
		path := filepath.Join(dir, f.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.Text), os.FileMode(f.Mode)); err != nil {
			return err
		}
	}
	return nil
}
