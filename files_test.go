package rookery_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// machinePath finds paths that exist on somebody's machine only.
	machinePath = regexp.MustCompile(`(^|[^\w.])/(work|farm|root|home/\w+|Users/\w+)/`)
	// skip finds tests that pass where they lack something.
	skip = regexp.MustCompile(`\b[tbf]\.Skip(f|Now)?\(`)
)

func TestFiles(t *testing.T) {
	t.Parallel()
	root := os.DirFS(".")
	looked := 0
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "bin", "node_modules"}, d.Name()):
			return fs.SkipDir
		case !d.Type().IsRegular(), name == ".git": // a file in a second worktree
			return nil
		}
		content, err := fs.ReadFile(root, name)
		if err != nil || bytes.IndexByte(content, 0) >= 0 { // a picture, a test binary
			return err
		}
		looked++
		for _, fault := range fileFaults(name, string(content)) {
			t.Error(fault)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if looked < 50 {
		t.Errorf("looked at %d files: where are the others?", looked)
	}
}

// fileFaults tells, by line, what a file should not have in it.
func fileFaults(name, content string) (faults []string) {
	number := 0
	for line := range strings.Lines(content) {
		number++
		if machinePath.MatchString(line) {
			faults = append(faults, fmt.Sprintf("%s:%d names a path of one machine: take it out", name, number))
		}
		if strings.HasSuffix(name, "_test.go") && skip.MatchString(line) {
			faults = append(faults, fmt.Sprintf("%s:%d skips: let the test fail, and scripts/install-test-deps bring what it needs", name, number))
		}
	}
	return faults
}

// The judge of files must see each fault, and nothing else.
func TestFileFaults(t *testing.T) {
	t.Parallel()
	home := "/" + "home/ann/"
	for _, test := range []struct{ name, content, want string }{
		{"README.md", "first\nsee " + home + "notes\n", "README.md:2 names a path"},
		{"README.md", home + "notes", "README.md:1 names a path"},
		{"a.lua", "`" + "/" + "root/x`\n", "a.lua:1 names a path"},
		{"README.md", "https://chat.example" + home + "notes\n", ""},
		{"README.md", "COPY . /" + "home/\n", ""},
		{"x_test.go", "\tt." + "Skip(\"no Redis\")\n", "x_test.go:1 skips"},
		{"x_test.go", "\tb." + "SkipNow()\n", "x_test.go:1 skips"},
		{"x.go", "\tt." + "Skip(3)\n", ""},
	} {
		faults := fileFaults(test.name, test.content)
		if test.want == "" && len(faults) > 0 || test.want != "" && (len(faults) != 1 || !strings.Contains(faults[0], test.want)) {
			t.Errorf("%s with %q: found %q, want %q", test.name, test.content, faults, test.want)
		}
	}
}
