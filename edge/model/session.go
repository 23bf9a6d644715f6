package model

import (
	"context"
	"fmt"
	"unsafe"
)

// Session is one sequence: its recurrent state. It is used by one goroutine at a time; those of a model take turns on its threads.
type Session struct {
	m    *Model
	pos  int64     // tokens seen
	ssm  []byte    // (n_layer, nheads, headdim, d_state) of the state's type
	conv []float32 // (n_layer, d_conv, channels), a ring over d_conv: token t lies in row t mod d_conv

	logits []float32 // (vocab_size), room for those behind the last token
}

// init carves the session out of the arena.
func (s *Session) init(m *Model, arena *carver) {
	h := &m.h
	s.m = m
	s.ssm = arena.bytes(m.opt.State.size() * int64(h.NLayer) * int64(h.DInner) * int64(h.DState))
	s.conv = arena.floats(int(h.NLayer) * int(h.DConv) * int(h.Channels()))
	s.logits = arena.floats(int(h.VocabSize))
}

// state32 and state16 are the state of head j of a layer, (headdim, d_state), as it is stored.
func (s *Session) state32(layer, j int) []float32 { return stateOf[float32](s, layer, j) }
func (s *Session) state16(layer, j int) []uint16  { return stateOf[uint16](s, layer, j) }

func stateOf[T float32 | uint16](s *Session, layer, j int) []T {
	h := &s.m.h
	n := int(h.HeadDim) * int(h.DState)
	size := n * int(unsafe.Sizeof(*new(T)))
	b := s.ssm[(layer*int(h.NHeads)+j)*size:][:size]
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

// Reset forgets the sequence.
func (s *Session) Reset() {
	s.pos = 0
	clear(s.ssm)
	clear(s.conv)
}

// Pos is the number of tokens that the session has seen.
func (s *Session) Pos() int64 { return s.pos }

// Logits is room of the session's own for logits, (vocab_size). Nothing is written there unless it is given to Step, Prefill or Batch.
func (s *Session) Logits() []float32 { return s.logits }

// CopyFrom makes s a copy of another session of the same model, its Logits included.
func (s *Session) CopyFrom(o *Session) {
	if s.m != o.m {
		panic("model: CopyFrom: a session of another model")
	}
	s.pos = o.pos
	copy(s.ssm, o.ssm)
	copy(s.conv, o.conv)
	copy(s.logits, o.logits)
}

// SSM is the memory of the recurrent states, (n_layer, nheads, headdim, d_state) of Options.State, little-endian.
func (s *Session) SSM() []byte { return s.ssm }

// Conv is the memory of the convolutions' inputs, (n_layer, d_conv, channels) float32, little-endian: a ring over d_conv, where token t lies in row t mod d_conv.
func (s *Session) Conv() []byte { return floatBytes(s.conv) }

// Restore says that SSM, Conv and, if they are wanted, Logits have been filled with those of a session behind pos tokens.
func (s *Session) Restore(pos int64) { s.pos = pos }

// Prefill feeds ids, as many at a time as the model's batch holds. If logits is not nil it gets those behind the last one, (vocab_size).
// The result is that of as many Steps, to the bit. It looks at ctx between batches.
// On an error the state is that of an unknown part of ids: Reset it.
func (s *Session) Prefill(ctx context.Context, ids []uint32, logits []float32) error {
	for len(ids) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(len(ids), s.m.opt.Batch)
		rows := s.m.forward.borrow(n)
		for i, id := range ids[:n] {
			rows[i] = Row{Session: s, ID: id}
		}
		if ids = ids[n:]; len(ids) == 0 {
			rows[n-1].Logits = logits
		}
		if err := s.m.run(rows); err != nil {
			return err
		}
	}
	return nil
}

// Step feeds one token and, if logits is not nil, computes those behind it, (vocab_size). It does not allocate.
// The error is about id, or a *memmap.FaultError where the file was cut short; then Reset the session.
func (s *Session) Step(id uint32, logits []float32) error {
	rows := s.m.forward.borrow(1)
	rows[0] = Row{s, id, logits}
	return s.m.run(rows)
}

// Row is one token of a batch.
type Row struct {
	Session *Session
	ID      uint32
	Logits  []float32 // (vocab_size), to be computed behind the token; nil if they are not wanted
}

// Batch feeds rows, Options.Batch at the most, in one pass over the weights: several tokens of a session, in their order, or of several sessions.
// The results are those of a Step for each, to the bit. A bad row is an error before anything is computed; after any other error all sessions
// of the batch are in an unknown state: Reset them.
func (m *Model) Batch(rows []Row) error {
	if len(rows) > m.opt.Batch {
		return fmt.Errorf("a batch of %d tokens: the model was opened for %d", len(rows), m.opt.Batch)
	}
	mine := m.forward.borrow(len(rows))
	copy(mine, rows)
	return m.run(mine)
}

// check looks at a row before anything is computed.
func (m *Model) check(r *Row) error {
	h := &m.h
	switch {
	case r.Session == nil || r.Session.m != m:
		return fmt.Errorf("the session belongs to another model")
	case r.ID >= h.VocabSize:
		return fmt.Errorf("token id %d is not a row of the embedding, which has %d", r.ID, h.VocabSize)
	case r.Logits != nil && len(r.Logits) != int(h.VocabSize):
		return fmt.Errorf("logits have room for %d tokens, not for the %d of the model", len(r.Logits), h.VocabSize)
	}
	return nil
}
