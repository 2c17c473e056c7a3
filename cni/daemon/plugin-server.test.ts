import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ManualClock } from "../../core/base/clock.ts";
import type { ErrorData } from "../../core/base/errors.ts";
import { parsePluginEvent, pluginHandler, type PluginView } from "./plugin-server.ts";

const istioEvent = JSON.stringify({
  Netns: "/var/run/netns/cni-1",
  PodName: "cart",
  PodNamespace: "shop",
  IPs: [{ Interface: 0, Address: { IP: "10.0.0.2", Mask: "////AA==" }, Gateway: "10.0.0.1" }],
});

test("the plugin's event is read as istio writes it, and whatever isn't one is refused", () => {
  assert.deepEqual(parsePluginEvent(istioEvent), {
    podName: "cart",
    podNamespace: "shop",
    netns: "/var/run/netns/cni-1",
    addresses: ["10.0.0.2"],
  });
  const odd = { PodName: "cart", PodNamespace: "shop", PodUID: "u-1", Netns: 7 };
  const IPs = [
    null,
    {},
    { Address: null },
    { Address: { IP: 1 } },
    { Address: { IP: "FD00::0:2" } },
    { Address: { IP: "x" } },
  ];
  const read = parsePluginEvent(JSON.stringify({ ...odd, IPs }));
  assert.deepEqual(read, { podName: "cart", podNamespace: "shop", podUid: "u-1", netns: "", addresses: ["fd00::2"] });
  assert.deepEqual(parsePluginEvent(JSON.stringify({ ...odd, IPs: null }))?.addresses, []);
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
  assert.deepEqual(await answer, {
    status: 500,
    body: "pod shop/cart is not enrolled yet: no ambientd-agent is connected on this node; see that its pod runs (cni.no-agent)\n",
  });
  const stranger = handler({ kind: "unknown" });
  const late = stranger.ask(istioEvent);
  await stranger.becomes({ kind: "unknown" });
  stranger.clock.advance(4500);
  assert.deepEqual(await late, { status: 500, body: "pod shop/cart is not known to this node's daemon\n" });
});

test("/cmdcheck waits a second only; /cmdstatus says whether a pod could be enrolled now", async () => {
  const world = handler({ kind: "waiting" });
  const answer = world.ask(istioEvent, "/cmdcheck");
  await world.becomes({ kind: "waiting" });
  world.clock.advance(1000);
  assert.equal((await answer).status, 500);
  assert.equal((await handler({ kind: "enrolled" }).ask(istioEvent, "/cmdcheck")).status, 200);
  assert.equal((await world.ask("", "/cmdstatus")).status, 200);
  world.impediment = { code: "cni.no-agent" };
  const { status, body } = await world.ask("", "/cmdstatus");
  assert.equal(status, 503);
  assert.match(String(body), /no ambientd-agent is connected/);
});

test("whoever asked and went away is no longer answered", async () => {
  const world = handler({ kind: "waiting" });
  const gone = new AbortController();
  const answer = world.ask(istioEvent, "/cmdadd", gone.signal);
  await world.becomes({ kind: "waiting" });
  assert.equal(world.open, 1);
  gone.abort();
  await answer;
  assert.equal(world.open, 0);
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
  const world = {
    clock,
    open: 0,
    impediment: undefined as ErrorData | undefined,
    ask: (text: string | undefined, path = "/cmdadd", signal = new AbortController().signal) =>
      handle({ method: "POST", path, signal, text: async () => text }),
    becomes: async (next: PluginView) => {
      await new Promise((resolve) => setImmediate(resolve));
      view = next;
      change.resolve();
      change = Promise.withResolvers();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
  const handle = pluginHandler({
    open: () => {
      world.open += 1;
      return { view: () => view, close: () => void (world.open -= 1) };
    },
    changed: () => change.promise,
    impediment: () => world.impediment,
    clock,
  });
  return world;
}
