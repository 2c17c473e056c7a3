/** The one door by which gRPC's errors enter: what went wrong with control, as data. */
import { status, type ServiceError } from "@grpc/grpc-js";
import { messageOf, TypedError } from "../../core/base/errors.ts";

export class ControlError extends TypedError<
  | { readonly code: "control.bad-address"; readonly address: string; readonly problem: string }
  | { readonly code: "control.bad-root"; readonly source: string; readonly problem: string } // a file name, or `inline`
  | { readonly code: "control.no-token"; readonly problem: string }
  | { readonly code: "control.unreachable"; readonly address: string; readonly detail: string } // also: its certificate isn't trusted
  | { readonly code: "control.connect-timeout"; readonly address: string; readonly afterMs: number }
  | {
      readonly code: "control.refused";
      readonly address: string;
      readonly status: RefusalStatus;
      readonly detail: string;
    } // asked, and said no
  | { readonly code: "control.failed"; readonly address: string; readonly status: string; readonly detail: string }
  | { readonly code: "control.stream-ended"; readonly address: string } // orderly, by control
  | { readonly code: "control.bad-response"; readonly address: string; readonly problem: string }
  | { readonly code: "control.closed" } // by ourselves
  | { readonly code: "control.internal-bug"; readonly problem: string }
> {}

export type RefusalStatus = "UNAUTHENTICATED" | "PERMISSION_DENIED" | "INVALID_ARGUMENT" | "RESOURCE_EXHAUSTED";

/** What `thrown` by a call to `address` means to us. */
export function controlError(thrown: unknown, address: string): ControlError {
  if (thrown instanceof ControlError) return thrown;
  if (!isServiceError(thrown)) {
    return new ControlError({ code: "control.failed", address, status: "UNKNOWN", detail: messageOf(thrown) });
  }
  const { code, details: detail } = thrown;
  switch (code) {
    case status.UNAVAILABLE:
      return new ControlError({ code: "control.unreachable", address, detail });
    case status.UNAUTHENTICATED:
      return new ControlError({ code: "control.refused", address, status: "UNAUTHENTICATED", detail });
    case status.PERMISSION_DENIED:
      return new ControlError({ code: "control.refused", address, status: "PERMISSION_DENIED", detail });
    case status.INVALID_ARGUMENT:
      return new ControlError({ code: "control.refused", address, status: "INVALID_ARGUMENT", detail });
    case status.RESOURCE_EXHAUSTED:
      return new ControlError({ code: "control.refused", address, status: "RESOURCE_EXHAUSTED", detail });
    default:
      return new ControlError({ code: "control.failed", address, status: status[code] ?? String(code), detail });
  }
}

function isServiceError(thrown: unknown): thrown is ServiceError {
  return thrown instanceof Error && "code" in thrown && typeof thrown.code === "number" && "details" in thrown;
}
