package bus

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"errors"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed fence.lua
	fenceSource string
	//go:embed publish.lua
	publishSource string
	//go:embed positions.lua
	positionsSource string
	//go:embed read.lua
	readSource string
	//go:embed probe.lua
	probeSource string
	//go:embed clear.lua
	clearSource string

	publishScript   = newScript(fenceSource + "\n" + publishSource)
	positionsScript = newScript(fenceSource + "\n" + positionsSource)
	readScript      = newScript(fenceSource + "\n" + readSource)
	probeScript     = newScript(fenceSource + "\n" + probeSource)
	clearScript     = newScript(clearSource)

	scripts = make(map[string]*script) // by hash
)

// A script is one of the bus's Lua scripts.
type script struct{ source, hash string }

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source))
	s := &script{source, hex.EncodeToString(sum[:])}
	scripts[s.hash] = s
	return s
}

// cmd returns the call of s with keys, by its hash.
func (s *script) cmd(keys []string, args ...any) *redis.Cmd {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, "evalsha", s.hash, len(keys))
	for _, k := range keys {
		all = append(all, k)
	}
	return newScriptCmd(append(all, args...))
}

func newScriptCmd(args []any) *redis.Cmd {
	cmd := redis.NewCmd(context.Background(), args...)
	cmd.SetFirstKeyPos(3)
	return cmd
}

// inFull turns a call by hash that met a server that does not know the script into
// one that brings the script along.
func inFull(cmd *redis.Cmd) *redis.Cmd {
	args := cmd.Args()
	args[0], args[1] = "eval", scripts[args[1].(string)].source
	return newScriptCmd(args)
}

// unknownScript tells whether err means that the server does not have the script.
func unknownScript(err error) bool {
	return errors.Is(err, redis.ErrNoScript) || redis.HasErrorPrefix(err, "NOSCRIPT")
}
