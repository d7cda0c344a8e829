{{/* What the pods have in common. */}}
{{- define "mindalle.podSecurity" -}}
# Service links would put MINDALLE_..._PORT variables into the pod when the release has that name,
# and the server refuses variables that are no settings.
enableServiceLinks: false
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "mindalle.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* What the store of results asks for, of API and workers alike. */}}
{{- define "mindalle.resultsCredentials" -}}
{{- with .Values.results.credentialsSecret }}
envFrom:
  - secretRef: {name: {{ . | quote }}}
{{- end }}
{{- end -}}

{{- define "mindalle.resultsRole" -}}
{{- with .Values.results.serviceAccount }}
serviceAccountName: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "mindalle.redisHost" -}}
{{- if .Values.redis.bundled -}}
{{ include "mindalle.name" . }}-redis
{{- else -}}
{{ required "redis.external.host is needed when redis.bundled is false" .Values.redis.external.host }}
{{- end -}}
{{- end -}}

{{- define "mindalle.redisPort" -}}
{{- if .Values.redis.bundled -}}6379{{- else -}}{{ .Values.redis.external.port }}{{- end -}}
{{- end -}}

{{/* Variables of API and workers alike. */}}
{{- define "mindalle.commonEnv" -}}
{{- $redis := .Values.redis -}}
{{- $external := not $redis.bundled -}}
{{- $user := ternary $redis.external.username "" $external -}}
{{- $login := "" -}}
{{- if $redis.passwordSecret }}
{{- $login = printf "%s:$(REDIS_PASSWORD)@" $user }}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $redis.passwordSecret | quote }}, key: {{ $redis.passwordSecretKey | quote }}}
{{- end }}
- name: MINDALLE_REDIS__URL
  value: {{ printf "%s://%s%s:%s/%v" (ternary "rediss" "redis" (and $external $redis.external.tls)) $login (include "mindalle.redisHost" .) (include "mindalle.redisPort" .) (ternary $redis.external.database 0 $external) | quote }}
- name: MINDALLE_LOG_LEVEL
  value: {{ .Values.logLevel | quote }}
{{- range $name, $value := .Values.queue }}
- name: {{ printf "MINDALLE_QUEUE__%s" (upper $name) }}
  value: {{ include "mindalle.written" $value | quote }}
{{- end }}
{{- with .Values.results }}
{{- if .url }}
- name: MINDALLE_RESULTS__URL
  value: {{ .url | quote }}
- name: MINDALLE_RESULTS__PRESIGN_S
  value: {{ .presignSeconds | quote }}
{{- end }}
{{- if .endpoint }}
- name: MINDALLE_RESULTS__ENDPOINT
  value: {{ .endpoint | quote }}
{{- end }}
{{- end }}
{{- with .Values.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- end -}}
