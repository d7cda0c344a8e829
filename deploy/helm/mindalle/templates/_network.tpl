{{/* Where API and workers may go: names, Redis, the store of results, the trace collector. */}}
{{- define "mindalle.egress" -}}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
- ports: [{port: {{ include "mindalle.redisPort" . }}, protocol: TCP}]
  {{- if .Values.redis.bundled }}
  to:
    - podSelector:
        matchLabels:
          {{- include "mindalle.selector" (dict "root" . "component" "redis") | nindent 10 }}
  {{- end }}
{{- if .Values.results.url }}
- ports: [{port: {{ .Values.results.port }}, protocol: TCP}]
{{- end }}
{{- if .Values.otlpEndpoint }}
- ports: [{port: {{ .Values.networkPolicy.otlpPort }}, protocol: TCP}]
{{- end }}
{{- end -}}
