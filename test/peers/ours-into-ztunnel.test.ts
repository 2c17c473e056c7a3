/** The server's half of every recorded conversation with ztunnel, said again to the tunnels of a worker of ours. */
import assert from "node:assert/strict";
import { after, afterEach, before, suite, test } from "node:test";
import { createServer, type Server } from "node:tls";
import { alpn, secureOptions } from "../../agent/tunnel/tls.ts";
import { engineOf, engines } from "../support/engines.ts";
import { root } from "../support/hbone-pair.ts";
import { identityOf, testIdentity } from "../support/identities.ts";
import { LoopbackMesh, ownAddresses, type LoopbackPod } from "../support/loopback-mesh.ts";
import { pod } from "../support/mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { Heard } from "./conversations.ts";
import { outboundOutcome } from "./recorded-outcomes.ts";
import {
  FramePeer,
  isArtefact,
  isRecorded,
  ownRecordedAddresses,
  recordings,
  type Recorded,
  type Step,
} from "./recorded.ts";

const skip = enterNamespaces() ?? false;
const [clientAddress, serverAddress] = ["10.77.0.2", "10.77.0.3"];
const played = { "as-client": "what a server said to ztunnel", "as-server": "what ztunnel said as a server" } as const;
const target = { address: serverAddress, port: 9_999 };
/** Tunnels that have come, oldest first; each is played by the test. */
const tunnels: FramePeer[] = [];
let server: Server;

before(async () => {
  if (skip !== false) return;
  await ownAddresses();
  await ownRecordedAddresses();
  const identity = secureOptions(testIdentity(root, identityOf("b")));
  server = createServer({ ...identity, ALPNProtocols: alpn, requestCert: true, rejectUnauthorized: true }, (tls) =>
    tunnels.push(new FramePeer(tls, true)),
  );
  await new Promise<void>((resolve) => server.listen(15_008, serverAddress, resolve));
});
after(() => {
  server?.close();
});

