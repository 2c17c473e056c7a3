import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { formatAuthority, parseAuthority } from "./authority.ts";
import { formatBaggage, parseBaggage, type Baggage } from "./baggage.ts";
import { formatForwarded, parseForwarded } from "./forwarded.ts";
import { HboneError } from "./hbone-error.ts";
import { connectHeaders, parseConnect } from "./request.ts";
import { acceptedHeaders, goneHeaders, parseConnectResponse } from "./response.ts";
import { formatTraceContext, newTraceContext, parseTraceContext, traceSeedLength } from "./trace-context.ts";

const cart: Baggage = {
  clusterName: "Kubernetes",
  namespace: "shop",
  workload: { kind: "deployment", name: "cart" },
  serviceName: "cart",
  serviceVersion: "v1",
};
const trace = newTraceContext(Uint8Array.from({ length: traceSeedLength }, (_, i) => i + 1));

suite("the CONNECT of a tunnelled connection", () => {
  test("is written as other agents write it", () => {
    const headers = connectHeaders({
      authority: { kind: "ip", endpoint: { address: "10.1.0.5", port: 8080 } },
      baggage: cart,
      client: { address: "10.1.0.9", port: 41234 },
      serviceHostname: "cart.shop.svc.cluster.local",
      trace,
    });
    assert.deepEqual(headers, {
      ":method": "CONNECT",
      ":authority": "10.1.0.5:8080",
      baggage:
        "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=cart,service.name=cart,service.version=v1",
      forwarded: 'for="10.1.0.9:41234";host=cart.shop.svc.cluster.local',
      traceparent: "00-0102030405060708090a0b0c0d0e0f10-1112131415161718-00",
    });
  });

  test("read again says what was written", () => {
    const origin = {
      authority: { kind: "hostname", hostname: "cart.shop.svc.cluster.local", port: 80 } as const,
      baggage: cart,
      client: { address: "fd00::9", port: 41234 },
      serviceHostname: "cart.shop.svc.cluster.local",
      trace,
      network: "n2",
    };
    assert.deepEqual(parseConnect(connectHeaders(origin)), {
      authority: origin.authority,
      baggage: cart,
      forwarded: { for: origin.client, host: origin.serviceHostname },
      trace,
      network: "n2",
    });
  });

  const base = { ":method": "CONNECT", ":authority": "10.0.0.1:80" };
  const refused: [string, Record<string, string>, string][] = [
    ["another method", { ...base, ":method": "GET" }, "hbone.method"],
    ["no method", { ":authority": "10.0.0.1:80" }, "hbone.method"],
    ["a path", { ...base, ":path": "/" }, "hbone.pseudo-header"],
    ["a scheme", { ...base, ":scheme": "https" }, "hbone.pseudo-header"],
    ["a protocol of its own", { ...base, ":protocol": "websocket" }, "hbone.pseudo-header"],
    ["no authority", { ":method": "CONNECT" }, "hbone.authority-missing"],
    ["an authority without a port", { ...base, ":authority": "10.0.0.1" }, "hbone.bad-authority"],
  ];
  for (const [what, headers, code] of refused) {
    test(`F-063 H016 is refused with ${what}`, () => {
      const error = parseConnect(headers);
      assert.ok(error instanceof HboneError);
      assert.equal(error.type.code, code);
    });
  }

  test("is not refused for what it says of its origin, however odd", () => {
    const odd = { ...base, baggage: ",;=%ff=", forwarded: 'for="', traceparent: "00-zz" };
    assert.deepEqual(parseConnect(odd), {
      authority: { kind: "ip", endpoint: { address: "10.0.0.1", port: 80 } },
      baggage: {},
      forwarded: {},
    });
  });

  test("of any headers whatever never throws", () => {
    const value = fc.oneof(fc.string({ unit: "binary" }), fc.array(fc.string()), fc.integer());
    const name = fc.constantFrom(":method", ":authority", ":path", "baggage", "forwarded", "traceparent");
    fc.assert(
      fc.property(fc.dictionary(name, value), (headers) => {
        parseConnect(headers);
        parseConnect({ ...headers, ":method": "CONNECT", ":authority": "a:1" });
        parseConnectResponse({ ...headers, ":status": 200 }, false);
      }),
    );
  });
});

