package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grensloos/grensloos/certs"
)

// apart is a peer whose roles run in processes of their own. Each runs from a folder of its own, in which stands nothing but the files
// that its roles need.
type apart struct {
	r     *running
	p     *regionPeer
	ports map[string]int     // by process and listener, such as "inway-2 inway"
	procs map[string]*served // in this process
	kids  map[string]*child  // in processes of their own
}

// log is what a process logged.
func (a *apart) log(name string) string {
	if s := a.procs[name]; s != nil {
		return s.log.String()
	}
	raw, _ := os.ReadFile(a.p.dir + "-" + name + "/serve.log")
	return string(raw)
}

// roleFiles are the files of a peer that a role must have, beside its own certificates: what anybody would hand to it.
var roleFiles = map[certs.Role][]string{
	roleManager:        {"group/cert.pem", "group/key.pem"},
	roleInway:          {},
	roleOutway:         {"issuer.pem", "pseudoniem.key"},
	roleClientgegevens: {"pseudoniem.key", "bron.db", "mapping.yaml"},
	roleBevraging:      {"issuer.pem", "pseudoniem.key"},
	roleBeheer:         {"group/cert.pem", "group/key.pem", "issuer.pem", "pseudoniem.key", "mapping.yaml"},
}

// ownKey are the roles with a group certificate of their own, over a key of their own.
var ownKey = []certs.Role{roleInway, roleOutway}

// separate gives the roles of a peer certificates of their own and writes the configuration that they share. engines is the YAML of the
// sections opslag and audit.
func (r *running) separate(p *regionPeer, engines string) *apart {
	r.t.Helper()
	a := &apart{r: r, p: p, ports: map[string]int{}, procs: map[string]*served{}, kids: map[string]*child{}}
	loopback, hosts := []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"localhost"}
	rollen := "rollen:\n"
	for _, role := range serveRoles() {
		dir := filepath.Join("rollen", string(role))
		_, err := certs.Issue(filepath.Join(p.dir, "intern"), certs.Request{
			Internal: true, OIN: p.ID, Roles: []certs.Role{role}, Hosts: hosts, IPs: loopback, Out: filepath.Join(p.dir, dir),
		})
		if err != nil {
			r.t.Fatal(err)
		}
		rollen += fmt.Sprintf("  %s:\n    netwerk: {certificaat: %s/cert.pem, sleutel: %s/key.pem}\n", role, dir, dir)
		if slices.Contains(ownKey, role) {
			if _, err := certs.Issue(r.pki, certs.Request{OIN: p.ID, Name: p.Name, Hosts: hosts, IPs: loopback, Out: filepath.Join(p.dir, dir, "groep")}); err != nil {
				r.t.Fatal(err)
			}
			rollen += fmt.Sprintf("    certificaat: {certificaat: %s/groep/cert.pem, sleutel: %s/groep/key.pem}\n", dir, dir)
		}
	}
	service := a.port("clientgegevens clientgegevens")
	raw, err := os.ReadFile(p.config())
	if err != nil {
		r.t.Fatal(err)
	}
	text := string(raw)
	text = text[:strings.Index(text, "audit:\n")] + engines + text[strings.Index(text, fmt.Sprintf("  ingebouwd: {poort: %d}\n", p.ports.Kafka))+len(fmt.Sprintf("  ingebouwd: {poort: %d}\n", p.ports.Kafka)):]
	outway := fmt.Sprintf(`outway: {luister: "127.0.0.1:%d"`, p.ports.Outway)
	text = strings.Replace(text, outway, outway+fmt.Sprintf(`, adres: "https://127.0.0.1:%d"`, p.ports.Outway), 1)
	text += rollen + fmt.Sprintf("clientgegevens: {luister: \"127.0.0.1:%d\", adres: \"https://127.0.0.1:%d\"}\n", service, service)
	if err := os.WriteFile(p.config(), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return a
}

