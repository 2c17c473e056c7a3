/** Why a WDS resource was refused. The text goes into the NACK beside the resource's name; the last good version stays in force. */
import { TypedError } from "../../base/errors.ts";

export class WdsError extends TypedError<
  | { readonly code: "wds.undecodable"; readonly reason: string } // not a protobuf message of the type
  | { readonly code: "wds.missing"; readonly field: string }
  | { readonly code: "wds.bad-address"; readonly field: string; readonly bytes: number } // neither 4 nor 16
  | { readonly code: "wds.bad-prefix"; readonly field: string; readonly length: number } // more bits than the address has
  | { readonly code: "wds.bad-port"; readonly field: string; readonly port: number }
  | { readonly code: "wds.bad-key"; readonly field: string; readonly key: string } // not namespace/hostname
  | { readonly code: "wds.unknown-enum"; readonly field: string; readonly value: number }
  | { readonly code: "wds.name-mismatch"; readonly name: string; readonly key: string } // resource name against its own key
  | { readonly code: "wds.condition-not-understood"; readonly field: string } // part of a policy that cannot be judged
> {}
