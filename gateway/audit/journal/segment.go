package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

// A segment is one file of the journal: a header, frames, and zeros up to the size it was made with.
//
// Header: 8 bytes magic, 36 bytes id of the journal, u64 first sequence number, 32 bytes running hash before it, u32 CRC-32C.
const (
	segmentHeader = 128
	magic         = "GLJRNL1\n"
	idBytes       = 36
	suffix        = ".journal"
	spareName     = "spare.tmp"
)

type segment struct {
	path  string
	first uint64   // sequence number of its first record
	prev  [32]byte // running hash before it

	// What is durable in it; guarded by Journal.mu once the journal is open.
	end    int64
	last   uint64 // first-1 when empty
	newest time.Time
}

func segmentName(first uint64) string { return fmt.Sprintf("%020d%s", first, suffix) }

func (s *segment) header(journal string) []byte {
	b := make([]byte, 0, segmentHeader)
	b = append(b, magic...)
	b = append(b, journal...)
	b = binary.BigEndian.AppendUint64(b, s.first)
	b = append(b, s.prev[:]...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:segmentHeader]
}

func parseSegment(path string, b []byte) (s *segment, journal string, err error) {
	const used = len(magic) + idBytes + 8 + 32
	if len(b) < segmentHeader || string(b[:len(magic)]) != magic ||
		crc32.Checksum(b[:used], castagnoli) != binary.BigEndian.Uint32(b[used:]) {
		return nil, "", damaged(path, 0, "the header is damaged")
	}
	journal = string(b[len(magic) : len(magic)+idBytes])
	s = &segment{path: path, first: binary.BigEndian.Uint64(b[len(magic)+idBytes:]), end: segmentHeader}
	s.last = s.first - 1
	copy(s.prev[:], b[len(magic)+idBytes+8:])
	if filepath.Base(path) != segmentName(s.first) {
		return nil, "", damaged(path, 0, fmt.Sprintf("the header says that it starts at record %d", s.first))
	}
	return s, journal, nil
}

// damaged is the error for what must never be skipped: records that were durable and can't be read. It is for a person to mend.
func damaged(path string, offset int64, what string) error {
	return &gateway.Error{Kind: gateway.Internal, Message: fmt.Sprintf(
		"journal: segment %s is damaged at offset %d: %s; nothing was changed: put back the folder from before, or ship what is whole and start a new journal",
		path, offset, what)}
}

// recovered is what load found.
type recovered struct {
	journal  string
	segments []*segment
	seq      uint64
	hash     [32]byte
	torn     int64 // bytes of a torn tail in the last segment that were never acknowledged
	lag      []mark
}

// load reads and checks all segments of dir: headers, checksums, sequence and running hash. It changes nothing.
func load(dir string, pos position) (recovered, error) {
	var rec recovered
	paths, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		return rec, err
	}
	slices.Sort(paths) // names have a fixed width
	for i, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return rec, err
		}
		s, journal, err := parseSegment(path, b)
		switch {
		case err != nil:
			return rec, err
		case i == 0:
			rec.journal, rec.seq, rec.hash = journal, s.first-1, s.prev
		case journal != rec.journal:
			return rec, damaged(path, 0, "it is of another journal")
		case s.first != rec.seq+1 || s.prev != rec.hash:
			before := rec.segments[i-1]
			return rec, damaged(before.path, before.end, fmt.Sprintf("it ends at record %d, and %s starts at %d", rec.seq, filepath.Base(path), s.first))
		}
		rec.segments = append(rec.segments, s)
		if err := rec.scan(s, b, pos, i == len(paths)-1); err != nil {
			return rec, err
		}
	}
	switch {
	case len(paths) == 0 && pos.seq > 0:
		return rec, gateway.Errorf(gateway.Internal, "journal %s: record %d was shipped, and there is no segment: put the segments back, or start with an empty folder", dir, pos.seq)
	case pos.seq > rec.seq:
		return rec, damaged(paths[len(paths)-1], rec.segments[len(paths)-1].end, fmt.Sprintf("it ends at record %d, and record %d was shipped", rec.seq, pos.seq))
	}
	return rec, nil
}

func (rec *recovered) scan(s *segment, b []byte, pos position, last bool) error {
	seed := seedOf(rec.journal)
	off := segmentHeader
	for {
		f, size, ok := parseFrame(b[off:], seed)
		if !ok {
			break
		}
		r, ok := decode(f.payload)
		if !ok || f.seq != rec.seq+1 || f.hash != audit.Link(rec.hash, f.seq, r) {
			return damaged(s.path, int64(off), fmt.Sprintf("after record %d the sequence or the running hash breaks", rec.seq))
		}
		rec.seq, rec.hash = f.seq, f.hash
		off += size
		if f.seq == pos.seq && f.hash != pos.hash {
			return damaged(s.path, int64(off-size), fmt.Sprintf("record %d is not the one that was shipped", f.seq))
		}
		s.last, s.end = f.seq, int64(off)
		if r.Tijd.After(s.newest) {
			s.newest = r.Tijd
		}
		if f.seq > pos.seq {
			rec.lag = grow(rec.lag, f.seq, int64(size), r.Tijd)
		}
	}
	rest := bytes.TrimRight(b[off:], "\x00")
	switch {
	case len(rest) == 0:
		return nil
	case !last:
		return damaged(s.path, int64(off), fmt.Sprintf("the record after %d can't be read, and more segments follow", rec.seq))
	case rec.seq < pos.seq:
		return damaged(s.path, int64(off), fmt.Sprintf("record %d can't be read, and it was shipped", rec.seq+1))
	}
	if at, ok := laterBatch(b[off:], len(rest), seed, rec.seq+1); ok {
		return damaged(s.path, int64(off), fmt.Sprintf("record %d can't be read, and a later one at offset %d can", rec.seq+1, off+at))
	}
	rec.torn = int64(len(rest))
	return nil
}

// laterBatch looks in b, from every byte below n, for a whole frame of a batch that was begun after record seq was durable.
func laterBatch(b []byte, n int, seed uint32, seq uint64) (int, bool) {
	most := seq + uint64(len(b)/frameHeader) + 1
	for at := range n {
		rest := b[at:]
		if len(rest) < frameHeader {
			return 0, false
		}
		if s := binary.BigEndian.Uint64(rest[16:]); s <= seq || s > most {
			continue
		}
		if f, _, ok := parseFrame(rest, seed); ok && f.batch > seq {
			return at, true
		}
	}
	return 0, false
}

// fill makes f a file of size bytes: zeros from off on, durable.
func fill(f *os.File, off, size int64) error {
	zeros := make([]byte, 1<<20)
	for off < size {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return f.Sync()
}

// makeSpare makes a file of zeros to become the next segment.
func makeSpare(dir string, size int64) (*os.File, error) {
	path := filepath.Join(dir, spareName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := fill(f, 0, size); err != nil {
		_ = f.Close()
		_ = os.Remove(path) // a full disk needs the room
		return nil, err
	}
	return f, nil
}

// adopt turns the spare into segment s: a file under a segment's name has a durable header always.
func adopt(dir, journal string, spare *os.File, s *segment) error {
	if _, err := spare.WriteAt(s.header(journal), 0); err != nil {
		return err
	}
	if err := spare.Sync(); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, spareName), s.path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
