import assert from "node:assert/strict";
import { test } from "node:test";
import { canonicalIp } from "../core/base/ip.ts";
import { AddressError, planNode, PodAddresses, routerAddresses, ServiceAddresses } from "./addresses.ts";

test("a dual-stack node has an IPv4 and an IPv6 address on its link and a range of each for its pods", () => {
  assert.deepEqual(planNode("node1", 1, "46"), {
    name: "node1",
    index: 1,
    routerEnd: [
      { address: "172.30.1.1", prefix: 30 },
      { address: "fd00:30:1::1", prefix: 64 },
    ],
    nodeEnd: [
      { address: "172.30.1.2", prefix: 30 },
      { address: "fd00:30:1::2", prefix: 64 },
    ],
    podRanges: [
      { address: "10.244.1.0", prefix: 24 },
      { address: "fd00:244:1::", prefix: 64 },
    ],
  });
});

test("a lab of one family has addresses of that family only", () => {
  assert.deepEqual(routerAddresses("6"), ["fd00:30::1"]);
  assert.deepEqual(new PodAddresses(planNode("n", 2, "4")).assign("a/b"), ["10.244.2.2"]);
  assert.deepEqual(new ServiceAddresses("6").assign("a/b"), ["fd00:96::8000"]);
});

test("a pod that comes back gets the addresses it had", () => {
  const pods = new PodAddresses(planNode("n", 1, "46"));
  const first = pods.assign("shop/a");
  assert.deepEqual(first, ["10.244.1.2", "fd00:244:1::2"]);
  pods.release("shop/a");
  assert.notDeepEqual(pods.assign("shop/b"), first);
  assert.deepEqual(pods.assign("shop/a"), first);
});

test("released addresses are given to others only when nothing else is left, then the answer is an error", () => {
  const pods = new PodAddresses(planNode("n", 1, "4"));
  for (let i = 0; i < 253; i++) pods.assign(`p${i}`);
  assert.throws(() => pods.assign("one-more"), AddressError);
  pods.release("p7");
  assert.deepEqual(pods.assign("one-more"), ["10.244.1.9"]);
});

test("every address is distinct and canonical", () => {
  const services = new ServiceAddresses("46");
  const given = Array.from({ length: 1000 }, (_, i) => services.assign(`s/${i}`)).flat();
  assert.equal(new Set(given).size, 2000);
  for (const address of given) assert.equal(canonicalIp(address), address);
});

test("more nodes than the plan has room for are refused", () => {
  assert.throws(() => planNode("n", 255, "4"), AddressError);
});
