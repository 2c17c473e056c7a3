/**
 * A captured pod's queries, beside a real BIND: what the mesh owns is answered, and everything else is, byte for byte, what a pod outside the mesh is
 * told when it asks the same.
 */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { find } from "../../scripts/peers.ts";
import { bindFiles, bindProgram } from "../support/bind.ts";
import { A, AAAA, dnsMessage, extendedErrorOf, optRecord, rootRecord, summaryOf } from "../support/dns-messages.ts";
import { useLab } from "../support/mesh-lab.ts";
import { idlePod, namespace, pod, service, type Manifest } from "../support/manifests.ts";
import { until } from "../support/until.ts";

const program = await bindProgram();
const bind = program === undefined ? undefined : bindFiles(program);
const skip =
  bind === undefined
    ? "no BIND here: apt-get download bind9 fails, or its libraries (bind9-dnsutils) are missing"
    : false;

const lab = useLab(town(true));

function town(ambient: boolean): Manifest[] {
  return [
    namespace("shop", { ambient }),
    asking(idlePod("shop/alice", { node: "node1" })),
    pod("shop/near", { node: "node1" }),
    pod("shop/far", { node: "node2" }),
    service("shop/near"),
    headless("shop/db", "far"),
    entry("shop/owned", ["owned.example.test", "*.wild.example.test"], ["240.240.0.5"]),
    namespace("outside"),
    idlePod("outside/visitor", { node: "node1" }),
    ...(bind === undefined ? [] : [pod("outside/bind", { node: "node2", command: bind.command, ports: [53] })]),
  ];
}
after(() => bind?.remove());

const protocols = ["udp", "tcp"] as const;
const families = [4, 6] as const;

for (const family of families) {
  for (const protocol of protocols) {
    describe(`over ${protocol} and IPv${family}`, { skip }, () => {
      test("F-010 F-180 F-181 F-182 F-183 F-184 F-185 a captured pod is told of the mesh's names", async () => {
        const [vip4, vip6] = [await lab().vipOf("shop/near"), await lab().vipOf("shop/near", 6)];
        const far = await lab().addressOf("shop/far");
        const rows: [name: string, type: number, answer: string][] = [
          ["near.shop.svc.cluster.local", A, `NOERROR aa ${vip4}`],
          ["near.shop.svc.cluster.local", AAAA, `NOERROR aa ${shortened(vip6)}`],
          ["NEAR.shop.svc", A, `NOERROR aa ${vip4}`],
          ["near.shop", A, `NOERROR aa ${vip4}`],
          ["near", A, `NOERROR aa ${vip4}`],
          ["db.shop.svc.cluster.local", A, `NOERROR aa ${far}`],
          ["owned.example.test", A, "NOERROR aa 240.240.0.5"],
          ["owned.example.test", AAAA, "NOERROR aa"],
          ["a.b.wild.example.test", A, "NOERROR aa 240.240.0.5"],
          ["owned.example.test.shop.svc.cluster.local", A, "NOERROR aa 240.240.0.5 CNAME"],
        ];
        const replies = await ask(
          "shop/alice",
          protocol,
          family,
          rows.map(([name, type], id) => dnsMessage({ id, name, type })),
        );
        assert.deepEqual(
          replies.map(summaryOf),
          rows.map(([, , answer]) => answer),
        );
      });

      test("F-186 F-187 F-188 H090 everything else is what BIND says to a pod outside the mesh, to the byte", async () => {
        const edns = [optRecord({ payload: 1232 })];
        const queries = [
          dnsMessage({ name: "www.example.test", type: A }),
          dnsMessage({ name: "WwW.eXample.tesT", type: AAAA }),
          dnsMessage({ name: "www.example.test", type: A, additional: edns }),
          dnsMessage({ name: "www.example.test", type: A, additional: [optRecord({ payload: 4096, dnssecOk: true })] }),
          dnsMessage({ name: "www.example.test", type: A, additional: [optRecord({ version: 9 })] }),
          dnsMessage({ name: "six.example.test", type: A }),
          dnsMessage({ name: "six.example.test", type: AAAA }),
          dnsMessage({ name: "alias.example.test", type: A }),
          dnsMessage({ name: "text.example.test", type: 16 }),
          dnsMessage({ name: "large.example.test", type: 16 }),
          dnsMessage({ name: "large.example.test", type: 16, additional: edns }),
          dnsMessage({ name: "_http._tcp.example.test", type: 33 }),
          dnsMessage({ name: "mail.example.test", type: 15 }),
          dnsMessage({ name: "example.test", type: 6 }),
          dnsMessage({ name: "www.example.test", type: 255 }),
          dnsMessage({ name: "www.example.test", type: 65 }),
          dnsMessage({ name: "www.example.test", type: A, class: 3 }),
          dnsMessage({ name: "nobody.example.test", type: A }),
          dnsMessage({ name: "www.example.invalid", type: A }),
          dnsMessage({ name: "owned.example.test", type: 16 }),
          dnsMessage({ name: "owned.example.test", type: 15 }),
          dnsMessage({ name: "external.shop.svc.cluster.local", type: A }),
          dnsMessage({ name: "db-0.db.shop.svc.cluster.local", type: A }),
          dnsMessage({ name: "_http._tcp.near.shop.svc.cluster.local", type: 33 }),
          dnsMessage({ name: "nobody.shop.svc.cluster.local", type: A }),
          dnsMessage({ name: "www.example.test", type: A, flags: 0 }),
          dnsMessage({ name: "www.example.test", type: A, flags: 0x0110 }),
          dnsMessage({ name: "example.test", type: 6, flags: 4 << 11 }),
          dnsMessage({ name: "example.test", type: 6, flags: 5 << 11 }),
          dnsMessage({ name: "www.example.test", type: A, additional: [rootRecord(250, Buffer.alloc(16))] }),
        ].map((bytes, id) => withId(bytes, 1_000 + 7 * id));
        const captured = await ask("shop/alice", protocol, family, queries);
        const direct = await ask("outside/visitor", protocol, family, queries);
        assert.deepEqual(captured.map(hex), direct.map(hex));
        const said = direct.map(summaryOf);
        for (const code of ["NOERROR", "NXDOMAIN", "REFUSED", "FORMERR"])
          assert.ok(
            said.some((one) => one.startsWith(code)),
            code,
          );
        if (protocol === "udp")
          assert.ok(
            said.some((one) => one.includes(" tc")),
            "one that has no room",
          );
      });
    });
  }
}

