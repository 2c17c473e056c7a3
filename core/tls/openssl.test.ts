import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { VERSION_NUMBER } from "./constants.ts";
import { loadOpenSsl } from "./openssl.ts";
import { openssl } from "../../test/support/tls-machines.ts";
import type { Bindings } from "./bindings.ts";
import { selfTest } from "./self-test.ts";

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

const faults: Readonly<Record<string, (calls: Bindings) => Partial<Bindings>>> = {
  "no suite to try": () => ({ ctxOldSuites: () => 0 }),
  "no handshake": () => ({ failure: () => 1 }),
  "no write": () => ({ write: () => 0 }),
  "no read": (calls) => {
    let hasRead = false;
    return {
      read: () => ((hasRead = true), 0),
      failure: (ssl, result) => (hasRead ? 1 : calls.failure(ssl, result)),
    };
  },
  "other octets than were sent": (calls) => ({
    write: (ssl, bytes, length, written) => calls.write(ssl, Buffer.from(bytes).fill(1, 39_999), length, written),
  }),
  "an alert that says something else": () => ({ errorReason: () => null }),
};
for (const [fault, change] of Object.entries(faults)) {
  test(`the self-test finds ${fault}, and leaves everything as it was`, () => {
    const sound = openssl();
    assert.equal(selfTest({ ...sound, calls: { ...sound.calls, ...change(sound.calls) } }), fault);
    sound.calls.clearErrors();
    assert.equal(selfTest(sound), undefined);
  });
}
