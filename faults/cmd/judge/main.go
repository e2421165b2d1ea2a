// Command judge reads the logs that a fault test left in a folder, and says whether the
// cluster kept its promises: go run ./faults/cmd/judge FOLDER
package main

import (
	"fmt"
	"os"

	"github.com/rookery-chat/rookery/faults/judge"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: judge FOLDER, which has the logs publisher-*.jsonl, member-*.jsonl and cluster-*.jsonl")
		os.Exit(2)
	}
	verdict, err := judge.Dir(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "judge:", err)
		os.Exit(2)
	}
	fmt.Print(verdict)
	if verdict.Violated > 0 {
		os.Exit(1)
	}
}
