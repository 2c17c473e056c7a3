/**
 * Somebody who asks control without being an agent: plain @grpc/grpc-js with a node's token and the mesh's root, run in a pod that is not
 * captured. `control-client.ts WHAT [ARGUMENT…] [--token FILE|none] [--node NAME]`; every result is one JSON line on standard output.
 *
 * follow: a delta stream for as long as input is open, opened anew with what is held · stream: whether a stream is served · certificate
 * IDENTITY: whether one is issued · serial IDENTITY HOST:PORT: the serial number of the certificate that HBONE port shows, every time it changes
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { X509Certificate } from "node:crypto";
import { connect } from "node:tls";
import { Client, credentials, Metadata, status, type ClientDuplexStream, type ServiceError } from "@grpc/grpc-js";
import { createCertificatePath } from "../../../core/protocol/ca/create-certificate.ts";
import { IstioCertificateRequest, IstioCertificateResponse } from "../../../core/protocol/generated/ca.ts";
import { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from "../../../core/protocol/generated/discovery.ts";
import { parseIdentity, SpiffeError } from "../../../core/protocol/spiffe/identity.ts";
import { createKeyAndCsr } from "../../../core/protocol/x509/csr.ts";
import { deltaPath } from "../../../core/protocol/xds/delta-path.ts";

const words = process.argv.slice(2);
const token = option("--token") ?? "/run/secrets/tokens/istio-token";
const node = option("--node") ?? "";
const [what = "", ...targets] = words;

const address = "https://istiod.istio-system.svc:15012";
const root = readFileSync("/run/secrets/istio/root-cert.pem");
const types = ["type.googleapis.com/istio.workload.Address", "type.googleapis.com/istio.security.Authorization"];

type Stream = ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

/** Whether input is still open. */
let isOpen = true;
/** The stream that is followed. */
let current: Stream | undefined;
process.stdin.on("end", () => {
  isOpen = false;
  current?.cancel();
});
process.stdin.resume();

