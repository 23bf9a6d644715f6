package ollama

import (
	"fmt"
	"net/http"
	"strings"

	"bimamba/edge/chat"
)

type details struct {
	ParentModel       string   `json:"parent_model"`
	Format            string   `json:"format"`
	Family            string   `json:"family"`
	Families          []string `json:"families"`
	ParameterSize     string   `json:"parameter_size"`
	QuantizationLevel string   `json:"quantization_level"`
}

// model is an entry of /api/tags and /api/ps.
type model struct {
	Name          string   `json:"name"`
	Model         string   `json:"model"`
	ModifiedAt    string   `json:"modified_at,omitempty"` // in tags
	Size          int64    `json:"size"`                  // of the file, in ps that in memory
	Digest        string   `json:"digest"`
	Details       details  `json:"details"`
	Capabilities  []string `json:"capabilities,omitempty"` // in tags
	ExpiresAt     string   `json:"expires_at,omitempty"`   // in ps
	SizeVRAM      *int64   `json:"size_vram,omitempty"`    // in ps
	ContextLength int      `json:"context_length,omitempty"`
}

// tagged is a name as Ollama lists it, with the tag that it means when it has none.
func tagged(name string) string {
	if strings.Contains(name, ":") {
		return name
	}
	return name + ":latest"
}

func detailsOf(i *chat.Info) details {
	family := i.Family
	if family == "" {
		family = architecture
	}
	return details{
		Format: "bimamba", Family: family, Families: []string{family}, ParameterSize: size(i.Parameters), QuantizationLevel: i.Quantization,
	}
}

// size is a number of parameters as Ollama writes it: 780M, 2.7B.
func size(n int64) string {
	v, unit := float64(n), ""
	for _, u := range []string{"K", "M", "B"} {
		if v < 1000 {
			break
		}
		v, unit = v/1000, u
	}
	if v < 10 && unit != "" {
		return fmt.Sprintf("%.1f%s", v, unit)
	}
	return fmt.Sprintf("%.0f%s", v, unit)
}

func capabilities(i *chat.Info) []string {
	if i.Tools {
		return []string{"completion", "tools"}
	}
	return []string{"completion"}
}

func (a *api) tags(w http.ResponseWriter, _ *http.Request) {
	models := []model{}
	for _, i := range a.service.Models() {
		name := tagged(i.Name)
		models = append(models, model{
			Name: name, Model: name, ModifiedAt: stamp(i.Modified), Size: i.Size, Digest: i.Digest, Details: detailsOf(&i), Capabilities: capabilities(&i),
		})
	}
	writeJSON(w, http.StatusOK, map[string]any{"models": models})
}

func (a *api) ps(w http.ResponseWriter, _ *http.Request) {
	models := []model{}
	alive, until := a.used.alive(a.service.Models(), a.now())
	for n, i := range alive {
		name := tagged(i.Name)
		models = append(models, model{
			Name: name, Model: name, Size: i.Resident, Digest: i.Digest, Details: detailsOf(&i),
			ExpiresAt: stamp(until[n]), SizeVRAM: new(int64), ContextLength: i.MaxPrompt,
		})
	}
	writeJSON(w, http.StatusOK, map[string]any{"models": models})
}

type shown struct {
	License      string         `json:"license,omitempty"`
	Modelfile    string         `json:"modelfile"`
	Parameters   string         `json:"parameters"`
	Template     string         `json:"template"`
	System       string         `json:"system,omitempty"`
	Details      details        `json:"details"`
	ModelInfo    map[string]any `json:"model_info"`
	Capabilities []string       `json:"capabilities"`
	ModifiedAt   string         `json:"modified_at"`
}

const architecture = "mamba2"

func (a *api) show(w http.ResponseWriter, r *http.Request) {
	var q modelName
	if err := decode(r, &q); err != nil {
		writeFailure(w, err, "")
		return
	}
	i, err := a.find(q.name())
	if err != nil {
		writeFailure(w, err, q.name())
		return
	}
	facts := map[string]any{
		"general.architecture":             architecture,
		"general.name":                     i.Name,
		"general.parameter_count":          i.Parameters,
		architecture + ".context_length":   i.MaxPrompt,
		architecture + ".embedding_length": i.DModel,
		architecture + ".block_count":      i.Layer,
		architecture + ".vocab_size":       i.VocabSize,
		"bimamba.kind":                     i.Kind,
	}
	for key, v := range map[string]string{
		"general.description": i.Description, "general.license": i.License, "bimamba.task": i.Task, "bimamba.persona": i.Persona,
	} {
		if v != "" {
			facts[key] = v
		}
	}
	writeJSON(w, http.StatusOK, &shown{
		License: i.License, Modelfile: modelfile(&i), Parameters: parameters(&i, "%-30s %v\n"), Template: template(&i), System: i.System,
		Details: detailsOf(&i), ModelInfo: facts, Capabilities: capabilities(&i), ModifiedAt: stamp(i.Modified),
	})
}

// template is for people: the prompt's format is in the model's file and not a template of Ollama's.
func template(i *chat.Info) string {
	switch i.Kind {
	case "base":
		return strings.TrimSpace("This is a base model: it continues text and was not trained to converse. A chat is given to it as a plain transcript.\n" + i.Turns)
	case "intent":
		return strings.TrimSpace("This model maps the last user message to calls of tools; it does not converse.\n" + i.Turns)
	}
	return i.Turns
}

// parameters is the model's sampling, a line each.
func parameters(i *chat.Info, format string) string {
	var b strings.Builder
	s := &i.Defaults.Sample
	for _, p := range []struct {
		name  string
		value any
	}{
		{"temperature", s.Temperature}, {"top_k", s.TopK}, {"top_p", s.TopP}, {"min_p", s.MinP}, {"repeat_penalty", s.RepetitionPenalty},
		{"num_predict", i.Defaults.MaxTokens}, {"num_ctx", i.MaxPrompt},
	} {
		fmt.Fprintf(&b, format, p.name, p.value)
	}
	return b.String()
}

// modelfile describes the model in the language of Ollama's model files.
func modelfile(i *chat.Info) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: a .bimamba file of kind %s. This text describes it; nothing is made from it.\n", i.Name, i.Kind)
	for line := range strings.Lines(i.Description) {
		fmt.Fprintf(&b, "# %s\n", strings.TrimRight(line, "\r\n"))
	}
	fmt.Fprintf(&b, "FROM %s\n", i.Name)
	for _, f := range [][2]string{{"TEMPLATE", template(i)}, {"SYSTEM", i.System}} {
		if f[1] != "" {
			fmt.Fprintf(&b, "%s \"\"\"%s\"\"\"\n", f[0], f[1])
		}
	}
	b.WriteString(parameters(i, "PARAMETER %s %v\n"))
	if i.License != "" {
		fmt.Fprintf(&b, "LICENSE \"\"\"%s\"\"\"\n", i.License)
	}
	return b.String()
}
