import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ManualClock, systemClock } from "../../core/base/clock.ts";
import { selfSignedRoot } from "../../core/protocol/x509/certificate.ts";
import { deltaStreams } from "./delta-stream.ts";
import { openChannel, readRoots, requestMetadata, type ControlEndpoint } from "./grpc-channel.ts";
import { ControlError } from "./grpc-errors.ts";

const now = Date.now();
const { certificatePem } = selfSignedRoot({ organisation: "x", notBeforeMs: now - 1_000, notAfterMs: now + 3_600_000 });
const endpoint: ControlEndpoint = {
  address: "https://127.0.0.1:1",
  rootCa: certificatePem,
  token: () => "abc\n",
  clusterId: "Kubernetes",
};

test("F-117 F-118 the token is read for every request, trimmed, and goes with the cluster's id and further headers", () => {
  let reads = 0;
  const options = { ...endpoint, token: () => `token-${++reads}\n`, headers: { "x-extra": "1" } };
  const [first, second] = [requestMetadata(options), requestMetadata(options)];
  assert.ok(!(first instanceof ControlError) && !(second instanceof ControlError));
  assert.deepEqual([first.get("authorization"), second.get("authorization")], [["Bearer token-1"], ["Bearer token-2"]]);
  assert.deepEqual([first.get("clusterid"), first.get("x-extra")], [["Kubernetes"], ["1"]]);
});

test("no token, an empty one and one that no header can carry are errors that don't show it", () => {
  const missing = (): string => {
    throw new Error("ENOENT: no such file");
  };
  for (const token of [missing, () => "", () => " \n", () => "sec\nret"]) {
    const error = requestMetadata({ ...endpoint, token });
    assert.ok(error instanceof ControlError);
    assert.equal(error.type.code, "control.no-token");
    assert.doesNotMatch(error.message, /ret/);
  }
});

test("an address that is none, or would send the token in the clear, is refused", () => {
  for (const address of ["http://127.0.0.1:15010", "", "https://", "ftp://x", "https://a b"]) {
    const error = openChannel({ ...endpoint, address });
    assert.ok(error instanceof ControlError, address);
    assert.equal(error.type.code, "control.bad-address");
  }
});

test("scheme and port may be left out, and addresses may be IPv6", () => {
  for (const [address, target] of [
    ["istiod.istio-system.svc", "dns:///istiod.istio-system.svc:15012"],
    ["https://istiod.x:443", "dns:///istiod.x:443"],
    ["https://[fd00::1]:15012", "dns:///[fd00::1]:15012"],
  ] as const) {
    const client = openChannel({ ...endpoint, address });
    assert.ok(!(client instanceof ControlError));
    client.close();
    assert.equal(client.getChannel().getTarget(), target);
  }
});

test("F-119 H053 a root file that is missing, empty or no certificate is an error with its name", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "ambientd-roots-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const [empty, key] = [join(directory, "empty.pem"), join(directory, "key.pem")];
  writeFileSync(empty, "");
  writeFileSync(key, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  for (const rootCa of [join(directory, "none.pem"), empty, key]) {
    const error = openChannel({ ...endpoint, rootCa });
    assert.ok(error instanceof ControlError, rootCa);
    assert.ok(error.type.code === "control.bad-root");
    assert.equal(error.type.source, rootCa);
  }
});

test("F-119 roots may be a file, PEM text, or the system's own", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "ambientd-roots-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const pem = selfSignedRoot({ organisation: "test", notBeforeMs: 0, notAfterMs: 4e12 }).certificatePem;
  const file = join(directory, "root.pem");
  writeFileSync(file, pem);
  assert.equal(readRoots(file), pem);
  assert.equal(readRoots(pem), pem);
  assert.equal(readRoots("SYSTEM"), undefined);
  for (const rootCa of [file, pem, "SYSTEM"]) {
    const client = openChannel({ ...endpoint, rootCa });
    assert.ok(!(client instanceof ControlError), rootCa.slice(0, 20));
    client.close();
  }
});

test("H067 control that refuses connections is unreachable, at once", async () => {
  const stream = deltaStreams(endpoint, systemClock)();
  assert.ok(!(stream instanceof ControlError));
  const error = await stream.receive();
  assert.ok(error instanceof ControlError);
  assert.equal(error.type.code, "control.unreachable");
  stream.close();
});

test("H067 control that accepts and then says nothing is given up after five seconds", async (t) => {
  const server = createServer(() => undefined).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const clock = new ManualClock();
  const stream = deltaStreams({ ...endpoint, address: `https://127.0.0.1:${port}` }, clock)();
  assert.ok(!(stream instanceof ControlError));
  const accepted = once(server, "connection");
  const answer = stream.receive();
  const [socket] = (await accepted) as [Socket];
  t.after(() => socket.destroy());
  clock.advance(5_000);
  const error = await answer;
  assert.ok(error instanceof ControlError);
  assert.equal(error.type.code, "control.connect-timeout");
  stream.close();
});
