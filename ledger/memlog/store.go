package memlog

import (
	"slices"
	"sync"

	"github.com/permledger/permledger/events"
)

// store is what the handles share. Byte slices in it are never written to.
type store struct {
	mu      sync.Mutex
	commits [][]byte          // commits[r-1] is revision r; nil is one that cannot be read
	cached  []events.Revision // revisions that are only cached; what follows one is, too
	late    []lateWrite
	notes   [][]byte
	changed chan struct{} // closed and replaced when a commit is stored
}

// lateWrite is a write still under way: it arrives when reads is used up.
type lateWrite struct {
	head  events.Revision
	bytes []byte
	reads int
}

func (s *store) last() events.Revision { return events.Revision(len(s.commits)) }

// append stores b after head if head is last; otherwise it says what is.
func (s *store) append(head events.Revision, b []byte) (events.Revision, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.last(); last != head {
		return last, false
	}
	s.push(b)
	return s.last(), true
}

func (s *store) appendLate(head events.Revision, b []byte, reads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = append(s.late, lateWrite{head, b, reads})
}

func (s *store) appendCached(head events.Revision, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last() == head {
		s.push(b)
		s.cached = append(s.cached, head+1)
	}
}

func (s *store) forgetCached() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.cached) > 0 {
		s.commits = s.commits[:s.cached[0]-1]
		s.cached = nil
	}
}

func (s *store) force(b []byte) events.Revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.push(b)
	return s.last()
}

func (s *store) push(b []byte) {
	s.commits = append(s.commits, b)
	close(s.changed)
	s.changed = make(chan struct{})
}

// look is one read: late writes whose time has come arrive before it, if their place is still free.
func (s *store) look() events.Revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = slices.DeleteFunc(s.late, func(w lateWrite) bool {
		if w.reads > 0 {
			return false
		}
		if s.last() == w.head {
			s.push(w.bytes)
		}
		return true
	})
	for i := range s.late {
		s.late[i].reads--
	}
	return s.last()
}

// watch gives the last revision and a channel that closes when there is another.
func (s *store) watch() (events.Revision, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last(), s.changed
}

func (s *store) commit(r events.Revision) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r == 0 || r > s.last() {
		return nil
	}
	return s.commits[r-1]
}

func (s *store) replace(r events.Revision, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits[r-1] = b
}

func (s *store) truncate(r events.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits = s.commits[:r]
}

func (s *store) note(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, b)
}

// notesFrom gives the notes from sequence from on, as they are now.
func (s *store) notesFrom(from uint64) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from == 0 || from > uint64(len(s.notes)) {
		return nil
	}
	return slices.Clone(s.notes[from-1:])
}
