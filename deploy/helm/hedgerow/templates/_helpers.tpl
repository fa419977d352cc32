{{/* Beginning of all names: the release's, and `hedgerow` unless that contains it. */}}
{{- define "hedgerow.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "hedgerow.gateway" -}}{{ include "hedgerow.fullname" . }}-gateway{{- end -}}
{{- define "hedgerow.worker" -}}{{ include "hedgerow.fullname" . }}-worker{{- end -}}
{{- define "hedgerow.valkey" -}}{{ include "hedgerow.fullname" . }}-valkey{{- end -}}
{{- define "hedgerow.secret" -}}{{ .Values.secret.name | default (include "hedgerow.fullname" .) }}{{- end -}}

{{- define "hedgerow.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* Labels by which pods are selected; takes (list root component). They never change. */}}
{{- define "hedgerow.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* All labels of an object; takes (list root component). */}}
{{- define "hedgerow.labels" -}}
{{- $root := index . 0 -}}
{{ include "hedgerow.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end -}}

{{/* As strict as compose.yaml, and as the Pod Security Standard `restricted`; takes a user id. */}}
{{- define "hedgerow.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "hedgerow.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What all pods have in common; takes (list root values), the latter of the component. */}}
{{- define "hedgerow.pod" -}}
{{- $root := index . 0 -}}
{{- $values := index . 1 -}}
automountServiceAccountToken: false
# Otherwise each Service of the namespace would become variables, such as HEDGEROW_PORT.
enableServiceLinks: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Over zones first, then over nodes, as far as there is room; takes (list root component). */}}
{{- define "hedgerow.spread" -}}
{{- $arguments := . -}}
topologySpreadConstraints:
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "hedgerow.selector" $arguments | nindent 8 }}
{{- end }}
{{- end -}}

{{/* The environment of every process: Redis and the settings file. */}}
{{- define "hedgerow.environment" -}}
{{- $server := "REDIS__" }}
{{- with .Values.redis.cluster }}
{{- if .nodes }}
{{- $server = "REDIS__CONTROL_" }}
- name: HEDGEROW_REDIS__URL
  value: {{ ternary "rediss:///0" "redis:///0" .tls }}
- name: HEDGEROW_REDIS__CLUSTER_NODES
  value: {{ toJson .nodes | quote }}
- name: HEDGEROW_REDIS__CLUSTER_SLOTS
  value: {{ .slots | quote }}
- name: HEDGEROW_REDIS__PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "hedgerow.secret" $ }}
      key: redis-cluster-password
      optional: true
{{- with .username }}
- name: HEDGEROW_REDIS__USERNAME
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
- name: HEDGEROW_{{ $server }}URL
  value: {{ if .Values.valkey.enabled }}redis://{{ include "hedgerow.valkey" . }}:6379/0{{ else }}{{ required "redis.url: name your server, since valkey.enabled is false" .Values.redis.url }}{{ end }}
- name: HEDGEROW_{{ $server }}PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "hedgerow.secret" . }}
      key: redis-password
      {{- if not .Values.valkey.enabled }}
      optional: true
      {{- end }}
{{- with .Values.redis.username }}
- name: HEDGEROW_{{ $server }}USERNAME
  value: {{ . | quote }}
{{- end }}
{{- if .Values.redis.caSecret }}
- name: HEDGEROW_REDIS__TLS_CA_FILE
  value: /etc/hedgerow/redis-ca/ca.crt
{{- end }}
{{- if .Values.config }}
- name: HEDGEROW_CONFIG
  value: /etc/hedgerow/config/hedgerow.toml
{{- end }}
{{- if eq .Values.workers.placement "join" }}
- name: HEDGEROW_PLACEMENT__REPLICAS
  value: {{ .Values.shards.replicas | quote }}
{{- end }}
{{- with .Values.snapshots.url }}
- name: HEDGEROW_SNAPSHOTS__URL
  value: {{ . | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "hedgerow.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .Values.config }}
- name: config
  mountPath: /etc/hedgerow/config
  readOnly: true
{{- end }}
{{- if .Values.appConfigMap }}
- name: app
  mountPath: /app
  readOnly: true
{{- end }}
{{- if .Values.redis.caSecret }}
- name: redis-ca
  mountPath: /etc/hedgerow/redis-ca
  readOnly: true
{{- end }}
{{- end -}}

{{- define "hedgerow.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- if .Values.config }}
- name: config
  configMap:
    name: {{ include "hedgerow.fullname" . }}
{{- end }}
{{- with .Values.appConfigMap }}
- name: app
  configMap:
    name: {{ . }}
{{- end }}
{{- with .Values.redis.caSecret }}
- name: redis-ca
  secret:
    secretName: {{ . }}
    items:
      - {key: ca.crt, path: ca.crt}
{{- end }}
{{- end -}}

{{/* How commands reach the gateways, from other pods. */}}
{{- define "hedgerow.client" -}}
- name: HEDGEROW_URL
  value: {{ if .Values.gateway.tls.secretName }}https{{ else }}http{{ end }}://{{ include "hedgerow.gateway" . }}:{{ .Values.gateway.service.port }}
{{- if .Values.gateway.tls.secretName }}
- name: HEDGEROW_CA_FILE
  value: /etc/hedgerow/gateway-ca/ca.crt
{{- end }}
{{- if .Values.gateway.token }}
- name: HEDGEROW_GATEWAY__TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ include "hedgerow.secret" . }}
      key: gateway-token
{{- end }}
{{- end -}}

{{- define "hedgerow.clientMounts" -}}
{{- if .Values.gateway.tls.secretName }}
- name: gateway-ca
  mountPath: /etc/hedgerow/gateway-ca
  readOnly: true
{{- end }}
{{- end -}}

{{- define "hedgerow.clientVolumes" -}}
{{- with .Values.gateway.tls.secretName }}
- name: gateway-ca
  secret:
    secretName: {{ . }}
    items:
      - {key: ca.crt, path: ca.crt}
{{- end }}
{{- end -}}

{{/* Pods restart when their settings change. */}}
{{- define "hedgerow.podAnnotations" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
{{- if or $root.Values.config $own }}
annotations:
{{- if $root.Values.config }}
  checksum/config: {{ $root.Values.config | sha256sum }}
{{- end }}
{{- with $own }}
{{ toYaml . | indent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
The shards of a worker by its ordinal, as in compose.yaml: runs of shards, and the further replicas of
each run on the workers that follow, in a ring. Takes (list root ordinal).
*/}}
{{- define "hedgerow.pinnedShards" -}}
{{- $root := index . 0 -}}
{{- $ordinal := index . 1 | int -}}
{{- $shards := int $root.Values.shards.number -}}
{{- $workers := int $root.Values.workers.replicaCount -}}
{{- $held := list -}}
{{- range $before := until (int $root.Values.shards.replicas) -}}
{{- $run := mod (add $workers (sub $ordinal $before)) $workers -}}
{{- $first := div (mul $run $shards) $workers -}}
{{- $end := div (mul (add $run 1) $shards) $workers -}}
{{- range $shard := untilStep (int $first) (int $end) 1 -}}
{{- $held = append $held (printf "%05d" $shard) -}}
{{- end -}}
{{- end -}}
{{- $numbers := list -}}
{{- range sortAlpha $held -}}
{{- $numbers = append $numbers (printf "%d" (. | trimPrefix "0000" | trimPrefix "000" | trimPrefix "00" | trimPrefix "0" | int)) -}}
{{- end -}}
{{- join "," $numbers -}}
{{- end -}}

{{/* Refuses values that contradict each other; what one value may be is in values.schema.json. */}}
{{- define "hedgerow.check" -}}
{{- $workers := int .Values.workers.replicaCount -}}
{{- if gt (int .Values.shards.replicas) $workers -}}
{{- fail (printf "shards.replicas: %d replicas of each shard need as many workers, and workers.replicaCount is %d" (int .Values.shards.replicas) $workers) -}}
{{- end -}}
{{- if and (eq .Values.workers.placement "pinned") (gt $workers (mul .Values.shards.number .Values.shards.replicas | int)) -}}
{{- fail "workers.replicaCount: there are more workers than replicas of shards, and with placement `pinned` each needs one" -}}
{{- end -}}
{{- if and .Values.redis.url .Values.valkey.enabled -}}
{{- fail "redis.url: set valkey.enabled to false to use a server of yours" -}}
{{- end -}}
{{- if regexMatch "(?m)^\\s*(token|password|key)\\s*=" .Values.config -}}
{{- fail "config: has a token, password or key; put it into the Secret (secret.name)" -}}
{{- end -}}
{{- if and .Values.gateway.autoscaling.enabled (not .Values.gateway.autoscaling.inFlight.enabled) (eq (int .Values.gateway.autoscaling.targetCPUUtilizationPercentage) 0) -}}
{{- fail "gateway.autoscaling: has neither a use of CPU nor searches in flight to scale by" -}}
{{- end -}}
{{- end -}}