suite("an authority", () => {
  const good: [string, ReturnType<typeof parseAuthority>][] = [
    ["10.1.0.5:8080", { kind: "ip", endpoint: { address: "10.1.0.5", port: 8080 } }],
    ["[ff06::c3]:80", { kind: "ip", endpoint: { address: "ff06::c3", port: 80 } }],
    ["[::ffff:10.0.0.1]:80", { kind: "ip", endpoint: { address: "10.0.0.1", port: 80 } }],
    ["Cart.Shop.svc:65535", { kind: "hostname", hostname: "cart.shop.svc", port: 65_535 }],
    ["localhost:1", { kind: "hostname", hostname: "localhost", port: 1 }],
  ];
  for (const [text, expected] of good)
    test(`${text} is understood`, () => assert.deepEqual(parseAuthority(text), expected));

  const bad = [
    "",
    ":80",
    "10.0.0.1",
    "10.0.0.1:",
    "10.0.0.1:0",
    "10.0.0.1:65536",
    "10.0.0.1:080",
    "10.0.0.1:+80",
    "10.0.0.1:80 ",
    "10.0.0.1:80:80",
    "10.0.0.999:80",
    "127.1:80",
    "2130706433:80",
    "0x7f000001:80",
    "fd00::1:80",
    "[fd00::1]",
    "[fd00::1%eth0]:80",
    "[10.0.0.1:80",
    "user@host:80",
    "a..b:80",
    ".a:80",
    "a.:80",
    "-a:80",
    "a b:80",
    "a/b:80",
    "a%2e:80",
    "\u00e4:80",
    `${"a".repeat(64)}:80`,
    `${"a.".repeat(127)}:80`,
    `${"a".repeat(65_536)}:80`,
  ];
  for (const text of bad) {
    test(`F-063 H016 ${JSON.stringify(text.slice(0, 24))} (${text.length}) is refused`, () => {
      const error = parseAuthority(text);
      assert.ok(error instanceof HboneError);
      assert.ok(JSON.stringify(error.type).length < 600, "the log line stays short");
    });
  }

  test("written and read again is the same", () => {
    const port = fc.integer({ min: 1, max: 65_535 });
    const ip = fc.oneof(fc.ipV4(), fc.ipV6());
    fc.assert(
      fc.property(fc.oneof(ip, fc.domain()), port, (host, port) => {
        const once = parseAuthority(host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`);
        if (once instanceof HboneError) return;
        assert.deepEqual(parseAuthority(formatAuthority(once)), once);
      }),
    );
  });
});

suite("baggage", () => {
  test("of several headers is read together, skipping what is not understood", () => {
    const read = parseBaggage([
      "k8s.namespace.name=a, service.name = b ;p=1,nonsense",
      "x=y,cloud.region=,service.version=v",
    ]);
    assert.deepEqual(read, { namespace: "a", serviceName: "b", serviceVersion: "v" });
  });

  test("of nothing known is empty, and nothing is read from nothing", () => {
    assert.equal(formatBaggage({}), "");
    assert.deepEqual(parseBaggage(undefined), {});
    assert.deepEqual(parseBaggage(""), {});
  });

  test("cannot be made to say more by a name with commas in it", () => {
    const read = parseBaggage(
      formatBaggage({ serviceName: "a,k8s.namespace.name=admin", serviceVersion: "v\r\nx: y" }),
    );
    assert.deepEqual(read, { serviceName: "a,k8s.namespace.name=admin", serviceVersion: "v\r\nx: y" });
  });

  test("written and read again is the same, whatever the names", () => {
    const name = fc.string({ minLength: 1, maxLength: 10, unit: "grapheme" });
    const optional = fc.record(
      {
        clusterName: name,
        namespace: name,
        workload: fc.record(
          { kind: fc.constantFrom("deployment", "cronjob", "pod", "job"), name },
          { noNullPrototype: true },
        ),
        serviceName: name,
        serviceVersion: name,
        region: name,
        zone: name,
      },
      { requiredKeys: [], noNullPrototype: true },
    );
    fc.assert(
      fc.property(optional, (baggage) => {
        const header = formatBaggage(baggage);
        assert.match(header, /^[\x21-\x7e]*$/);
        assert.deepEqual(parseBaggage(header), { ...baggage });
      }),
    );
  });

  test("of any length is read in bounds", () => {
    const start = process.cpuUsage().user;
    parseBaggage("a=b,".repeat(1_000_000));
    parseForwarded('for="x";'.repeat(1_000_000));
    assert.ok(process.cpuUsage().user - start < 500_000, "microseconds of CPU");
  });
});

suite("forwarded", () => {
  test("is understood with and without port, quotes and further hops", () => {
    assert.deepEqual(parseForwarded("for=10.77.0.2"), { for: { address: "10.77.0.2" } });
    assert.deepEqual(parseForwarded('For="[fd00::1]:80"; Host="a.b" ;proto=http, for=1.1.1.1'), {
      for: { address: "fd00::1", port: 80 },
      host: "a.b",
    });
    assert.deepEqual(parseForwarded('for="[fd00::1]"'), { for: { address: "fd00::1" } });
    assert.deepEqual(parseForwarded("for=unknown;host=a..b"), {});
  });

  test("written and read again is the same", () => {
    const port = fc.integer({ min: 1, max: 65_535 });
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.constantFrom("fd00::1", "::1")), port, (address, port) => {
        const header = formatForwarded({ address, port }, "a.b.c");
        assert.deepEqual(parseForwarded(header), { for: { address, port }, host: "a.b.c" });
      }),
    );
  });
});

suite("a trace context", () => {
  test("is continued only where it is well-formed", () => {
    const text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert.deepEqual(parseTraceContext(text), {
      traceId: "0af7651916cd43dd8448eb211c80319c",
      spanId: "b7ad6b7169203331",
      sampled: true,
    });
    const bad = [
      text.toUpperCase(),
      text.replace("00-", "ff-"),
      text.slice(1),
      `${text}-x`,
      `00-${"0".repeat(32)}-b7ad6b7169203331-01`,
      `00-0af7651916cd43dd8448eb211c80319c-${"0".repeat(16)}-01`,
    ];
    for (const one of bad) assert.equal(parseTraceContext(one), undefined, one);
  });

  test("made of any seed is well-formed", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: traceSeedLength, maxLength: traceSeedLength }), (seed) => {
        const context = newTraceContext(seed);
        assert.deepEqual(parseTraceContext(formatTraceContext(context)), context);
      }),
    );
    assert.ok(parseTraceContext(formatTraceContext(newTraceContext(new Uint8Array(traceSeedLength)))));
  });
});

suite("the answer to a CONNECT", () => {
  test("is a tunnel only as a 200 that goes on", () => {
    assert.deepEqual(parseConnectResponse(acceptedHeaders(cart), false), { baggage: cart });
    assert.deepEqual(acceptedHeaders({}), { ":status": 200 });
    const codes = ([headers, ended]: [Record<string, number | string>, boolean]): unknown => {
      const error = parseConnectResponse(headers, ended);
      return error instanceof HboneError && error.type;
    };
    assert.deepEqual(codes([{ ":status": 200 }, true]), { code: "hbone.ended" });
    assert.deepEqual(codes([{ ":status": 204 }, false]), { code: "hbone.refused", status: 204 });
    assert.deepEqual(codes([{ ":status": "503" }, true]), { code: "hbone.refused", status: 503 });
    assert.deepEqual(codes([{}, false]), { code: "hbone.bad-status" });
  });

  test("says of a pod that it is going only as a 503 with the header for it", () => {
    const of = (status: number, headers: Record<string, string>): unknown => {
      const error = parseConnectResponse({ ":status": status, ...headers }, true);
      return error instanceof HboneError && error.type;
    };
    assert.deepEqual(of(503, goneHeaders), { code: "hbone.refused", status: 503, gone: true });
    assert.deepEqual(of(503, { "x-ambientd-gone": "yes" }), { code: "hbone.refused", status: 503 });
    assert.deepEqual(of(401, goneHeaders), { code: "hbone.refused", status: 401 });
  });
});
