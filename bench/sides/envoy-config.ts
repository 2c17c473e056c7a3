/** Envoy's configuration at either end of an HBONE pair: CONNECT over HTTP/2 over mutual TLS, as our agents speak it. Pure. */
import { readFileSync } from "node:fs";
import { proxyMark } from "../../cni/daemon/rules.ts";
import type { CertificateFiles } from "./authority.ts";
import { outboundPort, tunnelPort } from "./redirect.ts";

/** Takes what the pod sends (Envoy reads SO_ORIGINAL_DST) into CONNECT streams of one cluster: tunnels that are kept and shared. */
export function clientBootstrap(
  own: CertificateFiles,
  peer: { readonly address: string; readonly uri: string },
): object {
  return {
    static_resources: {
      listeners: [
        {
          name: "outbound",
          address: socketAddress("127.0.0.1", outboundPort),
          listener_filters: [
            filter("envoy.filters.listener.original_dst", "filters.listener.original_dst.v3.OriginalDst"),
          ],
          filter_chains: [
            {
              filters: [
                filter("envoy.filters.network.tcp_proxy", "filters.network.tcp_proxy.v3.TcpProxy", {
                  stat_prefix: "outbound",
                  cluster: "tunnel",
                  idle_timeout: "0s",
                  tunneling_config: { hostname: "%DOWNSTREAM_LOCAL_ADDRESS%" },
                }),
              ],
            },
          ],
        },
      ],
      clusters: [
        {
          name: "tunnel",
          type: "STATIC",
          connect_timeout: "5s",
          circuit_breakers: generous,
          load_assignment: endpoint("tunnel", peer.address, tunnelPort),
          upstream_bind_config: { socket_options: [marked] },
          typed_extension_protocol_options: {
            [httpOptions]: {
              "@type": `type.googleapis.com/${httpOptions}`,
              explicit_http_config: { http2_protocol_options: { allow_connect: true, max_concurrent_streams: 1_000 } },
            },
          },
          transport_socket: tls("UpstreamTlsContext", own, peer.uri),
        },
      ],
    },
  };
}

/** Ends tunnels; each stream goes on to the address that it names, from the client's own. */
export function serverBootstrap(own: CertificateFiles, peer: { readonly uri: string }): object {
  return {
    static_resources: {
      listeners: [
        {
          name: "tunnels",
          address: socketAddress("0.0.0.0", tunnelPort),
          filter_chains: [
            {
              transport_socket: tls("DownstreamTlsContext", own, peer.uri),
              filters: [
                filter(managerName, `filters.network.http_connection_manager.v3.HttpConnectionManager`, manager),
              ],
            },
          ],
        },
      ],
      clusters: [
        {
          name: "application",
          type: "ORIGINAL_DST",
          lb_policy: "CLUSTER_PROVIDED",
          connect_timeout: "5s",
          // Envoy forgets an address that it has not seen for so long.
          cleanup_interval: "3600s",
          circuit_breakers: generous,
          original_dst_lb_config: { use_http_header: true, http_header_name: ":authority" },
        },
      ],
    },
  };
}

const managerName = "envoy.filters.network.http_connection_manager";
const manager = {
  stat_prefix: "tunnels",
  codec_type: "HTTP2",
  stream_idle_timeout: "0s",
  http2_protocol_options: { allow_connect: true, max_concurrent_streams: 1_000 },
  upgrade_configs: [{ upgrade_type: "CONNECT" }],
  http_filters: [
    filter("envoy.filters.http.original_src", "filters.http.original_src.v3.OriginalSrc", { mark: proxyMark.value }),
    filter("envoy.filters.http.router", "filters.http.router.v3.Router", { suppress_envoy_headers: true }),
  ],
  route_config: {
    name: "tunnels",
    virtual_hosts: [
      {
        name: "everything",
        domains: ["*"],
        routes: [
          {
            match: { connect_matcher: {} },
            route: {
              cluster: "application",
              timeout: "0s",
              idle_timeout: "0s",
              upgrade_configs: [{ upgrade_type: "CONNECT", connect_config: {} }],
            },
          },
        ],
      },
    ],
  },
};

function tls(context: "UpstreamTlsContext" | "DownstreamTlsContext", own: CertificateFiles, peer: string): object {
  const text = (file: string): object => ({ inline_string: readFileSync(file, "utf8") });
  const common_tls_context = {
    alpn_protocols: ["h2"],
    tls_params: {
      tls_minimum_protocol_version: "TLSv1_3",
      tls_maximum_protocol_version: "TLSv1_3",
      ecdh_curves: ["X25519MLKEM768", "X25519"],
    },
    tls_certificates: [{ certificate_chain: text(own.chain), private_key: text(own.key) }],
    validation_context: {
      trusted_ca: text(own.roots),
      match_typed_subject_alt_names: [{ san_type: "URI", matcher: { exact: peer } }],
    },
  };
  const more =
    context === "DownstreamTlsContext"
      ? { require_client_certificate: true, disable_stateless_session_resumption: true }
      : { max_session_keys: 0 };
  return {
    name: "envoy.transport_sockets.tls",
    typed_config: { "@type": typeOf(`transport_sockets.tls.v3.${context}`), common_tls_context, ...more },
  };
}

function filter(name: string, type: string, config: object = {}): object {
  return { name, typed_config: { "@type": typeOf(type), ...config } };
}

function endpoint(name: string, address: string, port: number): object {
  const endpoints = [{ lb_endpoints: [{ endpoint: { address: socketAddress(address, port) } }] }];
  return { cluster_name: name, endpoints };
}

function socketAddress(address: string, port: number): object {
  return { socket_address: { address, port_value: port } };
}

function typeOf(name: string): string {
  return `type.googleapis.com/envoy.extensions.${name}`;
}

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/** SOL_SOCKET, SO_MARK: known to the redirection as the proxy's own. */
const marked = { level: 1, name: 36, int_value: proxyMark.value, state: "STATE_PREBIND" };
/** Envoy's own limits are 1,024 of each. */
const generous = {
  thresholds: [{ max_connections: 100_000, max_pending_requests: 100_000, max_requests: 100_000, max_retries: 100 }],
};
