//go:build engines

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/bevraging"
	"github.com/grensloos/grensloos/policies"
)

// groupCatalogue is the built-in catalogue, in which pw-reintegratie reaches the whole group.
func groupCatalogue(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, policies.Embedded()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "rego")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "doelen", "pw-reintegratie.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	edited := bytes.Replace(text, []byte("reikwijdte: betrokken-gemeenten"), []byte("reikwijdte: groep"), 1)
	if bytes.Equal(edited, text) {
		t.Fatal("pw-reintegratie reaches other than expected")
	}
	if err := os.WriteFile(file, edited, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// batches yields the record batches of a segment file of Kafka, each with its codec and its records, decompressed.
func batches(segment []byte, each func(codec compress.Compression, count int, records []byte) error) error {
	const head = 61 // up to and with the number of records
	for len(segment) >= head {
		length := int(binary.BigEndian.Uint32(segment[8:]))
		if length == 0 { // what is made ahead
			return nil
		}
		if length < head-12 || 12+length > len(segment) || segment[16] != 2 {
			return fmt.Errorf("no record batch of version 2 (length %d, version %d)", length, segment[16])
		}
		batch := segment[:12+length]
		segment = segment[12+length:]
		attributes, count := binary.BigEndian.Uint16(batch[21:]), int(binary.BigEndian.Uint32(batch[57:]))
		records, codec := batch[head:], compress.Compression(attributes&7)
		if codec != 0 {
			r := codec.Codec().NewReader(bytes.NewReader(records))
			plain, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil {
				return fmt.Errorf("codec %s: %w", codec, err)
			}
			records = plain
		}
		if err := each(codec, count, records); err != nil {
			return err
		}
	}
	return nil
}

// kept is what the brokers keep of the topics with one prefix.
type kept struct {
	raw, plain []string       // BSNs found in the files as they are, and in the batches decompressed
	codecs     map[string]int // batches by codec
	messages   int
	bytes      [2]int // of the files, and of the same decompressed
}

// scanKafka looks through every file of the topics of a prefix at every broker.
func (s bsnScanner) scanKafka(t *testing.T, prefix string) kept {
	t.Helper()
	found := kept{codecs: map[string]int{}}
	seen := map[[sha256.Size]byte]bool{} // brokers keep the same bytes
	find := func(data []byte) []string {
		digest := sha256.Sum256(data)
		if seen[digest] {
			return nil
		}
		seen[digest] = true
		return s.find(data)
	}
	err := filepath.WalkDir(engineEnv(t, "GRENSLOOS_KAFKA_DIR"), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // a broker replaces files
			return nil
		}
		if err != nil || !entry.Type().IsRegular() || !strings.HasPrefix(filepath.Base(filepath.Dir(path)), prefix+".") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found.raw = append(found.raw, find(data)...)
		if filepath.Ext(path) != ".log" {
			return nil
		}
		found.bytes[0] += len(data)
		err = batches(data, func(codec compress.Compression, count int, records []byte) error {
			found.codecs[codec.String()]++
			found.messages += count
			found.bytes[1] += len(records)
			found.plain = append(found.plain, find(records)...)
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found.raw)
	slices.Sort(found.plain)
	found.raw, found.plain = slices.Compact(found.raw), slices.Compact(found.plain)
	return found
}

// plant writes a message with a BSN to a topic of its own, compressed, and gives the prefix of its name.
func plant(t *testing.T, codec kafkago.Compression, bsn string) (prefix string) {
	t.Helper()
	prefix = fmt.Sprintf("%s-geplant-%s-%d", t.Name(), codec, time.Now().UnixNano())
	addr := kafkago.TCP(strings.Split(engineEnv(t, "GRENSLOOS_KAFKA_PLAINTEXT"), ",")...)
	client := &kafkago.Client{Addr: addr, Timeout: 20 * time.Second}
	topic := prefix + ".adl"
	made, err := client.CreateTopics(t.Context(), &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{{Topic: topic, NumPartitions: 1, ReplicationFactor: 3}}})
	if err != nil || made.Errors[topic] != nil {
		t.Fatal(err, made)
	}
	t.Cleanup(func() {
		_, _ = client.DeleteTopics(context.Background(), &kafkago.DeleteTopicsRequest{Topics: []string{topic}})
	})
	w := &kafkago.Writer{Addr: addr, Topic: topic, RequiredAcks: kafkago.RequireAll, Compression: codec, BatchTimeout: 5 * time.Millisecond}
	defer w.Close()
	text := `{"keten":[`
	for range 40 { // enough of it that gzip and zstd write no letter as it is
		text += `"` + string(gateway.NewTransactionID(time.Now())) + `",`
	}
	text += fmt.Sprintf(`"x"],"resource":{"id":%q}}`, bsn)
	for deadline := time.Now().Add(20 * time.Second); ; { // a new topic takes a moment to reach every broker
		err := w.WriteMessages(t.Context(), kafkago.Message{Value: []byte(text)})
		if err == nil {
			return prefix
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestCountrysTestPersons: the official test persons in three connectors, by gemeente van inschrijving, two of them in PostgreSQL. Who
// is asked for, over the group, is answered by exactly the gemeente that has him; and of each question each side has one transaction
// record in a real cluster, and nobody's BSN.
func TestCountrysTestPersons(t *testing.T) {
	data := engineEnv(t, "GRENSLOOS_TESTPERSONEN")
	all := readTestpersonen(t, filepath.Join(data, "rvig-testset-gbav-20220502.csv"))
	persons, defects := loadable(all)
	if len(all) != 687 || len(persons) != 680 || len(defects) != 7 {
		t.Fatalf("got %d rows, %d persons, %d that can't be asked for; want 687, 680, 7: another edition of the test set?", len(all), len(persons), len(defects))
	}

	// The scanner is worth nothing until it is seen to find what is planted, in batches of every codec; in some of them the file as it
	// is shows nothing.
	scanner := bsnScanner{}
	for _, p := range persons {
		scanner[p.bsn] = true
	}
	for _, codec := range []kafkago.Compression{0, kafkago.Gzip, kafkago.Snappy, kafkago.Lz4, kafkago.Zstd} {
		found := scanner.scanKafka(t, plant(t, codec, persons[0].bsn))
		if len(found.plain) != 1 || found.messages != 3 || found.codecs[codec.String()] != 3 {
			t.Fatalf("planted, codec %s: found %d BSNs in %d messages of codecs %v at three brokers", codec, len(found.plain), found.messages, found.codecs)
		}
		if (codec == kafkago.Gzip || codec == kafkago.Zstd) && len(found.raw) != 0 {
			t.Fatalf("codec %s: the BSN stands in the file as it is: nothing is proved of decompressing", codec)
		}
	}

	// Three gemeenten with their own inhabitants, and the rows of the set that can't be loaded.
	type kind struct {
		peer           *regionPeer
		persons, twice int
		geheim         int
		codec          string
		database       *testDatabase // nil: SQLite
	}
	kinds := []*kind{
		{peer: &regionPeer{ID: "00000099000000518000", Name: "Gemeente 's-Gravenhage", Gemeentecode: "0518", Real: true}, persons: 174, twice: 2, geheim: 5, codec: "gzip"},
		{peer: &regionPeer{ID: "00000099000000599000", Name: "Gemeente Rotterdam", Gemeentecode: "0599", Real: true}, persons: 140, twice: 1, geheim: 3, codec: "zstd"},
		{peer: &regionPeer{ID: "00000099000000363000", Name: "Gemeente Amsterdam", Gemeentecode: "0363", Real: true}, persons: 116, twice: 1, geheim: 8, codec: "snappy"},
	}
	home := map[string]string{} // BSN to gemeente van inschrijving, of the three
	for _, k := range kinds {
		mine := slices.DeleteFunc(slices.Clone(all), func(p testpersoon) bool { return p.gemeente != k.peer.Gemeentecode })
		found, defects := loadable(mine)
		if len(found) != k.persons || len(defects) != k.twice {
			t.Fatalf("%s: got %d persons and %d rows that can't be loaded, want %d and %d", k.peer.Name, len(found), len(defects), k.persons, k.twice)
		}
		t.Logf("%s, not loaded: %s", k.peer.Name, strings.Join(defects, "; "))
		for _, p := range found {
			home[p.bsn] = p.gemeente
		}
		k.peer.Source = func(ctx context.Context, dir string) error {
			if k.peer.Gemeentecode == "0363" {
				_, _, err := loadTestpersonen(ctx, dir, mine)
				return err
			}
			k.database = newDatabase(t)
			k.database.loadPersons(t, dir, k.peer.Gemeentecode, found)
			return nil
		}
	}
	u := uwi()
	u.Real, u.AnswerWithin = true, 45*time.Second // a busy machine is no reason to be without an answer
	peers := []*regionPeer{kinds[0].peer, kinds[1].peer, kinds[2].peer, u}
	r := laidRegion(t, peers...)
	catalogue := groupCatalogue(t)
	prefixes := map[*regionPeer]string{u: onCluster(t, u)}
	for _, k := range kinds {
		prefixes[k.peer] = onCluster(t, k.peer, "compressie: "+k.codec)
		if k.database != nil {
			k.database.onPostgres(t, k.peer)
		}
	}
	for _, p := range peers {
		editConfig(t, p, "\naudit:\n", "\nbeleid: {catalogus: "+catalogue+"}\naudit:\n")
		editConfig(t, p, "bevestigingBinnen: 2s", "bevestigingBinnen: 30s")
		if p == u {
			editConfig(t, p, "wachttijdGemeente: 45s", "wachttijdGemeente: 45s, wachttijd: 45s")
		}
		r.must(p, "", append([]string{"kafka", "init", "--acl"}, asAdmin(t)...)...)
	}
	for _, k := range kinds {
		out := r.must(k.peer, "", "connector", "check")
		if !strings.Contains(out, "persoon: 4 of 6 velden mapped") || strings.Contains(out, "can't be found") || strings.Contains(out, "let op: role") {
			t.Errorf("connector check of %s:\n%s", k.peer.Name, out)
		}
	}
	serverLog := filepath.Join(engineEnv(t, "GRENSLOOS_POSTGRES_DIR"), "server", "primary.log")
	before, err := os.Stat(serverLog)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range peers {
		r.start(p)
	}
	for _, k := range kinds {
		r.contract(u, k.peer, "--doel", "pw-reintegratie", "--namens", string(k.peer.ID))
	}

	// Every person, over the group.
	start := time.Now()
	answers := r.askAll(u, persons)
	t.Logf("%d questions to three gemeenten each in %s", len(persons), time.Since(start).Round(time.Second))
	answered, nobody, geheim := map[string]int{}, 0, map[string]int{}
	for i, a := range answers {
		p := persons[i]
		if a == nil || len(a.Gemeenten) != len(kinds) {
			t.Fatalf("line %d: no answer of three gemeenten", p.line)
		}
		by := 0
		for _, g := range a.Gemeenten {
			want := "persoon=geen-gegevens"
			if home[p.bsn] == g.Gemeentecode {
				want = "persoon=beantwoord"
			}
			if got := outcomes(g); got != want || g.Grond != gateway.GrondGroep {
				t.Errorf("line %d at %s: got %s on the ground %s, want %s", p.line, g.Gemeentecode, got, g.Grond, want)
				continue
			}
			if g.Diensten[0].Uitkomst != bevraging.Beantwoord {
				if len(g.Diensten[0].Rijen) != 0 || g.Geheim {
					t.Errorf("line %d at %s: not known, with rows or a mark", p.line, g.Gemeentecode)
				}
				continue
			}
			by++
			answered[g.Gemeentecode]++
			if g.Geheim {
				geheim[g.Gemeentecode]++
			}
			if rows := g.Diensten[0].Rijen; len(rows) != 1 || string(rows[0].Waarden["bsn"]) != `"`+p.bsn+`"` {
				t.Errorf("line %d at %s: got %d rows, or about another person", p.line, g.Gemeentecode, len(rows))
			}
		}
		if by == 0 {
			nobody++
		}
	}
	for _, k := range kinds {
		if got := answered[k.peer.Gemeentecode]; got != k.persons || geheim[k.peer.Gemeentecode] != k.geheim {
			t.Errorf("%s answered %d times, %d with the mark geheim; want %d and %d", k.peer.Name, got, geheim[k.peer.Gemeentecode], k.persons, k.geheim)
		}
	}
	if nobody != 680-174-140-116 {
		t.Errorf("answered by nobody: got %d, want 250", nobody)
	}

	// What they kept.
	for _, p := range peers {
		logs := r.serve[p].log.String() + r.serve[p].out.String()
		r.stop(p)
		if found := scanner.find([]byte(logs)); len(found) > 0 {
			t.Errorf("BSNs in the log of %s: %v", p.Name, found)
		}
	}
	n := len(persons)
	outgoing := clusterRecords(t, u)
	if diff := cmp.Diff(map[audit.Soort]int{audit.Transactie: 3 * n, audit.ADL: 3 * n, audit.Kwitantie: 3 * n, audit.Afloop: 3 * n}, outgoing.count); diff != "" {
		t.Errorf("records of the asker in the cluster (-want +got):\n%s", diff)
	}
	incoming := map[gateway.TransactionID]int{}
	for _, k := range kinds {
		recs := clusterRecords(t, k.peer)
		if diff := cmp.Diff(map[audit.Soort]int{audit.Transactie: n, audit.ADL: 2 * n, audit.LDV: n, audit.Afloop: n}, recs.count); diff != "" {
			t.Errorf("records of %s in the cluster (-want +got):\n%s", k.peer.Name, diff)
		}
		for id, times := range recs.transactions {
			incoming[id] += times
		}
	}
	if len(incoming) != 3*n || !maps.Equal(incoming, outgoing.transactions) {
		t.Errorf("transactions: %d at the asker, %d at the gemeenten, want %d, the same ones, each once at each side", len(outgoing.transactions), len(incoming), 3*n)
	}
	for id, times := range incoming {
		if times != 1 {
			t.Errorf("transaction %s has %d records at the gemeenten", id, times)
		}
	}

	// And nobody's BSN in it: folders of the peers, journals and stores included; what the brokers keep; the log of the sources' server.
	found, err := scanner.scanTree(t.Context(), r.dir, "bron.db")
	if err != nil || len(found) > 0 {
		t.Errorf("BSNs in what the peers keep: %v, %v", found, err)
	}
	for _, p := range peers {
		kept := scanner.scanKafka(t, prefixes[p])
		if len(kept.raw)+len(kept.plain) > 0 {
			t.Errorf("BSNs of %s at the brokers: in the files %v, decompressed %v", p.Name, kept.raw, kept.plain)
		}
		codec := "lz4" // the default
		if i := slices.IndexFunc(kinds, func(k *kind) bool { return k.peer == p }); i >= 0 {
			codec = kinds[i].codec
		}
		if len(kept.codecs) != 1 || kept.codecs[codec] == 0 || kept.messages < 3*5*n {
			t.Errorf("%s at the brokers: batches by codec %v, %d messages; want all %s, and at least %d", p.Name, kept.codecs, kept.messages, codec, 3*5*n)
		}
		t.Logf("%s: %d messages in %v batches at three brokers, %d kB, decompressed %d kB", p.Name, kept.messages, kept.codecs, kept.bytes[0]>>10, kept.bytes[1]>>10)
	}
	log, err := os.ReadFile(serverLog)
	if err != nil {
		t.Fatal(err)
	}
	if found := scanner.find(log[before.Size():]); len(found) > 0 {
		t.Errorf("BSNs in the log of the PostgreSQL server: %v", found)
	}
}

// askAll asks for every person over the group, a few at once, through the command line. An answer is nil if there is none.
func (r *running) askAll(p *regionPeer, persons []testpersoon) []*bevraging.Antwoord {
	r.t.Helper()
	answers := make([]*bevraging.Antwoord, len(persons))
	next := make(chan int)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for i := range next {
				out, err := r.grensloos(p, persons[i].bsn, "vraag", "--doel", "pw-reintegratie", "--zaaktype", "pw-reintegratietraject", "--zaak", "Z-1", "--bsn-stdin", "--json",
					"--velden", "persoon.bsn,persoon.naam,persoon.geboortedatum")
				a := &bevraging.Antwoord{}
				if err == nil {
					err = json.Unmarshal([]byte(out), a)
				}
				if err != nil {
					r.t.Errorf("line %d: %v", persons[i].line, err)
					continue
				}
				answers[i] = a
			}
		})
	}
	for i := range persons {
		next <- i
	}
	close(next)
	wg.Wait()
	return answers
}

// streamed is what a cluster has of one peer.
type streamed struct {
	count        map[audit.Soort]int // of questions; acts of administration left out
	transactions map[gateway.TransactionID]int
}

// clusterRecords reads everything of a peer from the cluster, each record once, and holds it to its schema and its chain.
func clusterRecords(t *testing.T, p *regionPeer) streamed {
	t.Helper()
	all := entries(t, p)
	if _, err := audit.CheckChain(slices.Values(all)); err != nil {
		t.Errorf("%s: %v", p.Name, err)
	}
	out := streamed{map[audit.Soort]int{}, map[gateway.TransactionID]int{}}
	for _, e := range all {
		if err := e.Record.Validate(); err != nil {
			t.Errorf("%s: a record of kind %s: %v", p.Name, e.Record.Soort, err)
		}
		if e.Record.Soort == audit.Beheer {
			continue
		}
		out.count[e.Record.Soort]++
		if e.Record.Soort == audit.Transactie {
			out.transactions[e.Record.Transactie]++
		}
	}
	return out
}
