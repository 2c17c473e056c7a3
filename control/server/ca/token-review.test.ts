import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../../core/base/clock.ts";
import { KubeError } from "../../sources/kubernetes/errors.ts";
import { CallerError, refusalOf } from "./authenticate.ts";
import { KubernetesTokenReviewer, readStatus, type ReviewClient, type ReviewStatus } from "./token-review.ts";
import { status as grpcStatus } from "@grpc/grpc-js";

const audience = "istio-ca";
const good: ReviewStatus = {
  authenticated: true,
  audiences: [audience],
  user: {
    username: "system:serviceaccount:ambient-system:ambientd-agent",
    groups: ["system:serviceaccounts", "system:serviceaccounts:ambient-system", "system:authenticated"],
    extra: {
      "authentication.kubernetes.io/pod-name": ["agent-1"],
      "authentication.kubernetes.io/pod-uid": ["uid-1"],
      "authentication.kubernetes.io/node-name": ["node1"],
      "authentication.kubernetes.io/node-uid": ["uid-node1"],
    },
  },
};

test("a good answer is a caller, bound to its pod and its pod's node", () => {
  const caller = readStatus(good, audience, "cluster.local");
  assert.deepEqual(caller, {
    identity: { trustDomain: "cluster.local", namespace: "ambient-system", serviceAccount: "ambientd-agent" },
    binding: { kind: "pod", pod: { name: "agent-1", uid: "uid-1" }, node: { name: "node1", uid: "uid-node1" } },
  });
});

test("an API server that names no node binds to the pod alone, and a token of no pod is bound to nothing", () => {
  const pod = readStatus(withExtra(["pod-name", "pod-uid"]), audience, "cluster.local");
  assert.ok(!(pod instanceof CallerError));
  assert.deepEqual(pod.binding, { kind: "pod", pod: { name: "agent-1", uid: "uid-1" } });
  for (const names of [["pod-name"], ["pod-uid"], ["node-name", "node-uid"], []]) {
    const caller = readStatus(withExtra(names), audience, "cluster.local");
    assert.ok(!(caller instanceof CallerError));
    assert.deepEqual(caller.binding, { kind: "unbound" }, names.join());
  }
});

for (const [what, change] of [
  ["is not accepted", { authenticated: false }],
  ["is accepted for another audience", { audiences: ["kubernetes"] }],
  ["is reviewed by an API server that knows no audiences", { audiences: [] }],
  ["is a person's", { user: { username: "admin", groups: ["system:authenticated"] } }],
  ["only calls itself a service account", { user: { ...good.user, groups: ["system:authenticated"] } }],
  ["names no account", { user: { ...good.user, username: "system:serviceaccount:ambient-system" } }],
  ["names a strange account", { user: { ...good.user, username: "system:serviceaccount:a:b/../c" } }],
] as const) {
  test(`a token that ${what} is refused`, () => {
    const caller = readStatus({ ...good, ...change }, audience, "cluster.local");
    assert.ok(caller instanceof CallerError);
    assert.equal(caller.type.code, "caller.bad-token");
  });
}

test("what the API server finds wrong is for the log, and short", () => {
  const caller = readStatus({ authenticated: false, error: `expired ${"x".repeat(5_000)}` }, audience, "td");
  assert.ok(caller instanceof CallerError && caller.type.code === "caller.bad-token");
  assert.match(caller.type.reason, /^expired/);
  assert.ok(caller.type.reason.length <= 300);
});

test("an answer is remembered for ten seconds, a refusal for two", async () => {
  const { reviewer, clock, asked, answer } = reviewing();
  await reviewer.review("a.b.c", audience);
  clock.advance(9_999);
  await reviewer.review("a.b.c", audience);
  assert.equal(asked.length, 1);
  clock.advance(2);
  answer.status = { authenticated: false };
  assert.ok((await reviewer.review("a.b.c", audience)) instanceof CallerError);
  assert.equal(asked.length, 2);
  clock.advance(1_999);
  await reviewer.review("a.b.c", audience);
  assert.equal(asked.length, 2);
  clock.advance(2);
  answer.status = good;
  assert.ok(!((await reviewer.review("a.b.c", audience)) instanceof CallerError));
  assert.equal(asked.length, 3);
});

