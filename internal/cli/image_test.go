package cli

import (
	"compress/gzip"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"bimamba/internal/testmodel"
)

// TestImage builds images from a card in small, and writes them: base.img in each script's folder.
func TestImage(t *testing.T) {
	root, err := filepath.Abs(testmodel.Root())
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/image",
		Setup: func(e *testscript.Env) error {
			e.Setenv("MODELS", filepath.Join(root, "models"))
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "cache"))
			return unzip(filepath.Join(root, "boards/image/testdata/base.img.gz"), filepath.Join(e.WorkDir, "base.img"))
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"cut": cut,
			// program FILE MACHINE writes the head of a static program for a machine of ELF's numbers: 183 is arm64, 62 x86-64.
			"program": func(ts *testscript.TestScript, neg bool, args []string) {
				b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 57)...)
				binary.LittleEndian.PutUint16(b[16:], 2)
				b[18], b[20], b[52] = map[string]byte{"arm64": 183, "amd64": 62}[args[1]], 1, 64
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o755))
			},
		},
	})
}

func unzip(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, z)
	return err
}
