/** What an API server refuses, as an answer for a person: what, and what to do about it. */
import { explainKubeError, type KubeError } from "../../control/sources/kubernetes/errors.ts";
import { Failure } from "../render/failure.ts";

export function apiFailure(error: KubeError): Failure {
  const { type } = error;
  switch (type.code) {
    case "kube.unauthorized":
      return new Failure(
        `The API server doesn't know who you are: ${orStatus(type.message, "401")}.`,
        "Log in again, or choose another user: --context, --user.",
      );
    case "kube.forbidden":
      return new Failure(
        `You may not: ${orStatus(type.message, "403")}.`,
        "Ask for a Role that grants it, or choose another user: --context, --user. kubectl auth can-i --list shows what you may.",
      );
    case "kube.not-found":
      return new Failure(`Not there: ${orStatus(type.message, type.path)}.`, "Check the name, -n and --context.");
    case "kube.unreachable":
      return new Failure(
        `The API server at ${type.server} can't be reached: ${type.reason}.`,
        "Check that the cluster runs and that --kubeconfig and --context name the one you mean.",
      );
    case "kube.timeout":
      return new Failure(
        `The API server at ${type.server} gave no answer within ${Math.round(type.afterMs / 1000)} s.`,
        "Check the network to it, or wait longer: --request-timeout 2m.",
      );
    case "kube.config":
      return new Failure(
        `The kubeconfig names no cluster to ask: ${type.reason}.`,
        "Choose a file with --kubeconfig or KUBECONFIG, and in it --context, --cluster or --user.",
      );
    case "kube.credentials":
      return new Failure(
        `The kubeconfig's user has no credentials: ${type.reason}.`,
        "Log in again, or choose another user: --context, --user.",
      );
    default:
      return new Failure(
        explainKubeError(error),
        "Try again; if it stays, ask the API server itself: kubectl get --raw /readyz.",
      );
  }
}

function orStatus(message: string, otherwise: string): string {
  return (message === "" ? otherwise : message).replace(/\.$/, "");
}
