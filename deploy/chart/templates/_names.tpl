{{/* Labels of every object. Call with (list . "control"). */}}
{{- define "ambientd.labels" -}}
{{- $root := index . 0 -}}
{{ include "ambientd.selector" . }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: ambientd
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* What never changes of a component, and finds its pods. */}}
{{- define "ambientd.selector" -}}
app.kubernetes.io/name: ambientd
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of our own pods: none of them is in the mesh. */}}
{{- define "ambientd.podLabels" -}}
{{- $values := index . 2 -}}
{{ include "ambientd.labels" . }}
istio.io/dataplane-mode: none
sidecar.istio.io/inject: "false"
{{- with $values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "ambientd.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "ambientd.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "ambientd.rootNamespace" -}}
{{ .Values.mesh.rootNamespace | default .Release.Namespace }}
{{- end }}

{{/* HOST:PORT of the control plane that agents ask. */}}
{{- define "ambientd.controlAddress" -}}
{{ .Values.agent.control | default (printf "ambientd-control.%s.svc:15012" .Release.Namespace) }}
{{- end }}

{{/* Environment from a map, in the order of its names. */}}
{{- define "ambientd.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* Who and where a pod is, by the downward API. */}}
{{- define "ambientd.podFacts" -}}
- name: NODE_NAME
  valueFrom: { fieldRef: { fieldPath: spec.nodeName } }
- name: POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: POD_NAMESPACE
  valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
- name: POD_UID
  valueFrom: { fieldRef: { fieldPath: metadata.uid } }
- name: INSTANCE_IP
  valueFrom: { fieldRef: { fieldPath: status.podIP } }
{{- end }}

{{/* For what needs nothing of its node: neither root nor anything root could do. */}}
{{- define "ambientd.unprivileged" -}}
allowPrivilegeEscalation: false
capabilities: { drop: [ALL] }
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/* Root with drop ALL and the capabilities given. The API refuses allowPrivilegeEscalation: false beside SYS_ADMIN, so it
     is not said; there is no set-uid program in the image. */}}
{{- define "ambientd.privileged" -}}
capabilities:
  drop: [ALL]
  add: {{ toJson . }}
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: false
runAsUser: 0
runAsGroup: 0
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/* Made for `helm uninstall` and gone with it; what failed stays, to be looked at, until the next try. */}}
{{- define "ambientd.releaseHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
