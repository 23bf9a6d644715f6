package model_test

import (
	"context"
	"fmt"
	"log"

	"bimamba/edge/model"
	"bimamba/edge/token"
	"bimamba/memmap"
)

// A prompt is answered by the likeliest token, again and again.
func Example() {
	blob := must(memmap.Open("../../models/default.bimamba"))
	defer blob.Close()
	m := must(model.Open(blob, model.Options{}))
	defer m.Close()
	tokens := must(token.Open(blob))

	session, text := m.Session(0), tokens.NewStream()
	logits := session.Logits()
	prompt := tokens.Encode(nil, "<|home|>turn on the kitchen lights<|reply|>")
	err := session.Prefill(context.Background(), prompt, logits)
	for err == nil {
		best := uint32(0)
		for id, v := range logits {
			if v > logits[best] {
				best = uint32(id)
			}
		}
		if best == blob.Manifest().Prompt.EOSIDs[0] {
			break
		}
		fmt.Print(text.Next(best))
		err = session.Step(best, logits)
	}
	must(0, err)
	// Output:
	// {"intent":"HassTurnOn","area":"kitchen","domain":"light"}
	// Turned on the lights
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
