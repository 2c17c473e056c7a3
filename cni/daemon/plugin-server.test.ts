import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ManualClock } from "../../core/base/clock.ts";
import { parsePluginEvent, pluginHandler, type PluginView } from "./plugin-server.ts";

const istioEvent = JSON.stringify({
  Netns: "/var/run/netns/cni-1",
  PodName: "cart",
  PodNamespace: "shop",
  IPs: [{ Interface: 0, Address: { IP: "10.0.0.2", Mask: "////AA==" }, Gateway: "10.0.0.1" }],
});

test("the plugin's event is read as istio writes it, and whatever isn't one is refused", () => {
  assert.deepEqual(parsePluginEvent(istioEvent), { podName: "cart", podNamespace: "shop" });
  for (const bad of ["", "null", "[]", "1", "{}", '{"PodName":"cart"}', '{"PodName":1,"PodNamespace":"shop"}'])
    assert.equal(parsePluginEvent(bad), undefined, bad);
  fc.assert(fc.property(fc.string(), (text) => void parsePluginEvent(text)));
});

test("the answer is 200 once the pod is enrolled, and at once for a pod that isn't to be", async () => {
  const world = handler({ kind: "unknown" });
  const answer = world.ask(istioEvent);
  await world.becomes({ kind: "waiting" });
  await world.becomes({ kind: "enrolled" });
  assert.deepEqual(await answer, { status: 200 });
  assert.deepEqual(await handler({ kind: "excluded" }).ask(istioEvent), { status: 200 });
});

test("after 4.5 s the answer is 500 with what is missing, before the plugin's own patience ends", async () => {
  const world = handler({ kind: "waiting", reason: { code: "cni.no-agent" } });
  const answer = world.ask(istioEvent);
  await world.becomes({ kind: "waiting", reason: { code: "cni.no-agent" } });
  world.clock.advance(4500);
  assert.deepEqual(await answer, { status: 500, body: "pod shop/cart is not enrolled yet: cni.no-agent\n" });
  const stranger = handler({ kind: "unknown" });
  const late = stranger.ask(istioEvent);
  await stranger.becomes({ kind: "unknown" });
  stranger.clock.advance(4500);
  assert.deepEqual(await late, { status: 500, body: "pod shop/cart is not known to this node's daemon\n" });
});

test("a body that can't be read is 400, another path 404", async () => {
  const world = handler({ kind: "enrolled" });
  assert.equal((await world.ask("not json")).status, 400);
  assert.equal((await world.ask(undefined)).status, 400);
  assert.equal((await world.ask(istioEvent, "/cmddel")).status, 404);
});

function handler(first: PluginView) {
  const clock = new ManualClock();
  let view = first;
  let change = Promise.withResolvers<void>();
  const handle = pluginHandler({ viewOf: () => view, arrived: () => {}, changed: () => change.promise, clock });
  return {
    clock,
    ask: (text: string | undefined, path = "/cmdadd") =>
      handle({ method: "POST", path, signal: new AbortController().signal, text: async () => text }),
    becomes: async (next: PluginView) => {
      await new Promise((resolve) => setImmediate(resolve));
      view = next;
      change.resolve();
      change = Promise.withResolvers();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}
