/**
 * Tokens of a cluster's service accounts, reviewed by its API server (authentication.k8s.io/v1 TokenReview). Answers are
 * kept for seconds under the token's hash, never the token; a few are asked for at once, and who can't be answered is told
 * to come back instead of being called a stranger.
 */
import { hash } from "node:crypto";
import type { Clock } from "../../../core/base/clock.ts";
import { KubeError } from "../../sources/kubernetes/errors.ts";
import { apiVersionOf, collectionPath } from "../../sources/kubernetes/paths.ts";
import { badToken, CallerError, type Binding, type Caller, type TokenReviewer } from "./authenticate.ts";

/** What is needed of a Kubernetes client. */
export interface ReviewClient {
  create<T>(path: string, body: object, options: { readonly timeoutMs: number }): Promise<T | KubeError>;
}

export interface TokenReviewOptions {
  readonly client: ReviewClient;
  readonly trustDomain: string;
  readonly clock: Clock;
}

export class KubernetesTokenReviewer implements TokenReviewer {
  readonly #options: TokenReviewOptions;
  /** Answers by hash, oldest first. */
  readonly #answers = new Map<string, { readonly answer: Caller | CallerError; readonly untilMs: number }>();
  readonly #asked = new Map<string, Promise<Caller | CallerError>>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(options: TokenReviewOptions) {
    this.#options = options;
  }

  async review(token: string, audience: string): Promise<Caller | CallerError> {
    // What isn't even shaped like one costs nobody a request.
    if (!jwtShape.test(token)) return badToken("it is not a JSON web token");
    const key = hash("sha256", `${audience}\n${token}`);
    const known = this.#answers.get(key);
    if (known !== undefined && known.untilMs > this.#options.clock.nowMs()) return known.answer;
    const asked = this.#asked.get(key);
    if (asked !== undefined) return asked;
    if (this.#waiting.length >= mostWaiting) return notReviewed("too many tokens wait to be reviewed");
    const asking = this.#inTurn(() => this.#ask(key, token, audience));
    this.#asked.set(key, asking);
    return asking.finally(() => this.#asked.delete(key));
  }

  async #ask(key: string, token: string, audience: string): Promise<Caller | CallerError> {
    const { client, trustDomain, clock } = this.#options;
    const spec = { token, audiences: [audience] };
    const body = { apiVersion: apiVersionOf("TokenReview"), kind: "TokenReview", spec };
    const ask = (): Promise<{ readonly status?: ReviewStatus } | KubeError> =>
      client.create(collectionPath("TokenReview"), body, { timeoutMs: patienceMs });
    let review = await ask();
    // A connection the API server was closing: to ask twice does no harm.
    if (review instanceof KubeError && review.type.code === "kube.unreachable") review = await ask();
    if (review instanceof KubeError) return notReviewed(review.message);
    const answer = readStatus(review.status ?? {}, audience, trustDomain);
    const keptMs = answer instanceof CallerError ? refusalKeptMs : callerKeptMs;
    this.#answers.delete(key);
    this.#answers.set(key, { answer, untilMs: clock.nowMs() + keptMs });
    const [oldest] = this.#answers.keys();
    if (this.#answers.size > mostAnswers && oldest !== undefined) this.#answers.delete(oldest);
    return answer;
  }

  async #inTurn<T>(job: () => Promise<T>): Promise<T> {
    if (this.#running >= mostAtOnce) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running += 1;
    try {
      return await job();
    } finally {
      // Whoever waits takes this one's place.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}

/** TokenReview.status, as far as it matters here. */
export interface ReviewStatus {
  readonly authenticated?: boolean;
  readonly audiences?: readonly string[];
  readonly error?: string;
  readonly user?: {
    readonly username?: string;
    readonly groups?: readonly string[];
    readonly extra?: Readonly<Record<string, readonly string[]>>;
  };
}

/** @param trustDomain of the identity that the account gets. */
export function readStatus(status: ReviewStatus, audience: string, trustDomain: string): Caller | CallerError {
  const { authenticated = false, audiences = [], error = "", user = {} } = status;
  if (!authenticated)
    return badToken(error === "" ? "the API server does not accept it" : error.slice(0, longestReason));
  // An API server that knows no audiences names none: then it has not looked at ours.
  if (!audiences.includes(audience)) return badToken(`the API server does not vouch for the audience ${audience}`);
  if (user.groups?.includes("system:serviceaccounts") !== true) return badToken("it is no service account's");
  const [, namespace, serviceAccount] = account.exec(user.username ?? "") ?? [];
  if (namespace === undefined || serviceAccount === undefined) return badToken("it names no service account");
  return { identity: { trustDomain, namespace, serviceAccount }, binding: bindingOf(user.extra ?? {}) };
}

/** A token that names more than one of a thing names none. */
function bindingOf(extra: Readonly<Record<string, readonly string[]>>): Binding {
  const only = (name: string): string => {
    const values = extra[`authentication.kubernetes.io/${name}`] ?? [];
    return values.length === 1 ? (values[0] ?? "") : "";
  };
  const pod = { name: only("pod-name"), uid: only("pod-uid") };
  if (pod.name === "" || pod.uid === "") return { kind: "unbound" };
  const node = { name: only("node-name"), uid: only("node-uid") };
  return node.name === "" ? { kind: "pod", pod } : { kind: "pod", pod, node };
}

function notReviewed(reason: string): CallerError {
  return new CallerError({ code: "caller.not-reviewed", reason: reason.slice(0, longestReason) });
}

const jwtShape = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;
const account = /^system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})$/;
/** How long an answer counts: a pod that was deleted may call for so long, if its object were not looked up too. */
const callerKeptMs = 10_000;
/** Shorter: a clock that is off, or an API server that has not heard of the pod yet, mends itself. */
const refusalKeptMs = 2_000;
const patienceMs = 5_000;
const mostAtOnce = 16;
const mostWaiting = 1_024;
const mostAnswers = 10_000;
const longestReason = 300;
