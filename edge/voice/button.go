package voice

import (
	"context"
	"time"

	"periph.io/x/conn/v3/gpio"
)

// Button tells when a button between a line and ground is pressed and released, until ctx ends.
func Button(ctx context.Context, pin gpio.PinIn) (<-chan bool, error) {
	if err := pin.In(gpio.PullUp, gpio.BothEdges); err != nil {
		return nil, err
	}
	events := make(chan bool, 16)
	go func() {
		pressed := pin.Read() == gpio.Low
		for ctx.Err() == nil {
			pin.WaitForEdge(200 * time.Millisecond) // also without an edge: one may get lost
			if now := pin.Read() == gpio.Low; now != pressed {
				pressed = now
				select {
				case events <- now:
				case <-ctx.Done():
				}
			}
		}
		pin.Halt()
	}()
	return events, nil
}

// Light makes a light of a line, which is high when it is on.
func Light(pin gpio.PinOut) (func(on bool), error) {
	if err := pin.Out(gpio.Low); err != nil {
		return nil, err
	}
	return func(on bool) { pin.Out(gpio.Level(on)) }, nil
}
