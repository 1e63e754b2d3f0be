package inway

import (
	"encoding/hex"
	"encoding/json"
	"sync"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

// maxReplays bounds the ids that are remembered: three times what a thousand requests a second leave in ten minutes.
const maxReplays = 2_000_000

// replays remembers the transaction ids of the last minutes, by the minute that they carry. The zero value is ready.
type replays struct {
	mu      sync.Mutex                      // guards what follows
	minutes map[int64]map[[16]byte]struct{} // by minute of the id's own time
	n       int
}

// reserve takes an id for one request; false if it was taken before. Of two at once exactly one gets it. Errors are of kind
// Invalid for an id that is not timely, and Unavailable when too many are remembered already.
func (r *replays) reserve(id gateway.TransactionID, now time.Time) (bool, error) {
	at := id.Time()
	if at.IsZero() || at.Before(now.Add(-Window)) || at.After(now.Add(Window)) {
		return false, gateway.WithCode(gateway.Invalid, CodeInvalidID, "transaction id: its time is more than %s off; check the clock", Window)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	if r.n >= maxReplays {
		return false, gateway.Errorf(gateway.Unavailable, "transaction id: too many requests at once")
	}
	return r.add(id, at), nil
}

// add remembers id; false if it was there.
func (r *replays) add(id gateway.TransactionID, at time.Time) bool {
	minute := at.Unix() / 60
	ids := r.minutes[minute]
	if ids == nil {
		if r.minutes == nil {
			r.minutes = map[int64]map[[16]byte]struct{}{}
		}
		ids = map[[16]byte]struct{}{}
		r.minutes[minute] = ids
	}
	key := bytesOf(id)
	if _, ok := ids[key]; ok {
		return false
	}
	ids[key] = struct{}{}
	r.n++
	return true
}

// forget drops the minutes of which every id is untimely by now.
func (r *replays) forget(now time.Time) {
	for minute, ids := range r.minutes {
		if end := time.Unix((minute+1)*60, 0); end.Before(now.Add(-Window)) {
			r.n -= len(ids)
			delete(r.minutes, minute)
		}
	}
}

func bytesOf(id gateway.TransactionID) (key [16]byte) {
	s := string(id)
	if len(s) != 36 {
		return key
	}
	_, _ = hex.Decode(key[:], []byte(s[0:8]+s[9:13]+s[14:18]+s[19:23]+s[24:36])) // form checked by the caller
	return key
}

// Restore fills the memory of transaction ids from the journal before the inway takes its first request. scan calls each with
// every record that was made since a moment, as journal.Journal.Scan does.
func (h *Handler) Restore(scan func(since time.Time, each func(audit.Record) error) error) error {
	now := h.now()
	h.seen.mu.Lock()
	defer h.seen.mu.Unlock()
	// An id that is timely now was accepted at most two windows ago: one window ahead of its time, one behind.
	return scan(now.Add(-2*Window), func(rec audit.Record) error {
		if rec.Soort != audit.Transactie {
			return nil
		}
		var body struct {
			Direction audit.Direction `json:"direction"`
		}
		if err := json.Unmarshal(rec.Body, &body); err != nil {
			return gateway.Wrap(gateway.Internal, err, "transactie record "+rec.ID)
		}
		if at := rec.Transactie.Time(); body.Direction == audit.Incoming && !at.IsZero() {
			h.seen.add(rec.Transactie, at)
		}
		return nil
	})
}

// Admissions is for a service of the peer in another process than the inway: it remembers what an inway said that it admitted, so that
// each counts once. The zero value is ready.
type Admissions struct {
	seen   replays
	active actives
}

// Admit takes what an inway said, until done is called. The error is of kind Invalid for an id that is not timely or that was there
// before.
func (a *Admissions) Admit(id gateway.TransactionID, gth gateway.GrantHash, now time.Time) (done func(), err error) {
	fresh, err := a.seen.reserve(id, now)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, gateway.WithCode(gateway.Invalid, CodeInvalidID, "transaction id: was admitted before")
	}
	a.active.put(id, gth)
	return func() { a.active.drop(id) }, nil
}

// Admitted tells the service, once, whether a request was admitted and is being served now: as Handler.Admitted.
func (a *Admissions) Admitted(id gateway.TransactionID, gth gateway.GrantHash) bool {
	return id != "" && gth != "" && a.active.take(id, gth)
}

// actives are the requests that are being served and were not claimed yet. The zero value is ready.
type actives struct {
	mu sync.Mutex // guards m
	m  map[gateway.TransactionID]gateway.GrantHash
}

func (a *actives) put(id gateway.TransactionID, gth gateway.GrantHash) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.m == nil {
		a.m = map[gateway.TransactionID]gateway.GrantHash{}
	}
	a.m[id] = gth
}

func (a *actives) take(id gateway.TransactionID, gth gateway.GrantHash) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.m[id] != gth {
		return false
	}
	delete(a.m, id)
	return true
}

func (a *actives) drop(id gateway.TransactionID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.m, id)
}
