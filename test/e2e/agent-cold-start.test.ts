/** An agent that has just begun, and a control plane that takes its time. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { LocalMeshError } from "../../agent/local-mesh/fields.ts";
import { localMesh } from "../../agent/local-mesh/local-mesh.ts";
import { addressType } from "../../core/protocol/wds/address.ts";
import { authorizationType } from "../../core/protocol/wds/authorization.ts";
import type { DeltaResource } from "../../core/protocol/xds/delta-client.ts";
import { DedicatedAgent, webAddress } from "../support/dedicated-agent.ts";
import { application, ownAddresses } from "../support/loopback-mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { ScriptedControl } from "../support/scripted-control.ts";
import { until } from "../support/until.ts";

const skip = enterNamespaces() ?? false;

const workloads = `
workloads:
- {uid: client, name: client, namespace: shop, serviceAccount: client, trustDomain: cluster.local, workloadIps: [10.99.0.2], protocol: HBONE}
- {uid: web, name: web, namespace: shop, serviceAccount: web, trustDomain: cluster.local, workloadIps: [${webAddress}], protocol: HBONE}
`;
/** Of the whole namespace: no workload lists it. */
const noStrangers = `
policies:
- name: no-strangers
  namespace: shop
  scope: Namespace
  action: Deny
  rules: [[[{principals: [{Exact: cluster.local/ns/shop/sa/stranger}]}]]]
`;

test(
  "H040 F-014 between its addresses and its policies nobody is let in and the agent is not ready; then each has his answer",
  { skip },
  async (t) => {
    const { agent, control, authority, accepted } = await scene(t, {});
    await control.asked(addressType);
    await control.asked(authorizationType);
    assert.equal((await control.say(addressType, resources(workloads))).errorDetail, undefined);
    const [friend, stranger] = [await agent.peer("client"), await agent.peer("stranger")];
    t.after(() => [friend, stranger].forEach((peer) => peer.close()));
    const answers = [friend.status(authority), stranger.status(authority)];
    await until("both wait", 10_000, async () => (await inbound()) === 2);
    assert.equal(accepted(), 0);
    assert.match(await readiness(), /^500 not ready, pending: state manager \(.+\)$/);
    assert.equal((await control.say(authorizationType, resources(noStrangers))).errorDetail, undefined);
    assert.deepEqual(await Promise.all(answers), [200, 401]);
    assert.equal(accepted(), 1);
    await until("it is ready", 10_000, async () => (await readiness()) === "200 ready");
    assert.deepEqual([await friend.status(authority), await stranger.status(authority)], [200, 401]);
  },
);

test(
  "H040 F-123 what a file says beside a control plane does not stand for the policies that are still to come",
  { skip },
  async (t) => {
    const { agent, control, authority, accepted } = await scene(t, { LOCAL_XDS: workloads });
    await control.asked(authorizationType);
    const stranger = await agent.peer("stranger");
    t.after(() => stranger.close());
    const answer = stranger.status(authority);
    await until("it waits", 10_000, async () => (await inbound()) === 1);
    // Policies may as well come first.
    await control.say(authorizationType, resources(noStrangers));
    assert.equal(await answer, 401);
    assert.equal(accepted(), 0);
    assert.match(await readiness(), /^500 not ready, pending: state manager \(.+\)$/);
    await control.say(addressType, []);
    await until("it is ready", 10_000, async () => (await readiness()) === "200 ready");
  },
);

async function scene(t: TestContext, settings: Readonly<Record<string, string>>) {
  await ownAddresses();
  let accepted = 0;
  const app = await application(webAddress, (socket) => {
    accepted += 1;
    socket.pipe(socket);
  });
  t.after(app.close);
  const agent = new DedicatedAgent(t);
  const control = await ScriptedControl.start(t);
  const root = join(agent.folder, "control-root.pem");
  writeFileSync(root, control.rootPem);
  agent.start({ XDS_ADDRESS: control.address, XDS_ROOT_CA: root, AUTH_TOKEN: "a-token", ...settings });
  await until("its pod is served", 20_000, async () => (await served())?.state === "Up");
  return { agent, control, authority: `${webAddress}:${app.port}`, accepted: () => accepted };
}

function resources(yaml: string): readonly DeltaResource[] {
  const updates = localMesh(yaml);
  assert.ok(!(updates instanceof LocalMeshError));
  return updates.flatMap((update) => update.resources);
}

/** The agent's pod as the agent tells of it; undefined while it cannot be asked or has none. */
async function served(): Promise<PodDump | undefined> {
  try {
    const dump = await (await fetch("http://127.0.0.1:15000/config_dump")).json();
    return Object.values((dump as { workloadState: Record<string, PodDump> }).workloadState)[0];
  } catch {
    return undefined;
  }
}

interface PodDump {
  readonly state: string;
  readonly connections: { readonly inbound: readonly unknown[] };
}

async function inbound(): Promise<number> {
  return (await served())?.connections.inbound.length ?? 0;
}

async function readiness(): Promise<string> {
  const response = await fetch("http://127.0.0.1:15021/healthz/ready");
  return `${response.status} ${(await response.text()).trim()}`;
}