const actions: Readonly<Record<string, () => Promise<void>>> = {
  async follow() {
    const held = new Map(types.map((type) => [type, new Map<string, string>()]));
    while (isOpen) {
      const client = newClient();
      const stream = (current = openStream(client));
      say({ event: "opened" });
      for (const type of types) stream.write(firstRequest(type, held.get(type)));
      const error = await answerAll(stream, held).catch((thrown: ServiceError) => thrown);
      client.close();
      if (!isOpen) return;
      say({ event: "lost", code: error instanceof Error ? status[error.code] : undefined });
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  },
  async stream() {
    const stream = openStream(newClient());
    for (const type of types) stream.write(firstRequest(type));
    say(await once(stream, "data").then(() => ({ answer: "served" }), refusal));
  },
  async certificate() {
    const answer = await order(targets[0] ?? "").catch(refusal);
    say("chain" in answer ? { answer: "issued", ...described(answer.chain[0]) } : answer);
  },
  async serial() {
    const [identity = "", target = ""] = targets;
    let last = "";
    while (isOpen) {
      // Asked for anew each time: these certificates are as short-lived as those they look at.
      const { key, chain } = await order(identity);
      const serial = await shownBy(target, key, chain);
      if (serial !== last) say({ event: "serial", serial });
      last = serial;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  },
};

const action = actions[what];
if (action === undefined) throw new Error(`there is no "${what}"`);
await action();
// A cancelled stream's connection lingers until the server's next ping: it is not waited for.
process.exit();

/** Answers every response with an ACK and reports it, until the stream ends. @throws ServiceError */
async function answerAll(stream: Stream, held: ReadonlyMap<string, Map<string, string>>): Promise<void> {
  for await (const message of stream) {
    const { typeUrl, nonce, resources, removedResources } = message as DeltaDiscoveryResponse;
    const versions = held.get(typeUrl);
    for (const { name, version } of resources) versions?.set(name, version);
    for (const name of removedResources) versions?.delete(name);
    const sent = resources.map((resource) => ({
      name: resource.name,
      version: resource.version,
      base64: Buffer.from(resource.resource?.value ?? []).toString("base64"),
    }));
    say({ event: "response", typeUrl, resources: sent, removed: removedResources });
    stream.write({ ...blank(typeUrl), responseNonce: nonce });
  }
}

function openStream(client: Client): Stream {
  return client.makeBidiStreamRequest<DeltaDiscoveryRequest, DeltaDiscoveryResponse>(
    deltaPath,
    (request) => Buffer.from(DeltaDiscoveryRequest.encode(request).finish()),
    (bytes) => DeltaDiscoveryResponse.decode(bytes),
    metadata(),
  );
}

/** Claims to be the agent of `--node`; without it, to be nobody in particular. */
function firstRequest(typeUrl: string, held: ReadonlyMap<string, string> = new Map()): DeltaDiscoveryRequest {
  return {
    ...blank(typeUrl),
    node: {
      id: "ztunnel~10.0.0.1~probe.istio-system~istio-system.svc.cluster.local",
      cluster: "Kubernetes",
      metadata: node === "" ? {} : { NODE_NAME: node },
    },
    resourceNamesSubscribe: ["*"],
    initialResourceVersions: Object.fromEntries(held),
  };
}

function blank(typeUrl: string): DeltaDiscoveryRequest {
  return {
    node: undefined,
    typeUrl,
    resourceNamesSubscribe: [],
    resourceNamesUnsubscribe: [],
    initialResourceVersions: {},
    responseNonce: "",
    errorDetail: undefined,
  };
}

/** A new key and the chain control issues for it. @throws ServiceError */
function order(uri: string): Promise<{ key: string; chain: string[] }> {
  const identity = parseIdentity(uri);
  if (identity instanceof SpiffeError) throw identity;
  const { key, csrPem } = createKeyAndCsr(identity);
  const client = newClient();
  return new Promise((resolve, reject) =>
    client.makeUnaryRequest(
      createCertificatePath,
      (request: IstioCertificateRequest) => Buffer.from(IstioCertificateRequest.encode(request).finish()),
      (bytes) => IstioCertificateResponse.decode(bytes),
      { csr: csrPem, validityDuration: 3600n, metadata: { ImpersonatedIdentity: uri } },
      metadata(),
      (error, response) => {
        client.close();
        if (error !== null) return reject(error);
        resolve({ key: key.export({ type: "pkcs8", format: "pem" }) as string, chain: response?.certChain ?? [] });
      },
    ),
  );
}

/** The serial number that an HBONE port shows to one who comes with that certificate. */
async function shownBy(target: string, key: string, chain: readonly string[]): Promise<string> {
  const [, host = "", port = ""] = /^\[?([^\]]+)\]?:(\d+)$/.exec(target) ?? [];
  const socket = connect({
    host,
    port: Number(port),
    key,
    cert: chain.slice(0, -1).join(""),
    ca: root,
    ALPNProtocols: ["h2"],
    minVersion: "TLSv1.3",
    // Its chain is checked; its name is a SPIFFE id, which is looked at elsewhere.
    checkServerIdentity: () => undefined,
  });
  try {
    await once(socket, "secureConnect");
    return socket.getPeerX509Certificate()?.serialNumber ?? "";
  } finally {
    socket.destroy();
  }
}

function newClient(): Client {
  return new Client(new URL(address).host, credentials.createSsl(root), { "grpc.use_local_subchannel_pool": 1 });
}

function metadata(): Metadata {
  const headers = new Metadata();
  if (token !== "none") headers.set("authorization", `Bearer ${readFileSync(token, "utf8").trim()}`);
  headers.set("clusterid", "Kubernetes");
  return headers;
}

function refusal(thrown: unknown): { answer: "refused"; code: string; details: string } {
  const { code, details } = thrown as ServiceError;
  return { answer: "refused", code: status[code] ?? String(code), details };
}

function described(pem = ""): { serial: string; subjectAltName: string | undefined } {
  const certificate = new X509Certificate(pem);
  return { serial: certificate.serialNumber, subjectAltName: certificate.subjectAltName };
}

/** Takes an option and its value out of the command line. */
function option(name: string): string | undefined {
  const at = words.indexOf(name);
  return at < 0 ? undefined : words.splice(at, 2)[1];
}

function say(result: object): void {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
