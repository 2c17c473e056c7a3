/**
 * A listener in clear for peers that can't show a client certificate (h2spec, `nghttp`'s kin): every connection to it is one TLS
 * connection to the target, made with the certificate. Bytes, ends and aborts are passed on as they come.
 */
import { createServer, type AddressInfo, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { alpn, secureOptions, type TlsIdentity } from "../../agent/tunnel/tls.ts";

export interface Forwarder {
  readonly port: number;
  readonly close: () => Promise<void>;
}

/** Listens on 127.0.0.1. @param as whose certificate the target is shown; the target's own is checked against its roots. */
export async function forwardWithCertificate(
  target: { host: string; port: number },
  as: TlsIdentity,
): Promise<Forwarder> {
  const open = new Set<Socket | TLSSocket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (clear) => {
    const secured = connectTls({
      ...target,
      ...secureOptions(as),
      ALPNProtocols: alpn,
      // A SPIFFE certificate names no host.
      checkServerIdentity: () => undefined,
    });
    secured.setNoDelay(true);
    for (const [from, to] of [
      [clear, secured],
      [secured, clear],
    ] as const) {
      open.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => (open.delete(from), to.destroySoon()));
      from.pipe(to);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
