/** A control plane in this process, on loopback over real TLS, with objects a test puts in by hand. */
import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import type { ControlEndpoint } from "../../control/client/grpc-channel.ts";
import type { FolderConfig } from "../../control/server/config.ts";
import { startFolderPlane } from "../../control/server/folder-plane.ts";
import type { Plane } from "../../control/server/plane.ts";
import { systemClock } from "../../core/base/clock.ts";
import { silentLog, type Log } from "../../core/base/log.ts";
import type { Node } from "../../core/protocol/generated/discovery.ts";
import { mintToken, verifyToken, TokenError, type NodeTokenClaims } from "../../core/protocol/token/node-token.ts";
import { createPublicKey } from "node:crypto";
import { MemorySource } from "./memory-source.ts";

export interface TestPlane {
  readonly source: MemorySource;
  readonly directory: string;
  readonly plane: Plane;
  /** What the agent of a node needs to ask; follows the plane to another port after `restart`. */
  endpoint(node: string, overrides?: Partial<ControlEndpoint>): ControlEndpoint;
  /** What a stranger with plain grpc-js needs. */
  stranger(node: string, token?: string): { client: Client; metadata: Metadata };
  token(node: string): string;
  /** A token as control would have minted it, with other claims. */
  forge(node: string, change: (claims: NodeTokenClaims) => NodeTokenClaims): string;
  stop(): Promise<void>;
  /** Starts again on the same port with the same data. */
  restart(): Promise<void>;
}

export const twoNodes = `
apiVersion: v1
kind: Node
metadata: { name: node1, uid: uid-node1 }
---
apiVersion: v1
kind: Node
metadata: { name: node2, uid: uid-node2 }
`;

export function podYaml(name: string, node: string, ip: string, phase = "Running"): string {
  return `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: shop, uid: uid-${name} }
spec: { nodeName: ${node}, serviceAccountName: ${name}, containers: [{ name: c, command: [x] }] }
status: { phase: ${phase}, podIP: ${ip}, podIPs: [{ ip: ${ip} }], conditions: [{ type: Ready, status: "True" }] }
`;
}

export async function startTestPlane(
  t: TestContext,
  options: { source?: MemorySource; log?: Log; config?: Partial<FolderConfig> } = {},
): Promise<TestPlane> {
  const directory = mkdtempSync(join(tmpdir(), "ambientd-control-"));
  const { source = new MemorySource(), log = silentLog } = options;
  source.put("nodes", twoNodes);
  let config: FolderConfig = {
    source: "folder",
    manifests: "",
    status: "",
    data: join(directory, "data"),
    listen: { address: "127.0.0.1", port: 0 },
    publishRoot: join(directory, "root-cert.pem"),
    tokens: join(directory, "tokens"),
    clusterId: "Kubernetes",
    trustDomain: "cluster.local",
    advertise: ["127.0.0.1"],
    ...options.config,
  };
  let plane = await start();
  config = { ...config, listen: { address: "127.0.0.1", port: plane.port } };
  t.after(async () => {
    await plane.close();
    rmSync(directory, { recursive: true, force: true });
  });

  async function start(): Promise<Plane> {
    const started = await startFolderPlane(config, { clock: systemClock, log, source });
    assert.ok(!(started instanceof Error), started instanceof Error ? started.message : "");
    return started;
  }
  const tokenFile = (node: string): string => join(directory, "tokens", node, "istio-token");
  const token = (node: string): string => readFileSync(tokenFile(node), "utf8");
  return {
    source,
    directory,
    get plane() {
      return plane;
    },
    token,
    endpoint: (node, overrides = {}) => ({
      address: `https://127.0.0.1:${plane.port}`,
      rootCa: config.publishRoot,
      token: () => token(node),
      clusterId: "Kubernetes",
      ...overrides,
    }),
    stranger(node, shown = token(node)) {
      const client = new Client(`127.0.0.1:${plane.port}`, credentials.createSsl(readFileSync(config.publishRoot)), {
        "grpc.use_local_subchannel_pool": 1,
        "grpc.ssl_target_name_override": "istiod.istio-system.svc",
      });
      t.after(() => client.close());
      const metadata = new Metadata();
      if (shown !== "") metadata.set("authorization", `Bearer ${shown}`);
      return { client, metadata };
    },
    forge(node, change) {
      const key = createPrivateKey(readFileSync(join(config.data, "token-key.pem")));
      const claims = verifyToken(token(node), createPublicKey(key), "istio-ca", Date.now());
      assert.ok(!(claims instanceof TokenError));
      return mintToken(change(claims), key);
    },
    stop: () => plane.close(),
    async restart() {
      await plane.close();
      plane = await start();
    },
  };
}

/** What an agent of `node` says of itself. */
export function agentNode(node: string, metadata: Record<string, unknown> = { NODE_NAME: node }): Node {
  const id = `ztunnel~1.1.1.1~ztunnel-${node}.istio-system~istio-system.svc.cluster.local`;
  return { id, cluster: "ztunnel", metadata };
}
