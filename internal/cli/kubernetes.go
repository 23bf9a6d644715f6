package cli

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"text/template"

	"github.com/spf13/cobra"

	"bimamba/edge/daemon"
	"bimamba/systemd/unit"
)

//go:embed kubernetes.yaml
var kubernetesText string

var kubernetesTemplate = template.Must(template.New("kubernetes.yaml").Funcs(template.FuncMap{
	"json": func(s string) (string, error) { // a string of JSON is one of YAML
		b, err := json.Marshal(s)
		return string(b), err
	},
}).Parse(kubernetesText))

// namespaceForm is a label of RFC 1123, as Kubernetes wants it.
var namespaceForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// kubernetesParams is what the manifests depend on.
type kubernetesParams struct {
	unit.Params
	Name      string // of the model
	Namespace string
	Image     string
	NodePath  string // of the model's file on each node, "" for the image's own
	Config    string // text of bimambad.toml, "" for none
	StateMax  int64
}

func (e *env) kubernetesCmd() *cobra.Command {
	p := kubernetesParams{Namespace: "bimamba"}
	var file string
	c := &cobra.Command{
		Use:   "kubernetes FILE",
		Short: "Write Kubernetes' manifests for bimambad",
		Long: `Kubernetes prints a DaemonSet that runs bimambad on every node of arm64 or amd64, its namespace, its service, and a network policy, for kubectl apply -f - (k3s, too).
Limit and request of memory are what serving FILE asks for with the configuration --config, which becomes a ConfigMap, as "bimamba units" computes them.

The image is the one of "make oci", in whatever registry the nodes fetch it from. It holds the default model; every other FILE has to be on each node already, at --node-path.

Pods ask the daemon on their own node at http://bimambad:11434, and nobody outside of the namespace reaches it where the cluster enforces network policies. It asks for no
token there: files of a Secret are never readable for one user alone.`,
		Example: "  bimamba kubernetes default --image registry.example/bimamba:0.1.0 | kubectl apply -f -\n" +
			"  bimamba kubernetes 780m.bimamba --node-path /srv/models/780m.bimamba --image registry.example/bimamba:0.1.0 --config bimambad.toml",
		Args: oneFile,
	}
	f := c.Flags()
	f.StringVar(&p.Image, "image", "", "the container image, as REGISTRY/NAME:TAG")
	f.StringVar(&p.Namespace, "namespace", p.Namespace, "the namespace, which the manifests make")
	f.StringVar(&p.NodePath, "node-path", "", "where FILE is on the nodes")
	f.StringVar(&file, "config", "", "the daemon's configuration, bimambad.toml")
	c.RunE = func(c *cobra.Command, args []string) error {
		switch {
		case p.Image == "":
			return usageError{c.CommandPath(), errors.New("--image has to be there: REGISTRY/NAME:TAG of the image that `make oci` made")}
		case !namespaceForm.MatchString(p.Namespace):
			return fmt.Errorf("--namespace %s: a namespace is at most 63 lower-case letters, digits and hyphens", p.Namespace)
		case args[0] == "default" && p.NodePath != "":
			return errors.New("--node-path is for other models: the default one is in the image")
		case args[0] != "default" && !path.IsAbs(p.NodePath):
			return fmt.Errorf("%s is not in the image: --node-path has to be its absolute path on the nodes", args[0])
		}
		conf, err := unitConfig(file)
		if err != nil {
			return err
		}
		if file != "" {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			p.Config = string(text)
		}
		blob, err := openBlob(args[0])
		if err != nil {
			return err
		}
		defer blob.Close()
		m := daemon.Footprint(conf, blob.Manifest())
		p.Params = unit.Params{Mapped: m.Mapped, Arena: m.Arena, Heap: m.Heap, OneModel: conf.Memory > 0}
		p.Name, p.StateMax = m.Name, int64(conf.StateMaxBytes)
		return kubernetesTemplate.Execute(e.stdout, &p)
	}
	return c
}
