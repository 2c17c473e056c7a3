/** An identity's URI, made once for each object: a tunnel's peer and a pod have many connections, and each of those keeps it. */
import { oncePerObject } from "../../core/base/memo.ts";
import { formatIdentity, type Identity } from "../../core/protocol/spiffe/identity.ts";

/** @param identity that lives longer than a connection. */
export const uriOf: (identity: Identity) => string = oncePerObject(formatIdentity);
