{{- define "shaker.sideEnv" -}}
{{- $side := .side -}}
{{- $given := get .context.Values $side -}}
{{- $secret := include "shaker.secretName" . -}}
{{- $prefix := printf "SHAKER_%s__" (upper $side) -}}
{{- if $given.url }}
- name: {{ $prefix }}URL
  value: {{ $given.url | quote }}
{{- else }}
- name: {{ $prefix }}URL
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: url
{{- end }}
{{- if $secret }}
- name: {{ $prefix }}USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: username
      optional: true
{{- if $given.passwordAsFile }}
- name: {{ $prefix }}PASSWORD_FILE
  value: /etc/shaker/{{ $side }}-password/password
{{- else }}
- name: {{ $prefix }}PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: password
      optional: true
{{- end }}
{{- end }}
{{- if $given.tls.existingSecret }}
{{- with $given.tls.caKey }}
- name: {{ $prefix }}TLS__CA_FILE
  value: /etc/shaker/{{ $side }}-tls/{{ . }}
{{- end }}
{{- with $given.tls.certKey }}
- name: {{ $prefix }}TLS__CERT_FILE
  value: /etc/shaker/{{ $side }}-tls/{{ . }}
{{- end }}
{{- with $given.tls.privateKey }}
- name: {{ $prefix }}TLS__KEY_FILE
  value: /etc/shaker/{{ $side }}-tls/{{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Everything that makes the worker the worker: the test pod of a Job checks the same. */}}
{{- define "shaker.env" -}}
- name: SHAKER_CONFIG
  value: /etc/shaker/config/shaker.toml
- name: SHAKER_NAME
  value: {{ .Values.name | quote }}
- name: SHAKER_MODE
  value: {{ ternary .Values.job.mode "follow" (eq .Values.mode "job") }}
{{- /* A fenced worker that ended would be started again, and so take over in turn. In a Job it is to end. */}}
- name: SHAKER_FENCED_ACTION
  value: {{ dig "fenced_action" (ternary "exit" "wait" (eq .Values.mode "job")) .Values.config }}
{{- range $side := list "source" "target" }}
{{- include "shaker.sideEnv" (dict "context" $ "side" $side) }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "shaker.volumeMounts" -}}
- name: config
  mountPath: /etc/shaker/config
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- range $side := list "source" "target" }}
{{- $given := get $.Values $side }}
{{- if $given.passwordAsFile }}
- name: {{ $side }}-password
  mountPath: /etc/shaker/{{ $side }}-password
  readOnly: true
{{- end }}
{{- if $given.tls.existingSecret }}
- name: {{ $side }}-tls
  mountPath: /etc/shaker/{{ $side }}-tls
  readOnly: true
{{- end }}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "shaker.volumes" -}}
- name: config
  configMap:
    name: {{ include "shaker.fullname" . }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- range $side := list "source" "target" }}
{{- $given := get $.Values $side }}
{{- if $given.passwordAsFile }}
- name: {{ $side }}-password
  secret:
    secretName: {{ include "shaker.secretName" (dict "context" $ "side" $side) }}
    defaultMode: 0440
    items:
      - key: password
        path: password
{{- end }}
{{- if $given.tls.existingSecret }}
- name: {{ $side }}-tls
  secret:
    secretName: {{ $given.tls.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "shaker.probe" -}}
httpGet:
  path: {{ .path }}
  port: health
{{ toYaml .probe }}
{{- end }}

{{- define "shaker.podTemplate" -}}
metadata:
  labels:
    {{- include "shaker.selectorLabels" . | nindent 4 }}
    app.kubernetes.io/component: worker
    {{- with .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "shaker.configFile" . | sha256sum }}
    {{- with include "shaker.createdSecrets" . | trim }}
    checksum/secrets: {{ sha256sum . }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.serviceAccountName }}
  serviceAccountName: {{ . }}
  {{- end }}
  {{- if eq .Values.mode "job" }}
  restartPolicy: Never
  {{- end }}
  terminationGracePeriodSeconds: {{ include "shaker.gracePeriodSeconds" . }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: shaker
      image: {{ include "shaker.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [run]
      env:
        {{- include "shaker.env" . | nindent 8 }}
      ports:
        - name: health
          containerPort: {{ include "shaker.port" . }}
      startupProbe:
        {{- include "shaker.probe" (dict "path" "/startupz" "probe" .Values.probes.startup) | nindent 8 }}
      livenessProbe:
        {{- include "shaker.probe" (dict "path" "/livez" "probe" .Values.probes.liveness) | nindent 8 }}
      readinessProbe:
        {{- include "shaker.probe" (dict "path" "/readyz" "probe" .Values.probes.readiness) | nindent 8 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        {{- include "shaker.volumeMounts" . | nindent 8 }}
  volumes:
    {{- include "shaker.volumes" . | nindent 4 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
{{- end }}
