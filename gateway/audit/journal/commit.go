package journal

import (
	"log/slog"
	"path/filepath"
	"runtime"
	"time"

	"github.com/grensloos/grensloos/gateway/audit"
)

const (
	// gatherFor is how long a batch waits for those who were in the one before, if fewer than half of them are there: about as long as a sync.
	gatherFor = 400 * time.Microsecond
	// gatherTo is how many of them are waited for at most: so many share a sync well enough.
	gatherTo = 16
)

// commitLoop is the one committer. While it writes and syncs a batch, the next one fills.
func (j *Journal) commitLoop() {
	defer close(j.done)
	var spare []audit.Record // of the batch before
	before := 0              // appends in the batch before
	for range j.wake {
		// Whoever can run now may have a record for this batch: under load that makes fewer and larger batches. Idle it costs nothing.
		runtime.Gosched()
		j.mu.Lock()
		if n := j.open.appends; n > 0 && 2*n < before && !j.closed { // there were more a moment ago, who may be on their way
			j.mu.Unlock()
			time.Sleep(gatherFor)
			j.mu.Lock()
		}
		b, closed, broken := j.open, j.closed, j.broken
		j.open = newBatch(spare)
		j.mu.Unlock()
		switch {
		case len(b.recs) == 0:
		case broken != nil:
			b.err = audit.Refused(broken, "journal: broken since a write to disk failed; mend the disk and restart")
		default:
			b.err = j.commit(b)
		}
		if b.err != nil && b.unheard > 0 {
			j.log.Error("journal: records of the end of exchanges that were answered may be lost", slog.Int("records", b.unheard), slog.Any("error", b.err))
		}
		if len(b.recs) > 0 {
			before = min(b.appends, gatherTo)
		}
		b.last = j.seq
		clear(b.recs)
		spare = b.recs[:0]
		j.mu.Lock()
		j.pending -= b.bytes
		more := len(j.open.recs) > 0
		j.mu.Unlock()
		close(b.done)
		if closed && !more {
			return
		}
		if closed {
			signal(j.wake)
		}
	}
}

// commit makes the batch durable, in more than one write if it doesn't fit the segment.
func (j *Journal) commit(b *batch) error {
	for next := 0; next < len(b.recs); {
		s := j.last()
		seq, hash := j.seq, j.hash
		from := next
		j.buf, j.written = j.buf[:0], j.written[:0]
		for ; next < len(b.recs); next++ {
			r := b.recs[next]
			if s.end+int64(len(j.buf)+frameHeader+payloadBytes(r)) > j.size {
				break
			}
			seq++
			hash = audit.Link(hash, seq, r)
			j.buf = appendFrame(j.buf, j.seed, frame{batch: j.seq + 1, seq: seq, hash: hash}, r)
			r.Telling = audit.Telling{} // is not kept
			j.written = append(j.written, written{Entry{Journal: j.id, Seq: seq, Hash: hash, Record: r}, s.first, s.end + int64(len(j.buf))})
		}
		if next == from {
			// A full disk shows here, before anything is written: refuse this batch, and try again with the next.
			if err := j.rotate(); err != nil {
				return audit.Refused(err, "journal: no room for another segment: make room on the disk")
			}
			continue
		}
		if err := j.write(s.end); err != nil {
			j.poison(err)
			return audit.Refused(err, "journal: write to disk; the record may be kept all the same")
		}
		j.publish(seq, hash)
		if err := j.fault(AfterSync); err != nil {
			return audit.Refused(err, "journal: the record is kept all the same")
		}
	}
	j.prepare()
	return nil
}

// poison makes every later append refuse: nobody knows what is on the disk.
func (j *Journal) poison(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.broken = err
}

func (j *Journal) write(off int64) error {
	if err := j.fault(BeforeWrite); err != nil {
		return err
	}
	if _, err := j.file.WriteAt(j.buf, off); err != nil {
		return err
	}
	if err := j.fault(AfterWrite); err != nil {
		return err
	}
	return datasync(j.file)
}

// publish tells readers and shipper what became durable.
func (j *Journal) publish(seq uint64, hash [32]byte) {
	now := j.now()
	j.mu.Lock()
	s := j.segments[len(j.segments)-1]
	s.end += int64(len(j.buf))
	s.last = seq
	for _, w := range j.written {
		if w.Record.Tijd.After(s.newest) {
			s.newest = w.Record.Tijd
		}
	}
	if j.shipping != nil {
		j.fresh.add(j.written)
	}
	j.lag = grow(j.lag, seq, int64(len(j.buf)), now)
	j.lagBytes += int64(len(j.buf))
	j.mu.Unlock()
	j.seq, j.hash = seq, hash
	signal(j.durable)
}

func (j *Journal) last() segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	return *j.segments[len(j.segments)-1]
}

// prepare has the next segment made beside the work once this one is half full.
func (j *Journal) prepare() {
	if j.spare != nil || j.last().end < j.size/2 {
		return
	}
	j.spare = make(chan spare, 1)
	go func(c chan<- spare) {
		f, err := makeSpare(j.cfg.Dir, j.cfg.SegmentBytes)
		c <- spare{f, err}
	}(j.spare)
}

// rotate starts a new segment. After an error the journal goes on with the old one, and the next rotate tries again.
func (j *Journal) rotate() error {
	if err := j.fault(BeforeRotate); err != nil {
		return err
	}
	var next spare
	if j.spare != nil {
		next = <-j.spare
		j.spare = nil
	}
	if next.file == nil { // none was made ahead, or there was no room then
		if next.file, next.err = makeSpare(j.cfg.Dir, j.cfg.SegmentBytes); next.err != nil {
			return next.err
		}
	}
	s := &segment{path: filepath.Join(j.cfg.Dir, segmentName(j.seq+1)), first: j.seq + 1, prev: j.hash, end: segmentHeader, last: j.seq}
	if err := adopt(j.cfg.Dir, j.id, next.file, s); err != nil {
		_ = next.file.Close()
		j.poison(err) // room there was; and a segment that half exists must not be written beside
		return err
	}
	if j.file != nil {
		// Give back the zeros. If this is lost in a crash they stand there as zeros, which reads the same.
		_ = j.file.Truncate(j.last().end)
		_ = j.file.Close()
	}
	j.file, j.size = next.file, j.cfg.SegmentBytes
	j.mu.Lock()
	j.segments = append(j.segments, s)
	j.mu.Unlock()
	return nil
}
