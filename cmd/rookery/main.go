// Command rookery is a node of a Rookery cluster, and its tools.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is stamped by the build.
var version = "dev"

type cli struct {
	Serve   serveCmd   `cmd:"" help:"Run a node."`
	Chat    chatCmd    `cmd:"" help:"Chat in the terminal."`
	Publish publishCmd `cmd:"" help:"Publish one message and print where it was stored."`
	Token   tokenCmd   `cmd:"" help:"Mint a token for development."`
	Health  healthCmd  `cmd:"" help:"Ask the node on this machine whether it is ready, and fail when it is not."`
	Bench   benchCmd   `cmd:"" help:"Measure nodes under load."`

	Version kong.VersionFlag `help:"Print the version."`
}

func main() {
	var c cli
	k := kong.Parse(&c,
		kong.Name("rookery"),
		kong.Description("A chat and push cluster that you run yourself. Every flag can also be set by its environment variable, or by a file that the variable with _FILE after it names."),
		kong.Vars{"version": version},
		kong.Resolvers(kong.ResolverFunc(fromFiles)),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}),
	)
	// The first signal asks for an orderly end, the second ends at once.
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		ends = append(ends, syscall.SIGHUP) // its terminal is closed
	}
	ctx, end := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, ends...)
	go func() {
		<-signals
		signal.Stop(signals) // before anybody can see that the end has begun: no second signal is taken for the first
		end()
	}()
	k.BindTo(ctx, (*context.Context)(nil))
	if err := k.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "rookery:", err)
		os.Exit(1)
	}
}
