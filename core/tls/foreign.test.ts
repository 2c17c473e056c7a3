import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { alice, bob, contextOf, Heard, root } from "../../test/support/tls-machines.ts";
import { until } from "../../test/support/until.ts";

test("openssl's own client is understood, changes keys when told and is followed, and says goodbye", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "tls-machine-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const context = contextOf("server", bob);
  const heard = new Heard(context);
  const server = createServer((socket) => connectTo(heard, socket)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const own = [
    "-cert",
    file("cert", alice.chain),
    "-key",
    file("key", alice.key),
    "-CAfile",
    file("ca", root.certificatePem),
  ];
  const client = spawn("openssl", ["s_client", "-connect", `127.0.0.1:${port}`, "-alpn", "h2", ...own]);
  t.after(() => client.kill());
  let said = "";
  client.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
  client.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  await until(
    "TLS is up",
    10_000,
    () => heard.machine.phase === "secured" && said.includes("Verify return code: 0 (ok)"),
  );
  // One line at a time: a command is one only at the beginning of what is read.
  for (const [command, name] of [
    ["k", "KEYUPDATE"],
    ["K", "KEYUPDATE"],
  ] as const) {
    const before = said.split(name).length;
    client.stdin.write(`${command}\n`);
    await until("keys are changed", 10_000, () => said.split(name).length > before);
    client.stdin.write(`after ${command}\n`);
    await until("it has come", 10_000, () => heard.text().endsWith(`after ${command}\n`));
    heard.machine.write([Buffer.from(`answer to ${command}\n`)]);
    await until("it is answered", 10_000, () => said.includes(`answer to ${command}\n`));
  }
  client.stdin.write("Q\n");
  await until("it has said goodbye", 10_000, () => heard.machine.hasEnded);
  assert.deepEqual(heard.events, ["secured", "ended"]);
  heard.machine.free();
  context.release();
  server.close();
});

function connectTo(heard: Heard, socket: Socket): void {
  heard.onSend = (ciphertext) => socket.write(ciphertext);
  socket.on("data", (chunk) => heard.machine.receive(chunk));
  socket.on("error", () => {});
  socket.on("end", () => heard.machine.receiveEnd());
  heard.machine.start();
}
