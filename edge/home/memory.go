package home

import (
	"container/list"
	"sync"
	"time"
)

// Limits of open questions.
const (
	maxOpen = 256
	openFor = time.Minute // an answer that comes later is a command of its own
)

// question is one that was asked and not answered yet.
type question struct {
	home         *Home // of which it was asked
	conversation string
	asked        time.Time
	yes          []Action // what a yes does; nil where the question is another
	which        *reading // may be for one of outcome.Choices
	before       []Action // of other commands of the same sentence
	more         string   // a command that lacks something: the answer is put behind it
	here         string
	doubt        bool // of before
}

// memory keeps open questions by their conversations, the latest ones only.
type memory struct {
	mu    sync.Mutex
	open  map[string]*list.Element
	order list.List // of *question, the oldest in front
	now   func() time.Time
}

func (m *memory) time() time.Time {
	if m.now != nil {
		return m.now()
	}
	return time.Now()
}

// take removes the question of a conversation, nil if there is none, or it is too old or about another home: one that was asked while the home changed is not forgotten by that.
func (m *memory) take(conversation string, h *Home) *question {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.open[conversation]
	if e == nil {
		return nil
	}
	m.drop(e)
	q := e.Value.(*question)
	if m.time().Sub(q.asked) > openFor || q.home != h {
		return nil
	}
	return q
}

func (m *memory) drop(e *list.Element) {
	delete(m.open, e.Value.(*question).conversation)
	m.order.Remove(e)
}

// ask keeps a question. Without a conversation nobody could answer it.
func (m *memory) ask(conversation string, q *question) {
	if conversation == "" || len(conversation) > maxText {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	q.conversation, q.asked = conversation, m.time()
	if e := m.open[conversation]; e != nil {
		m.drop(e)
	}
	if m.open == nil {
		m.open = map[string]*list.Element{}
	}
	m.open[conversation] = m.order.PushBack(q)
	for m.order.Len() > maxOpen {
		m.drop(m.order.Front())
	}
}

func (m *memory) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = nil
	m.order.Init()
}
