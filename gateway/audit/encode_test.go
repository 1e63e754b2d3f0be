package audit

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// TestEncodesAsEncodingJSON holds what is written by hand to what encoding/json writes.
func TestEncodesAsEncodingJSON(t *testing.T) {
	many := map[string]any{}
	for _, c := range "zyxwvutsrqponmlkjihgfedcba" {
		many[string(c)] = string(c)
	}
	for _, v := range []any{
		"", "plain ~", "a\"b\\c", "<&>", "é\u2028\x00\x7f", "\xff", gateway.PeerID("0"), gateway.Doel("d"), gateway.GrantHash("$1$"), gateway.TransactionID("t"),
		gateway.Richting("r"), gateway.Pseudonym("p"), gateway.Geldig, 0, -7, true, 3.5, nil,
		[]string(nil),
		[]string{},
		[]string{"a", "<b>"},
		[]gateway.Veld(nil),
		[]gateway.Veld{"naam"},
		gateway.Velden(nil),
		gateway.Velden{},
		gateway.Velden{"b": {"y", "x"}, "a": nil},
		map[string]any(nil),
		map[string]any{},
		map[string]any{"z": 1, "a": map[string]any{"é": []string{"x"}}, "m": struct{ A int }{1}},
		many,
		map[string]string{"b": "2", "a": "1"},
	} {
		want, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(appendValue(nil, v)); got != string(want) {
			t.Errorf("%T: got %s, want %s", v, got, want)
		}
	}
}

func TestEveryByteAsEncodingJSON(t *testing.T) {
	for c := range 256 {
		v := "a" + string([]byte{byte(c)}) + "b"
		want, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(appendString(nil, v)); got != string(want) {
			t.Errorf("byte %#x: got %s, want %s", c, got, want)
		}
	}
}

// TestNoBSNInARecord: a number of a person where only names and pseudonyms belong is a bug that makes no record.
func TestNoBSNInARecord(t *testing.T) {
	bsn, err := gateway.ParseBSN("999990019")
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{"itself": bsn, "in a map": map[string]any{"x": bsn}, "in a struct": struct{ X gateway.BSN }{bsn}} {
		func() {
			defer func() {
				if text, _ := recover().(string); text == "" || strings.Contains(text, "999990019") {
					t.Errorf("%s: got panic %q, want one that does not name the person", name, text)
				}
			}()
			t.Errorf("%s: encoded as %s", name, appendValue(nil, v))
		}()
	}
}

// The bodies of records as encoding/json would write them.
type (
	transactieBody struct {
		TransactionID  gateway.TransactionID `json:"transaction_id"`
		Direction      Direction             `json:"direction"`
		GrantHash      gateway.GrantHash     `json:"grant_hash"`
		Source         sourceBody            `json:"source"`
		Destination    destinationBody       `json:"destination"`
		ServiceName    gateway.ServiceName   `json:"service_name"`
		AdditionalData *spanBody             `json:"additional_data,omitempty"`
		CreatedAt      int64                 `json:"created_at"`
	}
	sourceBody struct {
		Type      string         `json:"type"`
		Outway    gateway.PeerID `json:"outway_peer_id"`
		Delegator gateway.PeerID `json:"delegator_peer_id,omitempty"`
	}
	destinationBody struct {
		Type      string         `json:"type"`
		Service   gateway.PeerID `json:"service_peer_id"`
		Delegator gateway.PeerID `json:"delegator_peer_id,omitempty"`
	}
	spanBody struct {
		TraceID  string `json:"trace_id"`
		SpanID   string `json:"span_id"`
		ParentID string `json:"parent_span_id,omitempty"`
	}
	afloopBody struct {
		Transactie   gateway.TransactionID `json:"transactie,omitempty"`
		Geclaimd     bool                  `json:"geclaimd,omitempty"`
		Richting     Direction             `json:"richting"`
		TraceID      string                `json:"traceId,omitempty"`
		SpanID       string                `json:"spanId,omitempty"`
		ParentSpanID string                `json:"parentSpanId,omitempty"`
		Grant        gateway.GrantHash     `json:"grant,omitempty"`
		Afnemer      gateway.PeerID        `json:"afnemer,omitempty"`
		Bron         gateway.PeerID        `json:"bron,omitempty"`
		Dienst       gateway.ServiceName   `json:"dienst,omitempty"`
		Status       int                   `json:"status"`
		Uitkomst     string                `json:"uitkomst"`
		Reden        gateway.Reason        `json:"reden,omitempty"`
		Fout         string                `json:"fout,omitempty"`
		DuurMs       int64                 `json:"duurMs"`
		BytesIn      int64                 `json:"bytesIn"`
		BytesUit     int64                 `json:"bytesUit"`
	}
	kwitantieBody struct {
		Transactie   gateway.TransactionID     `json:"transactie"`
		TraceID      string                    `json:"traceId,omitempty"`
		SpanID       string                    `json:"spanId,omitempty"`
		ParentSpanID string                    `json:"parentSpanId,omitempty"`
		Grant        gateway.GrantHash         `json:"grant"`
		Afnemer      gateway.PeerID            `json:"afnemer"`
		Bron         gateway.PeerID            `json:"bron"`
		Dienst       gateway.ServiceName       `json:"dienst"`
		Doel         gateway.Doel              `json:"doel"`
		Besluit      bool                      `json:"besluit"`
		Uitkomst     map[gateway.Dienst]string `json:"uitkomst,omitempty"`
		VeldenDigest string                    `json:"veldenDigest,omitempty"`
		Aantal       *int                      `json:"aantal,omitempty"`
		Afgegeven    int64                     `json:"afgegeven"`
		JWS          string                    `json:"jws"`
	}
)

