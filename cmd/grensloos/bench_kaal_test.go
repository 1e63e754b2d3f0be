package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway/edge"
)

// kaalDeel is one of the two bare proxies of `make bench`, in a process of its own, as the bench writes it.
type kaalDeel struct {
	Listen   string
	To       string // URL of what is behind it
	Cert     KeyPair
	ClientCA string  // demand a client certificate under this root; empty: the own network, as before an outway
	ServerCA string  // trust this root of an https To
	Out      KeyPair // to show there
	Log      string  // file of the log
	Bytes    int     // written per request before it is passed on
}

// isKaal runs this test binary as a bare proxy if that is what it was started for.
func isKaal() bool {
	raw := os.Getenv("GRENSLOOS_TEST_KAAL")
	if raw == "" {
		return false
	}
	var d kaalDeel
	err := json.Unmarshal([]byte(raw), &d)
	if err == nil {
		err = d.serve(os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// serve proxies until stdin ends: a ReverseProxy with a pool of buffers over HTTP/1.1 with kept connections, a durable write per
// request, and nothing else.
func (d kaalDeel) serve(stdin io.Reader, stdout io.Writer) error {
	to, err := url.Parse(d.To)
	if err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(d.Cert.Cert, d.Cert.Key)
	if err != nil {
		return err
	}
	log, err := openKaalLog(d.Log)
	if err != nil {
		return err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	if d.ServerCA != "" {
		if transport.TLSClientConfig, err = certs.InternalClientTLS(d.ServerCA); err != nil {
			return err
		}
		out, err := tls.LoadX509KeyPair(d.Out.Cert, d.Out.Key)
		if err != nil {
			return err
		}
		transport.TLSClientConfig.Certificates = []tls.Certificate{out}
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, Transport: transport, BufferPool: new(edge.BufferPool),
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
	}
	record := make([]byte, d.Bytes)
	for i := range record {
		record[i] = byte(i) | 1
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := log.append(record); err != nil {
				http.Error(w, "log", http.StatusInternalServerError)
				return
			}
			proxy.ServeHTTP(w, r)
		}),
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}},
		ReadHeaderTimeout: edge.ReadHeaderTimeout, ReadTimeout: edge.ReadTimeout, WriteTimeout: edge.WriteTimeout, IdleTimeout: edge.IdleTimeout,
	}
	if d.ClientCA != "" {
		roots, err := os.ReadFile(d.ClientCA)
		if err != nil {
			return err
		}
		server.TLSConfig.ClientCAs, server.TLSConfig.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		server.TLSConfig.ClientCAs.AppendCertsFromPEM(roots)
	}
	l, err := net.Listen("tcp", d.Listen)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(l, "", "") }()
	if _, err := fmt.Fprintln(stdout, "gereed"); err != nil {
		return err
	}
	for lines := bufio.NewScanner(stdin); lines.Scan(); {
	}
	_ = server.Close()
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return log.close()
}

// kaalLog is the least that is durable and fast: one committer, who writes what came in while it was syncing as one batch, into segments
// that were filled with zeros ahead. It knows no records, checksums or order.
type kaalLog struct {
	path string // of all segments, before their number
	file *os.File
	wake chan struct{}
	done chan struct{}

	mu   sync.Mutex // guards open
	open *kaalBatch
}

type kaalBatch struct {
	buf  []byte
	done chan struct{}
	err  error
}

// kaalSegment is the size that a peer's journal has, too.
const kaalSegment = 32 << 20

func openKaalLog(path string) (*kaalLog, error) {
	f, err := filled(path+"0", kaalSegment)
	if err != nil {
		return nil, err
	}
	l := &kaalLog{path: path, file: f, wake: make(chan struct{}, 1), done: make(chan struct{}), open: &kaalBatch{done: make(chan struct{})}}
	go l.commit()
	return l, nil
}

func (l *kaalLog) append(record []byte) error {
	l.mu.Lock()
	b := l.open
	b.buf = append(b.buf, record...)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	<-b.done
	return b.err
}

func (l *kaalLog) commit() {
	defer close(l.done)
	var off int64
	var next chan *os.File
	segment, spare := 0, make([]byte, 0, 1<<16)
	for range l.wake {
		l.mu.Lock()
		b := l.open
		l.open = &kaalBatch{done: make(chan struct{}), buf: spare[:0]}
		l.mu.Unlock()
		if next == nil && off > kaalSegment/2 {
			segment++
			next = make(chan *os.File, 1)
			go func(path string, made chan<- *os.File) {
				f, err := filled(path, kaalSegment)
				if err != nil {
					panic(err)
				}
				made <- f
			}(l.path+strconv.Itoa(segment), next)
		}
		if off+int64(len(b.buf)) > kaalSegment {
			_ = l.file.Close()
			l.file, off, next = <-next, 0, nil
		}
		if len(b.buf) > 0 {
			_, b.err = l.file.WriteAt(b.buf, off)
			off += int64(len(b.buf))
		}
		spare = b.buf
		close(b.done)
	}
}

func (l *kaalLog) close() error {
	close(l.wake)
	<-l.done
	return l.file.Close()
}

// filled makes a durable file of zeros, of which every write is durable when it returns, as after fdatasync.
func filled(path string, n int64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, 1<<20)
	for ; n > 0; n -= int64(len(zeros)) {
		if _, err := f.Write(zeros[:min(n, int64(len(zeros)))]); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|syscall.O_DSYNC, 0o600)
}

// fdatasyncs is how long one durable write of n bytes takes, each of many, in order.
func fdatasyncs(path string, n, times int) ([]time.Duration, error) {
	f, err := filled(path, int64(n*times))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	record := make([]byte, n)
	took := make([]time.Duration, times)
	for i := range took {
		start := time.Now()
		if _, err := f.WriteAt(record, int64(i*n)); err != nil {
			return nil, err
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took, nil
}
