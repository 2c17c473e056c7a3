/** The files a node's programs are configured by. JSON where they read YAML. */
import { dnsService, images, podRange, type NodeLayout } from "./layout.ts";

export function containerdConfiguration(): string {
  return `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE every sandbox would fail: "can't get final child's PID from pipe: EOF".
  restrict_oom_score_adj = true
  sandbox_image = "${images.pause}"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
`;
}

/** The reference bridge plugin; what is tested chains itself behind it. */
export function cniConfiguration(node: NodeLayout): string {
  const bridge = {
    type: "bridge",
    bridge: "cni0",
    isGateway: true,
    hairpinMode: true,
    ipam: { type: "host-local", ranges: [[{ subnet: node.podRange }]], routes: [{ dst: "0.0.0.0/0" }] },
  };
  return JSON.stringify({ cniVersion: "1.0.0", name: "pods", plugins: [bridge] }, undefined, 2);
}

export function kubeletConfiguration(node: NodeLayout): string {
  return JSON.stringify({
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: "/etc/kubernetes/ca.crt" },
    },
    authorization: { mode: "Webhook" },
    containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock",
    cgroupDriver: "cgroupfs",
    cgroupRoot: `/${node.cgroup}`,
    failCgroupV1: false,
    failSwapOn: false,
    enforceNodeAllocatable: [],
    // The machine's disk is not the tests' affair.
    evictionHard: {
      "memory.available": "0%",
      "nodefs.available": "0%",
      "nodefs.inodesFree": "0%",
      "imagefs.available": "0%",
    },
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    clusterDomain: "cluster.local",
    clusterDNS: [dnsService],
    // Of the machine's nothing: a search domain or a resolver of its own must not answer for the cluster.
    resolvConf: "",
    serializeImagePulls: false,
    maxPods: 110,
    // Rules of its own would depend on whether the machine has iptables.
    makeIPTablesUtilChains: false,
    // No CPU limits are enforced: a machine of two cores shares them anyway.
    cpuCFSQuota: false,
  });
}

export function proxyConfiguration(node: NodeLayout): string {
  return JSON.stringify({
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: "nftables",
    clientConnection: { kubeconfig: "/etc/kubernetes/kube-proxy.kubeconfig" },
    clusterCIDR: podRange,
    nodePortAddresses: ["primary"],
    // Zero: leave the sysctls alone, writes are refused in a network namespace of its own.
    conntrack: {
      maxPerCore: 0,
      min: 0,
      tcpEstablishedTimeout: "0s",
      tcpCloseWaitTimeout: "0s",
      udpTimeout: "0s",
      udpStreamTimeout: "0s",
    },
    metricsBindAddress: "127.0.0.1:10249",
    detectLocalMode: "ClusterCIDR",
    hostnameOverride: node.name,
  });
}
