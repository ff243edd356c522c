{{/* The operator's settings; what it reads is checked by a test against its model of them. */}}
{{- define "bulkhead.environment" -}}
- name: BULKHEAD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: BULKHEAD_IDENTITY
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: BULKHEAD_LOG_LEVEL
  value: {{ .Values.operator.logLevel | quote }}
- name: BULKHEAD_RUNTIME_IMAGE
  value: {{ include "bulkhead.image" (list .Values.runtime.image .Chart) | quote }}
- name: BULKHEAD_RUNTIME_IMAGE_PULL_POLICY
  value: {{ .Values.runtime.image.pullPolicy | quote }}
- name: BULKHEAD_RUNTIME_IMAGE_PULL_SECRETS
  value: {{ .Values.imagePullSecrets | toJson | quote }}
- name: BULKHEAD_RUNTIME_DRAIN_SECONDS
  value: {{ .Values.runtime.drainSeconds | int | quote }}
- name: BULKHEAD_URL_TEMPLATE
  value: {{ .Values.runtime.urlTemplate | quote }}
- name: BULKHEAD_GATEWAYS
  value: {{ include "bulkhead.podSelectors" .Values.network.gateways | quote }}
- name: BULKHEAD_SCRAPERS
  value: {{ include "bulkhead.podSelectors" .Values.network.scrapers | quote }}
- name: BULKHEAD_OPERATOR_LABELS
  value: {{ include "bulkhead.operatorSelector" . | fromYaml | toJson | quote }}
- name: BULKHEAD_DNS
  value: {{ include "bulkhead.podSelector" .Values.network.dns | quote }}
- name: BULKHEAD_DENIED_CIDRS
  value: {{ .Values.network.deniedCIDRs | toJson | quote }}
- name: BULKHEAD_WORKERS
  value: {{ .Values.operator.workers | int | quote }}
- name: BULKHEAD_RESYNC_SECONDS
  value: {{ .Values.reconcile.resyncSeconds | int | quote }}
- name: BULKHEAD_USAGE_SECONDS
  value: {{ .Values.reconcile.usageSeconds | int | quote }}
- name: BULKHEAD_RESTARTS_AT_ONCE
  value: {{ .Values.reconcile.restarts.atOnce | int | quote }}
- name: BULKHEAD_RESTART_FAILURES_BEFORE_HALT
  value: {{ .Values.reconcile.restarts.failuresBeforeHalt | int | quote }}
- name: BULKHEAD_RESOURCE_PRICES
  value: {{ with .Values.metrics.resourcePrices }}{{ dict "cpu_core" .cpuCore "memory_gib" .memoryGiB "storage_gib" .storageGiB | toJson | quote }}{{ end }}
- name: BULKHEAD_LEASE_DURATION_SECONDS
  value: {{ .Values.leaderElection.leaseDurationSeconds | quote }}
- name: BULKHEAD_LEASE_RENEW_SECONDS
  value: {{ .Values.leaderElection.renewSeconds | quote }}
{{- end }}
