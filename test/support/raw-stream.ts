/** gRPC whose messages are octets: for who passes them on, or makes them by hand. */
import type { ServiceDefinition } from "@grpc/grpc-js";

/** A message as it is sent. */
export const same = (octets: Buffer): Buffer => octets;

/** A service with one method, `call`. @param isStream in both directions; else one message for one. */
export function rawService(path: string, isStream: boolean): ServiceDefinition {
  return {
    call: {
      path,
      requestStream: isStream,
      responseStream: isStream,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    },
  };
}
