package regular

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	l, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := errors.Join(
		os.WriteFile(at("file"), []byte("text"), 0o600), os.Symlink("file", at("link")), unix.Mkfifo(at("pipe"), 0o600), os.Symlink("pipe", at("link-to-pipe")),
		os.Mkdir(at("dir"), 0o700), os.Symlink("/dev/zero", at("zero")),
	); err != nil {
		t.Fatal(err)
	}
	root := os.DirFS(dir)
	for name, want := range map[string]string{
		"file": "", "link": "", "pipe": "it is a named pipe, not a file", "link-to-pipe": "it is a named pipe, not a file", "dir": "it is a folder, not a file",
		"socket": "it is a socket, not a file", "zero": "it is a device, not a file", "none": "no such file",
	} {
		f, err := Open(root, name)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if b, err := io.ReadAll(f); string(b) != "text" || err != nil {
				t.Errorf("%s: %q, %v", name, b, err)
			}
			f.Close()
			continue
		}
		var p *fs.PathError
		if !errors.As(err, &p) || p.Path != name || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if f, err := Open(os.DirFS("/"), "proc/self/status"); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
}
