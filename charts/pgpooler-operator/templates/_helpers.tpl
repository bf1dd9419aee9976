{{- define "pgpooler-operator.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* Short enough that a suffix still fits into 63 characters. */ -}}
{{- define "pgpooler-operator.fullname" -}}
{{- $name := include "pgpooler-operator.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "pgpooler-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pgpooler-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The chart's own labels win, or selectors would not match. */ -}}
{{- define "pgpooler-operator.labels" -}}
{{- $own := dict
  "app.kubernetes.io/component" "operator"
  "app.kubernetes.io/part-of" "pgpooler"
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- toYaml (merge (include "pgpooler-operator.selectorLabels" . | fromYaml) $own .Values.commonLabels) }}
{{- end }}

{{- /* A dict of root, name, and where wanted namespace, labels, annotations. */ -}}
{{- define "pgpooler-operator.metadata" -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- toYaml (merge (include "pgpooler-operator.labels" .root | fromYaml) (.labels | default dict)) | nindent 2 }}
{{- with merge (deepCopy (.annotations | default dict)) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The least that a pod needs, and what the restricted Pod Security standard asks for. */ -}}
{{- define "pgpooler-operator.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "pgpooler-operator.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end }}

{{- define "pgpooler-operator.leaseName" -}}
{{- .Values.leaderElection.leaseName | default (include "pgpooler-operator.fullname" .) }}
{{- end }}

{{- define "pgpooler-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "pgpooler-operator.fullname" .) }}
{{- else }}
{{- required "serviceAccount.name is required when serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* A dict of repository, tag, digest, default (tag). A tag of digits comes as a number. */ -}}
{{- define "pgpooler-operator.reference" -}}
{{- $tag := .tag | default .default }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else if kindIs "float64" $tag }}
{{- printf "%s:%.0f" .repository $tag }}
{{- else }}
{{- printf "%s:%v" .repository $tag }}
{{- end }}
{{- end }}

{{- define "pgpooler-operator.image" -}}
{{- $repository := required "image.repository is required: build the image (see the README of the project), push it to a registry of yours, and set image.repository" .Values.image.repository }}
{{- include "pgpooler-operator.reference" (dict "repository" $repository "tag" .Values.image.tag "digest" .Values.image.digest "default" .Chart.AppVersion) }}
{{- end }}

{{- /* The operator's own image, unless one for the poolers is named; whatever is named alone (a tag, say) wins. */ -}}
{{- define "pgpooler-operator.poolerImage" -}}
{{- with .Values.pooler.image }}
{{- if or .repository .tag .digest }}
{{- $repository := .repository | default $.Values.image.repository }}
{{- include "pgpooler-operator.reference" (dict "repository" $repository "tag" .tag "digest" .digest "default" ($.Values.image.tag | default $.Chart.AppVersion)) }}
{{- else }}
{{- include "pgpooler-operator.image" $ }}
{{- end }}
{{- end }}
{{- end }}

{{- define "pgpooler-operator.metricsName" -}}
{{- include "pgpooler-operator.fullname" . }}-metrics
{{- end }}

{{- /* Of the pod of `helm test`; not the operator's, or its Service and Deployment would count it in. */ -}}
{{- define "pgpooler-operator.testLabels" -}}
app.kubernetes.io/name: {{ include "pgpooler-operator.name" . | trunc 58 | trimSuffix "-" }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end }}
