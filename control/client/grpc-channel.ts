/**
 * A connection to control: TLS 1.3 under roots that are read anew for each one, a bearer token that is read anew for each
 * request. Wire: agent-facing port 15012 of istiod; headers `authorization` and `clusterid` (istio security/pkg/nodeagent).
 */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { checkServerIdentity, createSecureContext, type PeerCertificate } from "node:tls";
import { constants } from "node:crypto";
import { ChannelCredentials, Client, Metadata, type ChannelOptions } from "@grpc/grpc-js";
import { messageOf } from "../../core/base/errors.ts";
import { CertificateError } from "./certificates/certificate.ts";
import { parseTrustBundle } from "./certificates/trust-bundle.ts";
import { ControlError } from "./grpc-errors.ts";
import { useMessageFramer } from "./message-framer.ts";

export interface ControlEndpoint {
  /** `https://host:port`; without a scheme `https://` is meant, without a port 15012. */
  readonly address: string;
  /** The roots control's certificate must lead to: a file, PEM text, or `SYSTEM`. */
  readonly rootCa: string;
  /** Names that will do as well as the address's host, e.g. ALT_XDS_HOSTNAME. */
  readonly serverNames?: readonly string[];
  /** The bearer token, read before every request. May throw; an empty one is an error. */
  readonly token: () => string;
  /** Sent as `clusterid`. */
  readonly clusterId: string;
  /** Further headers, e.g. from XDS_HEADER_*. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** The text of the roots, or why there is none. `SYSTEM` has none: undefined. */
export function readRoots(rootCa: string): string | undefined | ControlError {
  if (rootCa === "SYSTEM") return undefined;
  if (rootCa.includes("-----BEGIN")) return rootCa;
  try {
    return readFileSync(rootCa, "utf8");
  } catch (thrown) {
    return badRoot(rootCa, messageOf(thrown));
  }
}

/**
 * A channel of its own: nothing of it is shared with another one, so that roots read now are the ones that count.
 * It connects with the first call; the caller closes it.
 */
export function openChannel(endpoint: ControlEndpoint): Client | ControlError {
  useMessageFramer();
  const target = parseAddress(endpoint.address);
  if (target instanceof ControlError) return target;
  const roots = readRoots(endpoint.rootCa);
  if (roots instanceof ControlError) return roots;
  // TLS itself takes what is no certificate for none, and would only fail at its first handshake.
  const bundle = roots === undefined ? undefined : parseTrustBundle(roots);
  if (bundle instanceof CertificateError) return badRoot(endpoint.rootCa, bundle.message);
  const secureContext = createSecureContext({ ...tlsOptions, ...(roots === undefined ? {} : { ca: roots }) });
  const names = [target.host, ...(endpoint.serverNames ?? [])];
  const credentials = ChannelCredentials.createFromSecureContext(secureContext, {
    checkServerIdentity: (_host, certificate) => nameProblem(names, certificate),
  });
  // An address can't be a TLS server name (RFC 6066 section 3): a DNS name goes out instead, and `names` decides.
  const serverName = names.find((name) => isIP(name) === 0) ?? inClusterName;
  const authority = { "grpc.default_authority": target.authority, "grpc.ssl_target_name_override": serverName };
  return new Client(`dns:///${target.authority}`, credentials, { ...channelOptions, ...authority });
}

/** The headers of one request. */
export function requestMetadata(endpoint: ControlEndpoint): Metadata | ControlError {
  let token: string;
  try {
    token = endpoint.token().trim();
  } catch (thrown) {
    return new ControlError({ code: "control.no-token", problem: messageOf(thrown) });
  }
  if (token === "") return new ControlError({ code: "control.no-token", problem: "the token is empty" });
  const metadata = new Metadata();
  try {
    metadata.set("authorization", `Bearer ${token}`);
    metadata.set("clusterid", endpoint.clusterId);
    for (const [name, value] of Object.entries(endpoint.headers ?? {})) metadata.set(name, value);
  } catch {
    // The library's message would quote the value: a token must not reach a log.
    return new ControlError({
      code: "control.no-token",
      problem: "the token or a header holds what a header can't carry",
    });
  }
  return metadata;
}

function badRoot(rootCa: string, problem: string): ControlError {
  const source = rootCa.includes("-----BEGIN") ? "inline" : rootCa;
  return new ControlError({ code: "control.bad-root", source, problem });
}

function parseAddress(address: string): { host: string; authority: string } | ControlError {
  const bad = (problem: string): ControlError => new ControlError({ code: "control.bad-address", address, problem });
  const text = address.includes("://") ? address : `https://${address}`;
  if (!URL.canParse(text)) return bad("not a URL: write https://host:port");
  const url = new URL(text);
  if (url.protocol !== "https:") return bad("a token is only sent over TLS: write https://host:port");
  if (url.hostname === "") return bad("there is no host in it: write https://host:port");
  // URL drops the scheme's own port, 443, so that only an absent one is told apart by the text.
  const port = url.port !== "" ? url.port : /:443\/?$/.test(text) ? "443" : "15012";
  return { host: url.hostname.replace(/^\[|\]$/g, ""), authority: `${url.hostname}:${port}` };
}

function nameProblem(names: readonly string[], certificate: PeerCertificate): Error | undefined {
  const problems = names.map((name) => checkServerIdentity(name, certificate));
  return problems.includes(undefined) ? undefined : problems[0];
}

/** TLS 1.3 with the two AES-GCM suites; no tickets, so that every session has shown its certificate. */
const tlsOptions = {
  minVersion: "TLSv1.3",
  ciphers: "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256",
  secureOptions: constants.SSL_OP_NO_TICKET,
} as const;

/** The name istiod's own serving certificate always has. */
const inClusterName = "istiod.istio-system.svc";

const mebibyte = 1 << 20;

const channelOptions: ChannelOptions = {
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
  // A push of a whole mesh is one message.
  "grpc.max_receive_message_length": 200 * mebibyte,
  "grpc.max_send_message_length": 200 * mebibyte,
  // Who retries and when is ours to say.
  "grpc.enable_retries": 0,
  "grpc.use_local_subchannel_pool": 1,
  "grpc.service_config_disable_resolution": 1,
  // A proxy meant for the internet must not be asked for control.
  "grpc.enable_http_proxy": 0,
};
