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

func (c Config) message(e audit.Entry) kafkago.Message {
	r := e.Record
	h := func(k, v string) kafkago.Header { return kafkago.Header{Key: k, Value: []byte(v)} }
	return kafkago.Message{
		Topic: c.topic(r.Soort), Key: key(r.Transactie, r.ID), Value: r.Body, Time: r.Tijd,
		Headers: []kafkago.Header{
			h("ce_specversion", "1.0"),
			h("ce_id", r.ID),
			h("ce_type", "nl.grensloos.audit."+string(r.Soort)+".v1"),
			h("ce_source", "urn:nld:oin:"+string(c.Organisation)+":systeem:grensloos"),
			h(headerTime, r.Tijd.UTC().Format(time.RFC3339Nano)),
			h("ce_dataschema", schemaOf(r.Soort)),
			h("content-type", "application/json"),
			h(headerID, r.ID),
			h(headerTx, string(r.Transactie)),
			h(headerJournal, e.Journal),
			h(headerSeq, strconv.FormatUint(e.Seq, 10)),
			h(headerHash, hex.EncodeToString(e.Hash[:])),
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
