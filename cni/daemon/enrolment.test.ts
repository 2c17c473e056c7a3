import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  absent,
  EnrolmentError,
  step,
  type Effect,
  type Enrolment,
  type EnrolmentEvent,
  type KernelTruth,
  type Redirection,
  type Want,
} from "./enrolment.ts";

test("a running pod comes in by listeners, redirect, annotation, and goes out in the opposite order", () => {
  const world = new World();
  world.agent = true;
  world.want("enrol");
  world.settle();
  assert.equal(world.phase(), "enrolled");
  world.openConnection();
  world.want("leave");
  world.settle();
  assert.equal(world.phase(), "draining");
  assert.deepEqual(world.kernel, { routing: "whole", capture: "released" });
  world.connections = 0;
  world.settle();
  assert.equal(world.phase(), "absent");
  assert.deepEqual(world.history, [
    "route",
    "listen",
    "redirect",
    "annotate enabled",
    "annotate undefined",
    "release",
    "unlisten",
    "remove",
  ]);
});

test("without an agent the pod is pending and not redirected; when one comes it is enrolled", () => {
  const world = new World();
  world.want("enrol");
  world.settle();
  assert.equal(world.phase(), "offered");
  assert.equal(world.annotation, "pending");
  assert.equal(world.kernel.capture, "none");
  world.connectAgent();
  world.settle();
  assert.equal(world.phase(), "enrolled");
  assert.equal(world.annotation, "enabled");
});

test("labelled again while captured connections drain, the pod is captured again and nothing is deleted", () => {
  const world = new World();
  world.agent = true;
  world.want("enrol");
  world.settle();
  world.openConnection();
  world.want("leave");
  world.settle();
  world.want("enrol");
  world.settle();
  assert.equal(world.phase(), "enrolled");
  assert.equal(world.connections, 1);
  assert.ok(!world.history.includes("remove"));
});

test("a restarted daemon takes over a captured pod without asking, and finishes what was half done", () => {
  for (const kernel of [
    { routing: "whole", capture: "redirecting" },
    { routing: "none", capture: "redirecting" },
    { routing: "whole", capture: "released" },
    { routing: "whole", capture: "none" },
  ] as const) {
    for (const want of ["enrol", "leave"] as const) {
      const world = new World();
      world.kernel = { ...kernel };
      world.listening = kernel.capture === "redirecting";
      world.everAcknowledged = world.listening;
      world.agent = true;
      world.wanted = want;
      world.event({ kind: "inspect" });
      world.settle();
      assert.equal(world.phase(), want === "enrol" ? "enrolled" : "absent", JSON.stringify({ kernel, want }));
      assert.deepEqual(
        world.kernel,
        want === "enrol" ? { routing: "whole", capture: "redirecting" } : { routing: "none", capture: "none" },
      );
    }
  }
});

test("a pod that was captured before the restart stays captured while no agent is there", () => {
  const world = new World();
  world.kernel = { routing: "whole", capture: "redirecting" };
  world.annotation = "enabled";
  world.wanted = "enrol";
  world.event({ kind: "inspect" });
  world.settle();
  assert.equal(world.phase(), "enrolled");
  assert.equal(world.annotation, "enabled");
  assert.ok(world.offered);
});

test("an answer nobody asked for is a typed error; news that come late are ignored", () => {
  const error = step(absent, "leave", { kind: "captured" });
  assert.ok(error instanceof EnrolmentError);
  assert.deepEqual(error.type, { code: "cni.wrong-state", phase: "absent", event: "captured" });
  assert.deepEqual(step(absent, "leave", { kind: "served" }), { state: absent, effects: [] });
  assert.deepEqual(step(absent, "leave", { kind: "due" }), { state: absent, effects: [] });
});

test("whatever fails, flips, crashes or comes late: listeners before the redirect, no table deleted under a connection, and it converges", () => {
  const seen = new Set<Enrolment["phase"]>();
  fc.assert(
    fc.property(
      fc.array(move, { maxLength: 150, size: "max" }),
      fc.constantFrom<Want>("enrol", "leave", "forget"),
      (moves, last) => {
        const world = new World();
        world.want("enrol");
        for (const { what, pick } of moves) {
          world.move(what, pick);
          seen.add(world.phase());
        }
        world.converge(last);
        if (last === "enrol") {
          assert.equal(world.phase(), "enrolled");
          assert.deepEqual(world.kernel, { routing: "whole", capture: "redirecting" });
          assert.equal(world.annotation, "enabled");
          assert.ok(world.listening);
        } else if (last === "leave") {
          assert.equal(world.phase(), "absent");
          assert.deepEqual(world.kernel, { routing: "none", capture: "none" });
          assert.equal(world.annotation, undefined);
          assert.ok(!world.listening && !world.offered);
        } else {
          assert.equal(world.phase(), "absent");
          assert.ok(!world.listening && !world.offered);
        }
      },
    ),
    { numRuns: 2000 },
  );
  assert.equal(seen.size, 15, `every phase was walked through: ${[...seen].join()}`);
});

