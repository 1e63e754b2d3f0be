package journal

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
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

// appendFrame writes f with r as its payload.
func appendFrame(buf []byte, seed uint32, f frame, r audit.Record) []byte {
	start := len(buf)
	buf = append(buf, 0, 0, 0, 0, 0, 0, 0, 0)
	buf = binary.BigEndian.AppendUint64(buf, f.batch)
	buf = binary.BigEndian.AppendUint64(buf, f.seq)
	buf = append(buf, f.hash[:]...)
	buf = binary.BigEndian.AppendUint64(buf, uint64(r.Tijd.UnixMicro()))
	buf = appendPart(buf, r.ID)
	buf = appendPart(buf, r.Soort)
	buf = appendPart(buf, r.Transactie)
	buf = appendPart(buf, r.Body)
	binary.BigEndian.PutUint32(buf[start:], uint32(len(buf)-start-frameHeader))
	binary.BigEndian.PutUint32(buf[start+4:], checksum(seed, buf[start:]))
	return buf
}

func appendPart[T ~string | ~[]byte](buf []byte, part T) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(part))), part...)
}

// payloadBytes is how long the payload of r is.
func payloadBytes(r audit.Record) int {
	n := 8
	for _, part := range [...]int{len(r.ID), len(r.Soort), len(r.Transactie), len(r.Body)} {
		n += (bits.Len64(uint64(part)|1)+6)/7 + part
	}
	return n
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