describe("a captured pod", { skip }, () => {
  test(
    "F-188 H090 dig, its retry over TCP, a zone transfer and a dynamic update work as they would without a mesh",
    { skip: withoutDig() },
    async () => {
      const server = `@${await lab().addressOf("outside/bind")}`;
      const dig = async (from: string, ...argv: string[]): Promise<string> => {
        const { code, stdout } = await lab().run(from, ["dig", server, "+nocookie", "+nostats", "+nocmd", ...argv]);
        assert.equal(code, 0, stdout);
        return stdout.replace(/id: \d+/, "id");
      };
      for (const argv of [
        ["large.example.test", "TXT", "+noedns"],
        ["example.test", "AXFR"],
        ["www.example.test", "A", "+dnssec"],
      ]) {
        assert.equal(await dig("shop/alice", ...argv), await dig("outside/visitor", ...argv));
      }
      assert.match(await dig("shop/alice", "large.example.test", "TXT", "+noedns"), /Truncated, retrying in TCP mode/);
      assert.match(await dig("shop/alice", "near.shop.svc.cluster.local"), /flags: qr aa rd ra/);

      const update = `server ${server.slice(1)}\nzone example.test\nupdate add made.example.test 60 A 192.0.2.7\nsend\n`;
      const script = `printf '${update.replaceAll("\n", "\\n")}' | nsupdate`;
      const { code, stderr } = await lab().run("shop/alice", ["sh", "-c", script]);
      assert.equal(code, 0, stderr);
      assert.match(await dig("outside/visitor", "made.example.test", "+short"), /192\.0\.2\.7/);
    },
  );

  test("F-186 gets SERVFAIL, and the reason, where its resolver does not answer", async () => {
    const query = dnsMessage({ name: "www.example.test", type: A, additional: [optRecord()] });
    const nobody = `${await lab().addressOf("shop/near")}:53`;
    for (const protocol of protocols) {
      const [reply] = await lab().askDns("shop/alice", nobody, protocol, [query]);
      const bytes = Buffer.from(reply?.reply ?? "", "hex");
      assert.equal(summaryOf(bytes), "SERVFAIL");
      assert.equal(extendedErrorOf(bytes), "DNS_UNREACHABLE");
    }
  });

  test("asks on while its agent is killed: queries wait in the sockets, which outlive it", async () => {
    const name = "near.shop.svc.cluster.local";
    const vip = await lab().vipOf("shop/near");
    await lab().signal("node1.agent", "SIGKILL");
    const asked = ask("shop/alice", "udp", 4, [dnsMessage({ name, type: A })]);
    const overTcp = ask("shop/alice", "tcp", 4, [dnsMessage({ name, type: A })]);
    for (const replies of [await asked, await overTcp]) assert.deepEqual(replies.map(summaryOf), [`NOERROR aa ${vip}`]);
  });

  test("that leaves the mesh goes on asking from the same port, and hears its resolver alone", async () => {
    const running = await lab().start(
      "shop/alice",
      "ask-on",
      `${await lab().addressOf("outside/bind")}:53`,
      hex(dnsMessage({ name: "owned.example.test", type: A })),
    );
    await running.result(
      "an answer of the mesh",
      ({ reply }) => summaryOf(Buffer.from(String(reply), "hex")) === "NOERROR aa 240.240.0.5",
    );
    await lab().apply("mesh.yaml", ...town(false));
    await running.result(
      "an answer of BIND",
      ({ reply }) => summaryOf(Buffer.from(String(reply), "hex")) === "NOERROR aa 192.0.2.99",
    );
    running.end();
    await running.ended;
    await until("the rules are gone", 20_000, async () => {
      const { stdout } = await lab().run("shop/alice", ["nft", "list", "tables"]);
      return stdout.trim() === "";
    });
    assert.deepEqual(
      running.results.filter(({ error }) => error !== undefined),
      [],
    );
  });
});

