package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

// A Sink is where the journal ships to. Write returns nil only when all entries are kept there; after an error, or a crash, the
// same entries come again.
type Sink interface {
	Write(ctx context.Context, entries []Entry) error
}

const (
	shipRecords = 4000                   // records in one Write
	shipBytes   = 4 << 20                // bytes read at once; more than the largest frame
	linger      = 100 * time.Millisecond // in mode journal: let a batch gather; each costs the broker a write and a sync per partition
	lingerBusy  = 500 * time.Millisecond // the same after a batch of many: nobody waits for one record among them
	many        = 100
	retryFirst  = 100 * time.Millisecond
	retryMost   = 5 * time.Second // in mode kafka questions wait for it when the cluster is back
	pruneEvery  = time.Minute
)

// Ship sends what is durable to sink, at least once and in order, until ctx ends or the journal is closed: then it returns nil.
// After an error of the sink it tries the same entries again, with exponential back-off and jitter. An error that it returns is
// damage to the journal. A second Ship beside a running one is refused with kind Conflict.
func (j *Journal) Ship(ctx context.Context, sink Sink) error {
	ended := make(chan struct{})
	j.mu.Lock()
	switch {
	case j.closed:
		j.mu.Unlock()
		return nil
	case j.shipping != nil:
		j.mu.Unlock()
		return gateway.Errorf(gateway.Conflict, "journal: it is being shipped already")
	}
	j.shipping = ended
	j.mu.Unlock()
	defer func() {
		j.mu.Lock()
		j.shipping, j.fresh = nil, fresh{}
		j.mu.Unlock()
		close(ended)
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-j.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	s := &shipper{j: j, sink: sink}
	defer s.close()
	return s.run(ctx)
}

type shipper struct {
	j    *Journal
	sink Sink
	buf  []byte
	file *os.File // the segment being read
	path string
	last int // records in the last Write
}

func (s *shipper) run(ctx context.Context) error {
	wait := retryFirst
	for ctx.Err() == nil {
		newest := s.j.newest()
		entries, next, err := s.read()
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			s.j.prune()
			s.idle(ctx)
			continue
		}
		err = s.send(ctx, entries, next)
		switch {
		case err == nil:
			wait, s.last = retryFirst, len(entries)
			s.j.prune()
			if next.seq >= newest && s.j.newest() > next.seq { // all that was there went; some came in meanwhile
				s.gather(ctx)
			}
		case ctx.Err() == nil:
			bytes, age := s.j.Lag()
			s.j.log.Warn("journal: shipping; trying again", slog.Any("error", err), slog.Int64("bytes", bytes), slog.Duration("age", age))
			pause(ctx, wait/2+rand.N(wait)) //nolint:gosec // jitter
			wait = min(2*wait, retryMost)
		}
	}
	return nil
}

func (s *shipper) idle(ctx context.Context) {
	timer := time.NewTimer(pruneEvery)
	defer timer.Stop()
	select {
	case <-s.j.durable:
		s.gather(ctx)
	case <-timer.C:
	case <-ctx.Done():
	}
}

