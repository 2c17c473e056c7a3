import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseConfig, unchangedResult, type NetworkConfig } from "./config.ts";
import { CniSpecError, renderError, reportOf } from "./errors.ts";
import { supportedVersions } from "./versions.ts";

test("a configuration is read with the plugin's own keys and the attachments of GC", () => {
  const config = read({
    cniVersion: "1.1.0",
    name: "k8s",
    type: "ambient-cni",
    cni_agent_run_dir: "/r",
    "cni.dev/valid-attachments": [{ containerID: "a", ifname: "eth0" }],
  });
  assert.equal(config.fields["cni_agent_run_dir"], "/r");
  assert.deepEqual(config.validAttachments, [{ containerId: "a", ifname: "eth0" }]);
  assert.equal(config.prevResult, undefined);
});

test("no version means 0.1.0, and a result without one has the configuration's", () => {
  assert.equal(read({ name: "k8s" }).cniVersion, "0.1.0");
  const { prevResult } = read({
    name: "k8s",
    cniVersion: "0.4.0",
    prevResult: { ips: [{ version: "4", address: "10.0.0.2/24" }] },
  });
  assert.equal(prevResult?.version, "0.4.0");
});

test("an unchanged result is what was written, fields we know nothing of included", () => {
  for (const cniVersion of supportedVersions) {
    const prevResult = { cniVersion, dns: {}, "example.com/note": { kept: [1] } };
    assert.deepEqual(unchangedResult(read({ name: "k8s", cniVersion, prevResult })), prevResult);
  }
});

test("a result of another version than the configuration's is converted, and none is an empty one", () => {
  const prevResult = { cniVersion: "0.2.0", ip4: { ip: "10.0.0.2/24" } };
  assert.deepEqual(unchangedResult(read({ name: "k8s", cniVersion: "1.0.0", prevResult })), {
    cniVersion: "1.0.0",
    ips: [{ address: "10.0.0.2/24" }],
    dns: {},
  });
  assert.deepEqual(unchangedResult(read({ name: "k8s", cniVersion: "0.3.1" })), { cniVersion: "0.3.1", dns: {} });
});

test("what is no configuration is refused with the spec's code, in the order JSON, name, version", () => {
  for (const [text, code, words] of [
    ["", 6, "is empty"],
    ["{", 6, "is no JSON"],
    ["[]", 6, "is no object"],
    ['{"name":1}', 6, "name is no string"],
    ['{"name":"k8s","prevResult":7}', 6, "prevResult is no object"],
    ['{"cniVersion":"9.9.9"}', 7, "the network has no name"],
    ['{"name":"a b","cniVersion":"9.9.9"}', 7, "characters that aren't allowed"],
    ['{"name":"k8s","cniVersion":"9.9.9"}', 1, "9.9.9"],
    ['{"name":"k8s","cniVersion":"1.0.0","prevResult":{"cniVersion":"2.0.0"}}', 6, "prevResult.cniVersion"],
  ] as const) {
    const error = parseConfig(text);
    assert.ok(error instanceof CniSpecError, text);
    const report = reportOf(error);
    assert.equal(report.code, code, text);
    assert.match(`${report.msg}; ${report.details ?? ""}`, new RegExp(words.replace(/\./g, "\\.")), text);
  }
});

test("any text is read or refused, never thrown on", () => {
  fc.assert(fc.property(fc.string(), (text) => void parseConfig(text)));
  fc.assert(fc.property(fc.json(), (text) => void parseConfig(text)));
});

test("an error is printed as the spec has it", () => {
  assert.equal(renderError({ code: 11, msg: "later" }), '{\n    "code": 11,\n    "msg": "later"\n}\n');
  assert.deepEqual(JSON.parse(renderError({ code: 7, msg: "m", details: "d" }, "1.0.0")), {
    cniVersion: "1.0.0",
    code: 7,
    msg: "m",
    details: "d",
  });
});

function read(fields: object): NetworkConfig {
  const config = parseConfig(JSON.stringify(fields));
  assert.ok(!(config instanceof CniSpecError), JSON.stringify(config));
  return config;
}
