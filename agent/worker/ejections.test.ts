import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { MeshState } from "../../core/decision/mesh-state.ts";
import { decideOutbound, type OutboundDecision } from "../../core/decision/route.ts";
import { backs, pod, port, service } from "../../test/support/mesh.ts";
import { TunnelError } from "../tunnel/tunnel.ts";
import { Ejections } from "./ejections.ts";

const web = service("default/web", "10.96.0.1", [port(80, 8_080)]);
const source = pod("default/alice", "10.0.0.1");
const refused = new TunnelError({ code: "tunnel.connect-failed", errno: "ECONNREFUSED" });

function uid(at: number): string {
  return `Kubernetes//Pod/default/w${at}`;
}

/** A service of so many; `draw` decides among them. */
function scene(count: number): {
  clock: ManualClock;
  ejections: Ejections;
  decisions: () => number;
  decide: (draw: number, exclude?: ReadonlySet<string>) => string | undefined;
} {
  const state = new MeshState();
  const services = backs([web, port(80, 8_080)]);
  const workloads = Array.from({ length: count }, (_, at) => pod(`default/w${at}`, `10.0.1.${at}`, { services }));
  state.apply({ services: [web], workloads: [source, ...workloads] });
  const clock = new ManualClock();
  const ejections = new Ejections(clock);
  const target = { address: "10.96.0.1", port: 80 };
  let decisions = 0;
  const decide = (draw: number, exclude?: ReadonlySet<string>): string | undefined => {
    const decision = ejections.decide(exclude, (without): OutboundDecision => {
      decisions += 1;
      const facts = { source, target, network: "", random: () => draw };
      return decideOutbound(state, { ...facts, ...(without && { exclude: without }) });
    });
    return "workload" in decision ? decision.workload.uid : undefined;
  };
  return { clock, ejections, decisions: () => decisions, decide };
}

test("an endpoint that has failed is passed over for five seconds", () => {
  const { clock, ejections, decide } = scene(3);
  ejections.note(uid(1), refused);
  assert.equal(decide(0), uid(0));
  assert.notEqual(decide(0.5), uid(1));
  clock.advance(5_000);
  assert.equal(decide(0.5), uid(1));
});

test("where all have failed, all are tried", () => {
  const { ejections, decide } = scene(2);
  for (const at of [0, 1]) ejections.note(uid(at), refused);
  assert.deepEqual([decide(0), decide(0.9)], [uid(0), uid(1)]);
  // Of those that this connection has not tried itself.
  assert.equal(decide(0.9, new Set([uid(1)])), uid(0));
});

test("one of very many that is out costs only whom chance leads to it", () => {
  const { ejections, decide, decisions } = scene(200);
  ejections.note(uid(0), refused);
  for (let at = 0; at < 200; at++) assert.notEqual(decide((at + 0.5) / 200), uid(0));
  assert.equal(decisions(), 201);
});

test("one that serves again, or of which control has news, is back at once", () => {
  const { ejections, decide } = scene(2);
  ejections.note(uid(0), refused);
  ejections.restore(uid(0));
  assert.equal(decide(0), uid(0));
  ejections.note(uid(0), refused);
  ejections.forget(new Set([uid(0)]));
  assert.equal(decide(0), uid(0));
});

test("H027 how long it is passed over depends on what it cost to find out; what is ours or asked of it alone does not count", () => {
  const ejectedMs = (type: TunnelError["type"]): number => {
    const { clock, ejections } = scene(1);
    ejections.note("x", new TunnelError(type));
    for (let ms = 0; ; ms += 1_000, clock.advance(1_000)) if (!ejections.has("x")) return ms;
  };
  const rows: readonly (readonly [TunnelError["type"], number])[] = [
    [{ code: "tunnel.no-room" }, 30_000],
    [{ code: "tunnel.refused", status: 503, gone: true }, 10_000],
    [{ code: "tunnel.answer-timeout", afterMs: 3_000 }, 10_000],
    [{ code: "tunnel.connect-timeout", afterMs: 3_000 }, 10_000],
    [{ code: "tunnel.lost", detail: "" }, 5_000],
    [{ code: "tunnel.san-mismatch", presented: "", accepted: [] }, 5_000],
    [{ code: "tunnel.refused", status: 503 }, 0],
    [{ code: "tunnel.refused", status: 401 }, 0],
    [{ code: "tunnel.connect-failed", errno: "EMFILE" }, 0],
    [{ code: "tunnel.no-certificate", detail: "" }, 0],
  ];
  for (const [type, ms] of rows) assert.equal(ejectedMs(type), ms, JSON.stringify(type));
});
