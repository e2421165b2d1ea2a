package bench

import (
	"bufio"
	"context"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

var commandCalls = regexp.MustCompile(`^cmdstat_([^:]+):calls=(\d+)`)

// redisCommands is how many commands a Redis has run, and how many of them were scripts; none where url is "".
func redisCommands(url string) (commands, scripts uint64, err error) {
	if url == "" {
		return 0, 0, nil
	}
	opts, err := redis.ParseURL(url)
	if err != nil {
		return 0, 0, err
	}
	client := redis.NewClient(opts)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	info, err := client.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, 0, err
	}
	for scan := bufio.NewScanner(strings.NewReader(info)); scan.Scan(); {
		m := commandCalls.FindStringSubmatch(scan.Text())
		if m == nil {
			continue
		}
		calls, _ := strconv.ParseUint(m[2], 10, 64)
		commands += calls
		if m[1] == "evalsha" || m[1] == "eval" {
			scripts += calls
		}
	}
	return commands, scripts, nil
}
