// Package journal keeps audit records on this machine's disk, in order, before anything else happens, and ships them onward. It
// is an audit.Log (FSC Logging: "get persistence confirmation before proxying"; ADL: durable before the answer).
//
// One committer writes what came in while it was syncing as one batch: one write and one fdatasync for all. Each record has a
// checksum, a sequence number and a running hash. Records go from the durable position to a Sink at least once; consumers drop
// record ids that they have. Segments that were shipped are deleted after Config.KeepFor.
//
// It refuses, with TRANSACTION_LOG_WRITE_ERROR: when the disk is full, when more waits for shipping than the bounds allow, when
// it is closed, and, until it is opened anew, once a write or sync broke: after that nobody knows what is on the disk.
//
// Open repairs a torn tail: what a crash left half written and nobody was told is durable. Damage anywhere else is an error that
// names segment and offset. One thing can't be told from a torn tail: damage afterwards to the very last batch, not yet shipped.
//
// Later is for what nothing waits for: it has no promise but that it will be written soon.
//
// Invariant a reviewer must keep: a batch is written only when the one before it is durable, and nobody hears nil before that.
package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

// Entry is a record in its place in the journal.
type Entry = audit.Entry

// Journal is an audit.Log on disk.
type Journal struct {
	cfg  Config
	log  *slog.Logger
	now  func() time.Time
	id   string
	seed uint32 // of checksums
	lock *os.File

	wake    chan struct{} // something to commit, or closed
	done    chan struct{} // the committer has ended
	timer   *time.Timer   // wakes the committer for what nobody waits for
	durable chan struct{} // something to ship
	stop    chan struct{} // closed: shipping ends

	// The committer's own.
	file    *os.File // of the last segment
	size    int64    // of file
	seq     uint64
	hash    [32]byte
	buf     []byte
	written []written  // what is in buf
	spare   chan spare // nil unless one is being made or is ready

	// position is the shipper's own while one runs.
	position *positionFile

	reading sync.RWMutex // held by whoever reads segments; deleting them takes it whole

	mu       sync.Mutex // guards what follows
	open     *batch     // the batch that takes records
	closed   bool
	broken   error // why nothing can be appended any more
	segments []*segment
	lag      []mark        // what is durable and not shipped, oldest first
	lagBytes int64         // sum of lag
	pending  int64         // bytes in batches that are not durable yet
	shipped  position      // how far shipping got
	moved    chan struct{} // closed and replaced when shipped moves
	shipping chan struct{} // closed when the running Ship ends; nil if none runs
	fresh    fresh         // for the running Ship
}

type spare struct {
	file *os.File
	err  error
}

// batch is what one write and one sync make durable.
type batch struct {
	recs    []audit.Record
	bytes   int64
	appends int           // that wait for it
	unheard int           // records in it that nobody waits for
	done    chan struct{} // closed when err and last are set
	err     error
	last    uint64
}

// laterWithin is how long records that nobody waits for may wait for others to be written with.
const laterWithin = 5 * time.Millisecond

func newBatch(room []audit.Record) *batch { return &batch{recs: room, done: make(chan struct{})} }

// mark sums up records that were made within a second and are not shipped.
type mark struct {
	first time.Time
	last  uint64
	bytes int64
}

func grow(lag []mark, seq uint64, bytes int64, t time.Time) []mark {
	if n := len(lag); n > 0 && t.Sub(lag[n-1].first) < time.Second {
		lag[n-1].last, lag[n-1].bytes = seq, lag[n-1].bytes+bytes
		return lag
	}
	return append(lag, mark{first: t, last: seq, bytes: bytes})
}

// Open opens the journal in cfg.Dir, or makes one. It checks all that is there and repairs a torn tail. A folder that another
// process has open is refused with kind Conflict.
func Open(cfg Config, log *slog.Logger, now func() time.Time) (*Journal, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	locked, err := lock(cfg.Dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		cfg: cfg, log: log, now: now, lock: locked,
		wake: make(chan struct{}, 1), done: make(chan struct{}), durable: make(chan struct{}, 1), stop: make(chan struct{}),
		open: newBatch(nil), moved: make(chan struct{}),
	}
	if err := j.start(); err != nil {
		_ = j.release()
		return nil, err
	}
	j.timer = time.AfterFunc(time.Hour, func() { signal(j.wake) })
	go j.commitLoop()
	return j, nil
}

