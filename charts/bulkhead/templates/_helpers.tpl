{{/* One installation serves a cluster, so names do not carry the release's. */}}
{{- define "bulkhead.operator" -}}bulkhead-operator{{- end }}

{{/* The role that the operator is bound to in organizations' namespaces; its name is an API. */}}
{{- define "bulkhead.organizationRole" -}}bulkhead-operator-organization{{- end }}

{{- define "bulkhead.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "bulkhead.operator" . }}
{{- end }}

{{- define "bulkhead.labels" -}}
app.kubernetes.io/name: bulkhead
{{ include "bulkhead.sharedLabels" . }}
{{- end }}

{{- define "bulkhead.sharedLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: bulkhead
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "bulkhead.operatorSelector" -}}
app.kubernetes.io/name: {{ include "bulkhead.operator" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "bulkhead.operatorLabels" -}}
app.kubernetes.io/name: {{ include "bulkhead.operator" . }}
{{ include "bulkhead.sharedLabels" . }}
{{- end }}

{{/* Takes an image of the values and the chart; a digest wins over a tag. */}}
{{- define "bulkhead.image" -}}
{{- $image := index . 0 -}}
{{- $chart := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* A pod selector of the values as the operator's settings spell it. */}}
{{- define "bulkhead.podSelector" -}}
{{- dict "namespace_labels" (.namespaceLabels | default dict) "pod_labels" (.podLabels | default dict) | toJson -}}
{{- end }}

{{- define "bulkhead.podSelectors" -}}
{{- $selectors := list -}}
{{- range . -}}
{{- $selectors = append $selectors (include "bulkhead.podSelector" . | fromJson) -}}
{{- end -}}
{{- $selectors | toJson -}}
{{- end }}

{{/* The same selectors as peers of a NetworkPolicy. */}}
{{- define "bulkhead.networkPeers" -}}
{{- range . }}
- namespaceSelector:
    matchLabels: {{ .namespaceLabels | default dict | toJson }}
  podSelector:
    matchLabels: {{ .podLabels | default dict | toJson }}
{{- end }}
{{- end }}

{{- define "bulkhead.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "bulkhead.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "bulkhead.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* How Prometheus scrapes an endpoint; takes a `monitor` of the values and `relabelings` that go
before those of the values. */}}
{{- define "bulkhead.scrape" -}}
path: /metrics
interval: {{ .monitor.interval }}
scrapeTimeout: {{ .monitor.scrapeTimeout }}
{{- with concat .relabelings .monitor.relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .monitor.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* CEL variables that tell whose a namespace is; takes the CEL name of the
namespace and the namespace of the release. */}}
{{- define "bulkhead.namespaceVariables" -}}
- name: made
  expression: >-
    {{ .object }}.metadata.name ==
    'org-' + {{ .object }}.metadata.?labels['bulkhead.dev/organization'].orValue('')
- name: adopted
  expression: >-
    {{ .object }}.metadata.?annotations['bulkhead.dev/organization'].orValue('') != '' &&
    !{{ .object }}.metadata.name.startsWith('kube-') &&
    !({{ .object }}.metadata.name in ['default', {{ .release | squote }}])
{{- end }}

{{/* The part of an admission policy that keeps the operator in organizations' namespaces; further
validations may follow. */}}
{{- define "bulkhead.onlyInOrganizations" -}}
matchConditions:
  - name: by-the-operator
    expression: request.userInfo.username == {{ include "bulkhead.operatorUser" . | squote }}
variables:
  {{- include "bulkhead.namespaceVariables" (dict "object" "namespaceObject" "release" .Release.Namespace) | nindent 2 }}
validations:
  - expression: variables.made || variables.adopted
    messageExpression: >-
      'namespace ' + request.namespace + ' is not an organization\'s: it must be named
      org-NAME and labelled bulkhead.dev/organization: NAME, or be annotated
      bulkhead.dev/organization: NAME by a person'
    reason: Forbidden
{{- end }}

{{/* Annotations of what runs after `helm uninstall`; takes the order as a string. */}}
{{- define "bulkhead.uninstallHook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* Annotations of what runs before everything else; takes the order as a string. */}}
{{- define "bulkhead.migrationHook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
