import assert from "node:assert/strict";
import { it } from "node:test";
import { wrapperModule } from "./kubernetes.ts";

it("replaces the staging modules, and no other, by what is published of them", () => {
  const requirements = `
module k8s.io/kubernetes
require (
	github.com/blang/semver/v4 v4.0.0
	k8s.io/api v0.0.0
	k8s.io/kube-proxy v0.0.0
	k8s.io/klog/v2 v2.130.1
	k8s.io/utils v0.0.0-20260210185600-b8788abfbbc2
)
replace (
	k8s.io/api => ./staging/src/k8s.io/api
)
`;
  assert.equal(
    wrapperModule(requirements),
    `module ambientd.test/kubernetes
go 1.26.0
require k8s.io/kubernetes v1.36.3
replace k8s.io/api => k8s.io/api v0.36.3
replace k8s.io/kube-proxy => k8s.io/kube-proxy v0.36.3
`,
  );
});
