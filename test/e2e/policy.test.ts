/** Who may reach whom: policies by principal, demands for mutual TLS, and what becomes of policies and manifests nobody can understand. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import {
  authorizationPolicy,
  idlePod,
  namespace,
  peerAuthentication,
  pod,
  service,
  type Manifest,
} from "../support/manifests.ts";
import { useLab } from "../support/mesh-lab.ts";
import { until } from "../support/until.ts";

const lab = useLab([
  namespace("mesh", { ambient: true }),
  namespace("plain"),
  idlePod("mesh/client", { node: "node1" }),
  idlePod("mesh/other", { node: "node1" }),
  pod("mesh/server", { node: "node2" }),
  service("mesh/server"),
  idlePod("plain/client", { node: "node1" }),
]);

/** An update is to take effect in two seconds; the watchdog waits five times that. */
const deadlineMs = 10_000;
const url = "http://server.mesh.svc:80/";
const echo = "server.mesh.svc:9000";
const principalOf = (account: string): string => `cluster.local/ns/mesh/sa/${account}`;

/** Refuses one caller of mesh/server. */
const denial = (name: string, account: string) =>
  authorizationPolicy(`mesh/${name}`, {
    selector: { matchLabels: { app: "server" } },
    action: "DENY",
    rules: [{ from: [{ source: { principals: [principalOf(account)] } }] }],
  });

describe("a DENY by principal", () => {
  it("F-161 F-163 F-174 refuses its caller with a reason and the policy's name in the log, lets others through, and heals when removed", async (t) => {
    await becomes(t, "200 before the policy", "mesh/client", 200);

    await apply(t, "deny.yaml", denial("no-client", "client"));
    await becomes(t, "refused under the policy", "mesh/client", "ECONNRESET");
    assert.equal(await answer("mesh/other"), 200);
    const inbound = await lab().accessLine(
      "node2",
      "the refusal",
      (line) => line.direction === "inbound" && line.reason === "POLICY_DENIED",
    );
    assert.equal(inbound.policy, "mesh/no-client");
    assert.equal(inbound["src.identity"], `spiffe://${principalOf("client")}`);
    assert.equal(inbound["dst.identity"], `spiffe://${principalOf("server")}`);
    const outbound = await lab().accessLine("node1", "its other half", (line) => line.trace === inbound.trace);
    assert.equal(outbound.reason, "PEER_DENIED");

    await lab().remove("deny.yaml");
    await becomes(t, "200 after the policy", "mesh/client", 200);
  });

  it("F-171 cuts the connections it would not have let in, at both ends, and no others", async (t) => {
    const held = await lab().start("mesh/client", "hold", echo);
    const kept = await lab().start("mesh/other", "hold", echo);
    for (const client of [held, kept]) {
      client.send("before");
      await client.result("an echo before the policy", ({ text }) => text === "before\n" || text === "before");
    }
    const { local } = await held.result("its port", ({ event }) => event === "connected");

    const applied = performance.now();
    await apply(t, "cut.yaml", denial("cut-client", "client"));
    await held.result("the cut", ({ event, code }) => event === "error" && code === "ECONNRESET");
    t.diagnostic(`cut ${Math.round(performance.now() - applied)} ms after the manifest was written`);
    const outbound = await lab().accessLine("node1", "the client's end", (line) =>
      line["src.addr"].endsWith(`:${String(local)}`),
    );
    const inbound = await lab().accessLine(
      "node2",
      "the server's end",
      (line) => line.direction === "inbound" && line.trace === outbound.trace,
    );
    assert.equal(inbound.reason, "POLICY_DENIED");
    assert.equal(inbound.policy, "mesh/cut-client");
    assert.notEqual(outbound.reason, "OK");

    const before = kept.results.length;
    kept.send("after");
    await kept.result("an echo under the policy", ({ event }) => event === "echo", before);
    await lab().remove("cut.yaml");
    for (const client of [held, kept]) client.end();
    await Promise.all([held.ended, kept.ended]);
    await becomes(t, "200 after the policy", "mesh/client", 200);
  });
});

