package rookery_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rookery-chat/rookery"

// mayImport is the house's plan: every package, and what of ours its code (not its tests)
// may import. A new package needs a line here, and a reason that ARCHITECTURE.md gives.
var mayImport = map[string][]string{
	".":        {},
	"wire":     {},
	"auth":     {},
	"web":      {},
	"bus":      {"internal/nowait"},
	"presence": {},
	"store":    {},
	"proxy":    {},
	"client":   {"wire"},
	"api":      {"wire", "auth"},
	"node":     {"wire", "bus", "presence", "store", "proxy", "auth", "internal/nowait", "internal/seldom"},
	"hook":     {"wire", "presence", "internal/seldom"},
	"bench":    {"wire"},

	"internal/nowait":    {},
	"internal/seldom":    {},
	"internal/handshake": {"proxy", "internal/nowait"},

	"bench/suite":      {"bench"}, // runs the binary, for make bench; draws with bench
	"cmd/rookery":      {"wire", "auth", "web", "bus", "presence", "store", "proxy", "client", "api", "node", "hook", "bench", "internal/handshake", "cmd/rookery/chat"},
	"cmd/rookery/chat": {"client", "wire"},

	"examples/datasync":  {"client", "wire"},
	"examples/groupchat": {},
	"examples/push":      {},
	"examples/ticker":    {"client", "wire"},
	"examples/chat":      {},

	// For tests alone: nothing above may import these.
	"bus/bustest":           {"bus"},
	"presence/presencetest": {"presence"},
	"store/storetest":       {"store"},
	"internal/redistest":    {},
	"internal/browsertest":  {},
	"internal/exampletest":  {},
	"internal/processtest":  {},
	"internal/rawtest":      {},
	"internal/nettest":      {},
	"internal/timetest":     {},
	"internal/dnstest":      {},
	"faults":                {},
	"deploy":                {},
	"faults/judge":          {},
	"faults/cmd/judge":      {"faults/judge"},
}

// maxLines is the length of a file from which on it needs a reason to be one file.
const maxLines = 600

// mayBeLong gives that reason, by file.
var mayBeLong = map[string]string{
	"api/openapi.yaml": "one description, which tools read whole",
	"web/rookery.js":   "one file to load, because it needs no build step",
}

// saysNothing are names of packages that could hold anything.
var saysNothing = []string{"util", "utils", "common", "pkg"}

// A house is what the structure is judged by.
type house struct {
	imports map[string][]string // package -> what of ours its code imports
	lines   map[string]int      // file of code -> its length
}

func TestStructure(t *testing.T) {
	t.Parallel()
	h := look(t)
	if len(h.imports["node"]) == 0 || h.lines["node/node.go"] == 0 {
		t.Fatalf("the packages were not understood: %v", h)
	}
	for _, fault := range h.faults(mayImport, mayBeLong) {
		t.Error(fault)
	}
}

// look lists the module's packages.
func look(t *testing.T) house {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles,CgoFiles,IgnoredGoFiles,EmbedFiles", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	h := house{imports: make(map[string][]string), lines: make(map[string]int)}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Dir                                        string
			Imports, GoFiles, CgoFiles, IgnoredGoFiles, EmbedFiles []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return h
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		name, _ := ours(p.ImportPath)
		h.imports[name] = []string{}
		for _, imported := range p.Imports {
			if other, ok := ours(imported); ok {
				h.imports[name] = append(h.imports[name], other)
			}
		}
		// What is left out on this platform is code all the same; a test that is left out is not.
		for _, file := range slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles, p.EmbedFiles) {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			code, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			h.lines[path.Join(name, file)] = bytes.Count(code, []byte("\n"))
		}
	}
}

// ours returns the folder of a package of this module.
func ours(importPath string) (folder string, ok bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// faults tells, in order, where h is not as planned.
func (h house) faults(mayImport map[string][]string, mayBeLong map[string]string) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for name, imports := range h.imports {
		allowed, planned := mayImport[name]
		if !planned {
			fault("package %s is not in the plan: add it to mayImport, and to the table in ARCHITECTURE.md", name)
		}
		for _, other := range imports {
			if planned && !slices.Contains(allowed, other) {
				fault("package %s may not import %s", name, other)
			}
		}
		for part := range strings.SplitSeq(name, "/") {
			if slices.Contains(saysNothing, part) {
				fault("package %s: the name %s does not say what is in it", name, part)
			}
		}
	}
	for file, n := range h.lines {
		if n > maxLines && mayBeLong[file] == "" {
			fault("%s has %d lines: divide it, or give the reason in mayBeLong", file, n)
		}
	}
	for file := range mayBeLong {
		if h.lines[file] <= maxLines {
			fault("%s needs no place in mayBeLong any more", file)
		}
	}
	slices.Sort(faults)
	return faults
}

// The judge of the structure must see each way to break it, and nothing else.
func TestStructureFaults(t *testing.T) {
	t.Parallel()
	plan := map[string][]string{"wire": {}, "client": {"wire"}, "wire/pkg": {}, "my/utils/x": {}, "commonplace": {}}
	long := map[string]string{"wire/long.go": "a table"}
	for name, test := range map[string]struct {
		house house
		want  string // "" where nothing is wrong
	}{
		"as planned":       {house{imports: map[string][]string{"wire": {}, "client": {"wire"}}}, ""},
		"imports less":     {house{imports: map[string][]string{"client": {}}}, ""},
		"imports more":     {house{imports: map[string][]string{"wire": {"client"}}}, "package wire may not import client"},
		"unknown import":   {house{imports: map[string][]string{"client": {"wire", "wire/x"}}}, "package client may not import wire/x"},
		"unplanned":        {house{imports: map[string][]string{"new": {}}}, "package new is not in the plan"},
		"unplanned below":  {house{imports: map[string][]string{"client/internal/x": {"wire"}}}, "package client/internal/x is not in the plan"},
		"name":             {house{imports: map[string][]string{"wire/pkg": {}}}, "the name pkg does not say"},
		"name on the way":  {house{imports: map[string][]string{"my/utils/x": {}}}, "the name utils does not say"},
		"name in a name":   {house{imports: map[string][]string{"commonplace": {}}}, ""},
		"long":             {house{lines: map[string]int{"wire/wire.go": maxLines + 1}}, "wire/wire.go has 601 lines"},
		"just not long":    {house{lines: map[string]int{"wire/wire.go": maxLines}}, ""},
		"short once more":  {house{lines: map[string]int{"wire/long.go": maxLines}}, "wire/long.go needs no place"},
		"long with reason": {house{lines: map[string]int{"wire/long.go": maxLines + 1}}, ""},
	} {
		reasons := long
		if test.house.lines["wire/long.go"] == 0 {
			reasons = nil
		}
		faults := test.house.faults(plan, reasons)
		switch {
		case test.want == "" && len(faults) > 0:
			t.Errorf("%s: found %q", name, faults)
		case test.want != "" && (len(faults) != 1 || !strings.Contains(faults[0], test.want)):
			t.Errorf("%s: found %q, want %q alone", name, faults, test.want)
		}
	}
}
