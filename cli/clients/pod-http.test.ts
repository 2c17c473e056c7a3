/** Port-forwards through a scripted API server: what a person is told of each way they fail. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Failure } from "../render/failure.ts";
import { ScriptedApi, type Forwarded } from "../test-support/scripted-api.ts";
import { mapBounded } from "./bounded.ts";
import { openCluster, type Cluster } from "./cluster.ts";
import { getFromPod } from "./pod-http.ts";

const api = new ScriptedApi();
let cluster: Cluster;
const target = { namespace: "ambient-system", pod: "agent-1", port: 15_000 };

before(async () => {
  await api.start();
  cluster = await openCluster({ kubeconfig: api.kubeconfig, requestTimeout: 2_000 });
});
after(() => api.close());

test("an answer comes whole, however the network cuts it", async () => {
  const long = "x".repeat(100_000);
  for (const protocol of ["v4.channel.k8s.io", "v5.channel.k8s.io"]) {
    api.forward = () => ({ kind: "http", protocol, answer: (path) => ({ body: `${path} ${long}` }) });
    assert.deepEqual(await getFromPod(cluster, target, "/config_dump"), { status: 200, body: `/config_dump ${long}` });
  }
});

test("an answer that is no 200 is the caller's to judge", async () => {
  api.forward = () => ({ kind: "http", answer: () => ({ status: 503, body: "not yet\n" }) });
  assert.deepEqual(await getFromPod(cluster, target, "/readyz"), { status: 503, body: "not yet\n" });
});

const failures: [string, Forwarded, RegExp][] = [
  ["401", { kind: "status", status: 401 }, /doesn't know who you are.*\n  Log in again/],
  [
    "403",
    { kind: "status", status: 403 },
    /may not forward a port of ambient-system\/agent-1\.\n  It takes get and create on pods\/portforward in ambient-system/,
  ],
  ["404", { kind: "status", status: 404 }, /There is no pod ambient-system\/agent-1 any more/],
  ["500", { kind: "status", status: 500 }, /can't reach pod ambient-system\/agent-1 on its node \(HTTP 500\)/],
  [
    "a port that nobody listens on",
    {
      kind: "complaint",
      text: 'failed to connect to localhost:15000 inside namespace "x": dial tcp4 127.0.0.1:15000: connect: connection refused',
    },
    /Nothing listens on port 15000 in pod ambient-system\/agent-1/,
  ],
  [
    "a node that complains",
    { kind: "complaint", text: "container not running (abc)" },
    /can't connect to port 15000.*: container not running \(abc\)/,
  ],
  ["a connection that breaks", { kind: "cut" }, /The connection to port 15000 of pod .* broke/],
  ["silence", { kind: "silent" }, /gave no answer on port 15000 within 2 s/],
];
for (const [what, forwarded, expected] of failures) {
  test(`${what} is answered with a sentence and a next step`, async () => {
    api.forward = () => forwarded;
    await assert.rejects(getFromPod(cluster, target, "/config_dump"), (thrown) => {
      assert.ok(thrown instanceof Failure, String(thrown));
      assert.match(thrown.render(), expected);
      assert.equal(thrown.exitCode, 2);
      return true;
    });
  });
}

test("an API server that is gone is named", async () => {
  const gone = await openCluster({ kubeconfig: api.kubeconfig, context: "gone" });
  await assert.rejects(getFromPod(gone, target, "/"), /ECONNREFUSED/);
});

test("many are asked at once, but not all", async () => {
  api.mostForwards = 0;
  api.forward = (pod) => ({ kind: "http", answer: () => ({ body: pod }) });
  const pods = Array.from({ length: 40 }, (_, index) => `agent-${index}`);
  const answers = await mapBounded(pods, 8, (pod) => getFromPod(cluster, { ...target, pod }, "/"));
  assert.deepEqual(
    answers.map(({ body }) => body),
    pods,
  );
  assert.ok(api.mostForwards > 1 && api.mostForwards <= 10, `${api.mostForwards} at once`);
});
