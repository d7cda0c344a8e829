{{/* Names and labels. */}}
{{- define "mindalle.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "mindalle.labels" -}}
app.kubernetes.io/name: mindalle
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* Selector of a component: dict "root" . "component" "api" */}}
{{- define "mindalle.selector" -}}
app.kubernetes.io/name: mindalle
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "mindalle.tag" -}}
{{- .Values.image.tag | default .Chart.AppVersion -}}
{{- end -}}

{{/* A variable's value. Helm reads whole numbers of a file as floats, and would write 1e+06. */}}
{{- define "mindalle.written" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{/* The workers with the defaults filled in, as YAML: name → values. */}}
{{- define "mindalle.workers" -}}
{{- $all := dict -}}
{{- range $name, $own := .Values.workers -}}
{{- if $own -}}
{{- $_ := set $all $name (mergeOverwrite (deepCopy $.Values.workerDefaults) $own) -}}
{{- end -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}