/** Replies in the order of the queries. */
async function ask(
  from: string,
  protocol: "udp" | "tcp",
  family: 4 | 6,
  queries: readonly Uint8Array[],
): Promise<Buffer[]> {
  const address = await lab().addressOf("outside/bind", family);
  const server = family === 4 ? `${address}:53` : `[${address}]:53`;
  const found = new Map<number, Buffer>();
  for (const { reply, error } of await lab().askDns(from, server, protocol, queries)) {
    if (error !== undefined) throw new Error(`${from} asks ${server} over ${protocol}: ${error}`);
    if (reply === undefined) continue;
    const bytes = Buffer.from(reply, "hex");
    found.set(bytes.readUInt16BE(0), bytes);
  }
  return queries.map((query) => found.get(Buffer.from(query).readUInt16BE(0)) ?? Buffer.alloc(12));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function withId(bytes: Buffer, id: number): Buffer {
  bytes.writeUInt16BE(id, 0);
  return bytes;
}

/** As summaryOf writes an address: not canonical, but short. */
function shortened(address: string): string {
  const bytes = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = "", tail = ""] = bytes.split("::");
  const words = [
    ...head.split(":"),
    ...new Array<string>(8 - head.split(":").length - tail.split(":").length).fill("0"),
    ...tail.split(":"),
  ];
  return words
    .map((word) => word.padStart(4, "0"))
    .join("")
    .replace(/^(.{4})0+(.+)$/, "$1::$2");
}

/** Its queries are captured, whatever the node does with others. */
function asking(manifest: Manifest): Manifest {
  return { ...manifest, metadata: { ...manifest.metadata, annotations: { "ambient.istio.io/dns-capture": "true" } } };
}

function headless(where: string, app: string): Manifest {
  const [ns = "", name = ""] = where.split("/");
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: ns },
    spec: { clusterIP: "None", selector: { app }, ports: [{ port: 9000 }] },
  };
}

function entry(where: string, hosts: readonly string[], addresses: readonly string[]): Manifest {
  const [ns = "", name = ""] = where.split("/");
  return {
    apiVersion: "networking.istio.io/v1",
    kind: "ServiceEntry",
    metadata: { name, namespace: ns },
    spec: {
      hosts,
      addresses,
      location: "MESH_EXTERNAL",
      resolution: "STATIC",
      ports: [{ number: 80, name: "http", protocol: "HTTP" }],
      endpoints: [{ address: "192.0.2.99" }],
    },
  };
}

function withoutDig(): string | false {
  return find("dig") === undefined || find("nsupdate") === undefined ? "no dig or nsupdate (bind9-dnsutils)" : false;
}
