/**
 * Breaks one part of a running lab on purpose, so that the check can be seen to fail. Nothing in the mesh knows of it: the redirect is flushed as
 * root in a pod could, annotations, accounts and policies are changed as their owners could, and the agent's own setting turns source addresses off.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkoutRoot, labProgram } from "../programs.ts";
import type { LabHandle, LabOptions } from "../start.ts";
import type { Part } from "./parts.ts";

/** What has to be known before the lab starts. */
export function sabotagedOptions(part: Part | undefined): Partial<LabOptions> {
  return part === "source" ? { environment: { agent: { ENABLE_ORIG_SRC: "false" } } } : {};
}

/** Breaks the part; resolves when it is broken. */
export async function sabotage(lab: LabHandle, part: Part): Promise<void> {
  switch (part) {
    case "redirect":
      return flushRedirect(lab);
    case "mtls":
      // Without the annotation control tells everybody that these pods take no HBONE.
      for (const name of ["server-1", "server-2"])
        overlay(lab, "Pod", "shop", name, { metadata: { annotations: { "ambient.istio.io/redirection": null } } });
      return;
    case "policy":
      return overlay(lab, "AuthorizationPolicy", "vault", "no-intruders", { spec: { rules: [] } });
    case "identity":
      return impersonate(lab);
    case "source":
      return;
  }
}

async function flushRedirect(lab: LabHandle): Promise<void> {
  const flusher = await lab.exec("shop/client-1", [process.execPath, labProgram("check/flush-redirect")]);
  await new Promise<void>((resolve, reject) => {
    flusher.stdout?.once("data", () => resolve());
    flusher.once("close", () => reject(new Error("the redirect could not be flushed")));
  });
  flusher.removeAllListeners("close");
}

/** client-1 comes back under the server's account: a caller that is not who the check expects. */
async function impersonate(lab: LabHandle): Promise<void> {
  const text = readFileSync(join(checkoutRoot, "lab/manifests/shop.yaml"), "utf8");
  await lab.request(
    "PUT",
    "/manifests/shop.yaml",
    text.replace("serviceAccountName: client", "serviceAccountName: server"),
  );
}

/** A merge patch that everybody who reads the cluster's objects sees, after all others. */
function overlay(lab: LabHandle, kind: string, namespace: string, name: string, patch: object): void {
  const folder = `/proc/${lab.pid}/root/run/lab/cluster/status`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${kind}.${namespace}.${name}.sabotage.json`), JSON.stringify(patch));
}
