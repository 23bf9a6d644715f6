package wyoming

import "slices"

// Info is what a service says of itself when it is asked to describe itself. All seven lists are sent, as the reference does.
type Info struct {
	ASR    []Program `json:"asr"`
	TTS    []Program `json:"tts"`
	Handle []Program `json:"handle"`
	Intent []Program `json:"intent"`
	Wake   []Program `json:"wake"`
	Mic    []Program `json:"mic"`
	Snd    []Program `json:"snd"`
}

// Program is one service. Speech to text, wake words, intents and their handling have models; text to speech has voices.
type Program struct {
	Artifact
	Models []Model `json:"models,omitempty"`
	Voices []Model `json:"voices,omitempty"`

	// Of programs that handle intents. Home Assistant lets others control nothing.
	Streams     bool `json:"supports_handled_streaming,omitempty"`
	HomeControl bool `json:"supports_home_control,omitempty"`
}

// Model is a model or a voice of a program.
type Model struct {
	Artifact
	Languages []string `json:"languages"` // BCP 47 tags; none is all
}

// Artifact is what programs and models say alike. Readers of the reference fail without any of the fields.
type Artifact struct {
	Name        string      `json:"name"`
	Attribution Attribution `json:"attribution"`
	Installed   bool        `json:"installed"`
	Description *string     `json:"description"`
	Version     *string     `json:"version"`
}

// Attribution is who made something, and where it is from.
type Attribution struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// event is the info as an event, with lists that are empty and not null.
func (i *Info) event() (*Event, error) {
	out := *i
	for _, list := range []*[]Program{&out.ASR, &out.TTS, &out.Handle, &out.Intent, &out.Wake, &out.Mic, &out.Snd} {
		*list = append([]Program{}, *list...)
		for j := range *list {
			p := &(*list)[j]
			p.Models, p.Voices = withLanguages(p.Models), withLanguages(p.Voices)
		}
	}
	return NewEvent(typeInfo, out)
}

func withLanguages(models []Model) []Model {
	models = slices.Clone(models)
	for i := range models {
		models[i].Languages = append([]string{}, models[i].Languages...)
	}
	return models
}
