/** A control plane on loopback that says what a test tells it, when the test tells it; and what agents answered. */
import type { TestContext } from "node:test";
import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { discovery } from "../../control/server/grpc-server.ts";
import type { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from "../../core/protocol/generated/discovery.ts";
import { serverCertificate } from "../../core/protocol/x509/certificate.ts";
import type { DeltaResource } from "../../core/protocol/xds/delta-client.ts";
import { testRoot } from "./identities.ts";
import { until } from "./until.ts";

type Stream = ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

export class ScriptedControl {
  readonly #root = testRoot("control");
  readonly #requests: DeltaDiscoveryRequest[] = [];
  #stream: Stream | undefined;
  #nonces = 0;
  #port = 0;

  static async start(t: TestContext): Promise<ScriptedControl> {
    const control = new ScriptedControl();
    const server = new Server();
    server.addService(discovery, { deltaAggregatedResources: (stream: Stream) => control.#serve(stream) });
    const validity = { notBeforeMs: Date.now() - 60_000, notAfterMs: Date.now() + 3_600_000 };
    const { key, certificatePem } = serverCertificate({ issuer: control.#root, names: ["127.0.0.1"], ...validity });
    const pair = {
      cert_chain: Buffer.from(certificatePem),
      private_key: Buffer.from(key.export({ type: "pkcs8", format: "pem" })),
    };
    control.#port = await new Promise<number>((resolve, reject) =>
      server.bindAsync("127.0.0.1:0", ServerCredentials.createSsl(null, [pair]), (error, port) =>
        error === null ? resolve(port) : reject(error),
      ),
    );
    t.after(() => server.forceShutdown());
    return control;
  }

  get address(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  /** PEM of what its certificate leads to. */
  get rootPem(): string {
    return this.#root.certificatePem;
  }

  /** Settles when an agent has subscribed to that type. */
  async asked(typeUrl: string): Promise<void> {
    await until(`an agent asks for ${typeUrl}`, 20_000, () =>
      this.#requests.some((request) => request.typeUrl === typeUrl),
    );
  }

  /** @returns what the agent answers, once it has applied it. */
  async say(typeUrl: string, resources: readonly DeltaResource[]): Promise<DeltaDiscoveryRequest> {
    const nonce = `${++this.#nonces}`;
    this.#stream?.write({
      typeUrl,
      nonce,
      systemVersionInfo: "",
      removedResources: [],
      resources: resources.map(({ name, version, bytes }) => ({
        name,
        version,
        aliases: [],
        ttl: undefined,
        resource: { typeUrl, value: Buffer.from(bytes) },
      })),
    });
    return until(`what was said of ${typeUrl} is acknowledged`, 20_000, () =>
      this.#requests.find((request) => request.responseNonce === nonce),
    );
  }

  #serve(stream: Stream): void {
    this.#stream = stream;
    stream.on("data", (request: DeltaDiscoveryRequest) => this.#requests.push(request));
    stream.on("error", () => undefined);
  }
}
