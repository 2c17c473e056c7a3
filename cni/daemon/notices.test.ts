import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { noticeOf } from "./not-captured.ts";
import { Notices } from "./notices.ts";
import type { PodStatus } from "./pod-status.ts";

const waiting: PodStatus = {
  uid: "u-1",
  namespace: "shop",
  name: "cart",
  want: "enrol",
  because: "selected",
  phase: "offered",
  phaseMs: 0,
  status: "error",
  reason: { code: "cni.no-agent" },
  served: false,
};

test("each reason that a pod isn't captured for is a sentence with a next step", () => {
  const rows: [row: Partial<PodStatus>, reason: string, words: RegExp][] = [
    [{ want: "leave", because: "host-network" }, "AmbientNotCaptured", /hostNetwork.*dataplane-mode=none/],
    [{ want: "leave", because: "sidecar" }, "AmbientNotCaptured", /sidecar.*make the pod anew/],
    [{ want: "leave", because: "excluded-namespace" }, "AmbientNotCaptured", /excluded.*change the value/],
    [{}, "AmbientNotCaptured", /no ambientd-agent.*DaemonSet ambientd-agent/],
    [
      { reason: { code: "cni.agent-refused", reason: "no listeners" } as never },
      "AmbientNotCaptured",
      /could not take.*no listeners/,
    ],
    [
      { phase: "inspecting", reason: { code: "cni.netns-missing", path: "/host/proc" } as never },
      "AmbientNotCaptured",
      /namespace is not found.*\/proc/,
    ],
    [
      { phase: "acknowledged", reason: { code: "cni.kernel", step: "redirect", cause: "EOPNOTSUPP" } as never },
      "AmbientNotCaptured",
      /nf_tables.*EOPNOTSUPP/,
    ],
    [
      { phase: "redirected", reason: { code: "cni.annotation-not-written", reason: "403" } as never },
      "AmbientNotAnnounced",
      /annotation could not be written/,
    ],
    [{ phase: "enrolled", status: "done" }, "AmbientNotServed", /its connections wait/],
    [{ reason: { code: "cni.something-new" } }, "AmbientNotCaptured", /cni\.something-new/],
  ];
  for (const [change, reason, words] of rows) {
    const notice = noticeOf({ ...waiting, ...change });
    assert.equal(notice?.reason, reason, JSON.stringify(change));
    assert.match(notice.message, words);
    assert.ok(notice.message.length < 1024, "events hold a kilobyte");
  }
});

test("a pod that asks for nothing, that is as it should be, or that is on its way, has nothing said of it", () => {
  const { reason: _none, ...onItsWay } = waiting;
  const silent: PodStatus[] = [
    { ...waiting, want: "leave", because: "not-selected" },
    { ...waiting, want: "leave", because: "released" },
    { ...waiting, want: "forget", because: "ended" },
    { ...waiting, because: "gone" },
    { ...onItsWay, phase: "enrolled", served: true },
    onItsWay,
    { ...waiting, phase: "inspecting", reason: { code: "cni.no-address" } },
  ];
  for (const row of silent) assert.equal(noticeOf(row), undefined, row.because);
});

test("what passes within seconds is never said; what stays is said within ten, and again after five minutes", () => {
  const world = makeWorld();
  world.rows = [waiting];
  world.clock.advance(3000);
  world.rows = [];
  world.clock.advance(10_000);
  assert.deepEqual(world.said, []);
  world.rows = [waiting];
  world.clock.advance(10_000);
  assert.deepEqual(world.said, ["cart AmbientNotCaptured"]);
  world.clock.advance(280_000);
  assert.equal(world.said.length, 1);
  world.clock.advance(30_000);
  assert.equal(world.said.length, 2);
  // Another reason is news, at once.
  world.rows = [{ ...waiting, reason: { code: "cni.agent-lost" } }];
  world.clock.advance(1000);
  assert.equal(world.said.length, 3);
});

test("what lasts is said once, and at once", () => {
  const world = makeWorld();
  world.rows = [{ ...waiting, want: "leave", because: "sidecar" }];
  world.clock.advance(1000);
  assert.equal(world.said.length, 1);
  world.clock.advance(3_600_000);
  assert.equal(world.said.length, 1);
});

function makeWorld() {
  const clock = new ManualClock();
  const world = { clock, rows: [] as PodStatus[], said: [] as string[] };
  new Notices({ rows: () => world.rows, say: ({ name }, { reason }) => world.said.push(`${name} ${reason}`), clock });
  return world;
}
