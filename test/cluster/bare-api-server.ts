/** A real kube-apiserver on a real etcd and nothing else: no nodes, no controllers. For what only an API server can show. */
import { spawn, type ChildProcess } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { KubeConnection } from "../../control/sources/kubernetes/connection.ts";
import { until } from "../support/until.ts";
import { environmentOf, installParts, type Parts } from "./parts/parts.ts";
import { Unavailable } from "./unavailable.ts";

/** Bearer tokens: one that may do everything, and one that may what RBAC grants the user `limited`. */
const tokens = { admin: "test-admin", limited: "test-limited" } as const;

export class BareApiServer {
  readonly parts: Parts;
  readonly #folder: string;
  readonly #ports: { readonly api: number; readonly etcd: number; readonly peer: number };
  #etcd: ChildProcess | undefined;
  #api: ChildProcess | undefined;

  constructor(parts: Parts, folder: string, [api, etcd, peer]: readonly number[]) {
    this.parts = parts;
    this.#folder = folder;
    this.#ports = { api: api ?? 0, etcd: etcd ?? 0, peer: peer ?? 0 };
  }

  static async start(): Promise<BareApiServer | Unavailable> {
    const parts = await installParts();
    if (parts instanceof Unavailable) return parts;
    const folder = mkdtempSync(join(tmpdir(), "api-server-"));
    const server = new BareApiServer(parts, folder, await Promise.all([freePort(), freePort(), freePort()]));
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    writeFileSync(join(folder, "sa.key"), privateKey.export({ type: "pkcs1", format: "pem" }), { mode: 0o600 });
    const users = [`${tokens.admin},admin,1,system:masters`, `${tokens.limited},limited,2`];
    writeFileSync(join(folder, "tokens.csv"), `${users.join("\n")}\n`, { mode: 0o600 });
    server.#startEtcd();
    await server.startApi();
    return server;
  }

  connection(user: keyof typeof tokens = "admin"): KubeConnection {
    return {
      server: new URL(`https://127.0.0.1:${this.#ports.api}`),
      namespace: "default",
      // It signs its own certificate anew for every folder.
      credentials: () =>
        Promise.resolve({
          headers: { authorization: `Bearer ${tokens[user]}` },
          tls: { rejectUnauthorized: false },
        }),
      refresh: () => undefined,
    };
  }

  async killApi(): Promise<void> {
    await end(this.#api);
  }

  async startApi(): Promise<void> {
    const { api, etcd } = this.#ports;
    this.#api = this.#spawn("kube-apiserver", [
      `--etcd-servers=http://127.0.0.1:${etcd}`,
      "--bind-address=127.0.0.1",
      "--advertise-address=127.0.0.1",
      `--secure-port=${api}`,
      `--cert-dir=${this.#folder}`,
      "--service-account-issuer=https://kubernetes.default.svc",
      `--service-account-key-file=${join(this.#folder, "sa.key")}`,
      `--service-account-signing-key-file=${join(this.#folder, "sa.key")}`,
      "--service-cluster-ip-range=10.96.0.0/16",
      `--token-auth-file=${join(this.#folder, "tokens.csv")}`,
      "--authorization-mode=RBAC",
      // Nobody makes service accounts here.
      "--disable-admission-plugins=ServiceAccount",
      "--endpoint-reconciler-type=none",
    ]);
    await until("the API server is ready", 120_000, () => this.#isReady());
  }

  async stop(): Promise<void> {
    await end(this.#api);
    await end(this.#etcd);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #startEtcd(): void {
    const { etcd, peer } = this.#ports;
    this.#etcd = this.#spawn("etcd", [
      `--data-dir=${join(this.#folder, "etcd")}`,
      `--listen-client-urls=http://127.0.0.1:${etcd}`,
      `--advertise-client-urls=http://127.0.0.1:${etcd}`,
      `--listen-peer-urls=http://127.0.0.1:${peer}`,
      `--initial-advertise-peer-urls=http://127.0.0.1:${peer}`,
      `--initial-cluster=default=http://127.0.0.1:${peer}`,
      "--unsafe-no-fsync",
    ]);
  }

  /** Ends with this process, however that ends. */
  #spawn(program: string, argv: readonly string[]): ChildProcess {
    const output = openSync(join(this.#folder, `${program}.log`), "a");
    return spawn("setpriv", ["--pdeathsig", "KILL", program, ...argv], {
      env: environmentOf(this.parts),
      stdio: ["ignore", output, output],
    });
  }

  #isReady(): Promise<boolean> {
    if (this.#api?.exitCode !== null) throw new Error("kube-apiserver ended");
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const asking = request(
      `https://127.0.0.1:${this.#ports.api}/readyz`,
      { rejectUnauthorized: false, agent: false, headers: { authorization: `Bearer ${tokens.admin}` } },
      (response) => {
        response.resume();
        resolve(response.statusCode === 200);
      },
    );
    asking.on("error", () => resolve(false));
    asking.end();
    return promise;
  }
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
