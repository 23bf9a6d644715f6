package home

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"bimamba/edge/engine"
	"bimamba/edge/model"
	"bimamba/internal/testmodel"
)

// distract adds n entities with areas of their own, none of them named like one of the test set's.
func distract(h *Home, n int) *Home {
	r := rand.New(rand.NewPCG(7, 7))
	pick := func(s string) string {
		w := strings.Fields(s)
		return w[r.IntN(len(w))]
	}
	out := *h
	for i := range 20 {
		out.Areas = append(out.Areas, Area{ID: fmt.Sprintf("area_%d", i), Name: fmt.Sprintf("%s %s", pick("east west north south upper lower old new"), pick("wing annex vault atrium cabin barn lodge turret")) + strings.Repeat(" x", i/19)})
	}
	seen := map[string]bool{}
	for len(out.Entities) < len(h.Entities)+n {
		i := len(out.Entities)
		domain := pick("light light light switch fan cover lock media_player climate sensor")
		noun := map[string]string{"light": "sconce lantern chandelier spotlight strip", "switch": "kettle heater pump charger fountain", "fan": "extractor ventilator",
			"cover": "drape skylight awning", "lock": "padlock bolt hatch", "media_player": "soundbar stereo gramophone", "climate": "radiator boiler", "sensor": "barometer hygrometer wattmeter"}[domain]
		name := fmt.Sprintf("%s %s %s", pick("amber birch cedar dawn ember fern grove hazel iris jasper kelp lotus maple nova onyx pearl quartz raven sable topaz umber violet willow xenon yarrow zinc"),
			pick("alpha bravo delta echo foxtrot golf hotel india juliet kilo lima mike oscar papa quebec romeo sierra tango uniform victor whiskey yankee zulu"), pick(noun))
		if n > 1000 {
			name = fmt.Sprintf("%s %d", name, i)
		}
		if seen[name] {
			continue
		}
		seen[name] = true
		out.Entities = append(out.Entities, Entity{ID: fmt.Sprintf("%s.x%d", domain, i), Name: name, Area: fmt.Sprintf("area_%d", r.IntN(20))})
	}
	return &out
}

// BenchmarkHandle is text in to action out on one thread: in a house, among 200 and 10,000 other entities, and for what is refused only after
// other words have been tried.
func BenchmarkHandle(b *testing.B) {
	h, err := Read("testdata/beyond-home.toml")
	if err != nil {
		b.Fatal(err)
	}
	e, err := engine.Open(testmodel.Default(b), engine.Options{Model: model.Options{Precision: model.LUT16, Threads: 1}})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	for _, size := range []int{0, 200, 10_000} {
		a, err := New(e, distract(h, size))
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range []struct{ name, text string }{
			{"plain", "turn on the kitchen spots"},
			{"slip", "turn off the lights in the nursary"},
			{"paraphrase", "get rid of that porch light"},
			{"two", "turn on the desk lamp and close the living room blinds"},
			{"refused", "what should I cook for dinner tonight"},
			{"retried", "my coffee is too cold"},
		} {
			b.Run(fmt.Sprintf("%s-%d", c.name, len(a.Home().Entities)), func(b *testing.B) {
				for b.Loop() {
					if _, err := a.Handle(b.Context(), Request{Text: c.text}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkSetHome makes a home of 10,000 entities ready, with its first request.
func BenchmarkSetHome(b *testing.B) {
	h := distract(&Home{Language: "en"}, 10_000)
	for b.Loop() {
		newPlace(h).names.Mend("turn on the amber alpha lantern")
	}
}