func (j *Journal) start() error {
	if err := removeIfThere(filepath.Join(j.cfg.Dir, spareName)); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	var err error
	if j.position, j.shipped, err = openPosition(j.cfg.Dir); err != nil {
		return err
	}
	rec, err := load(j.cfg.Dir, j.shipped)
	if err != nil {
		return err
	}
	j.id, j.seed, j.segments, j.seq, j.hash, j.lag = rec.journal, seedOf(rec.journal), rec.segments, rec.seq, rec.hash, rec.lag
	for _, m := range j.lag {
		j.lagBytes += m.bytes
	}
	if len(j.segments) == 0 {
		j.id = gateway.NewUUID(j.now())
		j.seed, j.hash = seedOf(j.id), audit.Genesis(j.id)
		if err := j.rotate(); err != nil {
			return fmt.Errorf("journal: first segment: %w", err)
		}
		j.shipped.hash = j.hash
		return nil
	}
	if first := j.segments[0]; j.shipped.seq < first.first {
		if first.first > 1 && j.shipped.seq < first.first-1 {
			// The position is lost; what was deleted was shipped.
			j.log.Warn("journal: the shipping position is behind the oldest segment; shipping starts there", slog.Uint64("record", first.first))
		}
		j.shipped = position{seq: first.first - 1, hash: first.prev}
	}
	last := j.segments[len(j.segments)-1]
	if rec.torn > 0 {
		j.log.Warn("journal: repaired a torn tail that nobody was told is durable",
			slog.String("segment", last.path), slog.Int64("offset", last.end), slog.Int64("bytes", rec.torn), slog.Uint64("lastRecord", j.seq))
	}
	return j.reopen(last, rec.torn > 0)
}

// reopen makes the last segment ready to be written to: cut off after its last whole record if its tail is torn, and filled up.
func (j *Journal) reopen(s *segment, torn bool) error {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.file = f
	if torn {
		if err := f.Truncate(s.end); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
	}
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.size = max(st.Size(), j.cfg.SegmentBytes)
	if err := fill(f, st.Size(), j.size); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// ID names this journal; it is in every Entry and is never reused.
func (j *Journal) ID() string { return j.id }

// Append keeps the records; see audit.Log for the contract. It returns nil when they are synced to this disk and, in mode kafka,
// the sink has acknowledged them too. When ctx ends first the records may be kept all the same, so whoever must record the end
// of a cancelled exchange passes context.WithoutCancel. A record that is too large is refused with kind Invalid.
func (j *Journal) Append(ctx context.Context, recs ...audit.Record) error {
	if len(recs) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return audit.Refused(err, "journal: nothing was kept")
	}
	b, err := j.enqueue(recs, false)
	if err != nil {
		return err
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		return audit.Refused(ctx.Err(), "journal: the record may be kept all the same")
	}
	if b.err != nil {
		return b.err
	}
	if j.cfg.Ack == AckKafka {
		return j.awaitShipped(ctx, b.last)
	}
	return nil
}

// Later keeps the records as audit.Later says: durable with what is appended next, or within laterWithin. In mode kafka it is Append, for as
// long as an acknowledgement may take.
func (j *Journal) Later(ctx context.Context, recs ...audit.Record) error {
	if j.cfg.Ack == AckKafka {
		ctx, cancel := context.WithTimeout(ctx, 2*j.cfg.AckTimeout)
		defer cancel()
		return j.Append(ctx, recs...)
	}
	_, err := j.enqueue(recs, true)
	return err
}

