package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"bimamba/internal/oci"
)

// containerUser is user and group of the daemon in a container. The number means nobody to most systems.
const containerUser = 65532

// tag is the version as container engines take it: they know no + in a tag.
func (p *product) tag() string { return strings.ReplaceAll(p.version, "+", "-") }

// image writes dist/bimamba_VERSION_oci.tar.
func (p *product) image() error {
	x, err := p.index()
	if err != nil {
		return err
	}
	return p.write(fmt.Sprintf("bimamba_%s_oci.tar", p.version), x.Write)
}

// index is the daemon's image: a layer of the default model, which all architectures share, below one of the program.
func (p *product) index() (*oci.Index, error) {
	model, err := os.ReadFile(filepath.Join(p.root, defaultModel))
	if err != nil {
		return nil, err
	}
	licence, err := os.ReadFile(filepath.Join(p.root, "LICENSE"))
	if err != nil {
		return nil, err
	}
	params, err := p.params()
	if err != nil {
		return nil, err
	}
	x := &oci.Index{Tag: p.tag(), Time: p.time, Annotations: map[string]string{
		"org.opencontainers.image.title":       "bimambad",
		"org.opencontainers.image.description": "Bi-Mamba language models over the protocols of OpenAI and Ollama",
		"org.opencontainers.image.version":     p.version,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.created":     p.time.Format("2006-01-02T15:04:05Z"),
	}}
	for _, arch := range []string{"arm64", "amd64"} {
		program, err := p.program(arch, "bimambad")
		if err != nil {
			return nil, err
		}
		copyright, err := p.copyright(program)
		if err != nil {
			return nil, err
		}
		image := oci.Image{
			Architecture: arch,
			Config: oci.Config{
				User: fmt.Sprintf("%d:%d", containerUser, containerUser), Entrypoint: []string{"/usr/bin/bimambad"}, WorkingDir: "/",
				ExposedPorts: map[string]struct{}{"11434/tcp": {}}, Volumes: map[string]struct{}{"/var/lib/bimamba": {}},
				Env: []string{"BIMAMBAD_LISTEN=:11434", "BIMAMBAD_STATE_DIR=/var/lib/bimamba", fmt.Sprintf("GOMEMLIMIT=%d", params.Heap)},
			},
			Layers: []oci.Layer{
				{Comment: "default model", Files: []oci.File{{Path: "/usr/share/bimamba/default.bimamba", Mode: 0o644, Data: model}}},
				{Comment: "bimambad " + p.version, Files: []oci.File{
					{Path: "/usr/bin/bimambad", Mode: 0o755, Data: program},
					{Path: "/usr/share/doc/bimamba/copyright", Mode: 0o644, Data: []byte(copyright)},
					{Path: "/usr/share/doc/bimamba/LICENSE", Mode: 0o644, Data: licence},
					{Path: "/etc/bimamba", Mode: 0o755, Folder: true},
					{Path: "/var/lib/bimamba", Mode: 0o700, Owner: containerUser, Folder: true},
				}},
			},
		}
		if arch == "arm64" {
			image.Variant = "v8"
		}
		x.Images = append(x.Images, image)
	}
	return x, nil
}
