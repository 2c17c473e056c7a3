/** Whoever calls an agent's own ports by whatever way gets nothing, comes back to nobody, and harms nobody. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { allClosed } from "../support/agent-process.ts";
import { endpointText, type Asked } from "../support/answers.ts";
import { idlePod, namespace, pod, service, type Manifest } from "../support/manifests.ts";
import { useLab } from "../support/mesh-lab.ts";

const ports = [15_000, 15_001, 15_006, 15_008, 15_020, 15_021, 15_053, 15_080];
/** Those that listen in every captured pod, on all its addresses. */
const listeners = [15_001, 15_006, 15_008];
/** Why such a call may be over. */
const reasons: ReadonlySet<string> = new Set([
  "RECURSIVE_CALL",
  "CONNECT_REFUSED",
  "PEER_UNAVAILABLE",
  "TLS_HANDSHAKE_FAILED",
]);

const lab = useLab([
  namespace("shop", { ambient: true }),
  idlePod("shop/alice", { node: "node1" }),
  pod("shop/far", { node: "node2" }),
  service("shop/far"),
  serviceOfInternalPorts("shop/trap", "far"),
  namespace("outside"),
  idlePod("outside/visitor", { node: "node1" }),
]);

const callers = {
  "shop/alice": "another captured pod",
  "outside/visitor": "a pod outside the mesh",
  "shop/far": "the pod itself",
} as const;
type Caller = keyof typeof callers;

for (const family of [4, 6] as const)
  for (const [caller, who] of Object.entries(callers) as [Caller, string][])
    test(`F-026 H018 H034 ${who} that calls an agent's ports over IPv${family} is refused or ended, and nothing goes round in circles`, async () => {
      const before = new Set((await linesTold()).map(({ trace }) => trace));
      const places = [
        ["the pod", await lab().addressOf("shop/far", family)],
        ["the service", await lab().vipOf("shop/trap", family)],
        ["loopback", family === 4 ? "127.0.0.1" : "::1"],
      ] as const;
      const calls = places.flatMap(([place, address]) =>
        ports.map((port) => ({ place, port, target: endpointText(address, port) })),
      );
      const knocks = await lab().client<Knock>(caller, "knock", calls.map(({ target }) => target).join(","));
      assert.deepEqual(
        knocks.map((knock, i) => `${calls[i]?.place} ${calls[i]?.port}: ${outcome(knock)}`),
        calls.map(({ place, port }) => `${place} ${port}: ${expected(caller, place, port)}`),
      );
      for (const node of ["node1", "node2"]) await allClosed(lab(), node);
      const url = `http://${endpointText(await lab().vipOf("shop/far", family), 80)}/`;
      assert.equal((await lab().client<Asked>(caller, "get", url))[0]?.status, 200, "the pod is served as before");
      const told = (await linesTold()).filter(({ trace, reason }) => reason !== "OK" && !before.has(trace));
      assert.ok(
        told.length >= calls.length / 4 && told.length <= 2 * calls.length,
        `${told.length} lines of ${calls.length} calls`,
      );
      assert.deepEqual(
        told.filter(({ reason }) => !reasons.has(reason)),
        [],
      );
    });

interface Knock {
  readonly connected: boolean;
  readonly text: string;
  readonly error: string;
}

/** Nobody says a word: either nobody is there, or who is there ends it, by FIN or by RST. */
function outcome({ connected, text, error }: Knock): string {
  if (text !== "") return `answered ${JSON.stringify(text)}`;
  if (error === "ECONNREFUSED") return "refused";
  if (error === "ECONNRESET" || (connected && error === "")) return "ended";
  return error;
}

function expected(caller: Caller, place: "the pod" | "the service" | "loopback", port: number): "refused" | "ended" {
  if (place === "loopback") {
    const isOurs = port === 15_053 || listeners.includes(port);
    return caller !== "outside/visitor" && isOurs ? "ended" : "refused";
  }
  // A pod's own address is reached by loopback, past the agent.
  if (place === "the pod" && caller === "shop/far") return listeners.includes(port) ? "ended" : "refused";
  return "ended";
}

async function linesTold(): Promise<readonly { readonly reason: string; readonly trace: string }[]> {
  return [...(await lab().accessLog("node1")), ...(await lab().accessLog("node2"))];
}

function serviceOfInternalPorts(where: string, app: string): Manifest {
  const [ns = "", name = ""] = where.split("/");
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: ns },
    spec: { selector: { app }, ports: ports.map((port) => ({ name: `p${port}`, port, targetPort: port })) },
  };
}
