/** The lab without a mesh: pods reach each other plainly, and what manifests say is what runs. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import type { LabHandle } from "../../lab/start.ts";
import type { FrameCounts } from "../../lab/frame-counter.ts";
import type { LabStatus } from "../../lab/status.ts";
import { get, labWith, run, runScript, untilStatus } from "../support/plain-lab.ts";
import { until } from "../support/until.ts";

const echo = `require("http").createServer((q, s) => s.end(q.socket.remoteAddress + " " + process.env.POD_NAME)).listen(8080)`;

let lab: LabHandle;
before(async () => {
  lab = await labWith(
    [
      "{ apiVersion: v1, kind: Namespace, metadata: { name: shop } }",
      pod("client", "node1", "setInterval(() => {}, 1000)"),
      server("near", "node1"),
      server("far", "node2"),
      `{ apiVersion: v1, kind: Service, metadata: { name: echo, namespace: shop },
         spec: { selector: { app: echo }, ports: [{ port: 80, targetPort: web }] } }`,
      `{ apiVersion: v1, kind: Service, metadata: { name: nobody, namespace: shop },
         spec: { selector: { app: nobody }, ports: [{ port: 80 }] } }`,
    ].join("\n---\n"),
    { components: [] },
  );
});
after(() => lab.close());

for (const family of ["IPv4", "IPv6"] as const) {
  test(`a pod reaches a pod of another node over ${family}, and is seen by its own address`, async () => {
    const [client, far] = [await address("shop/client", family), await address("shop/far", family)];
    assert.match(await get(lab, "shop/client", `http://${host(far)}:8080/`), new RegExp(`${client} far$`));
  });

  test(`a pod reaches a pod of its own node over ${family}`, async () => {
    const [client, near] = [await address("shop/client", family), await address("shop/near", family)];
    assert.match(await get(lab, "shop/client", `http://${host(near)}:8080/`), new RegExp(`${client} near$`));
  });

  test(`a service's virtual ${family} address leads to each of its pods`, async () => {
    const { services } = await status();
    const vip = services.find((route) => route.service === "shop/echo" && isOf(family, route.vip.address))!.vip.address;
    const script = `const http = require("http"); const seen = {};
      const next = (n) => n === 0 ? console.log(JSON.stringify(seen)) :
        http.get("http://${host(vip)}/", { agent: false }, (r) => r.on("data", (d) => (seen[String(d).split(" ")[1]] = 1)).on("end", () => next(n - 1)));
      next(40);`;
    assert.deepEqual(Object.keys(JSON.parse(await runScript(lab, "shop/client", script)) as object).sort(), [
      "far",
      "near",
    ]);
  });
}

test("a service is found by each of its names", async () => {
  for (const name of ["echo", "echo.shop", "echo.shop.svc", "echo.shop.svc.cluster.local"])
    assert.match(await get(lab, "shop/client", `http://${name}/`), / (near|far)$/);
});

test("a service without pods refuses, and does not hang", async () => {
  await assert.rejects(get(lab, "shop/client", "http://nobody.shop/"), /ECONNREFUSED/);
});

test("status is written back beside the manifests", async () => {
  const overlay = JSON.parse(fileInLab("cluster/status/Pod.shop.far.lab.json")) as Overlay;
  assert.equal(overlay.status.phase, "Running");
  assert.equal(overlay.status.podIP, await address("shop/far", "IPv4"));
  assert.equal(overlay.status.podIPs.length, 2);
  assert.equal(overlay.status.hostIP, "172.30.2.2");
  assert.equal(overlay.status.conditions.find(({ type }) => type === "Ready")?.status, "True");
});

test("a pod that is added runs, one that is changed runs anew under its old address, one that is removed is gone", async () => {
  await lab.request("PUT", "/manifests/more.yaml", pod("more", "", "console.log(1); setInterval(() => {}, 1000)"));
  await untilStatus(lab, "the new pod", ({ pods }) => pods.some((one) => one.pod === "shop/more" && one.ready));
  const before = (await status()).pods.find((one) => one.pod === "shop/more")!;
  assert.equal(before.node, "node2", "the node with the fewest pods");

  await lab.request("PUT", "/manifests/more.yaml", pod("more", "node2", "console.log(2); setInterval(() => {}, 1000)"));
  await untilStatus(lab, "its second life", ({ pods }) =>
    pods.some((one) => one.pod === "shop/more" && one.ready && one.uid !== before.uid),
  );
  const later = (await status()).pods.find((one) => one.pod === "shop/more")!;
  assert.deepEqual(later.addresses, before.addresses);
  await until(
    "its log",
    5_000,
    async () => (await lab.request<string>("GET", "/log/node2.pod.shop.more")) === "1\n2\n",
  );

  await lab.request("DELETE", "/manifests/more.yaml");
  await untilStatus(lab, "its end", ({ pods, processes }) =>
    [...pods.map((one) => one.pod), ...processes.map(({ name }) => name)].every((name) => !name.includes("more")),
  );
});

test("a pod's namespace has its name before its first process starts", async () => {
  const { pods, nodes } = await status();
  const far = pods.find((one) => one.pod === "shop/far")!;
  const node = nodes.find(({ name }) => name === far.node)!;
  const script = `const { statSync } = require("fs"); const ino = (p) => statSync(p).ino;
    process.exit(ino("/run/netns/${far.uid}") === ino("/proc/self/ns/net") ? 0 : 1)`;
  assert.equal((await run(lab, "shop/far", ["node", "-e", script])).code, 0);
  assert.ok(node.pid !== undefined);
});

test("init containers run first, one after the other, and a failing one is repeated", async () => {
  const once = `const fs = require("fs"); const f = "/run/init-ran"; if (!fs.existsSync(f)) { fs.writeFileSync(f, ""); process.exit(1); } console.log("first")`;
  const manifest = {
    ...metadata("staged"),
    spec: {
      nodeName: "node1",
      restartPolicy: "OnFailure",
      initContainers: [
        { name: "one", command: ["node", "-e", once] },
        { name: "two", command: ["node", "-e", "console.log('second')"] },
      ],
      containers: [
        {
          name: "main",
          command: ["node", "-e", "console.log('$(WORD)', '$$(WORD)')"],
          env: [{ name: "WORD", value: "third" }],
        },
      ],
    },
  };
  await lab.request("PUT", "/manifests/staged.json", JSON.stringify(manifest));
  await untilStatus(lab, "its success", ({ pods }) =>
    pods.some((one) => one.pod === "shop/staged" && one.stage === "succeeded"),
  );
  const log = (suffix: string): Promise<string> => lab.request<string>("GET", `/log/node1.pod.shop.staged${suffix}`);
  assert.deepEqual([await log(".one"), await log(".two"), await log("")], ["first\n", "second\n", "third $(WORD)\n"]);
});

test("a killed pod process is started again, a stopped one when it is continued", async () => {
  const name = "node2.pod.shop.far";
  await lab.request("POST", `/process/${name}/kill`, { signal: "SIGKILL" });
  await untilStatus(lab, "its restart", ({ pods }) =>
    pods.some((one) => one.pod === "shop/far" && one.ready && one.restarts === 1),
  );
  await lab.request("POST", `/process/${name}/stop`);
  await untilStatus(lab, "its absence", ({ pods }) => pods.some((one) => one.pod === "shop/far" && !one.ready));
  const address = (await status()).services.find((route) => route.service === "shop/echo")!;
  assert.equal(address.targets.length, 1, "the service leads to the other one only");
  await lab.request("POST", `/process/${name}/cont`);
  await untilStatus(lab, "its return", ({ pods }) => pods.some((one) => one.pod === "shop/far" && one.ready));
  await assert.rejects(lab.request("POST", "/process/no.such/kill"), /there is no process no.such/);
});

test("a malformed manifest is complained about by file and line, and the others stay in force", async () => {
  await lab.request("PUT", "/manifests/bad.yaml", "apiVersion: v1\nkind: Pod\nmetadata: [\n");
  await untilStatus(lab, "the complaint", ({ problems }) => problems.some((problem) => /bad\.yaml:\d+:/.test(problem)));
  assert.ok((await status()).pods.some((one) => one.pod === "shop/client"));
  await lab.request("DELETE", "/manifests/bad.yaml");
});

test("a pod for a node that is not there is named as a problem", async () => {
  await lab.request("PUT", "/manifests/lost.yaml", pod("lost", "node9", ""));
  const events = await lab.open("GET", "/events");
  let text = "";
  events.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  await until("the sentence", 10_000, () => /Pod shop\/lost asks for node node9/.test(text));
  events.destroy();
  await lab.request("DELETE", "/manifests/lost.yaml");
});

test("the sniffer sees a plain marker on the link, and none on the other node's", async () => {
  for (const node of ["node1", "node2"]) await lab.request("POST", `/sniff/${node}`, { markers: ["m4rk3r"] });
  const near = await address("shop/near", "IPv4");
  const far = await address("shop/far", "IPv4");
  await get(lab, "shop/client", `http://${near}:8080/m4rk3r`);
  const quiet = await lab.request<FrameCounts>("GET", "/sniff/node1");
  assert.deepEqual(
    [quiet.marked, quiet.podSegments],
    [{ m4rk3r: 0 }, {}],
    "within the node nothing goes over its link",
  );
  await get(lab, "shop/client", `http://${far}:8080/m4rk3r`);
  for (const node of ["node1", "node2"]) {
    const counts = await lab.request<FrameCounts>("DELETE", `/sniff/${node}`);
    assert.equal(counts.dropped, 0);
    assert.deepEqual(counts.marked, { m4rk3r: 1 });
    assert.ok((counts.podSegments["8080"] ?? 0) >= 6, JSON.stringify(counts));
    assert.deepEqual(Object.keys(counts.podSegments), ["8080"]);
  }
});

test("a node that dies comes back with its pods", async () => {
  const { nodes, pods } = await status();
  const pid = nodes.find(({ name }) => name === "node2")!.pid!;
  await run(lab, "shop/client", ["kill", "-9", String(pid)]);
  await untilStatus(lab, "the node's return", (now) => {
    const node = now.nodes.find(({ name }) => name === "node2");
    return node?.pid !== pid && now.pods.filter((one) => one.node === "node2").every((one) => one.ready);
  });
  const far = pods.find((one) => one.pod === "shop/far")!;
  assert.match(await get(lab, "shop/client", `http://${far.addresses[0]}:8080/`), / far$/);
});

interface Overlay {
  readonly status: {
    readonly phase: string;
    readonly podIP: string;
    readonly podIPs: readonly unknown[];
    readonly hostIP: string;
    readonly conditions: readonly { readonly type: string; readonly status: string }[];
  };
}

function status(): Promise<LabStatus> {
  return lab.request<LabStatus>("GET", "/status");
}

async function address(name: string, family: "IPv4" | "IPv6"): Promise<string> {
  const { pods } = await status();
  return pods.find((one) => one.pod === name)!.addresses.find((text) => isOf(family, text))!;
}

function isOf(family: "IPv4" | "IPv6", text: string): boolean {
  return text.includes(":") === (family === "IPv6");
}

function host(text: string): string {
  return text.includes(":") ? `[${text}]` : text;
}

/** The lab's /run/lab, as the host sees it. */
function fileInLab(path: string): string {
  return readFileSync(`/proc/${lab.pid}/root/run/lab/${path}`, "utf8");
}

function metadata(name: string, labels = {}) {
  return { apiVersion: "v1", kind: "Pod", metadata: { name, namespace: "shop", labels } };
}

function pod(name: string, nodeName: string, script: string, labels = {}, ports: object[] = []): string {
  const containers = [{ name: "main", command: ["node", "-e", script], ports }];
  return JSON.stringify({ ...metadata(name, labels), spec: { nodeName, containers } });
}

function server(name: string, node: string): string {
  return pod(name, node, echo, { app: "echo" }, [{ name: "web", containerPort: 8080 }]);
}
