import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { VERSION_NUMBER } from "./constants.ts";
import { loadOpenSsl } from "./openssl.ts";
import { openssl } from "../../test/support/tls-machines.ts";

test("OpenSSL is found in this program, is the one that Node names, and is loaded once", () => {
  const loaded = openssl();
  assert.equal(loaded.calls.versionText(VERSION_NUMBER), process.versions.openssl);
  assert.equal(loadOpenSsl(), loaded);
  assert.equal(loaded.calls.peekError(), 0);
});

test("several threads speak TLS at once, each on its own, and end without any harm to the others", async () => {
  const workers = Array.from(
    { length: 4 },
    () => new Worker(new URL("../../test/support/tls-thread.ts", import.meta.url)),
  );
  const said = await Promise.all(workers.map((worker) => once(worker, "message")));
  assert.deepEqual(
    said,
    workers.map(() => [{ handshakes: 50, octets: 50 * 100_000 }]),
  );
  // One goes at once, the others in order; this thread goes on.
  const [first, ...others] = workers;
  const gone = others.map((worker) => once(worker, "exit"));
  await first!.terminate();
  for (const worker of others) worker.postMessage("end");
  await Promise.all(gone);
  assert.equal(openssl().calls.peekError(), 0);
});
