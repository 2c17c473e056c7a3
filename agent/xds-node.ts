/** How the agent names itself to control (agent-wire 4.5). */
import type { Node } from "../core/protocol/generated/discovery.ts";
import type { AgentConfig } from "./config.ts";

export function xdsNode(config: AgentConfig): Node {
  const { instanceIp, podName, podNamespace, nodeName, clusterId, metadata, jsonMetadata } = config;
  return {
    id: `ztunnel~${instanceIp}~${podName}.${podNamespace}~${podNamespace}.svc.cluster.local`,
    cluster: clusterId,
    metadata: {
      NAME: podName,
      NAMESPACE: podNamespace,
      INSTANCE_IPS: instanceIp,
      NODE_NAME: nodeName,
      CLUSTER_ID: clusterId,
      ...metadata,
      ...jsonMetadata,
    },
  };
}
