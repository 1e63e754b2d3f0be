package kafka

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/grensloos/grensloos/gateway/audit"
)

// batchBytes is how much goes into one batch: brokers take 1 MiB with what the protocol adds.
const batchBytes = 950 << 10

// batch is the messages of one partition that go together. It is encoded here (Kafka protocol, "Record Batch", version 2) and not by
// kafka-go's Writer, which takes twice the processor time, and a request and a timer for each partition.
type batch struct {
	part    part
	records []byte // not compressed
	count   int
	first   int64 // times in milliseconds
	newest  int64
	acked   bool
	encoded bytes.Buffer
}

// reset makes b an empty batch of p that keeps its room.
func (b *batch) reset(p part) {
	b.part, b.records, b.count, b.acked = p, b.records[:0], 0, false
	b.encoded.Reset()
}

// full says that a message of n bytes must go into another batch.
func (b *batch) full(n int) bool { return b.count > 0 && len(b.records)+n > batchBytes }

// add puts e into b. It writes to scratch first, since the length of a message comes before it, and gives it back.
func (b *batch) add(k kind, e audit.Entry, scratch []byte) []byte {
	at := e.Record.Tijd.UnixMilli()
	if b.count == 0 {
		b.first, b.newest = at, at
	}
	b.newest = max(b.newest, at)
	m := append(scratch[:0], 0) // attributes: none
	m = binary.AppendVarint(m, at-b.first)
	m = binary.AppendVarint(m, int64(b.count))
	m = k.appendMessage(m, e)
	b.records = binary.AppendVarint(b.records, int64(len(m)))
	b.records = append(b.records, m...)
	b.count++
	return m
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode gives b as it goes into a request: with its size before it.
func (b *batch) encode(codec kafkago.Compression) ([]byte, error) {
	const before, crcAt, crcFrom = 4 + 8 + 4, 4 + 8 + 4 + 4 + 1, 4 + 8 + 4 + 4 + 1 + 4
	h := make([]byte, before, 4+61)
	h = binary.BigEndian.AppendUint32(h, 1<<32-1) // epoch of the leader: it knows
	h = append(h, 2)                              // version
	h = append(h, 0, 0, 0, 0)                     // checksum
	h = binary.BigEndian.AppendUint16(h, uint16(codec))
	h = binary.BigEndian.AppendUint32(h, uint32(b.count-1)) // last offset, from the first
	h = binary.BigEndian.AppendUint64(h, uint64(b.first))
	h = binary.BigEndian.AppendUint64(h, uint64(b.newest))
	h = append(h, bytes.Repeat([]byte{0xff}, 8+2+4)...) // no producer id, epoch and sequence
	h = binary.BigEndian.AppendUint32(h, uint32(b.count))
	b.encoded.Reset()
	b.encoded.Write(h)
	if codec == 0 {
		b.encoded.Write(b.records)
	} else {
		w := codec.Codec().NewWriter(&b.encoded)
		if _, err := w.Write(b.records); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
	}
	all := b.encoded.Bytes()
	binary.BigEndian.PutUint32(all, uint32(len(all)-4))
	binary.BigEndian.PutUint32(all[4+8:], uint32(len(all)-before))
	binary.BigEndian.PutUint32(all[crcAt:], crc32.Checksum(all[crcFrom:], castagnoli))
	return all, nil
}

// partitionOf is where messages with a key stand among n partitions: the hash of kafka-go and Sarama. It never changes.
func partitionOf(key string, n int) int {
	h := uint32(2166136261) // FNV-1a
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * 16777619
	}
	return int(max(int32(h)%int32(n), -(int32(h) % int32(n))))
}
