/**
 * What to do when the root's Secret changes under a control plane that runs. A renewed or extended root is followed at once.
 * One that shares no key with what the mesh trusts is not: every certificate out there would be worthless at the same
 * moment; whoever means that restarts control.
 */
import type { Log } from "../../../core/base/log.ts";
import type { MeshAuthority } from "./mesh-authority.ts";
import { readRootSecret, RootError, type Secret } from "./root-secret.ts";
import { isRelated } from "./signing-material.ts";

export interface RootChangesModules {
  readonly authority: MeshAuthority;
  readonly namespace: string;
  /** The Secret the root came from. */
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly wallMs: () => number;
  readonly log: Log;
}

/** @param secret as it is now; undefined: it is gone. */
export function takeRootChange(secret: Secret | undefined, modules: RootChangesModules): void {
  const { authority, namespace, name, log } = modules;
  const where = { secret: `${namespace}/${name}` };
  if (secret === undefined) {
    const fix = "restore it: a control plane that starts now would make another root, which nobody trusts";
    log.error({ ...where, fix }, "the root's Secret is gone; control goes on with what it has read");
    return;
  }
  const next = readRootSecret(secret, name, modules);
  if (next instanceof RootError) {
    const fix = next.sentence();
    log.error(
      { ...where, error: next.type, fix },
      "the root's Secret has become useless; control goes on with what it has read",
    );
    return;
  }
  const { chain } = authority;
  const isSame = next.rootsPem === chain.rootsPem && next.issuer.certificatePem === chain.issuer.certificatePem;
  if (isSame) return;
  if (!isRelated(next.rootsPem, chain.rootsPem)) {
    const fix =
      "first add the new root to the old one, wait until every certificate was renewed, then take the old one away; or restart control to change it at once";
    log.error({ ...where, fix }, "the root's Secret holds an unrelated root; control goes on with the one it has");
    return;
  }
  authority.replace(next);
  log.warn({ ...where }, "the root has changed; certificates are signed with it from now on");
}
