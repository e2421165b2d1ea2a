package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

// fromFiles sets flags from files that variables name: ROOKERY_API_KEY_FILE is a file with what
// ROOKERY_API_KEY would be. So secrets need not stand in the environment, which others may look at.
func fromFiles(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		name := os.Getenv(env + "_FILE")
		if name == "" {
			continue
		}
		if os.Getenv(env) != "" {
			return nil, fmt.Errorf("%s and %s_FILE are both set: unset one", env, env)
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("%s_FILE: %w", env, err)
		}
		return strings.TrimSpace(string(content)), nil
	}
	return nil, nil
}