describe("peer authentication", () => {
  it("F-171 F-172 STRICT refuses plaintext from outside the mesh, and cuts what is open; PERMISSIVE, and none at all, accept it", async (t) => {
    await becomes(t, "plaintext without one", "plain/client", 200);

    const held = await lab().start("plain/client", "hold", echo);
    held.send("before");
    await held.result("an echo in plaintext", ({ event }) => event === "echo");
    await apply(t, "mtls.yaml", peerAuthentication("mesh/default", "STRICT"));
    await held.result("the cut of an open connection", ({ event, code }) => event === "error" && code === "ECONNRESET");
    held.end();
    await becomes(t, "plaintext under STRICT", "plain/client", "ECONNRESET");
    assert.equal(await answer("mesh/client"), 200, "mutual TLS goes on");
    const line = await lab().accessLine("node2", "the refusal", ({ reason }) => reason === "POLICY_MTLS_REQUIRED");
    assert.equal(line.direction, "inbound");
    assert.equal(line.protocol, "tcp");
    assert.equal(line["src.identity"], undefined);
    assert.match(line.policy ?? "", /istio_converted_static_strict$/);

    await apply(t, "mtls.yaml", peerAuthentication("mesh/default", "PERMISSIVE"));
    await becomes(t, "plaintext under PERMISSIVE", "plain/client", 200);
    await lab().remove("mtls.yaml");
  });
});

describe("a policy that can't be understood", () => {
  it("leaves its last good version in force, and says so on its status and in control's log", async (t) => {
    await apply(t, "policy.yaml", denial("precious", "client"));
    await becomes(t, "refused by the good version", "mesh/client", "ECONNRESET");

    await apply(t, "policy.yaml", damaged("precious", "DENY"));
    const message = await refused("mesh/precious");
    assert.match(message, /rules\[0\]\.from\[0\]\.source\.principal/);
    assert.match(message, /last good version stays in force/);
    const said = await problem("precious", "last good version stays in force");
    assert.match(said.file, /policy\.yaml$/);
    assert.ok(said.line > 1);
    assert.match(said.field, /rules\[0\]\.from\[0\]\.source\.principal/);
    assert.equal(await answer("mesh/client"), "ECONNRESET");
    assert.equal(await answer("mesh/other"), 200);

    await apply(t, "policy.yaml", denial("precious", "other"));
    await becomes(t, "the next good version", "mesh/client", 200);
    await becomes(t, "the next good version refuses", "mesh/other", "ECONNRESET");
    await until("the status is well again", deadlineMs, () =>
      lab()
        .conditions("AuthorizationPolicy", "mesh/precious")
        .every(({ reason }) => reason !== "Invalid"),
    );
    await lab().remove("policy.yaml");
    await becomes(t, "200 without it", "mesh/other", 200);
  });

  it("denies all it selects if it is a DENY that never was good", async (t) => {
    await apply(t, "deny.yaml", damaged("never-good", "DENY"));
    await becomes(t, "the caller it may have meant", "mesh/client", "ECONNRESET");
    await becomes(t, "everybody else", "mesh/other", "ECONNRESET");
    await becomes(t, "those outside the mesh", "plain/client", "ECONNRESET");
    assert.match(await refused("mesh/never-good"), /everything it selects is denied/);
    await problem("never-good", "denies everything it selects");
    const line = await lab().accessLine("node2", "a refusal", ({ policy }) => policy === "mesh/never-good");
    assert.equal(line.reason, "POLICY_DENIED");
    await lab().remove("deny.yaml");
    await becomes(t, "200 without it", "mesh/client", 200);
  });

  it("matches nothing if it is an ALLOW that never was good", async (t) => {
    await apply(t, "allow.yaml", damaged("never-good-allow", "ALLOW"));
    await becomes(t, "not allowed by anything", "mesh/client", "ECONNRESET");
    assert.match(await refused("mesh/never-good-allow"), /matches nothing/);
    await problem("never-good-allow", "it matches nothing");
    await lab().accessLine("node2", "a refusal", ({ reason }) => reason === "POLICY_NOT_ALLOWED");
    await apply(
      t,
      "good.yaml",
      authorizationPolicy("mesh/good", { rules: [{ from: [{ source: { principals: [principalOf("client")] } }] }] }),
    );
    await becomes(t, "allowed by another policy", "mesh/client", 200);
    assert.equal(await answer("mesh/other"), "ECONNRESET");
    await lab().remove("good.yaml");
    await lab().remove("allow.yaml");
    await becomes(t, "200 without them", "mesh/other", 200);
  });
});

