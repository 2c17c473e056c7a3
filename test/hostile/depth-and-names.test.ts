/** Input that nests without end, and names that JavaScript has a meaning for: told like any other mistake, and kept like any other name. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LocalMeshError } from "../../agent/local-mesh/fields.ts";
import { localMesh } from "../../agent/local-mesh/local-mesh.ts";
import { Counters } from "../../agent/metrics/counters.ts";
import { answerHeaders, requestHeaders } from "../../agent/tunnel/own/fields.ts";
import { readManifests } from "../../control/sources/manifests.ts";
import { knownKind, parseObject } from "../../control/sources/object-parsers.ts";
import { selectorMatches } from "../../control/sources/objects.ts";
import { JsonLine } from "../../agent/access-log/line.ts";
import { tellClosed } from "../../agent/connection/close-record.ts";
import { MeshState } from "../../core/decision/mesh-state.ts";
import { DeltaDiscoveryRequest } from "../../core/protocol/generated/discovery.ts";
import { parseBaggage } from "../../core/protocol/hbone/baggage.ts";
import { parseConnect } from "../../core/protocol/hbone/request.ts";
import { HboneError } from "../../core/protocol/hbone/hbone-error.ts";
import { decodeAddress } from "../../core/protocol/wds/address.ts";
import { decodeAuthorization } from "../../core/protocol/wds/authorization.ts";
import { WdsError } from "../../core/protocol/wds/wds-error.ts";
import { parseCsr } from "../../core/protocol/x509/csr.ts";
import { certificateIdentity } from "../../core/protocol/x509/peer-identity.ts";
import { formatPem } from "../../core/protocol/x509/pem.ts";
import { X509Error } from "../../core/protocol/x509/x509-error.ts";
import { decodeRequest, ZdsError } from "../../core/protocol/zds/messages.ts";
import { pod } from "../support/mesh.ts";

describe("input that nests", () => {
  for (const depth of [100, 10_000, 100_000]) {
    test(`H104 DER ${depth} deep is no certificate and no request`, () => {
      const der = derOf(depth);
      for (const result of [certificateIdentity(der), parseCsr(formatPem("CERTIFICATE REQUEST", der))]) {
        assert.ok(result instanceof X509Error);
      }
    });

    test(`H104 groups ${depth} deep in a packet, a workload or a policy are told as undecodable`, () => {
      // A field that nobody knows is skipped, and a group is skipped with all that is in it.
      const groups = Buffer.alloc(2 * depth, Buffer.from([0xa3, 0x06]));
      const closed = Buffer.concat([groups, Buffer.alloc(2 * depth, Buffer.from([0xa4, 0x06]))]);
      for (const bytes of [groups, closed]) {
        assert.ok(decodeRequest(bytes, 0) instanceof ZdsError);
        assert.ok(decodeAddress(bytes) instanceof WdsError);
        assert.ok(decodeAuthorization(bytes) instanceof WdsError);
      }
    });

    test(`H104 a node's metadata ${depth} deep is a request that cannot be read`, () => {
      // Node (1) with metadata (3): Struct, fields (1), value (2), struct (5).
      const bytes = nested(nested(Buffer.alloc(0), depth, [0x0a, 0x12, 0x2a]), 1, [0x0a, 0x1a]);
      assert.throws(() => DeltaDiscoveryRequest.decode(bytes), /recursion/);
    });

    test(`H104 an object's JSON ${depth} deep is read as far as anybody wants to know`, () => {
      for (const kind of ["AuthorizationPolicy", "Pod", "Service"]) {
        const apiVersion = kind === "AuthorizationPolicy" ? "security.istio.io/v1" : "v1";
        const head = { apiVersion, kind, metadata: { name: "a", namespace: "b" } };
        for (const [open, close] of jsonBrackets) {
          const spec: unknown = JSON.parse(open.repeat(depth) + "1" + close.repeat(depth));
          assert.ok(known(parseObject({ ...head, spec })));
          assert.ok(known(parseObject({ ...head, spec: { rules: spec, containers: spec, ports: spec } })));
        }
      }
    });
  }
});

for (const depth of [100, 10_000]) {
  test(`H104 YAML ${depth} deep is a mistake of the file's`, () => {
    for (const [open, close] of brackets) {
      const nest = open.repeat(depth) + close.repeat(depth);
      assert.ok(localMesh(`workloads: ${nest}`) instanceof LocalMeshError);
      const documents = readManifests(
        `apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b}\nspec:\n  x: ${nest}`,
      );
      for (const { value, syntaxErrors } of documents) assert.ok(known(parseObject(value, syntaxErrors.map(fault))));
    }
  });
}

const special = ["__proto__", "constructor", "toString", "valueOf", "hasOwnProperty", "prototype", "0", "4294967295"];

describe("names that JavaScript has a meaning for", () => {
  test("H104 as header fields they are header fields, once and several times", () => {
    const fields = special.flatMap((name) => [1, 2].map((value) => ({ name, value: String(value) })));
    for (const headers of [
      answerHeaders({ kind: "answer", status: 200, fields }),
      requestHeaders({ ...connect, fields }),
    ]) {
      for (const name of special) {
        assert.ok(Object.hasOwn(headers, name));
        assert.deepEqual(headers[name], ["1", "2"]);
      }
    }
    const request = parseConnect(requestHeaders({ ...connect, fields }));
    assert.ok(!(request instanceof HboneError));
    assert.equal(parseConnect(requestHeaders({ ...connect, fields: [] })) instanceof HboneError, false);
    assert.deepEqual(Object.keys(Object.prototype), []);
  });

  test("H104 as members of baggage they are nobody's, and as its values they are values", () => {
    assert.deepEqual(parseBaggage(special.map((name) => `${name}=x`).join(",")), {});
    for (const name of special) assert.equal(parseBaggage(`service.name=${name}`).serviceName, name);
  });

  test("H104 as labels of metrics each has its own series", () => {
    const counters = new Counters();
    for (const name of special) counters.count("ambientd_tunnel_handshakes", [name], 2);
    for (const name of special) counters.count("ambientd_tunnel_handshakes", [name]);
    assert.deepEqual(
      counters.take().counters.map(({ labels, value }) => [labels[0], value]),
      special.map((name) => [name, 3]),
    );
  });

  test("H104 as what a peer says they stand in its line, and nowhere else", () => {
    for (const name of special) {
      const facts = {
        direction: "inbound",
        protocol: "hbone",
        trace: name,
        source: { address: "10.0.0.1", port: 1 },
        sourceBaggage: { namespace: name },
        authority: name,
      } as const;
      const line = new JsonLine({ level: "info", time: "", scope: "access", message: "" });
      tellClosed({ facts, reason: "OK", detail: name, bytesSent: 0, bytesReceived: 0, durationMs: 1 }, line);
      assert.ok(Object.values(JSON.parse(line.text()) as object).filter((said) => said === name).length >= 2);
    }
  });

  test("H104 as workloads, services, policies and networks they are found by what they are called, and by nothing else", () => {
    const state = new MeshState();
    for (const name of special) assert.equal(state.workloadOf(name, name), undefined);
    state.apply({ workloads: special.map((name, at) => pod(`${name}/${name}`, `10.0.0.${at}`, { network: name })) });
    for (const [at, name] of special.entries()) {
      assert.equal(state.workloadOf(name, name)?.name, name);
      assert.equal(state.workloadByAddress(name, `10.0.0.${at}`)?.name, name);
      assert.equal(state.workloadByAddress("", `10.0.0.${at}`), undefined);
    }
    state.apply({ removed: { addresses: special.map((name) => `Kubernetes//Pod/${name}/${name}`) } });
    assert.deepEqual([...state.workloads()], []);
  });

  test("H104 as labels they select whom they are on, and nobody else", () => {
    for (const key of special) {
      const wanted = { matchLabels: {}, matchExpressions: [{ key, operator: "Exists" as const, values: [] }] };
      const object = parseObject(
        JSON.parse(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"b","labels":{"${key}":"x"}}}`),
      );
      assert.ok(object.result === "object");
      assert.equal(selectorMatches(wanted, object.object.metadata.labels), true);
      assert.equal(selectorMatches(wanted, {}), false);
      assert.equal(knownKind(key), undefined);
      assert.equal(parseObject({ apiVersion: key, kind: key, metadata: {} }).result, "unknown-kind");
    }
  });

  test("H104 in a local mesh they are unknown, unless they are names", () => {
    for (const name of special) {
      assert.ok(localMesh(`workloads: [{"${name}": 1}]`) instanceof LocalMeshError);
      assert.ok(
        localMesh(`workloads: [{uid: a, name: b, namespace: c, protocol: "${name}"}]`) instanceof LocalMeshError,
      );
      const named = localMesh(
        `workloads: [{uid: "${name}", name: "${name}", namespace: "${name}", workloadIps: ["10.0.0.1"]}]`,
      );
      assert.ok(!(named instanceof LocalMeshError));
      const [resource] = named[1]?.resources ?? [];
      const read = decodeAddress(resource?.bytes ?? new Uint8Array());
      assert.ok(!(read instanceof WdsError));
    }
  });
});

function known(parsed: ReturnType<typeof parseObject>): boolean {
  return ["object", "faulty", "unknown-kind"].includes(parsed.result);
}

function fault({ message }: { readonly message: string }): { path: string[]; message: string } {
  return { path: [], message };
}

/** SEQUENCE in SEQUENCE. */
function derOf(depth: number): Buffer {
  const parts: Buffer[] = [];
  let size = 0;
  for (let at = 0; at < depth; at++) {
    const long = Buffer.alloc(4);
    long.writeUInt32BE(size);
    const length =
      size < 128
        ? Buffer.from([size])
        : Buffer.concat([Buffer.from([0x80 | bytesOf(size)]), long.subarray(4 - bytesOf(size))]);
    parts.push(length, Buffer.from([0x30]));
    size += length.length + 1;
  }
  return Buffer.concat(parts.reverse());
}

function bytesOf(size: number): number {
  return Math.ceil(Math.log2(size + 1) / 8);
}

/** Length-delimited fields in each other. */
function nested(inner: Buffer, depth: number, tags: readonly number[]): Buffer {
  const parts: Buffer[] = [inner];
  let size = inner.length;
  for (let at = 0; at < depth; at++) {
    for (const tag of tags.toReversed()) {
      const length: number[] = [];
      for (let rest = size; ; rest >>>= 7) {
        length.push(rest > 127 ? (rest & 127) | 128 : rest);
        if (rest <= 127) break;
      }
      parts.push(Buffer.from(length), Buffer.from([tag]));
      size += length.length + 1;
    }
  }
  return Buffer.concat(parts.reverse());
}

const connect = { kind: "request", method: "CONNECT", authority: "10.0.0.1:80" } as const;
const brackets = [
  ["[", "]"],
  ["{a: ", "}"],
] as const;
const jsonBrackets = [
  ["[", "]"],
  ['{"a":', "}"],
] as const;
