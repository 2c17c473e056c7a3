/** The mesh as one node's agent holds it, read from its admin socket: what predictions are made from. */
import { request } from "node:http";
import { MeshState } from "../../core/decision/mesh-state.ts";
import { addressType, decodeAddress } from "../../core/protocol/wds/address.ts";
import { authorizationType, decodeAuthorization, failClosed } from "../../core/protocol/wds/authorization.ts";
import { WdsError } from "../../core/protocol/wds/wds-error.ts";

/** The answer of `GET /wds`: every resource the agent holds, by type URL, as it came. */
type HeldResources = Readonly<Record<string, readonly { readonly name: string; readonly base64: string }[]>>;

/** @param pid of the lab's PID 1. @throws where the agent doesn't answer. */
export async function readMesh(pid: number, node: string): Promise<MeshState> {
  const held = (await ask(`/proc/${pid}/root/run/lab/nodes/${node}/ambientd/admin.sock`, "/wds")) as HeldResources;
  const state = new MeshState();
  const policies = (held[authorizationType] ?? []).flatMap(({ name, base64 }) => {
    const bytes = Buffer.from(base64, "base64");
    const policy = decodeAuthorization(bytes, name);
    if (!(policy instanceof WdsError)) return [policy];
    const closed = failClosed(bytes);
    return closed === undefined ? [] : [closed];
  });
  const addresses = (held[addressType] ?? []).flatMap(({ name, base64 }) => {
    const address = decodeAddress(Buffer.from(base64, "base64"), name);
    return address instanceof WdsError ? [] : [address];
  });
  state.apply({
    policies,
    workloads: addresses.flatMap((address) => (address.kind === "workload" ? [address.workload] : [])),
    services: addresses.flatMap((address) => (address.kind === "service" ? [address.service] : [])),
  });
  return state;
}

function ask(socketPath: string, path: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, timeout: 2_000, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        if (response.statusCode !== 200) return reject(new Error(`${path}: HTTP ${response.statusCode}`));
        resolve(JSON.parse(Buffer.concat(chunks).toString()));
      });
    });
    asked.on("timeout", () => asked.destroy(new Error(`${path}: no answer within 2 s`)));
    asked.on("error", reject);
    asked.end();
  });
}