for (const engine of engines)
  suite(`a ztunnel's answers to our ${engine} engine`, () => {
    let mesh: LoopbackMesh;
    let alice: LoopbackPod;

    afterEach(() => {
      if (skip !== false) return;
      for (const tunnel of tunnels.splice(0)) tunnel.close();
      mesh.close();
    });

    for (const name of ["as-client", "as-server"] as const)
      for (const recorded of recordings(name).filter(isRecorded))
        test(`${played[name]}: ${recorded.case}`, { skip }, async () => {
          const client = await stage();
          const expected = outboundOutcome(recorded);
          if (expected.end === "refused") await refuse(client, recorded);
          else await play(client, recorded);
          if (expected.end === "ended") await client.becomes("ended");
          else if (expected.end !== "given up") await client.becomes("reset");
          assert.equal(client.text, expected.data);
          client.socket.destroy();
          const line = await mesh.line("outbound", (one) => one["src.addr"] === client.local);
          assert.deepEqual([line["reason"], line["detail"]], [expected.reason, expected.detail]);
        });

    async function stage(): Promise<Heard> {
      mesh = new LoopbackMesh({ ...engineOf(engine).meshOptions, deadlineMs: 2_000 });
      mesh.apply({ workloads: [pod("default/a", clientAddress), pod("default/b", serverAddress)] });
      alice = await mesh.serve("default/a", clientAddress);
      const socket = alice.connectOut(target);
      await new Promise((resolve) => socket.once("connect", resolve));
      return new Heard(socket);
    }

    /** Refuses as the recorded server did, whatever our client tries, until it gives up. */
    async function refuse(client: Heard, { conversation }: Recorded): Promise<void> {
      const said = conversation.filter((step) => step.dir === "server");
      const answered = new Set<string>();
      await until("our client gives up", 15_000, () => {
        for (const [index, tunnel] of tunnels.entries()) {
          if (!answered.has(String(index))) for (const step of said) if (step.type === "SETTINGS") tunnel.say(step);
          answered.add(String(index));
          for (const stream of tunnel.streams) {
            if (!answered.has(`${index} ${stream}`))
              for (const step of said) if (step.stream === 1) tunnel.say(step, stream);
            answered.add(`${index} ${stream}`);
          }
        }
        return client.state !== "open";
      });
    }

    /** Says what the recorded server said, each time that our client has come as far as the recorded client had. */
    async function play(client: Heard, { conversation, case: title, server: script }: Recorded): Promise<void> {
      const tunnel = await until("our tunnel", 5_000, () => tunnels.find((one) => !one.isEnded));
      let octets = 0;
      for (const [index, step] of conversation.entries()) {
        if (isArtefact(step, conversation[index + 1])) continue;
        if (step.dir === "client") {
          if (step.type === "DATA") octets += (step.payload ?? "").length / 2;
          if (step.type === "RST_STREAM") await client.says(dataBefore(conversation, index));
          await follow(client, tunnel, step, octets);
          // Ours asks when it is due, not when that one was.
        } else if (step.dir === "server" && !(step.type === "PING" && step.flags === 1)) tunnel.say(step);
        if (title.includes("SIGTERM") && step.type === "GOAWAY" && step.payload === "0000000100000000")
          await newcomer();
      }
      // That server held it until it was killed.
      if (script === "hold") tunnel.say({ type: "DATA", flags: 1, stream: 1, payload: "" });
    }

    /** Has our client do what the recorded client did, and waits for it to come. */
    async function follow(client: Heard, tunnel: FramePeer, step: Step, octets: number): Promise<void> {
      const ends = ((step.flags ?? 0) & 1) !== 0;
      switch (step.type) {
        case "SETTINGS":
          await until("our SETTINGS", 5_000, () => tunnel.of("SETTINGS").some((one) => one.flags === step.flags));
          return;
        case "HEADERS":
          await until("our CONNECT", 5_000, () => tunnel.head(1));
          assert.equal(tunnel.head(1)?.get(":method"), "CONNECT");
          assert.equal(tunnel.head(1)?.get(":authority"), "10.77.0.3:9999");
          return;
        case "DATA":
          if (step.payload !== "") client.socket.write(Buffer.from(step.payload ?? "", "hex"));
          if (ends) client.socket.end();
          await until("our data", 5_000, () => tunnel.data(1).length === octets);
          if (ends) await until("our END_STREAM", 5_000, () => tunnel.hasEnded(1));
          return;
        case "RST_STREAM":
          client.socket.resetAndDestroy();
          await until("our RST_STREAM", 5_000, () => tunnel.resetCode(1) !== undefined);
          assert.deepEqual(
            [tunnel.resetCode(1), tunnel.hasEnded(1)],
            [10, false],
            "CONNECT_ERROR, and nothing before it",
          );
          return;
        case "PING":
          if (step.flags === 1) await tunnel.pong(step.payload ?? "");
          return;
        default:
      }
    }

    /** After a GOAWAY the next connection has a tunnel of its own. */
    async function newcomer(): Promise<void> {
      const socket = alice.connectOut(target);
      const other = await until("another tunnel", 5_000, () => tunnels[1]);
      await until("its CONNECT", 5_000, () => other.head(1));
      assert.deepEqual(tunnels[0]?.streams, [1]);
      other.say({ type: "SETTINGS", flags: 0, stream: 0, payload: "" });
      // :status: 200, and a word.
      other.say({ type: "HEADERS", flags: 4, stream: 1, payload: "88" });
      other.say({ type: "DATA", flags: 0, stream: 1, payload: Buffer.from("welcome").toString("hex") });
      await new Heard(socket).says("welcome");
      socket.destroy();
    }
  });

/** What the recorded server had sent by then. */
function dataBefore(conversation: Recorded["conversation"], index: number): string {
  const pieces = conversation.slice(0, index).filter((step) => step.dir === "server" && step.type === "DATA");
  return Buffer.from(pieces.map((step) => step.payload ?? "").join(""), "hex").toString();
}