// Settle waits until everything that was taken before is durable, or could not be made so.
func (j *Journal) Settle(ctx context.Context) error {
	j.mu.Lock()
	b, closed := j.open, j.closed
	j.mu.Unlock()
	if closed {
		return nil // Close sees to that
	}
	signal(j.wake)
	select {
	case <-b.done: // also when nothing is in it: then those before it are done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enqueue puts records into the open batch. Those that somebody waits for wake the committer; the others may wait for these.
func (j *Journal) enqueue(recs []audit.Record, later bool) (*batch, error) {
	var bytes int64
	for _, r := range recs {
		n := payloadBytes(r)
		if most := min(maxRecordBytes, int(j.cfg.SegmentBytes)-segmentHeader-frameHeader); n > most {
			return nil, gateway.Errorf(gateway.Invalid, "journal: a %s record of %d bytes: at most %d fit", r.Soort, n, most)
		}
		bytes += int64(frameHeader + n)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.refusal(bytes); err != nil {
		return nil, err
	}
	b := j.open
	if !later {
		signal(j.wake)
	} else if len(b.recs) == 0 {
		j.timer.Reset(laterWithin)
	}
	b.recs = append(b.recs, recs...)
	b.bytes += bytes
	if later {
		b.unheard += len(recs)
	} else {
		b.appends++
	}
	j.pending += bytes
	return b, nil
}

// refusal says why bytes more can't be taken now. It is called with mu held.
func (j *Journal) refusal(bytes int64) error {
	switch {
	case j.closed:
		return audit.Refused(nil, "journal: closed")
	case j.broken != nil:
		return audit.Refused(j.broken, "journal: broken since a write to disk failed; mend the disk and restart")
	case j.lagBytes+j.pending+bytes > j.cfg.MaxLagBytes:
		return audit.Refused(nil, fmt.Sprintf("journal: %d bytes wait for shipping, the bound is %d (maxAchterstandBytes): see that the broker is reachable", j.lagBytes+j.pending, j.cfg.MaxLagBytes))
	case len(j.lag) > 0 && j.now().Sub(j.lag[0].first) > j.cfg.MaxLagAge:
		return audit.Refused(nil, fmt.Sprintf("journal: records wait for shipping longer than the bound of %v (maxAchterstand): see that the broker is reachable", j.cfg.MaxLagAge))
	}
	return nil
}

func (j *Journal) awaitShipped(ctx context.Context, seq uint64) error {
	timeout := time.NewTimer(j.cfg.AckTimeout)
	defer timeout.Stop()
	for {
		j.mu.Lock()
		reached, moved := j.shipped.seq >= seq, j.moved
		j.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-moved:
		case <-timeout.C:
			return audit.Refused(nil, fmt.Sprintf("journal: kept here, and not acknowledged by the cluster within %v (bevestigingBinnen)", j.cfg.AckTimeout))
		case <-j.stop:
			return audit.Refused(nil, "journal: kept here, and closed before the cluster acknowledged it")
		case <-ctx.Done():
			return audit.Refused(ctx.Err(), "journal: kept here, and not acknowledged by the cluster")
		}
	}
}

// Lag is what is durable here and not shipped: bytes, and how long the oldest of it has waited (to the second).
func (j *Journal) Lag() (bytes int64, age time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.lag) == 0 {
		return 0, 0
	}
	return j.lagBytes, j.now().Sub(j.lag[0].first)
}

// Err says why the journal refuses every append for good, or nil: for a health check.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return j.refusal(0)
	}
	return j.broken
}

// usualRecord is more bytes than most records have.
const usualRecord = 4 << 10

// Refusal says why an append of a record of usual size would be refused at this moment, or nil: broken, closed, or too far behind.
func (j *Journal) Refusal() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.refusal(usualRecord)
}

// Close refuses further appends, makes durable what was taken, lets a running Ship send what is left until ctx ends, stops it and
// lets go of the folder. What was not shipped is shipped after the next Open. A second Close does nothing.
func (j *Journal) Close(ctx context.Context) error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		<-j.done
		return nil
	}
	j.closed = true
	j.mu.Unlock()
	j.timer.Stop()
	signal(j.wake)
	<-j.done
	j.drain(ctx)
	close(j.stop)
	j.mu.Lock()
	running := j.shipping
	j.mu.Unlock()
	if running != nil {
		<-running
	}
	if bytes, _ := j.Lag(); bytes > 0 {
		j.log.Warn("journal: closed before all was shipped; the rest goes after the next start", slog.Int64("bytes", bytes))
	}
	return j.release()
}

// drain waits until a running Ship has sent all, has ended, or ctx ends.
func (j *Journal) drain(ctx context.Context) {
	for {
		j.mu.Lock()
		running, moved, left := j.shipping, j.moved, j.lagBytes
		j.mu.Unlock()
		if running == nil || left == 0 {
			return
		}
		signal(j.durable)
		select {
		case <-moved:
		case <-running:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (j *Journal) release() error {
	var errs []error
	if j.spare != nil {
		if s := <-j.spare; s.file != nil {
			errs = append(errs, s.file.Close(), removeIfThere(filepath.Join(j.cfg.Dir, spareName)))
		}
	}
	if j.file != nil {
		errs = append(errs, j.file.Close())
	}
	if j.position != nil {
		errs = append(errs, j.position.file.Close())
	}
	return errors.Join(append(errs, j.lock.Close())...)
}

func (j *Journal) fault(step string) error {
	if j.cfg.Fault == nil {
		return nil
	}
	return j.cfg.Fault(step)
}

// signal puts a token into a channel of capacity 1 unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
