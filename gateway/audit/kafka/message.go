package kafka

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go/protocol"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

// The headers of a message: those of a CloudEvent, and where the record stands in its journal.
const (
	headerID      = "record-id"
	headerTx      = "transactie"
	headerJournal = "journal"
	headerSeq     = "seq"
	headerHash    = "hash"
	headerTime    = "ce_time"
)

// schemaOf names the schema of a kind; CloudEvents wants a URI.
func schemaOf(s audit.Soort) string {
	return "https://github.com/grensloos/grensloos/blob/main/schemas/" + string(s) + ".schema.json"
}

func key(transactie gateway.TransactionID, id string) string {
	if transactie != "" {
		return string(transactie)
	}
	return id
}

// messageOverhead is more than what a message has beside its value.
const messageOverhead = 1 << 10

// kind is what all messages of one kind of record have in common: made once, shared, not changed.
type kind struct {
	topic   string
	headers []byte // the first ones, encoded
}

// How many headers a message has: those of kind, and those of its own.
const headersOfKind, headersOwn = 5, 7

// kinds makes what the messages of each kind have in common.
func (c Config) kinds() map[audit.Soort]kind {
	all := map[audit.Soort]kind{}
	for _, s := range audit.Soorten() {
		var h []byte
		h = appendHeader(h, "ce_specversion", "1.0")
		h = appendHeader(h, "ce_type", "nl.grensloos.audit."+string(s)+".v1")
		h = appendHeader(h, "ce_source", "urn:nld:oin:"+string(c.Organisation)+":systeem:grensloos")
		h = appendHeader(h, "ce_dataschema", schemaOf(s))
		h = appendHeader(h, "content-type", "application/json")
		all[s] = kind{c.topic(s), h}
	}
	return all
}

// appendMessage writes key, value and headers of the message of e.
func (k kind) appendMessage(b []byte, e audit.Entry) []byte {
	r := e.Record
	b = appendBytes(b, key(r.Transactie, r.ID))
	b = appendBytes(b, r.Body)
	b = binary.AppendVarint(b, headersOfKind+headersOwn)
	b = append(b, k.headers...)
	b = appendHeader(b, "ce_id", r.ID)
	b = appendHeader(b, headerTime, r.Tijd.UTC().AppendFormat(make([]byte, 0, len(time.RFC3339Nano)), time.RFC3339Nano))
	b = appendHeader(b, headerID, r.ID)
	b = appendHeader(b, headerTx, r.Transactie)
	b = appendHeader(b, headerJournal, e.Journal)
	b = appendHeader(b, headerSeq, strconv.AppendUint(make([]byte, 0, 20), e.Seq, 10))
	return appendHeader(b, headerHash, hex.AppendEncode(make([]byte, 0, 2*len(e.Hash)), e.Hash[:]))
}

func appendHeader[T ~string | ~[]byte](b []byte, name string, value T) []byte {
	return appendBytes(appendBytes(b, name), value)
}

// appendBytes writes a length and bytes as the Kafka protocol has them in a message.
func appendBytes[T ~string | ~[]byte](b []byte, v T) []byte {
	return append(binary.AppendVarint(b, int64(len(v))), v...)
}

// entry reads a message back. A message that misses a header is not ours: an error that names topic, offset and header.
func entry(topic string, s audit.Soort, m *protocol.Record) (audit.Entry, error) {
	body, err := protocol.ReadAll(m.Value)
	if err != nil {
		return audit.Entry{}, err
	}
	headers := map[string]string{}
	for _, h := range m.Headers {
		headers[h.Key] = string(h.Value)
	}
	bad := func(name string) (audit.Entry, error) {
		return audit.Entry{}, gateway.Errorf(gateway.Internal, "kafka: topic %s, offset %d: header %s is missing or malformed: only the journal may write to this topic", topic, m.Offset, name)
	}
	e := audit.Entry{Journal: headers[headerJournal], Record: audit.Record{
		ID: headers[headerID], Soort: s, Transactie: gateway.TransactionID(headers[headerTx]), Body: body,
	}}
	if e.Record.ID == "" {
		return bad(headerID)
	}
	if e.Seq, err = strconv.ParseUint(headers[headerSeq], 10, 64); err != nil {
		return bad(headerSeq)
	}
	if n, err := hex.Decode(e.Hash[:], []byte(fmt.Sprintf("%.64s", headers[headerHash]))); err != nil || n != len(e.Hash) {
		return bad(headerHash)
	}
	if e.Record.Tijd, err = time.Parse(time.RFC3339Nano, headers[headerTime]); err != nil {
		return bad(headerTime)
	}
	return e, nil
}
