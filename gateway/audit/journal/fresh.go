package journal

import "slices"

// freshBytes is how many bytes of records are kept in memory: more than a busy peer writes while it gathers.
const freshBytes = 2 * shipBytes

// written is an entry, and where in the journal it ends.
type written struct {
	Entry
	segment uint64 // the first record of its segment
	offset  int64
}

// fresh is what became durable while a Ship runs and was not shipped: the newest entries of the journal, without a gap. They need not be
// read back and hashed again. When they are too many they are forgotten: what is not here is read from disk.
type fresh struct {
	entries []written
	bytes   int // of their bodies
}

func (f *fresh) add(all []written) {
	for _, w := range all {
		f.bytes += len(w.Record.Body)
	}
	if f.bytes > freshBytes {
		*f = fresh{}
		return
	}
	f.entries = append(f.entries, all...)
}

// after gives the entries that follow pos, at most shipRecords and little more than shipBytes, and the position after them; none if what
// follows is not here.
func (f *fresh) after(pos position) ([]Entry, position) {
	if len(f.entries) == 0 || f.entries[0].Seq != pos.seq+1 {
		return nil, pos
	}
	var entries []Entry
	for bytes := 0; len(entries) < min(shipRecords, len(f.entries)) && bytes < shipBytes; {
		e := f.entries[len(entries)].Entry
		entries = append(entries, e)
		bytes += len(e.Record.Body)
	}
	last := f.entries[len(entries)-1]
	return entries, position{seq: last.Seq, hash: last.Hash, segment: last.segment, offset: last.offset}
}

// forget is told what was shipped.
func (f *fresh) forget(seq uint64) {
	n := 0
	for ; n < len(f.entries) && f.entries[n].Seq <= seq; n++ {
		f.bytes -= len(f.entries[n].Record.Body)
	}
	f.entries = slices.Delete(f.entries, 0, n)
}
