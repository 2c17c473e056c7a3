import assert from "node:assert/strict";
import { test } from "node:test";
import { Action, Authorization, Scope } from "../../../core/protocol/generated/security.ts";
import { ObjectStore } from "../../sources/object-store.ts";
import { Model } from "./model.ts";
import { authorizationTypeUrl } from "./resources.ts";

test("a policy's unreadable update sends nothing and leaves what was sent, and its status says so", () => {
  const mesh = new Mesh();
  mesh.edit(policy("DENY", '"81"'));
  const sent = mesh.policy();
  const change = mesh.edit(policy("DENY", "http"));
  assert.equal(change.resources.size, 0);
  assert.deepEqual(mesh.policy(), sent);
  const [condition] = change.statuses[0]?.conditions ?? [];
  assert.equal(condition?.status, "False");
  assert.match(condition?.message ?? "", /ports\[0\] must be a whole number.*last good version stays in force/);

  const healed = mesh.edit(policy("DENY", '"82"'));
  assert.deepEqual(mesh.policy()?.rules[0]?.clauses[0]?.matches[0]?.destinationPorts, [82]);
  assert.equal(healed.statuses[0]?.conditions[0]?.status, "True");
});

test("a DENY that never was readable denies everybody it selects, an ALLOW allows nobody", () => {
  const deny = new Mesh();
  deny.edit(policy("DENY", "http"));
  assert.deepEqual(
    deny.policy()?.rules.map(({ clauses }) => clauses),
    [[]],
  );
  assert.equal(deny.policy()?.scope, Scope.WORKLOAD_SELECTOR);
  const allow = new Mesh();
  const { statuses } = allow.edit(policy("ALLOW", "http"));
  assert.equal(allow.policy()?.action, Action.ALLOW);
  assert.deepEqual(allow.policy()?.rules, []);
  assert.match(statuses[0]?.conditions[0]?.message ?? "", /matches nothing/);
});

/** One file, as the source and the model see it. */
class Mesh {
  readonly #store = new ObjectStore();
  readonly #model = new Model();

  edit(text: string): ReturnType<Model["apply"]> {
    this.#store.setFile("gate.yaml", text);
    return this.#model.apply(this.#store.flush());
  }

  policy(): Authorization | undefined {
    const bytes = this.#model.resources(authorizationTypeUrl).get("shop/gate")?.bytes;
    return bytes && Authorization.decode(bytes);
  }
}

function policy(action: string, port: string): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: gate, namespace: shop}
spec:
  action: ${action}
  selector: {matchLabels: {app: cart}}
  rules: [{to: [{operation: {ports: [${port}]}}]}]
`;
}
