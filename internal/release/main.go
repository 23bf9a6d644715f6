// Command release makes what is handed out of the programs in dist/ARCH, which scripts/boards.sh builds: Debian packages, a container image, an add-on for
// Home Assistant, and a repository for apt. `make deb oci addon apt` calls it.
//
// Usage: release [FLAG]... programs|deb|oci|addon|apt. It runs in the root of the checkout, and the same commit makes the same bytes, signatures left out.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"bimamba/internal/atomicfile"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "release:", err)
		}
		os.Exit(1)
	}
}

// product is what a release is made of.
type product struct {
	root       string // the checkout
	dist       string // the folder of programs and results
	version    string // as the programs say it
	time       time.Time
	maintainer string
	key        string // of gpg, for apt
	out        io.Writer
}

func run(args []string, stdout, stderr io.Writer) error {
	p := &product{out: stdout}
	var seconds int64
	f := flag.NewFlagSet("release", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&p.root, "root", ".", "the checkout")
	f.StringVar(&p.dist, "dist", "dist", "the `folder` of programs and results")
	f.StringVar(&p.version, "version", "", "the programs' version, as scripts/version.sh says it")
	f.Int64Var(&seconds, "time", 0, "the time of all files in `seconds` since 1970")
	f.StringVar(&p.maintainer, "maintainer", "", "`NAME <ADDRESS>` of who answers for the packages")
	f.StringVar(&p.key, "key", "", "the `key` of gpg that the repository is signed with")
	if err := f.Parse(args); err != nil {
		return err
	}
	p.time = time.Unix(seconds, 0).UTC()
	if f.NArg() != 1 {
		return errors.New("say what to make: programs, deb, oci, addon or apt")
	}
	what := f.Arg(0)
	if p.version == "" && what != "programs" && what != "apt" {
		return errors.New("-version is missing: scripts/version.sh prints it")
	}
	switch what {
	case "programs":
		return p.programs()
	case "deb":
		return p.debs()
	case "oci":
		return p.image()
	case "addon":
		return p.addon()
	case "apt":
		return p.apt()
	}
	return fmt.Errorf("%q is none of programs, deb, oci, addon and apt", what)
}

// write writes a result, names it and its size.
func (p *product) write(name string, write func(io.Writer) error) error {
	path := filepath.Join(p.dist, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := atomicfile.Create(path, atomicfile.Options{Force: true})
	if err != nil {
		return err
	}
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	fmt.Fprintf(p.out, "%s  %.1f MB\n", path, float64(info.Size())/1e6)
	return nil
}