// port gives one that nobody has, the same each time: below those that the system gives to connections, so that none takes it while its
// process is dead.
func (a *apart) port(key string) int {
	a.r.t.Helper()
	if a.ports[key] != 0 {
		return a.ports[key]
	}
	if a.r.taken == nil {
		a.r.taken = map[int]bool{}
	}
	for range 1000 {
		port := 10000 + rand.IntN(16000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		_ = l.Close()
		if a.r.taken[port] {
			continue
		}
		a.ports[key], a.r.taken[port] = port, true
		return port
	}
	a.r.t.Fatal("no port is free")
	return 0
}

// folder makes the folder of a process, beside that of the peer, with what its roles need.
func (a *apart) folder(name string, roles ...certs.Role) (config string) {
	t := a.r.t
	t.Helper()
	dir := a.p.dir + "-" + name
	files := []string{"peer.yaml", "intern/root.pem", "beleid/lokaal.rego"}
	for _, role := range roles {
		own := filepath.Join("rollen", string(role))
		files = append(files, own+"/cert.pem", own+"/key.pem")
		if slices.Contains(ownKey, role) {
			files = append(files, own+"/groep/cert.pem", own+"/groep/key.pem")
		}
		files = append(files, roleFiles[role]...)
	}
	for _, file := range files {
		raw, err := os.ReadFile(filepath.Join(a.p.dir, file))
		if os.IsNotExist(err) { // an asker has no source
			continue
		}
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "peer.yaml")
}

// part is the process of that name; each listener that several processes have gets a port of its own.
func (a *apart) part(name string, roles ...certs.Role) process {
	p := process{name: name, roles: sorted(roles), listen: map[string]string{"bewaking": fmt.Sprintf("127.0.0.1:%d", a.port(name+" bewaking"))}}
	for _, role := range roles {
		if role == roleManager || role == roleInway { // behind a balancer
			p.listen[string(role)] = fmt.Sprintf("127.0.0.1:%d", a.port(name+" "+string(role)))
		}
	}
	return p
}

// start runs a process of the peer in this one, on the engines of one machine.
func (a *apart) start(name string, roles ...certs.Role) {
	t := a.r.t
	t.Helper()
	part := a.part(name, roles...)
	part.embedded = true
	cfg, err := loadConfigOf(a.folder(name, roles...), part)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &served{stop: cancel, done: make(chan error, 1), out: &syncBuffer{}, log: &syncBuffer{}}
	go func() { s.done <- serve(ctx, cfg, s.out, s.log) }()
	a.r.await(a.p.Name+" "+name+" to be ready", func() bool {
		select {
		case err := <-s.done:
			cancel()
			t.Fatalf("%s %s ended: %v\n%s", a.p.Name, name, err, s.log)
		default:
		}
		return contains(s.out, "gereed")
	})
	a.procs[name] = s
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s %s:\n%s", a.p.Name, name, s.log)
		}
		a.stop(name)
	})
}

func (a *apart) stop(name string) {
	s := a.procs[name]
	if s == nil {
		return
	}
	delete(a.procs, name)
	s.stop()
	if err := <-s.done; err != nil {
		a.r.t.Errorf("%s %s stopped with: %v\n%s", a.p.Name, name, err, s.log)
	}
}

// balance puts one address before the processes that run a role, as a load balancer does: each connection goes to the next that listens.
func (a *apart) balance(address int, role certs.Role, names ...string) {
	t := a.r.t
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", address))
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, name := range names {
		targets = append(targets, fmt.Sprintf("127.0.0.1:%d", a.port(name+" "+string(role))))
	}
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); _ = l.Close(); all.Wait() })
	var next atomic.Int64
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { pass(ctx, in, targets, int(next.Add(1))) })
		}
	})
}

// pass joins a connection to the first target that listens, from the n-th on.
func pass(ctx context.Context, in net.Conn, targets []string, n int) {
	defer in.Close()
	for i := range targets {
		out, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", targets[(n+i)%len(targets)])
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = in.Close(); _ = out.Close() })
		defer stop()
		back := make(chan struct{})
		go func() {
			defer close(back)
			_, _ = io.Copy(in, out)
			_ = in.Close()
		}()
		_, _ = io.Copy(out, in)
		_ = out.Close()
		<-back
		return
	}
}

// files lists what stands in the folder of a process, without its data.
func (a *apart) files(name string) []string {
	t := a.r.t
	t.Helper()
	dir := a.p.dir + "-" + name
	var all []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		switch {
		case err != nil:
			return err
		case rel == "data":
			return filepath.SkipDir
		case !d.IsDir():
			all = append(all, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
