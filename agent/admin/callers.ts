/**
 * Who may ask the admin server. It listens on loopback alone, and that is not enough: a web page in a browser on the other side of a
 * port-forward could be made to ask too, under another name (DNS rebinding) or across sites.
 */
import type { IncomingHttpHeaders } from "node:http";

/** Why a request over TCP is refused; undefined: it is not. */
export function refusedCaller({ host, origin, "sec-fetch-site": site }: IncomingHttpHeaders): string | undefined {
  if (!isLocal(host)) return "this Host is not the agent's: ask for localhost";
  if (origin !== undefined && !isLocal(hostOf(origin))) return "no other site may ask";
  if (site !== undefined && site !== "same-origin" && site !== "none") return "no other site may ask";
  return undefined;
}

/** `localhost`, with or without a port: whoever forwards a port chooses another number. */
function isLocal(host: string | undefined): boolean {
  const [, name = ""] = /^(\[[0-9a-f:]+\]|[^:]+)(?::\d{1,5})?$/i.exec(host ?? "") ?? [];
  return localNames.has(name.toLowerCase());
}

/** `null`, which sandboxed pages send, is nobody's. */
function hostOf(origin: string): string | undefined {
  return /^https?:\/\/([^/]+)$/i.exec(origin)?.[1];
}

const localNames: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);
