{{- define "gateway.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "gateway.chosen" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gateway.labels" -}}
{{ include "gateway.chosen" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "gateway.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* The configuration: what the values say, over what the chart adds. As JSON, which is YAML: numbers stay as they are. */ -}}
{{- define "gateway.config" -}}
{{- $server := dict "host" "0.0.0.0" "port" 8080 "workers" 1 "control" "/srv/gateway/var/control" -}}
{{- $_ := set $server "drain" (printf "%vs" .Values.drainSeconds) -}}
{{- $_ := set $server "grace" (printf "%vs" .Values.graceSeconds) -}}
{{- $added := dict "watch" true -}}
{{- $_ := set $added "server" $server -}}
{{- $_ := set $added "metrics" (dict "host" "0.0.0.0" "port" 9090) -}}
{{- $_ := set $added "ledger" (dict "dir" "/srv/gateway/var/ledger") -}}
{{- if not (dig "state" "redis" "" .Values.config) -}}
{{- $_ := set $added "state" (dict "dir" "/srv/gateway/var/state") -}}
{{- end -}}
{{- if .Values.keysSecret -}}
{{- $_ := set $added "keys_file" "/srv/gateway/keys/keys.yaml" -}}
{{- end -}}
{{- mergeOverwrite $added (deepCopy .Values.config) | toJson -}}
{{- end -}}

{{- define "gateway.hasSeveral" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) -}}yes{{- end -}}
{{- end -}}
