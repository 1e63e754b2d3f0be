package journal

import (
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Ack says when Append returns.
type Ack string

// The acknowledgement modes.
const (
	AckJournal Ack = "journal" // when the record is on this machine's disk
	AckKafka   Ack = "kafka"   // when the sink has it, too
)

// Config is the section of a peer's configuration that says where the journal is and how far it may fall behind.
type Config struct {
	// Dir is a folder of this process alone, on a disk that survives a restart. It is made, readable by its owner only.
	Dir string `yaml:"map"`

	// SegmentBytes is the size of one file of the journal, at least 65536. It is filled with zeros ahead, so that much disk is
	// in use from the start, and twice as much while it turns to the next. Default 33554432 (32 MiB).
	SegmentBytes int64 `yaml:"segmentBytes"`

	// MaxLagBytes and MaxLagAge bound what has been written here and not yet shipped. Past either, every append is refused with
	// TRANSACTION_LOG_WRITE_ERROR until shipping catches up. Defaults 1073741824 (1 GiB) and 15m.
	MaxLagBytes int64         `yaml:"maxAchterstandBytes"`
	MaxLagAge   time.Duration `yaml:"maxAchterstand"`

	// Ack is "journal" (a record on this disk counts as kept; the default) or "kafka" (only when the cluster acknowledged it).
	Ack Ack `yaml:"bevestiging"`

	// AckTimeout is how long an append waits for the cluster in mode kafka before it is refused. Default 5s.
	AckTimeout time.Duration `yaml:"bevestigingBinnen"`

	// KeepFor is how long a shipped record stays here at least, so that an inway that restarts still knows which transaction
	// ids were used. At least 10m, default 1h.
	KeepFor time.Duration `yaml:"bewaar"`

	// Fault is for tests that kill or fail the journal between two of its steps; nil in production: only a binary built with
	// tag faults, or a test, sets it. It is called with one of Steps. An error at BeforeRotate stands for a full disk, at
	// BeforeWrite and AfterWrite for a disk that breaks, at AfterSync for a caller that never hears that its record was kept.
	// At the steps of shipping an error makes the batch come again.
	Fault func(step string) error `yaml:"-"`
}

// The steps at which Config.Fault is called, in order.
const (
	BeforeRotate  = "journal-before-rotate"  // before a new segment is made
	BeforeWrite   = "journal-before-write"   // before a batch is written
	AfterWrite    = "journal-after-write"    // written, not synced
	AfterSync     = "journal-after-sync"     // durable, nobody told
	BeforeShip    = "journal-before-ship"    // before a batch goes to the sink
	AfterShip     = "journal-after-ship"     // the sink has it, the position is not kept
	AfterPosition = "journal-after-position" // the position is durable
)

const (
	maxRecordBytes = 900 << 10        // stays below Kafka's default limit of 1 MiB with its headers
	minSegment     = 64 << 10         // room for a few records, for tests
	minKeep        = 10 * time.Minute // twice what an inway accepts as the age of a transaction id
)

// Steps lists the steps at which Config.Fault is called.
func Steps() []string {
	return []string{BeforeRotate, BeforeWrite, AfterWrite, AfterSync, BeforeShip, AfterShip, AfterPosition}
}

// complete fills in the defaults and refuses what can't be right. Errors are of kind Invalid and name the key.
func (c Config) complete() (Config, error) {
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 32 << 20
	}
	if c.MaxLagBytes == 0 {
		c.MaxLagBytes = 1 << 30
	}
	if c.MaxLagAge == 0 {
		c.MaxLagAge = 15 * time.Minute
	}
	if c.Ack == "" {
		c.Ack = AckJournal
	}
	if c.AckTimeout == 0 {
		c.AckTimeout = 5 * time.Second
	}
	if c.KeepFor == 0 {
		c.KeepFor = time.Hour
	}
	switch {
	case c.Dir == "":
		return c, gateway.Errorf(gateway.Invalid, "journal: map: give a folder")
	case c.SegmentBytes < minSegment || c.SegmentBytes > 1<<30:
		return c, gateway.Errorf(gateway.Invalid, "journal: segmentBytes %d: give %d to %d", c.SegmentBytes, minSegment, 1<<30)
	case c.MaxLagBytes < 0:
		return c, gateway.Errorf(gateway.Invalid, "journal: maxAchterstandBytes %d: give a positive number", c.MaxLagBytes)
	case c.MaxLagAge < 0:
		return c, gateway.Errorf(gateway.Invalid, "journal: maxAchterstand %v: give a positive duration", c.MaxLagAge)
	case c.Ack != AckJournal && c.Ack != AckKafka:
		return c, gateway.Errorf(gateway.Invalid, "journal: bevestiging %q: give journal or kafka", c.Ack)
	case c.AckTimeout < 0:
		return c, gateway.Errorf(gateway.Invalid, "journal: bevestigingBinnen %v: give a positive duration", c.AckTimeout)
	case c.KeepFor < minKeep:
		return c, gateway.Errorf(gateway.Invalid, "journal: bewaar %v: give at least %v", c.KeepFor, minKeep)
	}
	return c, nil
}
