/** What can go wrong between us and an API server, as data. Nothing in here ever holds a token or a request body. */
import { TypedError } from "../../../core/base/errors.ts";

/** Which request. The path comes without its query. */
interface Request {
  readonly method: string;
  readonly path: string;
}

/** The API server's own answer (meta/v1 Status), or what could be made of it. */
interface Answer extends Request {
  readonly status: number;
  /** e.g. `AlreadyExists`, `Conflict`, `Expired`; empty where the answer had none. */
  readonly reason: string;
  readonly message: string;
  /** From a Retry-After header or the answer's details. */
  readonly retryAfterMs?: number;
}

export type KubeErrorData =
  | (Answer & { readonly code: "kube.unauthorized" }) // 401: who we are isn't believed
  | (Answer & { readonly code: "kube.forbidden" }) // 403: RBAC
  | (Answer & { readonly code: "kube.not-found" }) // 404: no such object, or no such kind
  | (Answer & { readonly code: "kube.conflict" }) // 409: exists already, or changed meanwhile
  | (Answer & { readonly code: "kube.gone" }) // 410: the resourceVersion or page is too old
  | (Answer & { readonly code: "kube.status" }) // any other
  | (Request & { readonly code: "kube.unreachable"; readonly server: string; readonly reason: string })
  | (Request & { readonly code: "kube.timeout"; readonly server: string; readonly afterMs: number })
  | (Request & { readonly code: "kube.aborted" }) // the caller's signal
  | (Request & { readonly code: "kube.malformed"; readonly reason: string }) // not what an API server says
  | (Request & { readonly code: "kube.too-large"; readonly limitBytes: number })
  | { readonly code: "kube.credentials"; readonly reason: string } // a token file or plugin that yields none
  | { readonly code: "kube.config"; readonly reason: string }; // no connection can be made out

export class KubeError extends TypedError<KubeErrorData> {}

/** The HTTP status of an answer; undefined where there was none. */
export function statusOf(error: KubeError): number | undefined {
  return "status" in error.type ? error.type.status : undefined;
}

export function isNotFound(answer: unknown): answer is KubeError {
  return answer instanceof KubeError && answer.type.code === "kube.not-found";
}

export function isConflict(answer: unknown): answer is KubeError {
  return answer instanceof KubeError && answer.type.code === "kube.conflict";
}

/** Milliseconds the server asked to be left alone. */
export function retryAfterOf(error: KubeError): number | undefined {
  return "retryAfterMs" in error.type ? error.type.retryAfterMs : undefined;
}

/** Whether the same request may do better later without anybody changing anything. */
export function mayPass(error: KubeError): boolean {
  const status = statusOf(error);
  if (status !== undefined) return status === 429 || status >= 500;
  return error.type.code === "kube.unreachable" || error.type.code === "kube.timeout";
}

/** A sentence for people, with what to do next. */
export function explainKubeError(error: KubeError): string {
  const { type } = error;
  switch (type.code) {
    case "kube.unauthorized":
      return `The API server does not accept the credentials (${type.message}). Log in again, or choose another --context.`;
    case "kube.forbidden":
      return `Not allowed: ${type.message}. Ask for an RBAC rule that grants it.`;
    case "kube.not-found":
      return `Not there: ${type.message}.`;
    case "kube.conflict":
      return `The object changed meanwhile or exists already: ${type.message}. Try again.`;
    case "kube.gone":
      return `What was asked for is too old for the API server: ${type.message}. Try again.`;
    case "kube.status":
      return `The API server answered ${type.status} ${type.reason}: ${type.message}`;
    case "kube.unreachable":
      return `The API server at ${type.server} cannot be reached (${type.reason}). Check the address, --context and KUBECONFIG.`;
    case "kube.timeout":
      return `The API server at ${type.server} did not answer within ${Math.round(type.afterMs / 1000)} s. Check that it is up.`;
    case "kube.aborted":
      return `${type.method} ${type.path} was given up.`;
    case "kube.malformed":
      return `${type.method} ${type.path} was answered with something that is no Kubernetes answer (${type.reason}). Check that the address is an API server's.`;
    case "kube.too-large":
      return `The answer to ${type.method} ${type.path} is larger than ${type.limitBytes} bytes.`;
    case "kube.credentials":
      return `No credentials for the API server: ${type.reason}. Check the user in the kubeconfig, or the mounted token.`;
    case "kube.config":
      return `No cluster to talk to: ${type.reason}. Set KUBECONFIG or pass --kubeconfig.`;
  }
}
