package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/edge"
)

// Exit codes that scripts may rely on; every other failure is 1.
const (
	exitUsage      = 2 // the command was not given right; nothing was asked or changed
	exitIncomplete = 3 // the answer is there, but not whole: denied, withheld, out of reach
)

// usage is an error of whoever typed the command.
func usage(format string, args ...any) error {
	return exit{code: exitUsage, err: fmt.Errorf(format, args...)}
}

const bsnMend = "a BSN does not belong on the command line, where other users and the shell's history see it: use --bsn-stdin"

// usageFlags makes a wrong flag, argument or subcommand a usage error, for cmd and all below it.
func usageFlags(cmd *cobra.Command) *cobra.Command {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if strings.Contains(err.Error(), "--bsn") {
			return usage("%s", bsnMend)
		}
		return exit{code: exitUsage, err: err}
	})
	args := cmd.Args
	if args == nil {
		args = cobra.NoArgs
	}
	cmd.Args = func(c *cobra.Command, given []string) error {
		for _, a := range given {
			if _, err := gateway.ParseBSN(strings.TrimSpace(a)); err == nil {
				return usage("%s", bsnMend)
			}
		}
		if err := args(c, given); err != nil {
			return exit{code: exitUsage, err: err}
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		usageFlags(sub)
	}
	return cmd
}

// identity says as whom a command calls a peer's own API.
type identity struct {
	als       string
	rollen    []string
	tokenFile string
}

// flags adds the flags of an identity; rol is the role when none is given.
func (id *identity) flags(cmd *cobra.Command, rol string) {
	cmd.Flags().StringVar(&id.als, "als", "", "account of the worker who does this; recorded as a pseudonym (default: the user of this machine)")
	var rollen []string
	if rol != "" {
		rollen = []string{rol}
	}
	cmd.Flags().StringSliceVar(&id.rollen, "rol", rollen, "role or roles in the token")
	cmd.Flags().StringVar(&id.tokenFile, "token", "", "file with a JWT of the own issuer, instead of one made with netwerk.issuerSleutel")
}

func (id *identity) account() string {
	for _, name := range []string{id.als, os.Getenv("USER"), os.Getenv("LOGNAME")} {
		if name != "" {
			return name
		}
	}
	return "opdrachtregel"
}

// token is the JWT to call with: the one in the file, else one made with the issuer's key of the configuration.
func (id *identity) token(cfg *Config, now time.Time, ttl time.Duration) (string, error) {
	if len(id.rollen) == 0 {
		return "", usage("--rol: give at least one role")
	}
	if id.tokenFile != "" {
		raw, err := os.ReadFile(id.tokenFile)
		if err != nil {
			return "", fmt.Errorf("--token: %w", err)
		}
		return strings.TrimSpace(string(raw)), nil
	}
	if cfg.Network.IssuerKey == "" {
		return "", usage("netwerk.issuerSleutel: not in the configuration; give --token FILE with a JWT of issuer %s", cfg.Network.Issuer)
	}
	key, err := loadPrivateKey(cfg.Network.IssuerKey)
	if err != nil {
		return "", fmt.Errorf("netwerk.issuerSleutel: %w", err)
	}
	return edge.IssueJWT(key, edge.Claims{
		Issuer: cfg.Network.Issuer, Audience: cfg.Network.Audience, Subject: id.account(), Rollen: id.rollen, Organisatie: cfg.Peer.ID,
	}, now, ttl)
}

// api calls one of a peer's own APIs. It trusts the peer's internal CA and nothing else.
type api struct {
	base  string // https://host:port/v1
	token string
	http  *http.Client
}

const (
	apiTimeout = 60 * time.Second
	tokenTTL   = 5 * time.Minute // of a token made for one command
	maxAnswer  = 64 << 20        // bytes of an answer of our own peer
	maxRefusal = 1 << 20         // bytes of an error body
)

// newAPI prepares calls to the role that listens on listen; key is its name in the configuration.
func newAPI(cfg *Config, key, listen string, id *identity) (*api, error) {
	if listen == "" {
		return nil, fmt.Errorf("%s: not in the configuration; without it this peer has no such API", key)
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ca, err := os.ReadFile(cfg.Network.CA)
	if err != nil {
		return nil, fmt.Errorf("netwerk.ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("netwerk.ca %s: no certificate in it", cfg.Network.CA)
	}
	token, err := id.token(cfg, time.Now(), tokenTTL)
	if err != nil {
		return nil, err
	}
	return &api{
		base:  "https://" + net.JoinHostPort(host, port) + "/v1",
		token: token,
		http: &http.Client{
			Timeout: apiTimeout,
			// A command makes few calls, one after the other.
			Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, IdleConnTimeout: time.Second},
			CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the API redirected; it never does") },
		},
	}, nil
}

// call sends in (nil: no body) and decodes the answer into out. An answer of 400 and up is a *refusal.
func (a *api) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Accept", "application/json, application/problem+json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return refused(resp)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if len(raw) > maxAnswer {
		return fmt.Errorf("answer: larger than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("answer of %s: %w", path, err)
	}
	return nil
}

// refusal is an error that an API answered with.
type refusal struct{ edge.Problem }

func refused(resp *http.Response) error {
	r := &refusal{}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil || json.Unmarshal(raw, &r.Problem) != nil || r.Title == "" {
		r.Problem = edge.Problem{Title: http.StatusText(resp.StatusCode), Detail: "no problem details in the answer"}
	}
	r.Status = resp.StatusCode
	return r
}

// Error gives the detail, and below it every field that is wrong.
func (r *refusal) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s: %s", r.Status, r.Title, r.Detail)
	for _, p := range r.InvalidParams {
		if line := p.Naam + ": " + p.Reden; line != r.Detail {
			b.WriteString("\n  " + line)
		}
	}
	return b.String()
}

// readBSN reads one BSN from standard input: the only way in, so that it never stands in a process list or a shell's history.
func readBSN(stdin io.Reader) (gateway.BSN, error) {
	raw, err := io.ReadAll(io.LimitReader(stdin, 64))
	if err != nil {
		return gateway.BSN{}, fmt.Errorf("standard input: %w", err)
	}
	bsn, err := gateway.ParseBSN(strings.TrimSpace(string(raw)))
	if err != nil {
		return gateway.BSN{}, exit{code: exitUsage, err: fmt.Errorf("standard input: %w", err)}
	}
	return bsn, nil
}

// printJSON writes v for programs.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
