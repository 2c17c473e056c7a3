/** What the agent's threads load, as it is shipped: each module costs memory once for every thread, and a moment of every start. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import type { WorkerStart } from "../../agent/worker-messages.ts";
import { bundleAgent, type AgentEntry } from "../../scripts/bundle-agent.ts";
import { workerSettings } from "../support/worker-settings.ts";

const checkout = join(import.meta.dirname, "../..");
/** Where packages that stay outside are found. */
const dist = join(checkout, "dist", `test-modules-${process.pid}`);
let packages: Readonly<Record<AgentEntry, readonly string[]>>;

before(async () => {
  packages = await bundleAgent(dist);
});
after(() => rmSync(dist, { recursive: true, force: true }));

test("a worker carries a logger and two parsers, of ASN.1 and of what control says, and neither gRPC nor YAML", () => {
  const own = packages["worker/main"].filter((name) => !partsOfPino.has(name));
  assert.deepEqual(own, ["@bufbuild/protobuf", "node-forge", "pino"]);
});

test("a worker loads of Node what carries bytes: no fetch, no Web Crypto, no inspector, no second HTTP/2", async () => {
  const start: WorkerStart = { index: 1, settings: workerSettings };
  // The same thread with a question after it.
  const program = `
    import(${JSON.stringify(pathToFileURL(join(dist, "agent/worker/main.js")).href)}).then(() => {
      require("node:worker_threads").parentPort.postMessage({ loaded: process.moduleLoadList });
    });`;
  const worker = new Worker(program, { eval: true, workerData: start });
  try {
    const loaded = await new Promise<readonly string[]>((resolve, reject) => {
      worker.on("error", reject);
      worker.on("message", (message: { readonly loaded?: readonly string[] }) => {
        if (message.loaded !== undefined) resolve(message.loaded);
      });
    });
    assert.ok(loaded.includes("NativeModule tls") && loaded.includes("NativeModule net"), loaded.join(", "));
    assert.deepEqual(
      loaded.filter((name) => unwanted.test(name)),
      [],
    );
  } finally {
    await worker.terminate();
  }
});

const unwanted = /undici|webcrypto|webstreams\/(?:readable|writable|transform)|Module inspector|http2|zlib/;
const partsOfPino: ReadonlySet<string> = new Set([
  "@pinojs/redact",
  "atomic-sleep",
  "on-exit-leak-free",
  "pino-std-serializers",
  "process-warning",
  "quick-format-unescaped",
  "real-require",
  "safe-stable-stringify",
  "sonic-boom",
  "thread-stream",
]);
