/** What is wrong with what a container runtime handed over, and how that is said back to it: CNI spec, section 5 "Error". */
import { TypedError } from "../../base/errors.ts";

export type CniSpecFailure =
  /** The network configuration asks for a version of the spec that isn't spoken, or for a verb that its version doesn't have. */
  | { readonly code: "cni-spec.incompatible-version"; readonly asked: string; readonly spoken: string }
  /** A CNI_… variable is missing or malformed. */
  | { readonly code: "cni-spec.bad-environment"; readonly variable: string; readonly problem: string }
  /** Not JSON, or not of the expected shape: every fault with its path. */
  | { readonly code: "cni-spec.undecodable"; readonly faults: readonly string[] }
  /** Well-formed, and still not a network configuration. */
  | { readonly code: "cni-spec.invalid-config"; readonly problem: string };

export class CniSpecError extends TypedError<CniSpecFailure> {}

/** Codes 1-99 are the spec's, 100 and above the plugin's own; 999 is what Go's library says for anything else. */
export const cniErrorCode = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  badEnvironment: 4,
  io: 5,
  undecodable: 6,
  invalidConfig: 7,
  invalidNetns: 8,
  tryAgainLater: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
  internal: 999,
} as const;

/** The JSON object that a failing plugin prints on standard output. */
export interface ErrorReport {
  readonly code: number;
  /** One sentence: it ends up in the pod's events. */
  readonly msg: string;
  readonly details?: string;
}

/** As the runtime is told. */
export function reportOf({ type }: CniSpecError): ErrorReport {
  switch (type.code) {
    case "cni-spec.incompatible-version":
      return {
        code: cniErrorCode.incompatibleVersion,
        msg: "incompatible CNI versions",
        details: `the configuration says ${type.asked}; ${type.spoken}`,
      };
    case "cni-spec.bad-environment":
      return { code: cniErrorCode.badEnvironment, msg: `${type.variable} ${type.problem}` };
    case "cni-spec.undecodable":
      return {
        code: cniErrorCode.undecodable,
        msg: "what came on stdin can't be read",
        details: type.faults.join("; "),
      };
    case "cni-spec.invalid-config":
      return { code: cniErrorCode.invalidConfig, msg: type.problem };
  }
}

/** @param cniVersion of the network configuration, where it is known. */
export function renderError({ code, msg, details }: ErrorReport, cniVersion?: string): string {
  const report = { cniVersion, code, msg, details: details === "" ? undefined : details };
  return `${JSON.stringify(report, undefined, 4)}\n`;
}
