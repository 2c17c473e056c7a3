/** Certificates that the control plane signs on one core: all of it, on a core of its own, asked by a node's agent for a pod of its node. */
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { IstioCertificateRequest, IstioCertificateResponse } from "../../core/protocol/generated/ca.ts";
import { createCertificatePath, createCertificateRequest } from "../../core/protocol/ca/create-certificate.ts";
import { createKeyAndCsr } from "../../core/protocol/x509/csr.ts";
import { compiledPrograms } from "../../lab/compiled.ts";
import { checkoutRoot, childEnvironment } from "../../lab/programs.ts";
import { idlePod, manifestText, namespace } from "../../test/support/manifests.ts";
import { cpuSeconds } from "../measure/processes.ts";
import type { LoneScenario, NotMeasured, Values } from "../scenarios/scenario.ts";
import { scratchFolder } from "../scratch.ts";

/** @param seconds of asking. */
export function stateCsr(seconds = 4): LoneScenario {
  return { kind: "alone", name: "state-csr", measure: () => measure(seconds) };
}

async function measure(seconds: number): Promise<Values | NotMeasured> {
  if (availableParallelism() < 2) return { notMeasured: "who asks needs a core beside that of control" };
  const scratch = scratchFolder("bench-csr-");
  const path = (name: string): string => join(scratch.path, name);
  for (const name of ["manifests", "status", "data"]) mkdirSync(path(name), { mode: 0o700 });
  writeFileSync(path("manifests/mesh.yaml"), manifestText(mesh));
  const flags = [
    ...["--manifests", path("manifests"), "--status", path("status"), "--data", path("data")],
    ...["--publish-root", path("root.pem"), "--tokens", path("tokens"), "--listen", `127.0.0.1:${port}`],
  ];
  const program = [
    process.execPath,
    join(await compiledPrograms(), "bin/ambientd.js"),
    "control",
    ...flags,
    "--advertise",
    "127.0.0.1",
  ];
  const control = spawn("setpriv", ["--pdeathsig", "KILL", "--", "taskset", "--cpu-list", "0", ...program], {
    cwd: checkoutRoot,
    env: childEnvironment({}),
    stdio: ["ignore", "ignore", "pipe"],
  });
  let complaint = "";
  control.stderr.setEncoding("utf8").on("data", (text: string) => (complaint = (complaint + text).slice(-500)));
  const exit = new Promise((resolve) => control.once("exit", resolve));
  try {
    const asker = await Asker.connect(
      path,
      () => control.exitCode === null,
      () => complaint,
    );
    await asker.ask(warmUpSeconds);
    const pid = control.pid ?? 0;
    const before = cpuSeconds([pid]);
    const { count, seconds: took } = await asker.ask(seconds);
    const cpu = cpuSeconds([pid]) - before;
    asker.close();
    return { "state.csr-rate": count / took, "state.csr-cpu": (cpu / count) * 1e6 };
  } finally {
    if (control.exitCode === null) control.kill("SIGKILL");
    await exit;
    scratch.remove();
  }
}

/** Asks for as many as it is given, so many at a time. One CSR for all: a key is made by who asks, not by who signs. */
class Asker {
  readonly #client: Client;
  readonly #metadata: Metadata;
  readonly #request: IstioCertificateRequest;

  private constructor(client: Client, metadata: Metadata, request: IstioCertificateRequest) {
    this.#client = client;
    this.#metadata = metadata;
    this.#request = request;
  }

  /** Tries until control answers. @throws Error with what it said where it ends, or takes too long. */
  static async connect(
    path: (name: string) => string,
    isAlive: () => boolean,
    complaint: () => string,
  ): Promise<Asker> {
    const identity = { trustDomain: "cluster.local", namespace: "bench", serviceAccount: "pod" };
    const { csrPem } = createKeyAndCsr(identity);
    const order = createCertificateRequest({ csrPem, validitySeconds: 86_400n, impersonated: identity });
    for (const end = performance.now() + startMs; ; await new Promise((resolve) => setTimeout(resolve, 100))) {
      let last = "nothing listens";
      try {
        const metadata = new Metadata();
        metadata.set("authorization", `Bearer ${readFileSync(path("tokens/node1/istio-token"), "utf8")}`);
        metadata.set("clusterid", "Kubernetes");
        const secure = credentials.createSsl(readFileSync(path("root.pem")));
        const asker = new Asker(new Client(`127.0.0.1:${port}`, secure, channel), metadata, order);
        if (await asker.#one()) return asker;
        asker.close();
        last = "it refuses";
      } catch (error) {
        last = String(error);
      }
      if (!isAlive() || performance.now() > end)
        throw new Error(`control signs nothing: ${last} ${complaint()}`.trim());
    }
  }

  async ask(seconds: number): Promise<{ readonly count: number; readonly seconds: number }> {
    const began = performance.now();
    const end = began + seconds * 1_000;
    let count = 0;
    const line = async (): Promise<void> => {
      while (performance.now() < end) {
        if (!(await this.#one())) throw new Error("control refused a certificate");
        count += 1;
      }
    };
    await Promise.all(Array.from({ length: atATime }, line));
    return { count, seconds: (performance.now() - began) / 1_000 };
  }

  close(): void {
    this.#client.close();
  }

  #one(): Promise<boolean> {
    return new Promise((resolve) => {
      this.#client.makeUnaryRequest(
        createCertificatePath,
        (request: IstioCertificateRequest) => Buffer.from(IstioCertificateRequest.encode(request).finish()),
        (bytes: Buffer) => IstioCertificateResponse.decode(bytes),
        this.#request,
        this.#metadata,
        (error, response) => resolve(error === null && (response?.certChain.length ?? 0) >= 2),
      );
    });
  }
}

/** With its status written down, as a kubelet would: a certificate is for a pod that lives on the caller's node. */
const mesh = [
  { apiVersion: "v1", kind: "Node", metadata: { name: "node1", uid: "node-1" } },
  namespace("bench", { ambient: true }),
  {
    ...idlePod("bench/pod", { node: "node1" }),
    status: {
      phase: "Running",
      podIP: "10.0.0.2",
      podIPs: [{ ip: "10.0.0.2" }],
      conditions: [{ type: "Ready", status: "True" }],
    },
  },
];

const channel = { "grpc.ssl_target_name_override": "istiod.istio-system.svc", "grpc.use_local_subchannel_pool": 1 };
const port = 25_012;
const atATime = 16;
const warmUpSeconds = 1;
const startMs = 15_000;
