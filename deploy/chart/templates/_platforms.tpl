{{/* Folders of a node as JSON: the platform's, unless cni.paths names others. */}}
{{- define "ambientd.paths" -}}
{{- $usual := dict "bin" "/opt/cni/bin" "conf" "/etc/cni/net.d" "netns" "/var/run/netns" -}}
{{- $platforms := dict
  "gke" (dict "bin" "/home/kubernetes/bin")
  "k3s" (dict "bin" "/var/lib/rancher/k3s/data/cni" "conf" "/var/lib/rancher/k3s/agent/etc/cni/net.d")
  "k3d" (dict "bin" "/bin" "conf" "/var/lib/rancher/k3s/agent/etc/cni/net.d")
  "microk8s" (dict "bin" "/var/snap/microk8s/current/opt/cni/bin" "conf" "/var/snap/microk8s/current/args/cni-network")
  "minikube-docker" (dict "netns" "/var/run/docker/netns")
-}}
{{- $platform := get $platforms .Values.platform | default dict -}}
{{- $paths := dict -}}
{{- range $name, $path := $usual -}}
{{- $_ := set $paths $name (get $.Values.cni.paths $name | default (get $platform $name) | default $path) -}}
{{- end -}}
{{- $_ := set $paths "run" .Values.cni.paths.run -}}
{{- $_ := set $paths "zds" (.Values.zdsDir | default (printf "%s/zds" .Values.cni.paths.run)) -}}
{{- toJson $paths -}}
{{- end }}