// TestRecordsAsEncodingJSON holds the records of an exchange to what encoding/json makes of them, over many values: each member empty,
// plain, or with something in it that is escaped.
func TestRecordsAsEncodingJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	texts := []string{"", "", "plain", "00000099000000147000", "$1$3$abc", "a\"b", `\`, "<&>", "é", "\u2028", "\x00\x7f", "\xff", "😀"}
	text := func() string { return texts[r.IntN(len(texts))] }
	number := func() int64 { return []int64{0, 1, -1, 200, 1 << 53, -1 << 63}[r.IntN(6)] }
	for range 20000 {
		now := time.Unix(number()%(1<<33), number())
		trace := gateway.Trace{TraceID: text(), SpanID: text(), Parent: text()}
		g := gateway.Grant{
			Hash: gateway.GrantHash(text()), Outway: gateway.PeerID(text()), Delegator: gateway.PeerID(text()), ServicePeer: gateway.PeerID(text()),
			ServiceDelegator: gateway.PeerID(text()), Service: gateway.ServiceName(text()),
		}
		id, dir := gateway.TransactionID(text()), Direction(text())

		tb := transactieBody{
			TransactionID: id, Direction: dir, GrantHash: g.Hash, Source: sourceBody{"SOURCE_TYPE_SOURCE", g.Outway, g.Delegator},
			Destination: destinationBody{"DESTINATION_TYPE_DESTINATION", g.ServicePeer, g.ServiceDelegator}, ServiceName: g.Service, CreatedAt: now.Unix(),
		}
		if g.Delegator != "" {
			tb.Source.Type = "SOURCE_TYPE_DELEGATED_SOURCE"
		}
		if g.ServiceDelegator != "" {
			tb.Destination.Type = "DESTINATION_TYPE_DELEGATED_DESTINATION"
		}
		if trace.TraceID != "" {
			tb.AdditionalData = &spanBody{trace.TraceID, trace.SpanID, trace.Parent}
		}
		sameBody(t, NewTransactie(now, Exchange{Transactie: id, Richting: dir, Grant: g, Trace: trace}), tb)

		out := Outcome{
			Transactie: id, Geclaimd: r.IntN(2) == 0, Richting: dir, Trace: trace, Grant: g.Hash, Afnemer: g.Outway, Bron: g.ServicePeer, Dienst: g.Service,
			Status: int(number()), Uitkomst: text(), Reden: gateway.Reason(text()), Fout: text(), Duur: time.Duration(number()), BytesIn: number(), BytesOut: number(),
		}
		sameBody(t, NewAfloop(now, out), afloopBody{
			Transactie: id, Geclaimd: out.Geclaimd && id != "", Richting: dir, TraceID: trace.TraceID, SpanID: trace.SpanID, ParentSpanID: trace.Parent,
			Grant: g.Hash, Afnemer: g.Outway, Bron: g.ServicePeer, Dienst: g.Service, Status: out.Status, Uitkomst: out.Uitkomst, Reden: out.Reden,
			Fout: out.Fout, DuurMs: out.Duur.Milliseconds(), BytesIn: out.BytesIn, BytesUit: out.BytesOut,
		})

		rec := Receipt{
			Transactie: id, Trace: trace, Grant: g.Hash, Afnemer: g.Outway, Bron: g.ServicePeer, Dienst: g.Service, Doel: gateway.Doel(text()), Besluit: r.IntN(2) == 0,
			VeldenDigest: text(), Aantal: int(number()), Afgegeven: now, JWS: text(),
		}
		for range r.IntN(4) {
			if rec.Uitkomst == nil {
				rec.Uitkomst = map[gateway.Dienst]string{}
			}
			rec.Uitkomst[gateway.Dienst("d"+text())] = text()
		}
		kb := kwitantieBody{
			Transactie: id, TraceID: trace.TraceID, SpanID: trace.SpanID, ParentSpanID: trace.Parent, Grant: g.Hash, Afnemer: g.Outway, Bron: g.ServicePeer,
			Dienst: g.Service, Doel: rec.Doel, Besluit: rec.Besluit, Uitkomst: rec.Uitkomst, VeldenDigest: rec.VeldenDigest, Afgegeven: now.Unix(), JWS: rec.JWS,
		}
		if rec.VeldenDigest != "" {
			kb.Aantal = &rec.Aantal
		}
		sameBody(t, NewKwitantie(now, rec), kb)
	}
}

func sameBody(t *testing.T, got Record, body any) {
	t.Helper()
	want, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Body) != string(want) {
		t.Fatalf("%s: got\n%s\nwant\n%s", got.Soort, got.Body, want)
	}
}
