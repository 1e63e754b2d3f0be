package kafka

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/grensloos/grensloos/gateway"
)

// BrokerConfig is the section of a peer's configuration about the broker in its own process. It is for a peer on one machine:
// one broker, one copy, and each acknowledged record synced to disk.
type BrokerConfig struct {
	// Dir is a folder of this process alone, on a disk that survives a restart.
	Dir string `yaml:"map"`

	// Port on 127.0.0.1. Fix it, so that others on this machine find the broker again after a restart; 0 takes a free one.
	Port int `yaml:"poort"`
}

// Broker is a broker that speaks the Kafka protocol, in this process, on loopback, with SASL.
type Broker struct {
	cluster *kfake.Cluster
	lock    *os.File
	cfg     Config
}

const brokerUser = "grensloos"

// StartBroker starts the broker on what is in its folder. The password is made at the first start, in a file that its owner
// only can read. A folder that is in use is refused with kind Conflict. Without a log its warnings are dropped.
func StartBroker(cfg BrokerConfig, log *slog.Logger) (*Broker, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	switch {
	case cfg.Dir == "":
		return nil, gateway.Errorf(gateway.Invalid, "kafka: ingebouwd: map: give a folder")
	case cfg.Port < 0 || cfg.Port > 65535:
		return nil, gateway.Errorf(gateway.Invalid, "kafka: ingebouwd: poort %d: give 0 to 65535", cfg.Port)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("kafka: embedded broker: %w", err)
	}
	locked, err := lock(cfg.Dir)
	if err != nil {
		return nil, err
	}
	password, err := passwordIn(cfg.Dir)
	if err != nil {
		_ = locked.Close()
		return nil, fmt.Errorf("kafka: embedded broker: password: %w", err)
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.DataDir(filepath.Join(cfg.Dir, "data")),
		kfake.SyncWrites(),
		kfake.EnableSASL(),
		kfake.Superuser("SCRAM-SHA-256", brokerUser, password),
		kfake.ClusterID("grensloos"),
		kfake.WithLogger(brokerLog{log}),
	}
	if cfg.Port != 0 {
		opts = append(opts, kfake.Ports(cfg.Port))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		_ = locked.Close()
		return nil, fmt.Errorf("kafka: embedded broker on 127.0.0.1:%d: %w", cfg.Port, err)
	}
	return &Broker{cluster: cluster, lock: locked, cfg: Config{
		Brokers: cluster.ListenAddrs(), Partitions: 3, Replication: 1, MinInsync: 1, Compression: "geen",
		SASL: SASL{Mechanism: "SCRAM-SHA-256", User: brokerUser, Password: func() (string, error) { return password, nil }},
	}}, nil
}

// Config says how to reach the broker; add Organisation, and TopicPrefix if it is not the default.
func (b *Broker) Config() Config { return b.cfg }

// Close stops the broker. What it acknowledged is on disk.
func (b *Broker) Close() error {
	b.cluster.Close()
	return b.lock.Close()
}

// passwordIn reads the password in dir, or makes one. It is synced before anybody can have used it.
func passwordIn(dir string) (string, error) {
	path := filepath.Join(dir, "wachtwoord")
	b, err := os.ReadFile(path)
	if err == nil {
		if password := strings.TrimSpace(string(b)); len(password) >= 32 {
			return password, nil
		}
		return "", fmt.Errorf("%s holds no password of 32 characters or more: delete it to have a new one made", path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	var raw [32]byte
	_, _ = rand.Read(raw[:])
	password := hex.EncodeToString(raw[:])
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(password + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	return password, os.Rename(path+".tmp", path)
}

// brokerLog hands the broker's warnings to the operator's log; the rest is about every request.
type brokerLog struct{ log *slog.Logger }

func (l brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.LogAttrs(context.Background(), slog.LevelError, "kafka: embedded broker", slog.String("message", fmt.Sprintf(format, args...)))
	case kfake.LogLevelWarn:
		l.log.LogAttrs(context.Background(), slog.LevelWarn, "kafka: embedded broker", slog.String("message", fmt.Sprintf(format, args...)))
	case kfake.LogLevelNone, kfake.LogLevelInfo, kfake.LogLevelDebug:
	}
}
