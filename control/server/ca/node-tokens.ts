/**
 * A token file for each node's agent: what a kubelet would project into its pod, signed by a key of our own and renewed at
 * half of its life. The claims are Kubernetes' (a bound service-account token), so that the reader needn't care who signed.
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../../core/base/clock.ts";
import { messageOf } from "../../../core/base/errors.ts";
import type { Log } from "../../../core/base/log.ts";
import { istioCaAudience, mintToken, type NodeTokenClaims } from "../../../core/protocol/token/node-token.ts";
import type { Node } from "../../sources/objects.ts";
import type { ObjectDelta } from "../../sources/source.ts";
import { createOnce, FileError, readPrivate, replaceFile } from "../private-files.ts";

/** The account agents run as. */
export const agentAccount = { namespace: "istio-system", name: "ztunnel" } as const;

/** The key of `token-key.pem` in `directory`, which is made if it isn't there. */
export function openTokenKey(directory: string): KeyObject | FileError {
  const path = join(directory, "token-key.pem");
  const there = readPrivate(path);
  if (there instanceof FileError) return there;
  const text = there ?? createOnce(path, newKey());
  if (text instanceof FileError) return text;
  try {
    const key = createPrivateKey(text);
    if (key.asymmetricKeyDetails?.namedCurve === "prime256v1") return key;
    return damaged(path, "it is not a P-256 key");
  } catch (thrown) {
    return damaged(path, messageOf(thrown));
  }
}

export interface NodeTokensOptions {
  /** Where `<node>/istio-token` is written. */
  readonly directory: string;
  readonly key: KeyObject;
  readonly clock: Clock;
  readonly log: Log;
}

export class NodeTokens {
  readonly #options: NodeTokensOptions;
  readonly #renewals = new Map<string, { readonly uid: string; readonly cancel: () => void }>();

  constructor(options: NodeTokensOptions) {
    this.#options = options;
  }

  apply(deltas: readonly ObjectDelta[]): void {
    for (const { op, object } of deltas) {
      if (object.kind !== "Node") continue;
      const { name, uid } = object.metadata;
      if (op === "removed") this.#withdraw(name);
      else if (this.#renewals.get(name)?.uid !== uid) this.#mint(object);
    }
  }

  close(): void {
    for (const { cancel } of this.#renewals.values()) cancel();
    this.#renewals.clear();
  }

  #mint(node: Node): void {
    const { directory, key, clock, log } = this.#options;
    const { name, uid } = node.metadata;
    if (!nodeName.test(name)) {
      log.error({ node: name }, "no token: this is no name for a node");
      return;
    }
    this.#renewals.get(name)?.cancel();
    const token = mintToken(claimsFor(node, Math.floor(clock.wallMs() / 1000)), key);
    const problem = write(join(directory, name), token);
    if (problem !== undefined)
      log.error({ error: problem.type, node: name }, "a node's token can't be written; tried again soon");
    else log.info({ node: name, lifeSeconds }, "token minted");
    const againMs = problem === undefined ? (lifeSeconds * 1000) / 2 : retryMs;
    this.#renewals.set(name, { uid, cancel: clock.after(againMs, () => this.#mint(node)) });
  }

  #withdraw(name: string): void {
    const renewal = this.#renewals.get(name);
    if (renewal === undefined) return;
    renewal.cancel();
    this.#renewals.delete(name);
    rmSync(join(this.#options.directory, name, fileName), { force: true });
  }
}

function claimsFor(node: Node, nowSeconds: number): NodeTokenClaims {
  const { name, uid } = node.metadata;
  const { namespace, name: account } = agentAccount;
  return {
    iss: "ambientd",
    aud: [istioCaAudience],
    iat: nowSeconds,
    nbf: nowSeconds,
    exp: nowSeconds + lifeSeconds,
    sub: `system:serviceaccount:${namespace}:${account}`,
    "kubernetes.io": {
      namespace,
      node: { name, uid },
      pod: { name: `${account}-${name}`, uid: derivedUid(`agent of ${uid}`) },
      serviceaccount: { name: account, uid: derivedUid(`${namespace}/${account}`) },
    },
  };
}

/** The directory may be the node's own mount: only the file in it is replaced. */
function write(directory: string, token: string): FileError | undefined {
  try {
    if (!existsSync(directory)) mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (thrown) {
    return new FileError({ code: "file.unwritable", path: directory, problem: messageOf(thrown) });
  }
  return replaceFile(join(directory, fileName), token, 0o600);
}

/** The same UUID for the same thing, whoever asks. */
function derivedUid(of: string): string {
  const hex = createHash("sha256").update(of).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

function newKey(): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return privateKey.export({ type: "pkcs8", format: "pem" }) as string;
}

/** Its public half verifies what it signed. */
export function publicHalf(key: KeyObject): KeyObject {
  return createPublicKey(key);
}

function damaged(path: string, problem: string): FileError {
  return new FileError({
    code: "file.damaged",
    path,
    problem,
    fix: "remove it: a new key is made, and new tokens with it",
  });
}

const fileName = "istio-token";
/** Kubernetes' kubelet asks for 12 hours for such tokens in istio's charts. */
const lifeSeconds = 43_200;
const retryMs = 5_000;
/** RFC 1123, as the API server has it: no slash, no leading dot. */
const nodeName = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
