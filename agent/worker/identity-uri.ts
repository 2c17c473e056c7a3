/** An identity's URI, made once for each object: a tunnel's peer and a pod have many connections, and each of those keeps it. */
import { formatIdentity, type Identity } from "../../core/protocol/spiffe/identity.ts";

/** @param identity that lives longer than a connection. */
export function uriOf(identity: Identity): string {
  const known = uris.get(identity);
  if (known !== undefined) return known;
  const uri = formatIdentity(identity);
  uris.set(identity, uri);
  return uri;
}

const uris = new WeakMap<Identity, string>();
