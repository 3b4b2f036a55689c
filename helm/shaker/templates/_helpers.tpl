{{- define "shaker.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* 40 characters at most: what follows, a Job's mode and hash and a pod's suffix, must fit into 63. */}}
{{- define "shaker.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "shaker.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "shaker.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "shaker.jobName" -}}
{{- $hash := include "shaker.podTemplate" . | sha256sum | trunc 8 -}}
{{ include "shaker.fullname" . }}-{{ .Values.job.mode }}-{{ $hash }}
{{- end }}

{{- define "shaker.selectorLabels" -}}
app.kubernetes.io/name: {{ include "shaker.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "shaker.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "shaker.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "shaker.metadata" -}}
name: {{ include "shaker.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "shaker.labels" . | nindent 2 }}
{{- end }}

{{- define "shaker.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "shaker.port" -}}
{{- dig "health" "port" 8080 .Values.config | int64 -}}
{{- end }}

{{- define "shaker.drainSeconds" -}}
{{- dig "drain_timeout_seconds" 20 .Values.config | float64 | ceil | int64 -}}
{{- end }}

{{- define "shaker.gracePeriodSeconds" -}}
{{- $drain := include "shaker.drainSeconds" . | int64 -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- add $drain 10 -}}
{{- else -}}
{{- $given := .Values.terminationGracePeriodSeconds | int64 -}}
{{- if lt $given (add $drain 5) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, but config.drain_timeout_seconds is %d and 5 more are needed: raise it to %d, or leave it out" $given $drain (add $drain 5)) -}}
{{- end -}}
{{- $given -}}
{{- end -}}
{{- end }}

{{- /* Bytes of a size: of Kubernetes (Mi, Gi, M, G) or of redis.conf (mb and MiB are 1024 * 1024, m is 1000 * 1000). */}}
{{- define "shaker.bytes" -}}
{{- $text := toString .size -}}
{{- if not (kindIs "string" .size) -}}{{- $text = .size | int64 | toString -}}{{- end -}}
{{- $text = trim $text -}}
{{- $number := regexFind "^[0-9]+" $text | int64 -}}
{{- $unit := regexReplaceAll "^[0-9]+ *" $text "" -}}
{{- if not .kubernetes -}}{{- $unit = lower $unit -}}{{- end -}}
{{- $factors := dict "" 1 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "k" 1000 "M" 1000000 "G" 1000000000 -}}
{{- if not .kubernetes -}}
{{- $factors = dict "" 1 "b" 1 "k" 1000 "kb" 1024 "kib" 1024 "m" 1000000 "mb" 1048576 "mib" 1048576 "g" 1000000000 "gb" 1073741824 "gib" 1073741824 -}}
{{- end -}}
{{- if or (not (hasKey $factors $unit)) (not (regexMatch "^[0-9]+" $text)) -}}
{{- fail (printf "%s is %q, which is not a whole size such as %s" .name $text (ternary "512Mi or 1Gi" "64MiB or 64mb" .kubernetes)) -}}
{{- end -}}
{{- mul $number (get $factors $unit) -}}
{{- end }}

{{- define "shaker.checkMemory" -}}
{{- $limit := dig "limits" "memory" "" .Values.resources -}}
{{- if $limit -}}
{{- $bytes := include "shaker.bytes" (dict "size" $limit "kubernetes" true "name" "resources.limits.memory") | int64 -}}
{{- $window := include "shaker.bytes" (dict "size" (dig "memory_limit" "64MiB" .Values.config) "kubernetes" false "name" "config.memory_limit") | int64 -}}
{{- $value := include "shaker.bytes" (dict "size" (dig "snapshot" "max_value" "256MiB" .Values.config) "kubernetes" false "name" "config.snapshot.max_value") | int64 -}}
{{- $needed := add 100663296 $window (mul 2 $value) -}}
{{- if lt $bytes $needed -}}
{{- fail (printf "resources.limits.memory is %v, but the worker may take %dMi: 96Mi for itself, config.memory_limit and twice config.snapshot.max_value; raise the limit or lower those settings" $limit (div (add $needed 1048575) 1048576)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "shaker.checkSides" -}}
{{- range $side := list "source" "target" -}}
{{- $given := get $.Values $side -}}
{{- if not (or $given.url $given.existingSecret) -}}
{{- fail (printf "%s.url is not set: name the Redis there, such as redis://redis.apps:6379, or a Secret with the key url in %s.existingSecret" $side $side) -}}
{{- end -}}
{{- if regexMatch "^[a-z+]+://[^/@]*:[^/@]+@" $given.url -}}
{{- fail (printf "%s.url holds a password: put it, or the whole URL, into a Secret and name that in %s.existingSecret" $side $side) -}}
{{- end -}}
{{- if and $given.existingSecret (or $given.username $given.password) -}}
{{- fail (printf "%s.username and %s.password are not taken together with %s.existingSecret: put them into that Secret" $side $side $side) -}}
{{- end -}}
{{- if and $given.passwordAsFile (not (or $given.existingSecret $given.password)) -}}
{{- fail (printf "%s.passwordAsFile is set, but there is no password: name a Secret with the key password in %s.existingSecret" $side $side) -}}
{{- end -}}
{{- if ne (empty $given.tls.certKey) (empty $given.tls.privateKey) -}}
{{- fail (printf "%s.tls.certKey and %s.tls.privateKey are set together or not at all" $side $side) -}}
{{- end -}}
{{- if and $given.tls.certKey (not $given.tls.existingSecret) -}}
{{- fail (printf "%s.tls.certKey is a key of %s.tls.existingSecret, which is not set" $side $side) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "shaker.secretName" -}}
{{- $given := get .context.Values .side -}}
{{- if $given.existingSecret -}}
{{ $given.existingSecret }}
{{- else if or $given.username $given.password -}}
{{ include "shaker.fullname" .context }}-{{ .side }}
{{- end -}}
{{- end }}

{{- /* One value in TOML. Helm takes a whole number for a floating one; TOML's reader would not. */}}
{{- define "shaker.tomlValue" -}}
{{- if kindIs "string" . -}}
{{ toJson . }}
{{- else if kindIs "bool" . -}}
{{ . }}
{{- else if eq (float64 .) (floor (float64 .)) -}}
{{ int64 . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end }}

{{- /* A map as TOML: its settings, then its sections. Absent settings (null) are left out. */}}
{{- define "shaker.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .values }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ $key }} = {{ include "shaker.tomlValue" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := .values }}
{{- if and (kindIs "map" $value) $value }}
{{- $name := ternary $key (printf "%s.%s" $path $key) (eq $path "") }}

[{{ $name }}]
{{- include "shaker.toml" (dict "values" $value "path" $name) }}
{{- end }}
{{- end }}
{{- end }}
