// Package hass reads a house out of Home Assistant: its floors, areas and exposed entities, over the WebSocket API, or from the fixtures of
// its sentence tests. What it reads is a home of package edge/home; it changes nothing in Home Assistant.
package hass
