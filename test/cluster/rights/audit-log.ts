/** What service accounts asked of the API server, and whether they were allowed to: its audit log, followed. */
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { auditLog } from "../layout.ts";

/** One request. */
export interface Asked {
  /** `namespace:name` of the service account. */
  readonly account: string;
  readonly verb: string;
  readonly group: string;
  /** With its subresource. */
  readonly resource: string;
  /** Empty where no object was named. */
  readonly name: string;
  readonly namespace: string;
  readonly isForbidden: boolean;
  /** HTTP. */
  readonly code: number;
  /** By which binding of which role it was allowed. */
  readonly why: string;
  readonly path: string;
}

export class AuditLog {
  readonly #asked: Asked[] = [];
  #fd: number;
  #offset: number;
  #rest = "";

  /** From now on. */
  constructor() {
    this.#fd = openSync(auditLog, "r");
    this.#offset = fstatSync(this.#fd).size;
  }

  /** Everything an account asked until now. */
  of(account: string): Asked[] {
    this.#read();
    return this.#asked.filter((asked) => asked.account === account);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #read(): void {
    this.#readOn();
    // The server begins a new file when this one has become long.
    if (statSync(auditLog).ino === fstatSync(this.#fd).ino) return;
    this.#readOn();
    closeSync(this.#fd);
    this.#fd = openSync(auditLog, "r");
    this.#offset = 0;
    this.#readOn();
  }

  #readOn(): void {
    const chunk = Buffer.alloc(1 << 20);
    for (;;) {
      const length = readSync(this.#fd, chunk, 0, chunk.length, this.#offset);
      if (length === 0) return;
      this.#offset += length;
      // All that matters is ASCII.
      const lines = (this.#rest + chunk.toString("latin1", 0, length)).split("\n");
      this.#rest = lines.pop() ?? "";
      for (const line of lines) {
        const asked = parse(JSON.parse(line) as AuditEvent);
        if (asked !== undefined) this.#asked.push(asked);
      }
    }
  }
}

function parse({ user, verb, objectRef, responseStatus, annotations, requestURI }: AuditEvent): Asked | undefined {
  const account = /^system:serviceaccount:(.+)$/.exec(user.username)?.[1];
  if (account === undefined) return undefined;
  const { resource = "", subresource, apiGroup = "", name = "", namespace = "" } = objectRef ?? {};
  return {
    account,
    verb,
    group: apiGroup,
    resource: subresource === undefined ? resource : `${resource}/${subresource}`,
    name,
    namespace,
    isForbidden: annotations?.["authorization.k8s.io/decision"] === "forbid",
    code: responseStatus?.code ?? 0,
    why: annotations?.["authorization.k8s.io/reason"] ?? "",
    path: requestURI,
  };
}

/** audit.k8s.io/v1 Event, as far as it is read. */
interface AuditEvent {
  readonly user: { readonly username: string };
  readonly verb: string;
  readonly requestURI: string;
  readonly objectRef?: {
    readonly resource?: string;
    readonly subresource?: string;
    readonly apiGroup?: string;
    readonly name?: string;
    readonly namespace?: string;
  };
  readonly responseStatus?: { readonly code?: number };
  readonly annotations?: Readonly<Record<string, string>>;
}