test("an answer counts for the token and audience it was given for", async () => {
  const { reviewer, asked } = reviewing();
  await reviewer.review("a.b.c", audience);
  await reviewer.review("a.b.d", audience);
  await reviewer.review("a.b.c", "other");
  assert.deepEqual(
    asked.map(({ spec }) => [spec.token, ...spec.audiences]),
    [
      ["a.b.c", audience],
      ["a.b.d", audience],
      ["a.b.c", "other"],
    ],
  );
});

test("the same token asked for many times at once is reviewed once, and few are reviewed at a time", async () => {
  let running = 0;
  let most = 0;
  const client: ReviewClient = {
    async create<T>(): Promise<T> {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      return { status: good } as T;
    },
  };
  const clock = new ManualClock();
  const reviewer = new KubernetesTokenReviewer({ client, trustDomain: "cluster.local", clock });
  const same = await Promise.all(Array.from({ length: 50 }, () => reviewer.review("a.b.c", audience)));
  assert.equal(new Set(same).size, 1);
  await Promise.all(Array.from({ length: 500 }, (_, index) => reviewer.review(`a.b.${index}`, audience)));
  assert.equal(most, 16);
  assert.equal(running, 0);
  const flood = await Promise.all(
    Array.from({ length: 3_000 }, (_, index) => reviewer.review(`x.y.${index}`, audience)),
  );
  const sentAway = flood.filter((one) => one instanceof CallerError && one.type.code === "caller.not-reviewed");
  assert.ok(sentAway.length > 1_000, "who would wait too long is told to come back");
});

test("while the API server can't be reached a caller is told to come back, and nothing is remembered", async () => {
  const { reviewer, asked, answer } = reviewing();
  const request = { method: "POST", path: "/apis/authentication.k8s.io/v1/tokenreviews" };
  answer.error = new KubeError({ code: "kube.unreachable", server: "https://x", reason: "refused", ...request });
  const caller = await reviewer.review("a.b.c", audience);
  assert.ok(caller instanceof CallerError);
  assert.equal(caller.type.code, "caller.not-reviewed");
  assert.equal(refusalOf(caller).code, grpcStatus.UNAVAILABLE);
  assert.equal(asked.length, 2, "a connection that was closed meanwhile is tried once more");
  answer.error = undefined;
  assert.ok(!((await reviewer.review("a.b.c", audience)) instanceof CallerError));
});

test("what isn't shaped like a token costs no request", async () => {
  const { reviewer, asked } = reviewing();
  for (const token of ["", "opaque", "a.b", "a.b.c.d", "a.b.c d", "a..c", "ä.b.c"]) {
    assert.ok((await reviewer.review(token, audience)) instanceof CallerError, token);
  }
  assert.equal(asked.length, 0);
});

function reviewing() {
  const clock = new ManualClock();
  const asked: { spec: { token: string; audiences: string[] } }[] = [];
  const answer: { status: ReviewStatus; error: KubeError | undefined } = { status: good, error: undefined };
  const client: ReviewClient = {
    create<T>(_path: string, body: object): Promise<T | KubeError> {
      asked.push(body as (typeof asked)[number]);
      return Promise.resolve(answer.error ?? ({ status: answer.status } as T));
    },
  };
  const reviewer = new KubernetesTokenReviewer({ client, trustDomain: "cluster.local", clock });
  return { reviewer, clock, asked, answer };
}

function withExtra(names: readonly string[]): ReviewStatus {
  const keys = names.map((name) => `authentication.kubernetes.io/${name}`);
  const extra = Object.fromEntries(Object.entries(good.user?.extra ?? {}).filter(([key]) => keys.includes(key)));
  return { ...good, user: { ...good.user, extra } };
}
