// Package template holds the children of one organization with placeholders, so that every
// program that is measured makes, or waits for, the identical set.
package template

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	organization = "@organization@"
	uid          = "@uid@"
)

// OrganizationRuntime is the kind whose children the template holds.
var OrganizationRuntime = schema.GroupVersionKind{
	Group: "bulkhead.dev", Version: "v1alpha1", Kind: "OrganizationRuntime",
}

// Template is the parsed file; it is never changed after Load.
type Template struct{ manifests []map[string]any }

// Load reads a JSON list of manifests.
func Load(path string) (*Template, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var manifests []map[string]any
	if err := json.Unmarshal(text, &manifests); err != nil {
		return nil, fmt.Errorf("%s is not a JSON list of manifests: %w", path, err)
	}
	return &Template{manifests: manifests}, nil
}

// Children returns one organization's manifests.
func (t *Template) Children(name, ownerUID string) []*unstructured.Unstructured {
	replacer := strings.NewReplacer(organization, name, uid, ownerUID)
	children := make([]*unstructured.Unstructured, 0, len(t.manifests))
	for _, manifest := range t.manifests {
		content := filled(manifest, replacer).(map[string]any)
		children = append(children, &unstructured.Unstructured{Object: content})
	}
	return children
}

func filled(node any, replacer *strings.Replacer) any {
	switch value := node.(type) {
	case map[string]any:
		result := make(map[string]any, len(value))
		for key, child := range value {
			if strings.Contains(key, "@") {
				key = replacer.Replace(key)
			}
			result[key] = filled(child, replacer)
		}
		return result
	case []any:
		result := make([]any, len(value))
		for index, child := range value {
			result[index] = filled(child, replacer)
		}
		return result
	case string:
		if strings.Contains(value, "@") {
			return replacer.Replace(value)
		}
		return value
	default:
		return value
	}
}
