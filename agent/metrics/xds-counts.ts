/** What comes from control, counted by the field's names. */
import type { ControlError } from "../../control/client/grpc-errors.ts";
import type { XdsSubscription } from "../../control/client/xds-session.ts";
import type { Counters } from "./counters.ts";

/** Hears an xDS session. */
export function xdsCounts(counters: Counters): Required<Pick<XdsSubscription, "onReceived" | "onEnded">> {
  return {
    onReceived(typeUrl, bytes) {
      counters.count("istio_xds_message", [typeUrl]);
      counters.count("istio_xds_message_bytes", [typeUrl], bytes);
    },
    onEnded: (error) => counters.count("istio_xds_connection_terminations", [terminationOf(error)]),
  };
}

function terminationOf({ type }: ControlError): "ConnectionError" | "Error" | "Reconnect" | "Complete" {
  switch (type.code) {
    case "control.bad-address":
    case "control.bad-root":
    case "control.no-token":
    case "control.unreachable":
    case "control.connect-timeout":
      return "ConnectionError";
    case "control.refused":
    case "control.failed":
    case "control.bad-response":
    case "control.internal-bug":
      return "Error";
    case "control.stream-ended":
      return "Reconnect";
    case "control.closed":
      return "Complete";
  }
}
