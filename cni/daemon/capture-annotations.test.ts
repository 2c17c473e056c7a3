import assert from "node:assert/strict";
import { test } from "node:test";
import {
  bypassInboundAnnotation,
  dnsCaptureAnnotation,
  parseCapture,
  parseGoBool,
  virtualInterfacesAnnotation,
} from "./capture-annotations.ts";

test("Go's twelve spellings of a boolean, and no other", () => {
  for (const text of ["1", "t", "T", "TRUE", "true", "True"]) assert.equal(parseGoBool(text), true, text);
  for (const text of ["0", "f", "F", "FALSE", "false", "False"]) assert.equal(parseGoBool(text), false, text);
  for (const text of ["", "yes", "tRUE", " true", "2", "on"]) assert.equal(parseGoBool(text), undefined, text);
});

test("the pod's DNS annotation beats the node's default either way", () => {
  const dns = (value: string, byDefault: boolean) =>
    parseCapture({ [dnsCaptureAnnotation]: value }, byDefault).options.dnsCapture;
  assert.equal(dns("true", false), true);
  assert.equal(dns("false", true), false);
  assert.equal(parseCapture({}, true).options.dnsCapture, true);
});

test("a value that can't be read is reported and counts as absent", () => {
  const parsed = parseCapture({ [dnsCaptureAnnotation]: "yes", [bypassInboundAnnotation]: "x".repeat(1000) }, true);
  assert.deepEqual(parsed.options, { dnsCapture: true, ingressMode: false, virtualInterfaces: [] });
  assert.deepEqual(
    parsed.problems.map(({ annotation }) => annotation),
    [dnsCaptureAnnotation, bypassInboundAnnotation],
  );
  assert.ok(parsed.problems.every(({ value }) => value.length < 70));
});

test("virtual interfaces are trimmed, empty and repeated ones dropped, impossible ones reported", () => {
  const parse = (value: string) => parseCapture({ [virtualInterfacesAnnotation]: value }, false);
  assert.deepEqual(parse(" tap0 ,, tap1,tap0").options.virtualInterfaces, ["tap0", "tap1"]);
  assert.equal(parse(" tap0 ,, tap1,tap0").problems.length, 0);
  for (const bad of ["a/b", "..", "sixteen-letters-", "a b", "a:b", "é"]) {
    const parsed = parse(`tap0,${bad}`);
    assert.deepEqual(parsed.options.virtualInterfaces, ["tap0"], bad);
    assert.equal(parsed.problems.length, 1, bad);
  }
  const many = Array.from({ length: 1000 }, (_, index) => `tap${index}`).join();
  assert.equal(parse(many).options.virtualInterfaces.length, 32);
  assert.equal(parse(many).problems.length, 1);
});