// gather waits until there is more to ship; but not in mode kafka, where somebody waits for it, nor once the journal is closed.
func (s *shipper) gather(ctx context.Context) {
	if s.j.cfg.Ack == AckKafka {
		return
	}
	d := linger
	if s.last >= many {
		d = lingerBusy
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.j.done:
	case <-ctx.Done():
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (s *shipper) send(ctx context.Context, entries []Entry, next position) error {
	if err := s.j.fault(BeforeShip); err != nil {
		return err
	}
	if err := s.sink.Write(ctx, entries); err != nil {
		return err
	}
	if err := s.j.fault(AfterShip); err != nil {
		return err
	}
	if err := s.j.position.store(next); err != nil {
		return fmt.Errorf("position: %w", err)
	}
	s.j.advance(next)
	return s.j.fault(AfterPosition)
}

// newest is the sequence number of the last durable record.
func (j *Journal) newest() uint64 { return j.last().last }

func (j *Journal) advance(to position) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.shipped = to
	for len(j.lag) > 0 && j.lag[0].last <= to.seq {
		j.lagBytes -= j.lag[0].bytes
		j.lag = j.lag[1:]
	}
	j.fresh.forget(to.seq)
	close(j.moved)
	j.moved = make(chan struct{})
}

// read gives the entries after the position, at most shipRecords, and the position after them: from memory when shipping keeps up, and
// from disk after a restart and when it is behind.
func (s *shipper) read() ([]Entry, position, error) {
	s.j.mu.Lock()
	pos := s.j.shipped
	if entries, next := s.j.fresh.after(pos); len(entries) > 0 {
		s.j.mu.Unlock()
		return entries, next, nil
	}
	at := sort.Search(len(s.j.segments), func(i int) bool { return s.j.segments[i].last > pos.seq })
	if at == len(s.j.segments) {
		s.j.mu.Unlock()
		return nil, pos, nil
	}
	seg := *s.j.segments[at]
	s.j.mu.Unlock()
	off := pos.offset
	if pos.segment != seg.first {
		off = segmentHeader
	}
	if err := s.use(seg.path); err != nil {
		return nil, pos, err
	}
	if s.buf == nil {
		s.buf = make([]byte, shipBytes)
	}
	n, err := s.file.ReadAt(s.buf[:min(int64(len(s.buf)), seg.end-off)], off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, pos, fmt.Errorf("journal: %w", err)
	}
	var entries []Entry
	next := position{seq: pos.seq, hash: pos.hash, segment: seg.first, offset: off}
	rest := s.buf[:n]
	for len(entries) < shipRecords && len(rest) > 0 {
		e, size, ok := s.j.entry(rest)
		if !ok {
			break
		}
		rest = rest[size:]
		next.offset += int64(size)
		if e.Seq <= pos.seq {
			continue // the position knows no offset in this segment
		}
		if e.Seq != next.seq+1 || e.Hash != audit.Link(next.hash, e.Seq, e.Record) {
			return nil, pos, damaged(seg.path, next.offset-int64(size), fmt.Sprintf("after record %d the sequence or the running hash breaks", next.seq))
		}
		next.seq, next.hash = e.Seq, e.Hash
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		return nil, pos, damaged(seg.path, next.offset, fmt.Sprintf("record %d can't be read", next.seq+1))
	}
	return entries, next, nil
}

func (j *Journal) entry(b []byte) (e Entry, size int, ok bool) {
	f, size, ok := parseFrame(b, j.seed)
	if !ok {
		return Entry{}, 0, false
	}
	r, ok := decode(f.payload)
	return Entry{Journal: j.id, Seq: f.seq, Hash: f.hash, Record: r}, size, ok
}

func (s *shipper) use(path string) error {
	if s.path == path {
		return nil
	}
	s.close()
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	s.file, s.path = f, path
	return nil
}

func (s *shipper) close() {
	if s.file != nil {
		_ = s.file.Close()
		s.file, s.path = nil, ""
	}
}

// prune deletes segments that were shipped whole and whose newest record is older than KeepFor; never the last one.
func (j *Journal) prune() {
	if !j.reading.TryLock() {
		return // somebody reads; next time
	}
	defer j.reading.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	limit := j.now().Add(-j.cfg.KeepFor)
	for len(j.segments) > 1 && j.segments[0].last <= j.shipped.seq && j.segments[0].newest.Before(limit) {
		if err := os.Remove(j.segments[0].path); err != nil {
			j.log.Warn("journal: a segment could not be deleted", slog.Any("error", err))
			return
		}
		j.segments = j.segments[1:]
	}
}

// Scan calls fn for every entry that was durable when it was called and whose record was made at or after since, in order. Only
// what was not deleted yet is there: KeepFor back, and all that was not shipped. An error of fn ends it and is returned.
func (j *Journal) Scan(since time.Time, fn func(Entry) error) error {
	j.reading.RLock()
	defer j.reading.RUnlock()
	j.mu.Lock()
	segments := make([]segment, len(j.segments))
	for i, s := range j.segments {
		segments[i] = *s
	}
	j.mu.Unlock()
	for _, s := range segments {
		if s.newest.Before(since) {
			continue
		}
		if err := j.scanSegment(s, since, fn); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) scanSegment(s segment, since time.Time, fn func(Entry) error) error {
	f, err := os.Open(s.path)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	b := make([]byte, s.end)
	if _, err := io.ReadFull(f, b); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	c := audit.Chain{Journal: j.id, Seq: s.first - 1, Hash: s.prev}
	for off := int64(segmentHeader); off < s.end; {
		e, size, ok := j.entry(b[off:])
		if !ok {
			return damaged(s.path, off, fmt.Sprintf("record %d can't be read", c.Seq+1))
		}
		if err := c.Next(e); err != nil {
			return damaged(s.path, off, err.Error())
		}
		off += int64(size)
		if e.Record.Tijd.Before(since) {
			continue
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// position says up to where everything was shipped.
type position struct {
	seq     uint64
	segment uint64 // first record of the segment that offset is in; 0 if not known
	offset  int64
	hash    [32]byte // running hash at seq
}

// positionFile keeps the position durable in two slots in turn, so that one of them is whole always.
type positionFile struct {
	file *os.File
	slot int64
}

const slotBytes = 8 + 8 + 8 + 32 + 4

func openPosition(dir string) (*positionFile, position, error) {
	path := filepath.Join(dir, "shipped")
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err == nil {
			err = errors.Join(fill(f, 0, 2*slotBytes), syncDir(dir))
		}
	}
	if err != nil {
		return nil, position{}, fmt.Errorf("journal: position of shipping: %w", err)
	}
	p := &positionFile{file: f}
	var pos position
	b := make([]byte, 2*slotBytes)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		_ = f.Close()
		return nil, position{}, fmt.Errorf("journal: position of shipping: %w", err)
	}
	for slot := range 2 {
		if (slot+1)*slotBytes > n {
			break
		}
		s := b[slot*slotBytes:][:slotBytes]
		if crc32.Checksum(s[:slotBytes-4], castagnoli) != binary.BigEndian.Uint32(s[slotBytes-4:]) {
			continue // torn, or never written; then shipping starts at the other, or at the oldest record: at least once
		}
		if seq := binary.BigEndian.Uint64(s); seq > pos.seq {
			pos = position{seq: seq, segment: binary.BigEndian.Uint64(s[8:]), offset: int64(binary.BigEndian.Uint64(s[16:]))}
			copy(pos.hash[:], s[24:])
			p.slot = int64(1 - slot)
		}
	}
	return p, pos, nil
}

func (p *positionFile) store(pos position) error {
	b := make([]byte, 0, slotBytes)
	b = binary.BigEndian.AppendUint64(b, pos.seq)
	b = binary.BigEndian.AppendUint64(b, pos.segment)
	b = binary.BigEndian.AppendUint64(b, uint64(pos.offset))
	b = append(b, pos.hash[:]...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := p.file.WriteAt(b, p.slot*slotBytes); err != nil {
		return err
	}
	if err := datasync(p.file); err != nil {
		return err
	}
	p.slot = 1 - p.slot
	return nil
}
