package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestInProcess(t *testing.T) {
	client := func(h http.HandlerFunc) *http.Client { return &http.Client{Transport: inProcess{h}} }
	post := func(t *testing.T, c *http.Client) (*http.Response, error) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://outway/v1//a%2Fb?x=1", strings.NewReader("vraag"))
		if err != nil {
			t.Fatal(err)
		}
		return c.Do(req)
	}

	t.Run("an answer as over the network", func(t *testing.T) {
		resp, err := post(t, client(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("X-A", "1")
			w.WriteHeader(http.StatusTeapot)
			w.Header().Set("X-B", "too late")
			_, _ = io.WriteString(w, r.RequestURI+" "+string(body))
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if got, want := string(body), "/v1//a%2Fb?x=1 vraag"; err != nil || got != want || resp.StatusCode != http.StatusTeapot {
			t.Errorf("got %d %q %v, want 418 %q", resp.StatusCode, got, err, want)
		}
		if resp.Header.Get("X-A") != "1" || resp.Header.Get("X-B") != "" {
			t.Errorf("headers: got %v, want those set before the answer began", resp.Header)
		}
	})
	t.Run("a panic before the answer is an error", func(t *testing.T) {
		resp, err := post(t, client(func(http.ResponseWriter, *http.Request) { panic("999993653") }))
		if err == nil {
			resp.Body.Close()
			t.Fatal("got an answer, want an error")
		}
		if strings.Contains(err.Error(), "999993653") {
			t.Errorf("the error repeats the panic's value: %v", err)
		}
	})
	t.Run("an answer broken off is not a whole one", func(t *testing.T) {
		resp, err := post(t, client(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("got %q without an error, want an error", body)
		}
	})
	t.Run("a caller that leaves ends the handler", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan struct{})
		c := client(func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
			close(left)
		})
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://outway/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := c.Do(req); !errors.Is(err, context.Canceled) {
			if err == nil {
				resp.Body.Close()
			}
			t.Errorf("got %v, want context canceled", err)
		}
		<-left
	})
}
