package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func sample() *Index {
	model := Layer{Comment: "model", Files: []File{{Path: "/usr/share/m", Mode: 0o644, Data: bytes.Repeat([]byte("model"), 1000)}}}
	x := &Index{Tag: "1.0", Annotations: map[string]string{"org.opencontainers.image.version": "1.0"}, Time: time.Unix(1_700_000_001, 0)}
	for _, arch := range []string{"arm64", "amd64"} {
		x.Images = append(x.Images, Image{
			Architecture: arch, Variant: map[string]string{"arm64": "v8"}[arch],
			Config: Config{User: "65532:65532", Entrypoint: []string{"/bin/p"}, ExposedPorts: map[string]struct{}{"80/tcp": {}}},
			Layers: []Layer{model, {Comment: "program", Files: []File{
				{Path: "/var/lib/p", Mode: 0o700, Owner: 65532, Folder: true},
				{Path: "/bin/p", Mode: 0o755, Data: []byte(arch)},
			}}},
		})
	}
	return x
}

func write(t *testing.T, x *Index) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := x.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// untar is an archive's regular files and the headers of all.
func untar(t *testing.T, r io.Reader) (map[string][]byte, []*tar.Header) {
	t.Helper()
	files := map[string][]byte{}
	var headers []*tar.Header
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return files, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 1_700_000_001 {
			t.Errorf("%s is of %v", h.Name, h.ModTime)
		}
		if files[h.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
		headers = append(headers, h)
	}
}

// TestLayout reads the archive by the specification: image-layout.md, image-index.md, manifest.md, config.md and layer.md of OCI's image-spec 1.1.
func TestLayout(t *testing.T) {
	files, _ := untar(t, bytes.NewReader(write(t, sample())))
	if got := string(files["oci-layout"]); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout is %s", got)
	}
	used := map[string]bool{"oci-layout": true, "index.json": true}
	blob := func(d descriptor, kind string, v any) []byte {
		t.Helper()
		name := "blobs/" + strings.Replace(d.Digest, ":", "/", 1)
		b, ok := files[name]
		if !ok || d.MediaType != kind || d.Size != int64(len(b)) || d.Digest != fmt.Sprintf("sha256:%x", sha256.Sum256(b)) {
			t.Fatalf("%+v: a blob of %d bytes", d, len(b))
		}
		used[name] = true
		if v != nil {
			strict := json.NewDecoder(bytes.NewReader(b))
			strict.DisallowUnknownFields()
			if err := strict.Decode(v); err != nil {
				t.Fatalf("%s: %v", b, err)
			}
		}
		return b
	}
	var top, inner index
	if err := json.Unmarshal(files["index.json"], &top); err != nil || top.SchemaVersion != 2 || len(top.Manifests) != 1 {
		t.Fatalf("index.json: %v %+v", err, top)
	}
	if ref := top.Manifests[0].Annotations["org.opencontainers.image.ref.name"]; ref != "1.0" {
		t.Errorf("ref.name is %q", ref)
	}
	blob(top.Manifests[0], typeIndex, &inner)
	if len(inner.Manifests) != 2 || inner.MediaType != typeIndex {
		t.Fatalf("index: %+v", inner)
	}
	lowest := map[string]bool{}
	for i, arch := range []string{"arm64", "amd64"} {
		var m manifest
		var c imageConfig
		d := inner.Manifests[i]
		if d.Platform == nil || d.Platform.OS != "linux" || d.Platform.Architecture != arch || d.Platform.Variant != sample().Images[i].Variant {
			t.Errorf("platform %+v", d.Platform)
		}
		blob(d, typeManifest, &m)
		blob(m.Config, typeConfig, &c)
		if c.platform != *d.Platform || c.Config.User != "65532:65532" || c.Config.Labels["org.opencontainers.image.version"] != "1.0" || c.RootFS.Type != "layers" {
			t.Errorf("config %+v", c)
		}
		if len(m.Layers) != 2 || len(c.RootFS.DiffIDs) != 2 || len(c.History) != 2 || m.SchemaVersion != 2 {
			t.Fatalf("%d layers, %d diff ids, %d of history", len(m.Layers), len(c.RootFS.DiffIDs), len(c.History))
		}
		lowest[m.Layers[0].Digest] = true
		for j, l := range m.Layers {
			z, err := gzip.NewReader(bytes.NewReader(blob(l, typeLayer, nil)))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := io.ReadAll(z)
			if err != nil {
				t.Fatal(err)
			}
			if id := fmt.Sprintf("sha256:%x", sha256.Sum256(plain)); id != c.RootFS.DiffIDs[j] {
				t.Errorf("layer %d is %s, its diff id %s", j, id, c.RootFS.DiffIDs[j])
			}
			content, headers := untar(t, bytes.NewReader(plain))
			if j == 0 {
				continue
			}
			var list []string
			for _, h := range headers {
				list = append(list, fmt.Sprintf("%s %o %d:%d", h.Name, h.Mode, h.Uid, h.Gid))
			}
			want := []string{"bin/ 755 0:0", "bin/p 755 0:0", "var/ 755 0:0", "var/lib/ 755 0:0", "var/lib/p/ 700 65532:65532"}
			if !slices.Equal(list, want) || string(content["bin/p"]) != arch {
				t.Errorf("%s: %v", arch, list)
			}
		}
	}
	if len(lowest) != 1 {
		t.Error("the layer that both images have is there twice")
	}
	for name := range files {
		if !used[name] {
			t.Errorf("nothing refers to %s", name)
		}
	}
}

func TestReproducible(t *testing.T) {
	x := sample()
	slices.Reverse(x.Images[0].Layers[1].Files)
	if !bytes.Equal(write(t, sample()), write(t, x)) {
		t.Error("the order of files changes the image")
	}
}

func TestBad(t *testing.T) {
	for name, change := range map[string]func(*Index){
		"no tag":          func(x *Index) { x.Tag = "" },
		"no image":        func(x *Index) { x.Images = nil },
		"relative path":   func(x *Index) { x.Images[0].Layers[0].Files[0].Path = "m" },
		"path above":      func(x *Index) { x.Images[0].Layers[0].Files[0].Path = "/../m" },
		"two files":       func(x *Index) { l := &x.Images[0].Layers[0]; l.Files = append(l.Files, l.Files[0]) },
		"mode":            func(x *Index) { x.Images[0].Layers[0].Files[0].Mode = 0o4755 },
		"folder and data": func(x *Index) { x.Images[0].Layers[0].Files[0].Folder = true },
	} {
		x := sample()
		change(x)
		if err := x.Write(io.Discard); err == nil {
			t.Errorf("%s: it is written", name)
		}
	}
}

// TestSkopeo lets a program that engines share its code with read the archive.
func TestSkopeo(t *testing.T) {
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("skopeo is not here")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "image.tar")
	if err := os.WriteFile(file, write(t, sample()), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"arm64", "amd64"} {
		out, err := exec.Command("skopeo", "--override-os", "linux", "--override-arch", arch, "inspect", "--config", "oci-archive:"+file+":1.0").CombinedOutput()
		if err != nil || !strings.Contains(string(out), `"architecture":"`+arch+`"`) && !strings.Contains(string(out), `"architecture": "`+arch+`"`) {
			t.Errorf("%s: %v: %s", arch, err, out)
		}
	}
	// A copy checks each digest.
	if out, err := exec.Command("skopeo", "--insecure-policy", "copy", "--all", "oci-archive:"+file+":1.0", "dir:"+filepath.Join(dir, "copy")).CombinedOutput(); err != nil {
		t.Errorf("copy: %v: %s", err, out)
	}
}
