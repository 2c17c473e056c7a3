/** The HTTP/2 engines that HBONE can run on; what is held true of a tunnel is held true of each. */
import { engineOf as tunnelEngine, type EngineName } from "../../agent/tunnel/engine.ts";
import type { ClientTls } from "../../agent/tunnel/tls-engine.ts";
import type { TlsIdentity } from "../../agent/tunnel/tls.ts";
import { openClientTunnel, type ClientTunnelOptions } from "../../agent/tunnel/hbone-client.ts";
import { HboneServer, type HboneServerOptions } from "../../agent/tunnel/hbone-server.ts";
import type { ClientTunnel, TunnelError } from "../../agent/tunnel/tunnel.ts";
import type { LoopbackMesh } from "./loopback-mesh.ts";

export type { EngineName } from "../../agent/tunnel/engine.ts";

/** Those that exist. */
export const engines: readonly EngineName[] = ["own", "own-on-node-tls", "node"];

export interface Engine {
  readonly server: (options: HboneServerOptions) => HboneServer;
  readonly openClientTunnel: (options: ClientTunnelOptions) => Promise<ClientTunnel | TunnelError>;
  readonly clientTls: (identity: TlsIdentity) => ClientTls;
  /** What makes a whole worker use it. */
  readonly meshOptions: NonNullable<ConstructorParameters<typeof LoopbackMesh>[0]>;
}

export function engineOf(engine: EngineName): Engine {
  return {
    server: (options) => new HboneServer({ ...options, engine }),
    openClientTunnel: (options) => openClientTunnel({ ...options, engine }),
    clientTls: (identity) => tunnelEngine(engine).clientTls(identity),
    meshOptions: { settings: { engine } },
  };
}
