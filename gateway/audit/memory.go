package audit

import (
	"context"
	"slices"
	"sync"

	"github.com/grensloos/grensloos/gateway"
)

// Memory is a Log in memory, for tests. Its hooks make an Append fail with, or without, keeping the record.
type Memory struct {
	// Fail, if set, is asked for every record; an error fails the Append. Nothing of that Append is kept.
	Fail func(Record) error
	// FailPersisted, if set, is asked for every record; an error fails the Append although all of it is kept.
	FailPersisted func(Record) error
	// Validate checks each record against its schema and fails the Append with that error.
	Validate bool

	mu   sync.Mutex // guards recs
	recs []Record
}

// Append keeps the records, or fails as the hooks say: with code WriteError and kind Unavailable, the hook's error as cause.
func (m *Memory) Append(ctx context.Context, recs ...Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Refused(err, "audit log")
	}
	for _, r := range recs {
		if m.Validate {
			if err := r.Validate(); err != nil {
				return err
			}
		}
		if m.Fail != nil {
			if err := m.Fail(r); err != nil {
				return Refused(err, "audit log")
			}
		}
	}
	m.recs = append(m.recs, recs...)
	for _, r := range recs {
		if m.FailPersisted != nil {
			if err := m.FailPersisted(r); err != nil {
				return Refused(err, "audit log")
			}
		}
	}
	return nil
}

// Records are the records kept so far, in order.
func (m *Memory) Records() []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.recs)
}

// Count is the number of records of one kind under a transaction; an empty transaction counts all.
func (m *Memory) Count(s Soort, t gateway.TransactionID) int {
	n := 0
	for _, r := range m.Records() {
		if r.Soort == s && (t == "" || r.Transactie == t) {
			n++
		}
	}
	return n
}
