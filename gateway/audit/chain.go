package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"iter"

	"github.com/grensloos/grensloos/gateway"
)

// An Entry is a record in its place in one journal.
type Entry struct {
	Journal string   // UUID of the journal that wrote it
	Seq     uint64   // counts from 1, without gaps
	Hash    [32]byte // Link of the entry before it and this record
	Record  Record
}

// Genesis is the hash before the first entry of a journal.
func Genesis(journal string) [32]byte {
	return sha256.Sum256([]byte("grensloos-journal-1\x00" + journal))
}

// Link is the running hash: SHA-256 over the hash before, the sequence number, and the fields of the record, each with its
// length. It depends on what a record says and not on how a store encodes it, so that whoever reads the stream can check it.
func Link(prev [32]byte, seq uint64, r Record) [32]byte {
	h := sha256.New()
	h.Write(prev[:])
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], seq)
	h.Write(n[:])
	binary.BigEndian.PutUint64(n[:], uint64(r.Tijd.UnixMicro()))
	h.Write(n[:])
	for _, part := range [][]byte{[]byte(r.ID), []byte(r.Soort), []byte(r.Transactie), r.Body} {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	var sum [32]byte
	h.Sum(sum[:0])
	return sum
}

// A Chain checks the entries of one journal in order. The zero value takes the first entry it sees as the start, unless that
// has sequence number 1: then it checks that too. Set the fields to go on from a known place.
type Chain struct {
	Journal string
	Seq     uint64
	Hash    [32]byte
}

// Next checks that e follows what was seen before. An error of kind Conflict names the sequence number at which the chain breaks.
func (c *Chain) Next(e Entry) error {
	switch {
	case e.Seq == 0:
		return gateway.Errorf(gateway.Conflict, "journal %s: an entry without a sequence number", e.Journal)
	case c.Journal == "" && e.Seq > 1:
		*c = Chain{Journal: e.Journal, Seq: e.Seq, Hash: e.Hash}
		return nil
	case c.Journal == "":
		*c = Chain{Journal: e.Journal, Hash: Genesis(e.Journal)}
	}
	if e.Journal != c.Journal {
		return gateway.Errorf(gateway.Conflict, "journal %s: entry %d is of journal %s", c.Journal, e.Seq, e.Journal)
	}
	if e.Seq != c.Seq+1 {
		return gateway.Errorf(gateway.Conflict, "journal %s: entry %d follows %d: a gap or a repeat", c.Journal, e.Seq, c.Seq)
	}
	if e.Hash != Link(c.Hash, e.Seq, e.Record) {
		return gateway.Errorf(gateway.Conflict, "journal %s: the running hash breaks at entry %d", c.Journal, e.Seq)
	}
	c.Seq, c.Hash = e.Seq, e.Hash
	return nil
}

// CheckChain checks that entries of one journal, in order, have no gap in sequence or running hash, and returns where they end.
func CheckChain(entries iter.Seq[Entry]) (Chain, error) {
	var c Chain
	for e := range entries {
		if err := c.Next(e); err != nil {
			return c, err
		}
	}
	return c, nil
}
