package deploy

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bimamba/boards/slot"
	"bimamba/edge/daemon/config"
	"bimamba/edge/model"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

func defaultModel() string { return filepath.Join(testmodel.Root(), "models", "default.bimamba") }

func newBundle(t *testing.T, opt Options) *Bundle {
	t.Helper()
	b, err := New(context.Background(), opt, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// packaged is a manifest with the programs, as those of a board on which a package is installed.
func packaged(t *testing.T) *slot.Manifest {
	t.Helper()
	m := &slot.Manifest{Version: 1}
	for _, name := range []string{slot.CLI, slot.Daemon} {
		f, err := slot.NewFile(name, true, strings.NewReader(name), int64(len(name)), nil)
		if err != nil {
			t.Fatal(err)
		}
		m.Files = append(m.Files, *f)
	}
	return m
}

// TestManifest: pieces begin where tensors do, so that a tensor that did not change is a piece that did not.
func TestManifest(t *testing.T) {
	b := newBundle(t, Options{Model: defaultModel()})
	m, open, err := b.manifest(context.Background(), packaged(t), config.Default())
	if err != nil {
		t.Fatal(err)
	}
	pieces := map[int64]slot.Piece{}
	for _, p := range m.File(slot.Model).Pieces {
		pieces[p.Offset] = p
	}
	tensors := 0
	for _, s := range b.blob.Manifest().Sections {
		for _, x := range s.Tensors {
			p, ok := pieces[int64(x.Offset)]
			if !ok {
				t.Errorf("%s %s: no piece begins with it", s.Name, x.Name)
			} else if int64(x.Length) <= slot.MaxPiece && (p.Size != int64(x.Length) || p.SHA256 != x.SHA256) {
				t.Errorf("%s %s: its piece has %d bytes and %v", s.Name, x.Name, p.Size, p.SHA256)
			}
			tensors++
		}
	}
	if tensors < 50 {
		t.Errorf("%d tensors", tensors)
	}
	for _, f := range m.Files {
		if r, ok := open[f.Name]; ok {
			if b, err := io.ReadAll(io.NewSectionReader(r, 0, f.Size+1)); err != nil || int64(len(b)) != f.Size {
				t.Errorf("%s: %d bytes, %v", f.Name, len(b), err)
			}
		} else if f.Name != slot.CLI && f.Name != slot.Daemon {
			t.Errorf("%s cannot be sent", f.Name)
		}
	}
	again, _, err := newBundle(t, Options{Model: defaultModel()}).manifest(context.Background(), packaged(t), config.Default())
	if err != nil || again.ID() != m.ID() {
		t.Errorf("the same files give another version: %v", err)
	}

	// What is not brought is taken over; a signature is its model's.
	base := *m
	base.Files = append(base.Files[:len(base.Files):len(base.Files)], slot.File{Name: slot.Model + ".minisig"})
	toml := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(toml, []byte("sessions = 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	next, _, err := newBundle(t, Options{Model: defaultModel(), Config: toml}).manifest(context.Background(), &base, config.Default())
	if err != nil || next.File(slot.Model+".minisig") != nil || next.File(slot.Config) == nil || next.File(slot.Daemon) == nil {
		t.Errorf("%v", err)
	}
	kept, _, err := newBundle(t, Options{Label: "x"}).manifest(context.Background(), m, config.Default())
	if err != nil || kept.Golden != m.Golden || len(kept.Files) != len(m.Files) || kept.Label != "x" || kept.ID() == m.ID() {
		t.Errorf("of nothing new: %v", err)
	}
	if _, _, err := b.manifest(context.Background(), nil, config.Default()); err == nil || !strings.Contains(err.Error(), "the board has no bimamba yet") {
		t.Errorf("without programs: %v", err)
	}
	if _, _, err := newBundle(t, Options{}).manifest(context.Background(), packaged(t), config.Default()); err == nil || !strings.Contains(err.Error(), "name the model") {
		t.Errorf("without a model: %v", err)
	}
}

// TestGolden: the answer depends on the arithmetic, and on nothing that differs from run to run.
func TestGolden(t *testing.T) {
	f, err := memmap.Open(defaultModel())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := config.Default()
	ask := func(how arithmetic) *slot.Golden {
		g, err := newGolden(context.Background(), f, how)
		if err != nil || g == nil || len(g.LogProbs) == 0 || !strings.Contains(g.Text, "HassTurnOn") {
			t.Fatalf("%+v, %v", g, err)
		}
		return g
	}
	one, two, other := ask(arithmetic{c.Precision, c.State}), ask(arithmetic{c.Precision, c.State}), ask(arithmetic{model.Exact, c.State})
	same := func(a, b *slot.Golden) bool {
		for i := range a.LogProbs {
			if i >= len(b.LogProbs) || a.LogProbs[i] != b.LogProbs[i] {
				return false
			}
		}
		return a.Text == b.Text
	}
	if !same(one, two) {
		t.Error("twice the same question has two answers")
	}
	if same(one, other) {
		t.Error("another precision gives the same bits")
	}
}

// TestDamaged: a model with a wrong byte is not deployed.
func TestDamaged(t *testing.T) {
	b, err := os.ReadFile(defaultModel())
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	path := filepath.Join(t.TempDir(), "m.bimamba")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(context.Background(), Options{Model: path}, nil); err == nil || !strings.Contains(err.Error(), "m.bimamba") {
		t.Errorf("%v", err)
	}
}
