package judge

// What a node may keep after quiet, over what it had before. Its caches and pools are warm
// then, and the Go heap gives memory back only slowly.
const (
	moreMemory     = 64 << 20
	moreGoroutines = 32
	moreFiles      = 96 // each pool of connections to Redis keeps 10 a CPU, and so does one to Sentinels
)

// cluster hears who ran the cluster.
func (j *judge) cluster(file, who string) error {
	return read(file, func(r Record) {
		switch r.Act {
		case Fault:
			j.verdict.Faults[r.Kind]++
		case Lossy:
			j.lossy = true
		case Truth:
			j.topic(r.Topic).present = set(r.Users)
		case Stay:
			t := j.topic(r.Topic)
			if t.stays == nil {
				t.stays = map[string]int64{}
			}
			for _, user := range r.Users {
				t.stays[user] = r.T
			}
		case Measure:
			j.measured(who, r)
		default:
			j.violate("I5", who, r.Topic, "a cluster's log holds a record %q", r.Act)
		}
	})
}

func (j *judge) measured(who string, r Record) {
	before := j.measure[r.Node]
	switch {
	case r.Phase == "before":
		j.measure[r.Node] = &r
	case before == nil:
		j.violate("I5", who, "", "node %s was not measured before", r.Node)
	default:
		for _, m := range []struct {
			what               string
			before, after, add int
		}{
			{"bytes of memory", before.Memory, r.Memory, moreMemory},
			{"goroutines", before.Goroutines, r.Goroutines, moreGoroutines},
			{"descriptors", before.Files, r.Files, moreFiles},
		} {
			if m.after > m.before+m.add {
				j.violate("I5", who, "", "node %s has %d %s, %d before", r.Node, m.after, m.what, m.before)
			}
		}
	}
}
