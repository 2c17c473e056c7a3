# The init process of a node, in fresh mount, net and pid namespaces: node-init.sh NAME FOLDER ADDRESS
# What the host has is seen read-only underneath; what the node writes to /etc, /opt and /var lands in its own folder, so that
# default paths, hostPath volumes, hostNetwork, hostPID and /proc/1 all mean this node.
name=$1
folder=$2
address=$3

mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/netns /run/disk
# Under a name of its own: once /var is an overlay, the folder is seen through that.
mount --bind "$folder" /run/disk
for top in etc opt var; do
  mount -t overlay overlay -o "lowerdir=/$top,upperdir=/run/disk/$top,workdir=/run/disk/$top.work" "/$top"
done
mkdir -p /var/lib/containerd /var/lib/kubelet /var/lib/cni /var/log /etc/cni/net.d /opt/cni/bin
# containerd's snapshots are overlays: these can't lie on another one.
mount --bind /run/disk/containerd /var/lib/containerd
mount --bind /run/disk/kubelet /var/lib/kubelet
mount --bind /run/disk/log /var/log
umount /run/disk
mount --make-rshared /

# The host connects the link to this namespace, then says so.
read -r _

# A part that ends says so in the node's log, which the host reads.
part() {
  status=0
  "$@" >"/var/log/$1.log" 2>&1 || status=$?
  echo "$1 ended with $status: $(tail -n 2 "/var/log/$1.log")"
}

# A service manager starts it again: what a power cut has left behind may end a kubelet once.
kept() {
  while true; do
    part "$@"
    sleep 1
  done
}

part containerd --config /etc/containerd/config.toml &
containerd=$!
kept kube-proxy --config /etc/kubernetes/kube-proxy.json --hostname-override "$name" &
until ctr version >/dev/null 2>&1; do
  kill -0 $containerd
  sleep 0.1
done
touch /run/node-started
kept kubelet --config /etc/kubernetes/kubelet.json --kubeconfig /etc/kubernetes/kubelet.kubeconfig \
  --hostname-override "$name" --node-ip "$address" &

# Lives as long as its parts, and reaps what they orphan.
wait
