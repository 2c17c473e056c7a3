import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { renderPluginEvent } from "./plugin-event.ts";

test("the body of /cmdadd is, byte for byte, what istio's plugin writes", () => {
  const pod = { netns: "/var/run/netns/cni-1", podName: "cart", podNamespace: "shop" };
  const ips = [
    { interface: 0, ip: "10.0.0.2", prefix: 24, gateway: "10.0.0.1" },
    { ip: "fd00::2", prefix: 64 },
  ];
  assert.equal(
    renderPluginEvent({ ...pod, ips }),
    '{"Netns":"/var/run/netns/cni-1","PodName":"cart","PodNamespace":"shop","IPs":[' +
      '{"Interface":0,"Address":{"IP":"10.0.0.2","Mask":"////AA=="},"Gateway":"10.0.0.1"},' +
      '{"Interface":null,"Address":{"IP":"fd00::2","Mask":"//////////8AAAAAAAAAAA=="},"Gateway":""}]}',
  );
  assert.equal(
    renderPluginEvent(pod),
    '{"Netns":"/var/run/netns/cni-1","PodName":"cart","PodNamespace":"shop","IPs":null}',
  );
});

test("a pod whose UID is known is named by it too, in a field that istio's daemon passes over", () => {
  const body = renderPluginEvent({ netns: "/n", podName: "a", podNamespace: "b", podUid: "u-1" });
  assert.equal(body, '{"Netns":"/n","PodName":"a","PodNamespace":"b","PodUID":"u-1","IPs":null}');
});

test("a mask has as many leading ones as the prefix says", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 128 }), fc.boolean(), (bits, isV6) => {
      const prefix = isV6 ? bits : bits % 33;
      const body = renderPluginEvent({
        netns: "",
        podName: "",
        podNamespace: "",
        ips: [{ ip: isV6 ? "fd00::2" : "10.0.0.2", prefix }],
      });
      const { IPs } = JSON.parse(body) as { IPs: { Address: { Mask: string } }[] };
      const mask = Buffer.from(IPs[0]!.Address.Mask, "base64");
      const ones = [...mask].map((byte) => byte.toString(2).padStart(8, "0")).join("");
      assert.equal(ones, "1".repeat(prefix).padEnd(isV6 ? 128 : 32, "0"));
    }),
  );
});
