package bevraging_test

import (
	"bufio"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/grensloos/grensloos/gateway/edge"
)

// Over a real connection: the first answer is there while the second is still out, and who hangs up then ends the second.
func TestStreamOverHTTP(t *testing.T) {
	ended := make(chan struct{})
	f := newRegion(t, 2, func(r *http.Request, i int) (*http.Response, error) {
		if i == 1 {
			return good(r)
		}
		wait(r)
		close(ended)
		return nil, r.Context().Err()
	})
	router, err := f.handler.Router()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = edge.NewServer(router, nil, slog.New(slog.DiscardHandler))
	server.Start()
	defer server.Close()
	for _, accept := range []string{"application/x-ndjson", "text/event-stream"} {
		ended = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		asked := f.request(named(1, 2))
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/v1/bevragingen", strings.NewReader(named(1, 2)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = asked.Header
		r.Header.Set("Accept", accept)
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() && !strings.Contains(lines.Text(), `"uitkomst":"beantwoord"`) {
			if strings.Contains(lines.Text(), "volledig") {
				t.Fatalf("the end came first: %s", lines.Text())
			}
		}
		cancel()
		<-ended
	}
}