type Move = (typeof moveNames)[number];
const moveNames = [
  "enrol",
  "leave",
  "forget",
  "agent-comes",
  "agent-goes",
  "agent-answers",
  "agent-refuses",
  "kernel-succeeds",
  "kernel-fails",
  "annotation-written",
  "timer",
  "connection-opens",
  "connection-ends",
  "daemon-crashes",
  "drift",
  "everything-under-way-ends",
] as const;
// Progress more often than faults, so that walks get far before they are disturbed.
const progress = [
  "kernel-succeeds",
  "annotation-written",
  "agent-answers",
  "timer",
  "agent-comes",
  "connection-opens",
] as const;
const move = fc.record({
  what: fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom<Move[]>(...progress) },
    { weight: 2, arbitrary: fc.constantFrom<Move[]>(...moveNames) },
  ),
  pick: fc.nat(100),
});

const failure = { code: "test.fault" };

/** One pod, one agent, one annotation; effects wait until a move lets them happen. The invariants are asserted where things happen. */
class World {
  state: Enrolment = absent;
  wanted: Want = "leave";
  kernel: KernelTruth = { routing: "none", capture: "none" };
  annotation: Redirection = undefined;
  /** An agent is connected. */
  agent = false;
  /** The agent's listeners stand in the pod: they outlive the link, and the daemon. */
  listening = false;
  /** Acknowledged since the last `del` or crash of the agent's own. */
  everAcknowledged = false;
  /** The daemon wants agents to hold the pod. */
  offered = false;
  connections = 0;
  readonly history: string[] = [];
  #kernelEffect: Effect | undefined;
  #annotating: { redirection: Redirection } | undefined;
  #withdrawing = false;
  #timer = false;

  phase(): Enrolment["phase"] {
    return this.state.phase;
  }

  want(want: Want): void {
    this.wanted = want;
    this.event({ kind: "wanted" });
  }

  event(event: EnrolmentEvent): void {
    const next = step(this.state, this.wanted, event);
    if (next instanceof EnrolmentError) throw next;
    if (next.state !== this.state) this.#timer = false;
    this.state = next.state;
    for (const effect of next.effects) this.#begin(effect);
  }

