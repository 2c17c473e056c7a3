/** Envoy's configuration as either half of HBONE: what a gateway in front of the mesh has, and what a waypoint has. */
import { formatIdentity } from "../../core/protocol/spiffe/identity.ts";
import type { TlsIdentity } from "../../agent/tunnel/tls.ts";
import type { Endpoint } from "../../core/base/ip.ts";
import type { StaticResources } from "./envoy.ts";

/** One listener in clear: whoever connects to it is tunnelled to `authority`. */
export interface Door {
  readonly name: string;
  readonly listen: Endpoint;
  readonly authority: string;
}

/**
 * Listeners whose connections become CONNECT streams to one tunnel port. The access log has `door=NAME status=STATUS` for each: the
 * status that the tunnel answered.
 * @param from the local address of tunnels.
 * @param accepted SPIFFE URI that the server must prove.
 */
export function tunnellingClient(options: {
  readonly identity: TlsIdentity;
  readonly from: string;
  readonly server: Endpoint;
  readonly accepted: string;
  readonly doors: readonly Door[];
}): StaticResources {
  const { identity, from, server, accepted, doors } = options;
  return {
    listeners: doors.map(({ name, listen, authority }) => ({
      name,
      address: socketAddress(listen),
      filter_chains: [
        {
          filters: [
            filter("envoy.filters.network.tcp_proxy", `${extensions}.filters.network.tcp_proxy.v3.TcpProxy`, {
              stat_prefix: name,
              cluster: "hbone",
              tunneling_config: { hostname: authority, propagate_response_headers: true },
              access_log: [accessLog(`door=${name} status=${answeredStatus} flags=%RESPONSE_FLAGS%\n`)],
            }),
          ],
        },
      ],
    })),
    clusters: [
      {
        ...staticCluster("hbone", server),
        upstream_bind_config: { source_address: { address: from, port_value: 0 } },
        typed_extension_protocol_options: {
          [httpOptions]: {
            "@type": `${types}${httpOptions}`,
            explicit_http_config: { http2_protocol_options: { allow_connect: true } },
          },
        },
        transport_socket: tls("UpstreamTlsContext", identity, accepted),
      },
    ],
  };
}

/**
 * A CONNECT-terminating listener with mutual TLS. An authority that nothing is said of is answered with 404.
 * @param behind where the streams for an authority go.
 * @param denied authorities that its own authorization answers with 403.
 * @param maxStreams what SETTINGS allow a tunnel.
 */
export function terminatingServer(options: {
  readonly identity: TlsIdentity;
  readonly listen: Endpoint;
  readonly accepted: string;
  readonly behind: Readonly<Record<string, Endpoint>>;
  readonly denied?: readonly string[];
  readonly maxStreams?: number;
}): StaticResources {
  const { identity, listen, accepted, behind, denied = [], maxStreams = 100 } = options;
  const upgrade = [{ upgrade_type: "CONNECT", connect_config: {} }];
  const routes = Object.keys(behind).map((authority) => ({
    name: authority,
    domains: [authority],
    routes: [
      { match: { connect_matcher: {} }, route: { cluster: authority, timeout: "0s", upgrade_configs: upgrade } },
    ],
  }));
  const manager = {
    stat_prefix: "hbone",
    codec_type: "HTTP2",
    stream_idle_timeout: "0s",
    // Between its two GOAWAYs.
    drain_timeout: "0.1s",
    upgrade_configs: [{ upgrade_type: "CONNECT" }],
    http2_protocol_options: {
      allow_connect: true,
      max_concurrent_streams: maxStreams,
      connection_keepalive: { interval: "10s", timeout: "20s" },
    },
    http_filters: [
      filter("envoy.filters.http.rbac", `${extensions}.filters.http.rbac.v3.RBAC`, {
        rules: {
          action: "DENY",
          policies: { denied: { permissions: permissions(denied), principals: [{ any: true }] } },
        },
      }),
      filter("envoy.filters.http.router", `${extensions}.filters.http.router.v3.Router`, {}),
    ],
    route_config: { name: "hbone", virtual_hosts: routes },
    access_log: [
      accessLog(
        "authority=%REQ(:AUTHORITY)% status=%RESPONSE_CODE% peer=%DOWNSTREAM_PEER_URI_SAN% flags=%RESPONSE_FLAGS%\n",
      ),
    ],
  };
  return {
    listeners: [
      {
        name: "hbone",
        address: socketAddress(listen),
        filter_chains: [
          {
            transport_socket: tls("DownstreamTlsContext", identity, accepted),
            filters: [
              filter(
                "envoy.filters.network.http_connection_manager",
                `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
                manager,
              ),
            ],
          },
        ],
      },
    ],
    clusters: Object.entries(behind).map(([authority, endpoint]) => staticCluster(authority, endpoint)),
  };
}

function permissions(authorities: readonly string[]): object[] {
  const one = (exact: string): object => ({ header: { name: ":authority", string_match: { exact } } });
  return authorities.length === 0 ? [{ not_rule: { any: true } }] : authorities.map(one);
}

function staticCluster(name: string, endpoint: Endpoint): object {
  const endpoints = [{ lb_endpoints: [{ endpoint: { address: socketAddress(endpoint) } }] }];
  const limits = { max_connections: 100_000, max_pending_requests: 100_000, max_requests: 100_000, max_retries: 100 };
  return {
    name,
    type: "STATIC",
    connect_timeout: "5s",
    // Envoy's own defaults are 1,024.
    circuit_breakers: { thresholds: [limits] },
    load_assignment: { cluster_name: name, endpoints },
  };
}

function tls(context: "UpstreamTlsContext" | "DownstreamTlsContext", identity: TlsIdentity, accepted: string): object {
  const common_tls_context = {
    alpn_protocols: ["h2"],
    tls_params: { tls_minimum_protocol_version: "TLSv1_3", tls_maximum_protocol_version: "TLSv1_3" },
    tls_certificates: [
      { certificate_chain: { inline_string: identity.chain }, private_key: { inline_string: identity.key } },
    ],
    validation_context: {
      trusted_ca: { inline_string: identity.roots },
      match_typed_subject_alt_names: [{ san_type: "URI", matcher: { exact: accepted } }],
    },
  };
  const more = context === "DownstreamTlsContext" ? { require_client_certificate: true } : {};
  return {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": `${types}${extensions}.transport_sockets.tls.v3.${context}`,
      common_tls_context,
      ...more,
    },
  };
}

function filter(name: string, type: string, config: object): object {
  return { name, typed_config: { "@type": `${types}${type}`, ...config } };
}

function accessLog(text: string): object {
  return filter("envoy.access_loggers.stdout", `${extensions}.access_loggers.stream.v3.StdoutAccessLog`, {
    log_format: { text_format_source: { inline_string: text } },
  });
}

function socketAddress({ address, port }: Endpoint): object {
  return { socket_address: { address, port_value: port } };
}

export function uriOf({ identity }: TlsIdentity): string {
  return formatIdentity(identity);
}

const types = "type.googleapis.com/";
const extensions = "envoy.extensions";
const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const answeredStatus = "%FILTER_STATE(envoy.tcp_proxy.propagate_response_headers:TYPED)%";
