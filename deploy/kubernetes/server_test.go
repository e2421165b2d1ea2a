package kubernetes_test

import (
	"strings"
	"testing"

	versioned "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podapi "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	scalingvalidation "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	coreapi "k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	podsecurity "k8s.io/pod-security-admission/api"
	security "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// codecs read as the API server does: strictly, with what is left out filled in.
var codecs = serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict)

// create does to a manifest what the API server does before it stores it: reads it strictly, fills in what is
// left out, and validates the outcome.
func create(manifest []byte) error {
	object, err := runtime.Decode(codecs.UniversalDecoder(), manifest)
	if err != nil {
		return err
	}
	var faults field.ErrorList
	switch o := object.(type) {
	case *apps.Deployment:
		faults = appsvalidation.ValidateDeployment(o, podapi.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
	case *coreapi.Service:
		// The server chooses these itself.
		o.Spec.ClusterIPs, o.Spec.IPFamilies = []string{"10.96.0.10"}, []coreapi.IPFamily{coreapi.IPv4Protocol}
		o.Spec.ClusterIP = o.Spec.ClusterIPs[0]
		single := coreapi.IPFamilyPolicySingleStack
		o.Spec.IPFamilyPolicy = &single
		faults = corevalidation.ValidateServiceCreate(o)
	case *coreapi.Secret:
		faults = corevalidation.ValidateSecret(o)
	case *coreapi.Namespace:
		faults = corevalidation.ValidateNamespace(o)
	case *policy.PodDisruptionBudget:
		faults = policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{})
	case *autoscaling.HorizontalPodAutoscaler:
		faults = scalingvalidation.ValidateHorizontalPodAutoscaler(o, scalingvalidation.HorizontalPodAutoscalerSpecValidationOptions{MinReplicasLowerBound: 1})
	case *networking.NetworkPolicy:
		faults = networkvalidation.ValidateNetworkPolicy(o, networkvalidation.NetworkPolicyValidationOptions{})
	default:
		faults = field.ErrorList{field.NotSupported(field.NewPath("kind"), o.GetObjectKind().GroupVersionKind().Kind, []string{"those of this test"})}
	}
	return faults.ToAggregate()
}

// An API server would take every manifest.
func TestServerTakesManifests(t *testing.T) {
	for name, manifest := range build(t) {
		if err := create(manifest); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// It would not take what is wrong in a way that a schema does not show.
func TestServerRefuses(t *testing.T) {
	deployment := string(build(t)["Deployment rookery"])
	for what, change := range map[string][2]string{
		"a field in other letters":     {"minReadySeconds:", "minreadyseconds:"},
		"an unknown version":           {"apiVersion: apps/v1", "apiVersion: apps/v1beta9"},
		"nothing unavailable, no more": {"maxSurge: 1", "maxSurge: 0"},
		"a request above its limit":    {"memory: 1Gi", "memory: 1Mi"},
		"a port of no name":            {"port: admin", "port: admin_port"},
		"a label with a space":         {"app.kubernetes.io/name: rookery", "app.kubernetes.io/name: roo kery"},
	} {
		wrong := strings.Replace(deployment, change[0], change[1], 1)
		if wrong == deployment {
			t.Errorf("%s: the deployment has no %q any more", what, change[0])
		} else if err := create([]byte(wrong)); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

// The namespace asks for the strictest of Kubernetes' pod security standards, and admission would let the nodes in.
func TestPodSecurity(t *testing.T) {
	all := build(t)
	var namespace core.Namespace
	if err := yaml.UnmarshalStrict(all["Namespace rookery"], &namespace); err != nil {
		t.Fatal(err)
	}
	level, err := podsecurity.ParseLevel(namespace.Labels[podsecurity.EnforceLevelLabel])
	if err != nil || level != podsecurity.LevelRestricted {
		t.Fatalf("the namespace asks for %q, %v", level, err)
	}
	checks, err := security.NewEvaluator(security.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	standard := podsecurity.LevelVersion{Level: level, Version: podsecurity.LatestVersion()}
	evaluate := func(pod core.PodTemplateSpec) security.AggregateCheckResult {
		return security.AggregateCheckResults(checks.EvaluatePod(standard, &pod.ObjectMeta, &pod.Spec))
	}
	var deployment versioned.Deployment
	if err := yaml.UnmarshalStrict(all["Deployment rookery"], &deployment); err != nil {
		t.Fatal(err)
	}
	pod := deployment.Spec.Template
	if result := evaluate(pod); !result.Allowed {
		t.Errorf("nodes are not let in: %s", result.ForbiddenDetail())
	}
	pod.Spec.Containers[0].SecurityContext.Capabilities = nil
	if evaluate(pod).Allowed {
		t.Error("a node with capabilities is let in")
	}
}
