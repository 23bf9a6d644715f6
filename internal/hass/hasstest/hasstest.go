// Package hasstest is a Home Assistant for tests: it speaks as much of the WebSocket API as package hass asks for.
package hasstest

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"sync"

	"golang.org/x/net/websocket"
)

// Token is what the server takes.
const Token = "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"

// Server answers commands from Results. Its fields may be changed while nobody is connected; Set and Fire may always be called.
type Server struct {
	Version  string                     // of the greeting
	Results  map[string]json.RawMessage // of commands, by type; a command that is not here is unknown
	Refuse   map[string]string          // codes of errors, by type
	Commands []string                   // that were asked for, in their order

	http  *httptest.Server
	mu    sync.Mutex
	conns map[*websocket.Conn]map[string]int // subscriptions, by event types
}

// New starts a server with the answers, JSON of an object whose keys are commands.
func New(answers []byte) (*Server, error) {
	s := &Server{Version: "2026.8.1", Refuse: map[string]string{}, conns: map[*websocket.Conn]map[string]int{}}
	if err := json.Unmarshal(answers, &s.Results); err != nil {
		return nil, err
	}
	s.http = httptest.NewServer(websocket.Server{Handler: s.serve})
	return s, nil
}

// URL is where it listens.
func (s *Server) URL() string { return "ws" + strings.TrimPrefix(s.http.URL, "http") }

// Close ends the server and its connections.
func (s *Server) Close() {
	s.Drop()
	s.http.Close()
}

// Drop ends the connections.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// Set changes what a command answers.
func (s *Server) Set(command, result string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Results[command] = json.RawMessage(result)
}

// Fire reports an event to who has subscribed to it, and tells how many those are.
func (s *Server) Fire(event string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for c, subscribed := range s.conns {
		if id, ok := subscribed[event]; ok && websocket.JSON.Send(c, map[string]any{"id": id, "type": "event", "event": map[string]any{"event_type": event, "data": map[string]any{}}}) == nil {
			n++
		}
	}
	return n
}

func (s *Server) serve(c *websocket.Conn) {
	defer c.Close()
	if websocket.JSON.Send(c, map[string]string{"type": "auth_required", "ha_version": s.Version}) != nil {
		return
	}
	var auth struct {
		Type  string `json:"type"`
		Token string `json:"access_token"`
	}
	if websocket.JSON.Receive(c, &auth) != nil {
		return
	}
	if auth.Type != "auth" || auth.Token != Token {
		websocket.JSON.Send(c, map[string]string{"type": "auth_invalid", "message": "Invalid access token or password"})
		return
	}
	if websocket.JSON.Send(c, map[string]string{"type": "auth_ok", "ha_version": s.Version}) != nil {
		return
	}
	s.mu.Lock()
	s.conns[c] = map[string]int{}
	s.mu.Unlock()
	for {
		var m struct {
			ID    int    `json:"id"`
			Type  string `json:"type"`
			Event string `json:"event_type"`
		}
		if websocket.JSON.Receive(c, &m) != nil {
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			return
		}
		if !s.answer(c, m.ID, m.Type, m.Event) {
			return
		}
	}
}

func (s *Server) answer(c *websocket.Conn, id int, command, event string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Commands = append(s.Commands, command)
	reply := map[string]any{"id": id, "type": "result", "success": true, "result": nil}
	result, known := s.Results[command]
	code := s.Refuse[command]
	switch {
	case code != "":
		reply["success"], reply["error"] = false, map[string]string{"code": code, "message": "Unauthorized"}
	case command == "subscribe_events":
		s.conns[c][event] = id
	case known:
		reply["result"] = result
	default:
		reply["success"], reply["error"] = false, map[string]string{"code": "unknown_command", "message": "Unknown command."}
	}
	return websocket.JSON.Send(c, reply) == nil
}
