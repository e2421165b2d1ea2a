// Package kubernetes_test builds the manifests with kustomize, and reads what comes of it as Kubernetes does.
package kubernetes_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// build copies the manifests to where the secret of the example may be, and builds them.
func build(t *testing.T) map[string][]byte {
	t.Helper()
	files := filesys.MakeFsInMemory()
	names, err := filepath.Glob("*.yaml")
	if err != nil || len(names) < 6 {
		t.Fatalf("manifests: %q, %v", names, err)
	}
	for _, name := range append(names, "secret.env.example") {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := files.WriteFile(filepath.Join("/app", strings.TrimSuffix(name, ".example")), content); err != nil {
			t.Fatal(err)
		}
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, "/app")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]byte)
	for _, r := range resources.Resources() {
		content, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		all[r.GetKind()+" "+r.GetName()] = content
	}
	return all
}

// Every field of every manifest is one that Kubernetes knows, and what refers to another finds it.
func TestManifests(t *testing.T) {
	all := build(t)
	decode := func(name string, into any) {
		t.Helper()
		content, there := all[name]
		if !there {
			t.Fatalf("there is no %s", name)
		}
		delete(all, name)
		if err := yaml.UnmarshalStrict(content, into); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var (
		deployment apps.Deployment
		sessions   core.Service
		api        core.Service
		budget     policy.PodDisruptionBudget
		scaler     autoscaling.HorizontalPodAutoscaler
		network    networking.NetworkPolicy
		namespace  core.Namespace
	)
	decode("Deployment rookery", &deployment)
	decode("Service rookery", &sessions)
	decode("Service rookery-api", &api)
	decode("PodDisruptionBudget rookery", &budget)
	decode("HorizontalPodAutoscaler rookery", &scaler)
	decode("NetworkPolicy rookery", &network)
	decode("Namespace rookery", &namespace)

	pod := deployment.Spec.Template
	node := pod.Spec.Containers[0]
	var secret core.Secret
	decode("Secret "+node.EnvFrom[0].SecretRef.Name, &secret) // the name has its hash
	if secret.Data["ROOKERY_REDIS"] == nil {
		t.Errorf("the secret has %v", secret.Data)
	}
	for name := range all {
		t.Errorf("%s is not looked at", name)
	}
	if node.Image != "rookery:local" || scaler.Spec.ScaleTargetRef.Name != deployment.Name {
		t.Errorf("image %s, scaler of %s", node.Image, scaler.Spec.ScaleTargetRef.Name)
	}
	ports := map[string]bool{}
	for _, p := range node.Ports {
		ports[p.Name] = true
	}
	for _, s := range []core.Service{sessions, api} {
		if !ports[s.Spec.Ports[0].TargetPort.StrVal] {
			t.Errorf("%s leads to the port %s", s.Name, s.Spec.Ports[0].TargetPort.StrVal)
		}
	}
	if deployment.Spec.Selector == nil || budget.Spec.Selector == nil {
		t.Fatal("something selects nothing")
	}
	for _, selector := range []map[string]string{deployment.Spec.Selector.MatchLabels, sessions.Spec.Selector, api.Spec.Selector, budget.Spec.Selector.MatchLabels, network.Spec.PodSelector.MatchLabels} {
		if len(selector) == 0 {
			t.Error("something selects every pod")
		}
		for label, value := range selector {
			if pod.Labels[label] != value {
				t.Errorf("pods have the labels %v, and something selects %v", pod.Labels, selector)
			}
		}
	}
	for _, probe := range []*core.Probe{node.StartupProbe, node.ReadinessProbe, node.LivenessProbe} {
		if probe == nil || !ports[probe.HTTPGet.Port.StrVal] {
			t.Errorf("a probe: %+v", probe)
		}
	}
	if s := node.SecurityContext; !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || s.Capabilities.Drop[0] != "ALL" || !*pod.Spec.SecurityContext.RunAsNonRoot {
		t.Errorf("what the container may: %+v", s)
	}
}

// A field that Kubernetes does not know is seen.
func TestStrictness(t *testing.T) {
	var deployment apps.Deployment
	if err := yaml.UnmarshalStrict([]byte("spec: {replica: 3}"), &deployment); err == nil {
		t.Error("a replica is taken for replicas")
	}
}
