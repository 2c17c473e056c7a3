/** The admin interface of a node agent over its unix socket: JSON in, JSON out. */
import { request } from "node:http";
import { Failure } from "../render/failure.ts";

/** What `/config_dump` holds of a workload, as far as tables show it. */
export interface DumpedWorkload {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly workloadIps: readonly string[];
  readonly protocol: string;
  readonly node: string;
  readonly serviceAccount: string;
  readonly trustDomain: string;
  readonly status: string;
  readonly services: readonly string[];
  readonly waypoint?: unknown;
  readonly authorizationPolicies: readonly string[];
}

export interface DumpedCertificate {
  readonly identity: string;
  readonly state: string;
  readonly certChain: readonly {
    readonly serialNumber: string;
    readonly validFrom: string;
    readonly expirationTime: string;
  }[];
}

export interface ConfigDump {
  readonly workloads: readonly DumpedWorkload[];
  readonly certificates: readonly DumpedCertificate[];
}

export async function configDump(socketPath: string): Promise<ConfigDump> {
  return (await get(socketPath, "/config_dump")) as ConfigDump;
}

function get(socketPath: string, path: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, timeout: 5_000 }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        if (response.statusCode !== 200) return reject(unreachable(socketPath, `it answered ${response.statusCode}`));
        resolve(JSON.parse(Buffer.concat(chunks).toString()));
      });
    });
    asked.on("timeout", () => asked.destroy(new Error("no answer within 5 s")));
    asked.on("error", (error) => reject(unreachable(socketPath, error.message)));
    asked.end();
  });
}

function unreachable(socketPath: string, why: string): Failure {
  return new Failure(
    `The agent at ${socketPath} can't be asked: ${why}.`,
    "See its log (ambientctl lab log NODE.agent), or start the lab again.",
  );
}
