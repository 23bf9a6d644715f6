package models_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"testing"

	"bimamba/convert"
	"bimamba/internal/testmodel"
	"bimamba/models"
)

// TestDefault is whole, and named by its checksum.
func TestDefault(t *testing.T) {
	if sum := sha256.Sum256(models.Default); hex.EncodeToString(sum[:]) != models.DefaultSHA256() {
		t.Errorf("default.sha256 says %s, but default.bimamba has %x: run make default", models.DefaultSHA256(), sum)
	}
	if err := testmodel.Default(t).Verify(context.Background(), nil); err != nil {
		t.Error(err)
	}
}

// TestDefaultIsReproducible converts the checkpoint again and comes to the same tensors. The checkpoint, 44 MB, is not in the repository.
func TestDefaultIsReproducible(t *testing.T) {
	dir := os.Getenv("BIMAMBA_CHECKPOINT")
	if dir == "" {
		t.Skip("BIMAMBA_CHECKPOINT names no folder with the default model's checkpoint (train/README.md)")
	}
	card, err := convert.ReadCard("default.toml")
	if err != nil {
		t.Fatal(err)
	}
	again, have := testmodel.Convert(t, dir, convert.Options{Card: card}).Manifest(), testmodel.Default(t).Manifest()
	if len(again.Sections) != len(have.Sections) || again.Model != have.Model || again.Kind != have.Kind || again.Name != have.Name || again.Generation != have.Generation {
		t.Fatalf("%+v differs from %+v", again, have)
	}
	for i := range have.Sections {
		a, b := &again.Sections[i], &have.Sections[i]
		if a.Name != b.Name || len(a.Tensors) != len(b.Tensors) {
			t.Fatalf("section %s differs from %s", a.Name, b.Name)
		}
		for j := range b.Tensors {
			if a.Tensors[j].Name != b.Tensors[j].Name || a.Tensors[j].SHA256 != b.Tensors[j].SHA256 {
				t.Errorf("%s.%s differs", b.Name, b.Tensors[j].Name)
			}
		}
	}
}
