import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CniSpecError } from "./errors.ts";
import type { JsonObject } from "./json-reader.ts";
import { parseResult } from "./parse-result.ts";
import { renderResult } from "./render-result.ts";
import type { CniResult } from "./result.ts";
import { atLeast, supportedVersions, type CniVersion } from "./versions.ts";

const full: CniResult = {
  interfaces: [
    { name: "cni0", mac: "06:00:00:00:00:01", mtu: 1400 },
    { name: "eth0", sandbox: "/var/run/netns/x", pciID: "0000:00:01.0", socketPath: "/run/v" },
  ],
  ips: [
    { interface: 1, ip: "10.0.0.2", prefix: 24, gateway: "10.0.0.1" },
    { interface: 1, ip: "fd00::2", prefix: 64 },
    { ip: "10.0.1.2", prefix: 24 },
  ],
  routes: [
    { dst: "0.0.0.0/0", gw: "10.0.0.1", mtu: 1300, advmss: 1260, priority: 5, table: 7, scope: 0 },
    { dst: "::/0" },
  ],
  dns: { nameservers: ["10.96.0.10"], domain: "x", search: ["y"], options: ["ndots:5"] },
};

test("0.2.0 has one address and the routes of each family", () => {
  assert.deepEqual(renderResult(full, "0.2.0"), {
    cniVersion: "0.2.0",
    ip4: { ip: "10.0.0.2/24", gateway: "10.0.0.1", routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.1" }] },
    ip6: { ip: "fd00::2/64", routes: [{ dst: "::/0" }] },
    dns: full.dns,
  });
});

test("0.4.0 names each address's family, and knows only name, mac and sandbox of an interface", () => {
  assert.deepEqual(renderResult(full, "0.4.0"), {
    cniVersion: "0.4.0",
    interfaces: [
      { name: "cni0", mac: "06:00:00:00:00:01" },
      { name: "eth0", sandbox: "/var/run/netns/x" },
    ],
    ips: [
      { version: "4", interface: 1, address: "10.0.0.2/24", gateway: "10.0.0.1" },
      { version: "6", interface: 1, address: "fd00::2/64" },
      { version: "4", address: "10.0.1.2/24" },
    ],
    routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.1" }, { dst: "::/0" }],
    dns: full.dns,
  });
});

test("1.0.0 drops the family, 1.1.0 keeps everything", () => {
  const [first] = renderResult(full, "1.0.0")["ips"] as unknown[];
  assert.deepEqual(first, { interface: 1, address: "10.0.0.2/24", gateway: "10.0.0.1" });
  const { interfaces, routes } = renderResult(full, "1.1.0");
  assert.deepEqual({ interfaces, routes }, { interfaces: full.interfaces, routes: full.routes });
});

test("a result of 0.2.0 is read with its routes", () => {
  const written = {
    ip4: { ip: "10.0.0.2/24", routes: [{ dst: "10.0.0.0/8" }] },
    ip6: { ip: "fd00::2/64", gateway: "fd00::1" },
  };
  assert.deepEqual(parseResult(written, "0.2.0"), {
    interfaces: [],
    ips: [
      { ip: "10.0.0.2", prefix: 24 },
      { ip: "fd00::2", prefix: 64, gateway: "fd00::1" },
    ],
    routes: [{ dst: "10.0.0.0/8" }],
    dns: {},
  });
});

test("every fault is named with its path, and a hostile list doesn't fill the report", () => {
  const faults = faultsOf({
    ips: [{ address: "10.0.0.2" }, 7],
    interfaces: {},
    routes: [{ dst: "10.0.0.0/33" }],
    dns: [],
  });
  assert.deepEqual(faults, [
    "prevResult.interfaces is no list",
    "prevResult.ips[0].address is no address with a prefix, as 10.0.0.2/24",
    "prevResult.ips[1] is no object",
    "prevResult.ips[1].address is no address with a prefix, as 10.0.0.2/24",
    "prevResult.routes[0].dst is no range, as 10.0.0.0/8",
    "prevResult.dns is no object",
  ]);
  assert.equal(faultsOf({ ips: Array.from({ length: 1000 }, () => null) }).length, 8);
});

test("whatever JSON comes is read or refused, never thrown on", () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom("ips", "ip4", "routes", "dns", "interfaces"), fc.jsonValue()),
      version(),
      (value, spoken) => {
        const read = parseResult(value, spoken);
        if (!(read instanceof CniSpecError)) renderResult(read, spoken);
      },
    ),
  );
});

test("what is written in a version reads back as what that version can say, and then stays as it is", () => {
  fc.assert(
    fc.property(results(), version(), (result, spoken) => {
      const once = reading(renderResult(result, spoken), spoken);
      assert.deepEqual(reading(renderResult(once, spoken), spoken), once);
      if (spoken === "1.1.0") assert.deepEqual(once, result);
      if (atLeast(spoken, "0.3.0")) assert.deepEqual(once.ips, result.ips);
    }),
  );
});

function reading(written: JsonObject, spoken: CniVersion): CniResult {
  const read = parseResult(JSON.parse(JSON.stringify(written)) as JsonObject, spoken);
  assert.ok(!(read instanceof CniSpecError), JSON.stringify(read));
  return read;
}

function faultsOf(value: JsonObject): readonly string[] {
  const read = parseResult(value, "1.0.0");
  assert.ok(read instanceof CniSpecError && read.type.code === "cni-spec.undecodable");
  return read.type.faults;
}

function version(): fc.Arbitrary<CniVersion> {
  return fc.constantFrom(...supportedVersions);
}

function results(): fc.Arbitrary<CniResult> {
  const text = fc.string({ minLength: 1 });
  const ip = fc.constantFrom("10.0.0.2", "192.168.7.9", "fd00::2", "2001:db8::1");
  const number = fc.nat();
  const texts = fc.array(text, { minLength: 1, maxLength: 3 });
  const optional = { noNullPrototype: true };
  const shape = {
    interfaces: fc.array(
      fc.record(
        { name: text, mac: text, mtu: number, sandbox: text, socketPath: text, pciID: text },
        { requiredKeys: ["name"], ...optional },
      ),
    ),
    ips: fc.array(
      fc.record(
        { interface: number, ip, prefix: fc.integer({ min: 0, max: 32 }), gateway: ip },
        { requiredKeys: ["ip", "prefix"], ...optional },
      ),
    ),
    routes: fc.array(
      fc.record(
        {
          dst: ip.map((address) => `${address}/32`),
          gw: ip,
          mtu: number,
          advmss: number,
          priority: number,
          table: number,
          scope: number,
        },
        { requiredKeys: ["dst"], ...optional },
      ),
    ),
    dns: fc.record(
      { nameservers: texts, domain: text, search: texts, options: texts },
      { requiredKeys: [], ...optional },
    ),
  };
  return fc.record(shape, optional);
}
