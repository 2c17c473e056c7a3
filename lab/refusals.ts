/** Why there is no lab on this machine: one sentence, and what to do. */
import { readFileSync } from "node:fs";
import { TypedError, messageOf } from "../core/base/errors.ts";
import { LinuxError } from "../core/linux/errno.ts";

/** A failure whose message is for the person who wanted a lab. */
export class Refused extends Error {}

/** The sentence of whatever went wrong inside the lab's namespaces. */
export function refusalOf(thrown: unknown): string {
  const text = thrown instanceof TypedError ? thrown.message : messageOf(thrown);
  if (thrown instanceof LinuxError && (thrown.errno === "EPERM" || thrown.errno === "EACCES"))
    return `This machine gives the lab namespaces but no rights in them (${text}). ${namespaceFix()}`;
  if (thrown instanceof LinuxError && (thrown.errno === "EMFILE" || thrown.errno === "ENFILE"))
    return `Too few open files are allowed for a lab (${text}): raise the limit (ulimit -n 4096).`;
  if (thrown instanceof LinuxError && thrown.errno === "ENOSPC")
    return `The machine has run out of memory or of namespaces for a lab (${text}).`;
  return `The lab could not be built: ${text}.`;
}

/** @param complaint what unshare said. */
export function noNamespaces(complaint: string): string {
  return `The lab needs namespaces of its own, and may not have them here (${complaint}). ${namespaceFix()}`;
}

/** The setting that is in the way, as far as it can be seen; root is never in its way. */
function namespaceFix(): string {
  const asRoot = process.getuid?.() === 0 ? "" : "run it as root (sudo npm start), or ";
  if (setting("kernel/apparmor_restrict_unprivileged_userns") === "1")
    return fix(`${asRoot}allow user namespaces: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`);
  if (setting("kernel/unprivileged_userns_clone") === "0")
    return fix(`${asRoot}allow user namespaces: sudo sysctl -w kernel.unprivileged_userns_clone=1`);
  if (setting("user/max_user_namespaces") === "0")
    return fix(`${asRoot}allow user namespaces: sudo sysctl -w user.max_user_namespaces=10000`);
  if (asRoot !== "") return fix(`${asRoot}lift what forbids unshare --user here (a container needs --privileged)`);
  return fix("run it as an ordinary user or, inside a container, start that with --privileged");
}

function fix(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function setting(name: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${name}`, "utf8").trim();
  } catch {
    return undefined;
  }
}
