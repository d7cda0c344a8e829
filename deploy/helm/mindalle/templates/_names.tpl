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