  move(what: Move, pick: number): void {
    switch (what) {
      case "enrol":
      case "leave":
      case "forget":
        return this.want(what);
      case "agent-comes":
        return this.connectAgent();
      case "agent-goes":
        this.agent = false;
        // Half the time the process is dead, and its sockets with it.
        if (pick % 2 === 0) this.#agentDies();
        if (this.offered) this.event({ kind: "refused", error: { code: "cni.no-agent" } });
        return;
      case "agent-answers":
        return this.#agentAnswers();
      case "agent-refuses":
        if (this.agent && this.offered) this.event({ kind: "refused", error: failure });
        return;
      case "kernel-succeeds":
        return this.#kernelAnswers();
      case "kernel-fails":
        if (this.#kernelEffect === undefined) return;
        this.#kernelEffect = undefined;
        return this.event({ kind: "failed", error: failure });
      case "annotation-written":
        return this.#annotationWritten();
      case "timer":
        if (!this.#timer) return;
        this.#timer = false;
        return this.event({ kind: "due" });
      case "connection-opens":
        return this.openConnection();
      case "connection-ends":
        this.connections = Math.max(0, this.connections - 1);
        return;
      case "daemon-crashes":
        return this.#crash();
      case "everything-under-way-ends":
        return this.settle(3);
      case "drift":
        if (pick % 2 === 0 && this.kernel.capture === "redirecting")
          this.kernel = { ...this.kernel, routing: "partial" };
        return this.event({ kind: "drifted" });
    }
  }

  connectAgent(): void {
    this.agent = true;
    // Its snapshot names what is offered; what is not named is let go.
    if (!this.offered) this.listening = false;
  }

  openConnection(): void {
    if (this.kernel.capture === "redirecting" && this.listening) this.connections += 1;
  }

  /** Lets everything under way happen until nothing does, with connections left as they are. */
  settle(rounds = 40): void {
    for (let round = 0; round < rounds; round += 1) {
      this.#kernelAnswers();
      this.#annotationWritten();
      this.#agentAnswers();
      this.move("timer", 0);
      if (this.offered && !this.agent) this.event({ kind: "refused", error: { code: "cni.no-agent" } });
    }
  }

  /** No more faults: connections end, an agent is there, and the want is the last one. */
  converge(last: Want): void {
    this.connectAgent();
    this.connections = 0;
    this.want(last);
    this.settle();
    if (this.state.phase === "enrolled") this.event({ kind: "drifted" });
    this.settle();
  }

  #begin(effect: Effect): void {
    switch (effect.kind) {
      case "offer":
        this.offered = true;
        return;
      case "annotate":
        this.#annotating = { redirection: effect.redirection };
        return;
      case "withdraw":
        if (this.wanted !== "forget") assert.notEqual(this.kernel.capture, "redirecting", "del while redirecting");
        this.offered = false;
        this.#withdrawing = true;
        return;
      case "retry":
      case "recount":
      case "settle":
        this.#timer = true;
        return;
      case "close":
        assert.ok(!this.offered, "closed while agents hold it");
        if (this.wanted === "forget") {
          // The namespace dies with its pod.
          this.kernel = { routing: "none", capture: "none" };
          this.connections = 0;
          this.annotation = undefined;
        }
        return;
      default:
        assert.equal(this.#kernelEffect, undefined, `two kernel changes at once: ${effect.kind}`);
        this.#kernelEffect = effect;
    }
  }

  #kernelAnswers(): void {
    const effect = this.#kernelEffect;
    this.#kernelEffect = undefined;
    switch (effect?.kind) {
      case "inspect":
        return this.event({ kind: "found", truth: this.kernel, annotated: this.annotation !== undefined });
      case "route":
        this.kernel = { ...this.kernel, routing: "whole" };
        this.history.push("route");
        return this.event({ kind: "routed" });
      case "redirect":
        assert.ok(this.everAcknowledged, "redirect without an acknowledgement");
        this.kernel = { ...this.kernel, capture: "redirecting" };
        this.history.push("redirect");
        return this.event({ kind: "captured" });
      case "repair":
        assert.equal(this.kernel.capture, "redirecting", "a repair captures nothing that was free");
        this.kernel = { routing: "whole", capture: "redirecting" };
        return this.event({ kind: "captured" });
      case "release":
        assert.equal(this.annotation, undefined, "released while peers still tunnel");
        if (this.kernel.capture !== "none") this.kernel = { ...this.kernel, capture: "released" };
        this.history.push("release");
        return this.event({ kind: "released" });
      case "count":
        return this.event({ kind: "counted", held: this.connections });
      case "remove":
        assert.equal(this.connections, 0, "tables deleted under a captured connection");
        assert.notEqual(this.kernel.capture, "redirecting");
        this.kernel = { routing: "none", capture: "none" };
        this.history.push("remove");
        return this.event({ kind: "removed" });
      default:
        return;
    }
  }

  #annotationWritten(): void {
    if (this.#annotating === undefined) return;
    const { redirection } = this.#annotating;
    this.#annotating = undefined;
    if (redirection === "enabled") assert.equal(this.kernel.capture, "redirecting", "announced before it is captured");
    this.annotation = redirection;
    this.history.push(`annotate ${redirection}`);
    this.event({ kind: "annotated", redirection });
  }

  #agentAnswers(): void {
    if (this.#withdrawing) {
      this.#withdrawing = false;
      if (this.agent) {
        if (this.listening) this.history.push("unlisten");
        this.listening = false;
        this.everAcknowledged = false;
      }
      this.event({ kind: "withdrawn" });
    } else if (this.agent && this.offered) {
      if (!this.listening) this.history.push("listen");
      this.listening = true;
      this.everAcknowledged = true;
      this.event({ kind: "served" });
    }
  }

  #agentDies(): void {
    this.listening = false;
    this.connections = 0;
  }

  #crash(): void {
    this.agent = false;
    this.state = absent;
    this.#kernelEffect = undefined;
    this.#annotating = undefined;
    this.#withdrawing = false;
    this.#timer = false;
    this.offered = false;
    this.event({ kind: "inspect" });
  }
}
