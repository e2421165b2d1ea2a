// Package judge decides from logs alone whether a cluster kept its promises. While faults
// happen to the cluster, publishers write down what was acknowledged, members everything
// that they got, and a test what the cluster was like before and after. It knows nothing else: it
// shares no code with the nodes, nor with the clients.
//
//	I1  an acknowledged message is in every member's sequence, or the member got a reset; one that
//	    says that nothing is missing counts only where Redis may lose what it took (Lossy)
//	I2  a member's offsets rise by exactly 1, and no message comes twice
//	I3  one (epoch, offset) names one message, for everybody and for ever
//	I4  a user's joins and leaves alternate, and after quiet everybody knows who is there
//	I5  after quiet, nodes are as small as they were before
package judge

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// An Act is what a record tells.
type Act string

const (
	// Of a publisher.
	Acked Act = "acked" // Key was stored in Topic at Epoch, Offset

	// Of a member, about one topic each. Its position is (epoch, offset): the next message is
	// offset+1.
	Joined  Act = "joined"  // from nothing: its position is Epoch, Offset
	Resumed Act = "resumed" // on another connection: its position is Epoch, Offset; Recovered tells whether nothing is missing
	Reset   Act = "reset"   // likewise, in mid-stream
	Message Act = "message" // Key, at Offset
	Skipped Act = "skipped" // a skip, at Offset
	Left    Act = "left"    // nothing is owed from here on
	Roster  Act = "roster"  // Users are in the topic, Online many
	Changed Act = "changed" // Came came and Gone went; now Online many
	Ended   Act = "ended"   // after quiet, still a member: everything ought to be here

	// Of who runs the cluster.
	Truth   Act = "truth"   // Users are the users in Topic, after quiet
	Measure Act = "measure" // Node's Memory, Goroutines and Files; Phase "before" or "after"
	Fault   Act = "fault"   // Kind was done to the cluster
	Lossy   Act = "lossy"   // from the beginning, Redis may lose what it took (it replicates later, or does not persist at once)
	Stay    Act = "stay"    // Users are in Topic from now on without a break, however they move between nodes
)

// A Record is one line of a log, as a JSON object.
type Record struct {
	T   int64 `json:"t"` // Unix microseconds
	Act Act   `json:"act"`

	Topic     string `json:"topic,omitempty"`
	Key       string `json:"key,omitempty"` // names a message: no two publishes have the same
	Epoch     string `json:"epoch,omitempty"`
	Offset    uint64 `json:"offset,omitempty"`
	Recovered bool   `json:"recovered,omitempty"`

	Online int      `json:"online,omitempty"`
	Users  []string `json:"users,omitempty"`
	Came   []string `json:"came,omitempty"`
	Gone   []string `json:"gone,omitempty"`

	Node       string `json:"node,omitempty"`
	Phase      string `json:"phase,omitempty"`
	Memory     int    `json:"memory,omitempty"` // resident bytes
	Goroutines int    `json:"goroutines,omitempty"`
	Files      int    `json:"files,omitempty"` // open descriptors
	Kind       string `json:"kind,omitempty"`
}

// A Role is who writes a log. It begins the name of the log's file.
type Role string

const (
	Publisher Role = "publisher"
	Member    Role = "member"
	Cluster   Role = "cluster"
)

// A Log is written by one publisher, member or test. Its methods may be called by any goroutine.
type Log struct {
	mu   sync.Mutex
	file *os.File      // Guarded by mu.
	buf  *bufio.Writer // Guarded by mu.
	err  error         // the first. Guarded by mu.
}

// Create makes the log of one writer in a folder that the judge will read.
func Create(dir string, role Role, name string) (*Log, error) {
	f, err := os.OpenFile(filepath.Join(dir, string(role)+"-"+name+".jsonl"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &Log{file: f, buf: bufio.NewWriter(f)}, nil
}

// Add writes a record, and gives it its time where it has none.
func (l *Log) Add(r Record) {
	if r.T == 0 {
		r.T = time.Now().UnixMicro()
	}
	b, err := json.Marshal(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		_, err = l.buf.Write(append(b, '\n'))
	}
	if l.err == nil {
		l.err = err
	}
}

// Close tells whether every record was written.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.err, l.buf.Flush(), l.file.Close())
}

// read calls each with the records of one file.
func read(file string, each func(Record)) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	d := json.NewDecoder(bufio.NewReader(f))
	d.DisallowUnknownFields()
	for line := 1; ; line++ {
		var r Record
		switch err := d.Decode(&r); {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("%s: record %d: %w", file, line, err)
		}
		each(r)
	}
}
