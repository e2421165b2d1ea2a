package bench

import (
	"fmt"
	"os"
	"time"

	"github.com/prometheus/procfs"
)

// Options are what all scenarios take.
type Options struct {
	URLs       []string
	UserPrefix string                            // users are called PREFIX-RUN-NUMBER
	Token      func(user string) (string, error) // nil: sessions give their user's name
	Sources    string                            // "FROM-TO": addresses that connections come from; "" is the kernel's choice, and many on loopback
	PIDs       []int                             // of the servers
	RedisPIDs  []int                             // of what they keep their state in
	Redis      string                            // its URL, to count its commands; "": they are not counted
	Connects   float64                           // connections a second while a scenario sets up
	Progress   func(what string, share float64)  // called while it runs; may be nil
}

// usage is what processes have used so far.
type usage struct {
	at                  time.Time
	server, redis, own  float64 // CPU seconds, user and system
	serverRSS, redisRSS uint64  // bytes
	commands            uint64  // that Redis ran, within scripts too
	scripts             uint64  // of those, the scripts: a round trip each
}

func (o *Options) usage() (u usage, err error) {
	u.at = time.Now()
	if u.server, u.serverRSS, err = processes(o.PIDs); err != nil {
		return u, fmt.Errorf("--pid: %w", err)
	}
	if u.redis, u.redisRSS, err = processes(o.RedisPIDs); err != nil {
		return u, fmt.Errorf("--redis-pid: %w", err)
	}
	if u.commands, u.scripts, err = redisCommands(o.Redis); err != nil {
		return u, fmt.Errorf("--redis: %w", err)
	}
	u.own, _, err = processes([]int{os.Getpid()})
	return u, err
}

// since is what was used after before.
func (u usage) since(before usage) usage {
	u.server -= before.server
	u.redis -= before.redis
	u.own -= before.own
	u.commands -= min(u.commands, before.commands)
	u.scripts -= min(u.scripts, before.scripts)
	u.serverRSS -= min(u.serverRSS, before.serverRSS)
	u.redisRSS -= min(u.redisRSS, before.redisRSS)
	return u
}

// processes adds up the CPU seconds and the resident memory of processes.
func processes(pids []int) (cpu float64, rss uint64, err error) {
	for _, pid := range pids {
		p, err := procfs.NewProc(pid)
		if err != nil {
			return 0, 0, fmt.Errorf("process %d: %w", pid, err)
		}
		stat, err := p.Stat()
		if err != nil {
			return 0, 0, fmt.Errorf("process %d: %w", pid, err)
		}
		cpu += stat.CPUTime()
		rss += uint64(stat.ResidentMemory())
	}
	return cpu, rss, nil
}
