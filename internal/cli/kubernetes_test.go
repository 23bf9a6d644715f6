package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"bimamba/edge/daemon"
	"bimamba/edge/daemon/config"
	"bimamba/internal/testmodel"
	"bimamba/systemd/unit"
)

// object is a manifest as far as the test looks at it.
type object struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Data     map[string]string
	Spec     struct {
		Template struct {
			Spec struct {
				Containers []struct {
					Image     string
					Env       []struct{ Name, Value string }
					Resources struct {
						Requests, Limits map[string]string
					}
					VolumeMounts []struct{ Name string } `yaml:"volumeMounts"`
				}
				Volumes []struct {
					Name     string
					HostPath struct{ Path string } `yaml:"hostPath"`
				}
			}
		}
	}
}

func manifests(t *testing.T, args ...string) map[string]object {
	t.Helper()
	var out, errs bytes.Buffer
	if rc := Main(append([]string{"kubernetes"}, args...), strings.NewReader(""), &out, &errs); rc != 0 {
		t.Fatalf("%v: %s", args, errs.String())
	}
	objects := map[string]object{}
	for d := yaml.NewDecoder(&out); ; {
		var o object
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		objects[o.Kind] = o
	}
}

// TestKubernetes: limits are those of the daemon's own footprint, and the daemon takes the environment.
func TestKubernetes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "bimambad.toml")
	text := "sessions = 5 # \"quoted\"\nstate_max_bytes = \"1MB\"\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	blob, err := openBlob("default")
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	model := filepath.Join(testmodel.Root(), "models", "default.bimamba")
	for name, tt := range map[string]struct {
		args []string
		file string
		path string
	}{
		"default":       {[]string{"default"}, "", ""},
		"configuration": {[]string{"default", "--config", file}, file, ""},
		"model":         {[]string{model, "--node-path", "/srv/a b.bimamba", "--namespace", "edge"}, "", "/srv/a b.bimamba"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := manifests(t, append(tt.args, "--image", "registry.example/bimamba:1")...)
			conf, err := unitConfig(tt.file)
			if err != nil {
				t.Fatal(err)
			}
			m := daemon.Footprint(conf, blob.Manifest())
			want := unit.Params{Mapped: m.Mapped, Arena: m.Arena, Heap: m.Heap}
			set := objects["DaemonSet"]
			c := set.Spec.Template.Spec.Containers[0]
			if got := c.Resources.Limits["memory"]; got != strconv.FormatInt(want.MemoryMax(), 10) {
				t.Errorf("the limit is %s, not %d", got, want.MemoryMax())
			}
			if got := c.Resources.Requests["memory"]; got != strconv.FormatInt(want.MemoryMin(), 10) {
				t.Errorf("the request is %s, not %d", got, want.MemoryMin())
			}
			if c.Image != "registry.example/bimamba:1" {
				t.Errorf("the image is %s", c.Image)
			}
			namespace := objects["Namespace"].Metadata.Name
			for kind, o := range objects {
				if kind != "Namespace" && o.Metadata.Namespace != namespace {
					t.Errorf("%s is in %q, not %q", kind, o.Metadata.Namespace, namespace)
				}
			}
			var env []string
			for _, e := range c.Env {
				env = append(env, e.Name+"="+e.Value)
			}
			read := func(string) ([]byte, error) { return []byte(objects["ConfigMap"].Data["bimambad.toml"]), nil }
			loaded, err := config.Load(nil, env, read)
			if err != nil {
				t.Fatal(err)
			}
			if loaded.Sessions != conf.Sessions || loaded.Auth != config.AuthNever || (loaded.Model != config.Default().Model) != (tt.path != "") {
				t.Errorf("the daemon's configuration is %+v", loaded)
			}
			volumes := map[string]string{}
			for _, v := range set.Spec.Template.Spec.Volumes {
				volumes[v.Name] = v.HostPath.Path
			}
			if volumes["model"] != tt.path {
				t.Errorf("volumes are %v", volumes)
			}
			if len(c.VolumeMounts) != len(volumes) {
				t.Errorf("%d volumes, %d of them mounted", len(volumes), len(c.VolumeMounts))
			}
			for _, v := range c.VolumeMounts {
				if _, ok := volumes[v.Name]; !ok {
					t.Errorf("%s is mounted and no volume", v.Name)
				}
			}
			for _, kind := range []string{"Service", "NetworkPolicy"} {
				if _, ok := objects[kind]; !ok {
					t.Errorf("there is no %s", kind)
				}
			}
			if got, ok := objects["ConfigMap"].Data["bimambad.toml"]; ok != (tt.file != "") || ok && got != text {
				t.Errorf("the ConfigMap has %q", got)
			}
		})
	}
}
