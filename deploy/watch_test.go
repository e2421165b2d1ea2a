package deploy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// Each alert fires when it should and not otherwise, as alerts_test.yml has it; each has such a case, and
// a runbook that is there.
func TestAlerts(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"check", "config", "prometheus.yml"}, {"test", "rules", "alerts_test.yml"}} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	cases := read(t, "alerts_test.yml")
	alerts := regexp.MustCompile(`(?m)- alert: (\w+)`).FindAllStringSubmatch(read(t, "alerts.yml"), -1)
	if len(alerts) < 8 {
		t.Errorf("only %d alerts", len(alerts))
	}
	for _, a := range alerts {
		if !regexp.MustCompile(`"` + a[1] + `",alertstate="firing".*exp_samples`).MatchString(cases) {
			t.Errorf("alerts_test.yml does not show that %s fires", a[1])
		}
		if !strings.Contains(cases, "alertname: "+a[1]+"}") {
			t.Errorf("alerts_test.yml does not show that %s keeps quiet", a[1])
		}
	}
}

// What alerts and dashboards link to is there.
func TestRunbooks(t *testing.T) {
	t.Parallel()
	anchors := map[string]bool{"": true}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(read(t, "../docs/operations.md"), -1) {
		words := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		anchors[strings.ReplaceAll(words, " ", "-")] = true
	}
	links := 0
	for _, file := range []string{"alerts.yml", "grafana/dashboards/cluster.json", "grafana/dashboards/node.json"} {
		for _, link := range regexp.MustCompile(`docs/operations\.md(?:#([a-z0-9-]*))?`).FindAllStringSubmatch(read(t, file), -1) {
			links++
			if !anchors[link[1]] {
				t.Errorf("%s links to #%s, which docs/operations.md does not have", file, link[1])
			}
		}
	}
	if links < 30 {
		t.Errorf("saw only %d links", links)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A board is what of a Grafana dashboard matters here.
type board struct {
	UID, Title string
	Panels     []struct {
		Title, Description, Type string
		FieldConfig              struct{ Defaults struct{ Unit string } }
		Targets                  []struct{ Expr, LegendFormat string }
	}
}

// A real Prometheus watches real nodes behind haproxy, and Redis, as deploy/prometheus.yml has it but for the
// addresses: all targets are up, and each query of each panel has data.
func TestDashboards(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.start("127.0.1.1")
	c.start("127.0.1.2")
	f := c.haproxy()
	w := c.watch(f, fmt.Sprintf("static_configs: [{targets: [127.0.1.1:%s, 127.0.1.2:%s]}]", c.admin, c.admin), read(t, "alerts.yml"))
	defer c.talk(f)()

	await(t, "all five targets are up", func() bool { return w.values("up == 1") == 5 })
	queries := 0
	for _, file := range []string{"grafana/dashboards/cluster.json", "grafana/dashboards/node.json"} {
		var b board
		if err := json.Unmarshal([]byte(read(t, file)), &b); err != nil || b.UID == "" || b.Title == "" {
			t.Fatalf("%s: %v", file, err)
		}
		for _, p := range b.Panels {
			if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
				t.Errorf("%s: the panel %q says too little of itself: %+v", file, p.Title, p)
			}
			for _, target := range p.Targets {
				queries++
				if target.LegendFormat == "" {
					t.Errorf("%s, %s: %s has no legend", file, p.Title, target.Expr)
				}
				query := strings.NewReplacer("$__rate_interval", "15s", "$node", ".*").Replace(target.Expr)
				await(t, fmt.Sprintf("data for %s, %s: %s", file, p.Title, query), func() bool { return w.values(query) > 0 })
			}
		}
	}
	if queries < 40 {
		t.Errorf("saw only %d queries", queries)
	}
	if n := w.values("rookery_no_such_metric"); n != 0 {
		t.Errorf("a query without data has %d values", n)
	}
}
