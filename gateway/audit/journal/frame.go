package journal

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

// On disk a record is a frame:
//
//	u32  length of the payload, never 0: a zero means that nothing was written from here on
//	u32  CRC-32C over the id of the journal and all that follows, the length first
//	u64  sequence number of the first record of its batch
//	u64  sequence number
//	32B  running hash (audit.Link)
//	     payload: u64 time in microseconds; then id, kind, transaction and body, each after its length as uvarint
//
// A batch is written only after the one before it is durable. So a broken frame that is followed by a whole frame of a later
// batch was durable once and is damage; any other broken frame at the end was never acknowledged.
const frameHeader = 4 + 4 + 8 + 8 + 32

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type frame struct {
	batch   uint64
	seq     uint64
	hash    [32]byte
	payload []byte
}

func appendFrame(buf []byte, seed uint32, f frame) []byte {
	start := len(buf)
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(f.payload)))
	buf = append(buf, 0, 0, 0, 0)
	buf = binary.BigEndian.AppendUint64(buf, f.batch)
	buf = binary.BigEndian.AppendUint64(buf, f.seq)
	buf = append(buf, f.hash[:]...)
	buf = append(buf, f.payload...)
	sum := checksum(seed, buf[start:])
	binary.BigEndian.PutUint32(buf[start+4:], sum)
	return buf
}

func checksum(seed uint32, b []byte) uint32 {
	return crc32.Update(crc32.Update(seed, castagnoli, b[:4]), castagnoli, b[8:])
}

func seedOf(journal string) uint32 { return crc32.Checksum([]byte(journal), castagnoli) }

// parseFrame reads the frame at the start of b; ok is false if there is no whole one. The payload shares b's memory.
func parseFrame(b []byte, seed uint32) (f frame, size int, ok bool) {
	if len(b) < frameHeader {
		return frame{}, 0, false
	}
	n := binary.BigEndian.Uint32(b)
	if n == 0 || n > maxRecordBytes || int(n) > len(b)-frameHeader {
		return frame{}, 0, false
	}
	size = frameHeader + int(n)
	if checksum(seed, b[:size]) != binary.BigEndian.Uint32(b[4:]) {
		return frame{}, 0, false
	}
	f = frame{batch: binary.BigEndian.Uint64(b[8:]), seq: binary.BigEndian.Uint64(b[16:]), payload: b[frameHeader:size]}
	copy(f.hash[:], b[24:])
	return f, size, true
}

func encode(r audit.Record) []byte {
	b := make([]byte, 0, 8+4*3+len(r.ID)+len(r.Soort)+len(r.Transactie)+len(r.Body))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Tijd.UnixMicro()))
	for _, part := range [][]byte{[]byte(r.ID), []byte(r.Soort), []byte(r.Transactie), r.Body} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

// decode copies, so that the record outlives the buffer.
func decode(payload []byte) (audit.Record, bool) {
	if len(payload) < 8 {
		return audit.Record{}, false
	}
	micro := int64(binary.BigEndian.Uint64(payload))
	rest := payload[8:]
	var parts [4][]byte
	for i := range parts {
		n, used := binary.Uvarint(rest)
		if used <= 0 || n > uint64(len(rest)-used) {
			return audit.Record{}, false
		}
		parts[i] = rest[used : used+int(n)]
		rest = rest[used+int(n):]
	}
	return audit.Record{
		ID: string(parts[0]), Soort: audit.Soort(parts[1]), Transactie: gateway.TransactionID(parts[2]),
		Tijd: time.UnixMicro(micro).UTC(), Body: append([]byte(nil), parts[3]...),
	}, len(rest) == 0
}