describe("a manifest that can't be understood", () => {
  it("is named by file, line and field, and the others still apply; an unknown kind is ignored with a note", async (t) => {
    const good = denial("in-bad-company", "client");
    t.after(() => lab().remove("mixed.yaml"));
    await lab().handle.request("PUT", "/manifests/mixed.yaml", mixed(JSON.stringify(good)));
    await becomes(t, "the good document of the file", "mesh/client", "ECONNRESET");
    const said = await problem("broken", "");
    assert.match(said.file, /mixed\.yaml$/);
    assert.equal(said.line, 11);
    assert.equal(said.field, "spec.ports[0].port");
    const { problems } = await lab().status();
    assert.ok(
      problems.some((text) => text.includes("mixed.yaml:11: spec.ports[0].port must be a whole number")),
      problems.join("\n"),
    );
    const notes = (await controlLog()).filter(({ code }) => code === "source.unknown-kind");
    assert.equal(notes.length, 1);
    assert.match(String(notes[0]?.["message"]), /Teapot/);
    assert.equal(notes[0]?.["level"], "info");
  });
});

/** Puts objects in force until the test ends, or removes the file itself. */
async function apply(t: TestContext, file: string, ...manifests: readonly Manifest[]): Promise<void> {
  t.after(() =>
    lab()
      .remove(file)
      .catch(() => undefined),
  );
  await lab().apply(file, ...manifests);
}

/** What a request of that pod comes to: an HTTP status or an errno. */
async function answer(from: string): Promise<unknown> {
  const [result] = await lab().client<{ status?: number; error?: string }>(from, "get", url);
  return result?.status ?? result?.error;
}

/** Waits until requests of that pod come to this, and says how long it took. */
async function becomes(t: TestContext, what: string, from: string, wanted: number | string): Promise<void> {
  const started = performance.now();
  const seen: unknown[] = [];
  await until(`${what}: ${from} gets ${wanted}`, deadlineMs, async () => {
    const got = await answer(from);
    seen.push(got);
    if (got === wanted) return true;
    throw new Error(seen.join(", "));
  });
  t.diagnostic(`${what}: ${from} gets ${wanted} after ${Math.round(performance.now() - started)} ms`);
}

/** A policy of mesh/server with a misspelt field in its only rule. */
function damaged(name: string, action: "ALLOW" | "DENY") {
  return authorizationPolicy(`mesh/${name}`, {
    selector: { matchLabels: { app: "server" } },
    action,
    rules: [{ from: [{ source: { principal: [principalOf("client")] } }] }],
  });
}

/** What a policy's status says once its newest version was refused. */
async function refused(policy: string): Promise<string> {
  const { message = "" } = await until(`the status of ${policy}`, deadlineMs, () =>
    lab()
      .conditions("AuthorizationPolicy", policy)
      .find(({ reason, status }) => reason === "Invalid" && status === "False"),
  );
  return message;
}

interface Complaint extends Record<string, unknown> {
  readonly file: string;
  readonly line: number;
  readonly field: string;
}

/** Control's complaint about an object, as its log has it. */
function problem(name: string, effect: string): Promise<Complaint> {
  return until(`control's word about ${name}`, deadlineMs, async () =>
    (await controlLog()).find(
      (line): line is Complaint =>
        line["level"] === "error" &&
        (line["ref"] as { name?: string } | undefined)?.name === name &&
        String(line["message"]).includes(effect),
    ),
  );
}

async function controlLog(): Promise<Record<string, unknown>[]> {
  const text = await lab().log("control");
  return text
    .split("\n")
    .flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as Record<string, unknown>] : []));
}

/** A file whose second document is wrong in line 11, and whose third nobody knows. @param good the first, in one line. */
function mixed(good: string): string {
  return `${good}
---
apiVersion: v1
kind: Service
metadata:
  name: broken
  namespace: mesh
spec:
  ports:
    - name: http
      port: eighty
---
apiVersion: kitchen.example/v1
kind: Teapot
metadata:
  name: brown
  namespace: mesh
`;
}
