{{/* Name of the operator's objects: the name of the release, with the name of the chart if it is not part of it. */}}
{{- define "keras-operator.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{/* Name of the embedded store's objects: keras-store for a release named keras-operator. */}}
{{- define "keras-operator.storeName" -}}
{{ include "keras-operator.name" . | trimSuffix "-operator" }}-store
{{- end }}

{{- define "keras-operator.storeUrl" -}}
{{ .Values.store.url | default (printf "http://%s.%s.svc:8080" (include "keras-operator.storeName" .) .Release.Namespace) }}
{{- end }}

{{/* An image: (list . "operator"). */}}
{{- define "keras-operator.image" -}}
{{- $root := first . -}}
{{ $root.Values.image.registry }}/{{ last . }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end }}

{{/* Labels that select the pods of a component: (list . "operator"). They must not change, as selectors are immutable. */}}
{{- define "keras-operator.selectorLabels" -}}
{{- $root := first . -}}
app.kubernetes.io/name: keras-{{ last . }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{/* Labels of every object: (list . "operator"). */}}
{{- define "keras-operator.labels" -}}
{{- $root := first . -}}
{{ include "keras-operator.selectorLabels" . }}
app.kubernetes.io/part-of: keras-operator
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Metadata of a pod template: (list . "operator"). */}}
{{- define "keras-operator.podMetadata" -}}
{{- $root := first . }}{{ $values := get $root.Values (last .) -}}
labels:
  {{- include "keras-operator.labels" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Fields of the pod specs of both components: (list . "operator"). */}}
{{- define "keras-operator.podSettings" -}}
{{- $root := first . }}{{ $values := get $root.Values (last .) -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Fields of the containers of both components: (list . "operator"). Both serve /healthz on port 8080. The operator is ready when
     its cache is complete. */}}
{{- define "keras-operator.containerSettings" -}}
{{- $root := first . }}{{ $values := get $root.Values (last .) -}}
image: {{ include "keras-operator.image" (list $root "operator") }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
ports:
  - name: http
    containerPort: 8080
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: {{ if eq (last .) "operator" }}/readyz{{ else }}/healthz{{ end }}, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
resources:
  {{- toYaml $values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}
