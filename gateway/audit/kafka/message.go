package kafka

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	kafkago "github.com/segmentio/kafka-go"
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

func key(transactie gateway.TransactionID, id string) []byte {
	if transactie != "" {
		return []byte(transactie)
	}
	return []byte(id)
}

// kind is what all messages of one kind of record have in common: made once, shared, not changed.
type kind struct {
	topic                                  string
	specversion, source, typ, schema, json []byte
}

// kinds makes what the messages of each kind have in common.
func (c Config) kinds() map[audit.Soort]kind {
	all := map[audit.Soort]kind{}
	for _, s := range audit.Soorten() {
		all[s] = kind{
			topic: c.topic(s), specversion: []byte("1.0"), source: []byte("urn:nld:oin:" + string(c.Organisation) + ":systeem:grensloos"),
			typ: []byte("nl.grensloos.audit." + string(s) + ".v1"), schema: []byte(schemaOf(s)), json: []byte("application/json"),
		}
	}
	return all
}

func (k kind) message(e audit.Entry, journal []byte) kafkago.Message {
	r := e.Record
	id, transactie := []byte(r.ID), []byte(r.Transactie)
	return kafkago.Message{
		Topic: k.topic, Key: key(r.Transactie, r.ID), Value: r.Body, Time: r.Tijd,
		Headers: []kafkago.Header{
			{Key: "ce_specversion", Value: k.specversion},
			{Key: "ce_id", Value: id},
			{Key: "ce_type", Value: k.typ},
			{Key: "ce_source", Value: k.source},
			{Key: headerTime, Value: r.Tijd.UTC().AppendFormat(make([]byte, 0, len(time.RFC3339Nano)), time.RFC3339Nano)},
			{Key: "ce_dataschema", Value: k.schema},
			{Key: "content-type", Value: k.json},
			{Key: headerID, Value: id},
			{Key: headerTx, Value: transactie},
			{Key: headerJournal, Value: journal},
			{Key: headerSeq, Value: strconv.AppendUint(make([]byte, 0, 20), e.Seq, 10)},
			{Key: headerHash, Value: hex.AppendEncode(make([]byte, 0, 2*len(e.Hash)), e.Hash[:])},
		},
	}
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
