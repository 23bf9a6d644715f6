package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Media types of the image specification 1.1.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// Index is an image for several platforms.
type Index struct {
	Tag         string            // the image's tag: its org.opencontainers.image.ref.name in the layout
	Annotations map[string]string // org.opencontainers.image.title, .version, ...: of the index and of each manifest, and labels of each image
	Images      []Image
	Time        time.Time // of images and files, in whole seconds
}

// Image is an image of Linux for one architecture.
type Image struct {
	Architecture string // as Go has it
	Variant      string // "v8" of arm64, "" of most
	Config       Config
	Layers       []Layer // from the lowest up
}

// Config says how a container starts. Its JSON is that of the specification.
type Config struct {
	User         string              `json:"User,omitempty"` // UID:GID
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
}

// Layer is a set of files.
type Layer struct {
	Comment string // what it is, for the image's history
	Files   []File // folders above them come by themselves, of root and mode 0755
}

// File is a regular file or a folder of a layer.
type File struct {
	Path   string // absolute and clean
	Mode   int64  // permission bits
	Owner  int    // user and group
	Folder bool
	Data   []byte
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Manifests     []descriptor      `json:"manifests"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type imageConfig struct {
	Created time.Time `json:"created"`
	platform
	Config  Config    `json:"config"`
	RootFS  rootFS    `json:"rootfs"`
	History []history `json:"history"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type history struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}

// layout collects the blobs by their digests.
type layout map[string][]byte

// Write writes the archive.
func (x *Index) Write(w io.Writer) error {
	if x.Tag == "" || len(x.Images) == 0 {
		return errors.New("oci: an index has a tag, and at least one image")
	}
	blobs := layout{}
	inner := index{SchemaVersion: 2, MediaType: typeIndex, Annotations: x.Annotations}
	for _, image := range x.Images {
		d, err := x.image(blobs, image)
		if err != nil {
			return fmt.Errorf("oci: image for %s: %w", image.Architecture, err)
		}
		inner.Manifests = append(inner.Manifests, d)
	}
	d, err := blobs.addJSON(typeIndex, inner)
	if err != nil {
		return err
	}
	d.Annotations = map[string]string{"org.opencontainers.image.ref.name": x.Tag}
	top, err := json.Marshal(index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{d}})
	if err != nil {
		return err
	}

	t := tar.NewWriter(w)
	put := func(name string, data []byte) error {
		if err := t.WriteHeader(&tar.Header{Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: x.Time}); err != nil {
			return err
		}
		_, err := t.Write(data)
		return err
	}
	if err := errors.Join(put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)), put("index.json", top)); err != nil {
		return err
	}
	for _, digest := range slices.Sorted(maps.Keys(blobs)) {
		if err := put("blobs/"+strings.Replace(digest, ":", "/", 1), blobs[digest]); err != nil {
			return err
		}
	}
	return t.Close()
}

// image adds the blobs of an image and returns its manifest's descriptor.
func (x *Index) image(blobs layout, image Image) (descriptor, error) {
	p := platform{image.Architecture, "linux", image.Variant}
	config := imageConfig{Created: x.Time.UTC(), platform: p, Config: image.Config, RootFS: rootFS{Type: "layers"}}
	config.Config.Labels = maps.Clone(x.Annotations)
	m := manifest{SchemaVersion: 2, MediaType: typeManifest, Annotations: x.Annotations}
	for _, l := range image.Layers {
		packed, diff, err := l.pack(x.Time)
		if err != nil {
			return descriptor{}, err
		}
		m.Layers = append(m.Layers, blobs.add(typeLayer, packed))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diff)
		config.History = append(config.History, history{x.Time.UTC(), l.Comment})
	}
	var err error
	if m.Config, err = blobs.addJSON(typeConfig, config); err != nil {
		return descriptor{}, err
	}
	d, err := blobs.addJSON(typeManifest, m)
	d.Platform = &p
	return d, err
}

func (b layout) addJSON(kind string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return b.add(kind, data), nil
}

func (b layout) add(kind string, data []byte) descriptor {
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	b[digest] = data
	return descriptor{MediaType: kind, Digest: digest, Size: int64(len(data))}
}

// pack is the layer's compressed tar, and the digest of the tar, which images call it by.
func (l *Layer) pack(at time.Time) (packed []byte, diff string, err error) {
	files := slices.Clone(l.Files)
	known := map[string]bool{"/": true}
	for _, f := range l.Files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || known[f.Path] || f.Mode&^0o777 != 0 || f.Folder && f.Data != nil {
			return nil, "", fmt.Errorf("%s is no path of a file, is there twice, or has a mode of more than permissions", f.Path)
		}
		known[f.Path] = true
	}
	for _, f := range l.Files {
		for dir := path.Dir(f.Path); !known[dir]; dir = path.Dir(dir) {
			known[dir] = true
			files = append(files, File{Path: dir, Mode: 0o755, Folder: true})
		}
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) }) // a folder goes before what is in it

	var b bytes.Buffer
	sum := sha256.New()
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, "", err
	}
	t := tar.NewWriter(io.MultiWriter(z, sum))
	for _, f := range files {
		h := &tar.Header{
			Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Name: f.Path[1:], Mode: f.Mode, Size: int64(len(f.Data)), Uid: f.Owner, Gid: f.Owner, ModTime: at,
		}
		if f.Folder {
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		}
		if err := t.WriteHeader(h); err != nil {
			return nil, "", fmt.Errorf("%s: %w", f.Path, err)
		}
		if _, err := t.Write(f.Data); err != nil {
			return nil, "", fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return nil, "", err
	}
	return b.Bytes(), fmt.Sprintf("sha256:%x", sum.Sum(nil)), nil
}
