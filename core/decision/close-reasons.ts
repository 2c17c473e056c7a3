/**
 * Why a connection ended: the one catalogue that access logs, metrics, dumps, docs and `explain` read.
 * Codes are permanent; one that is no longer given moves to `retiredCloseCodes`. docs/close-reasons.md is rendered from here.
 */

export interface CloseReason {
  /** Who has to act: the client application, this agent, the other end of the tunnel, whoever wrote a policy, or the control plane. */
  readonly side: "client" | "us" | "peer" | "policy" | "control";
  readonly level: "debug" | "info" | "warn" | "error";
  /** The `response_flags` label of istio_tcp_* metrics (agent-wire 9.1). */
  readonly flag: ResponseFlag;
  /** Whether we may try again ourselves: never; elsewhere, while no byte was relayed; or once on a fresh tunnel, when the tunnel was a pooled one. */
  readonly retry: "never" | "before-first-byte" | "reused-tunnel-only";
  /** What a CONNECT is answered with, where this reason is found before the answer. */
  readonly status?: 400 | 401 | 503;
  readonly sentence: string;
  readonly nextStep: string;
}

export type ResponseFlag =
  | "-"
  | "DENY"
  | "CONNECT"
  | "TLS_FAILURE"
  | "H2_HANDSHAKE_FAILURE"
  | "NETWORK_POLICY"
  | "IDENTITY_ERROR"
  | "CERT_REVOKED";

export type CloseCode = keyof typeof closeReasons;

/** The entry as plain data, whatever the code. */
export function closeReason(code: CloseCode): CloseReason {
  return closeReasons[code];
}

export function isCloseCode(text: string): text is CloseCode {
  return Object.hasOwn(closeReasons, text);
}

export const closeReasons = {
  // The orderly end, and ends that an application chose.
  OK: {
    side: "client",
    level: "info",
    flag: "-",
    retry: "never",
    sentence: "Both ends closed the connection in order.",
    nextStep: "Nothing to do.",
  },
  CLIENT_RESET: {
    side: "client",
    level: "info",
    flag: "-",
    retry: "never",
    sentence: "The application that opened the connection reset it.",
    nextStep: "Nothing to do in the mesh. If it was unexpected, look for a timeout or a crash in the client.",
  },
  UPSTREAM_RESET: {
    side: "peer",
    level: "info",
    flag: "-",
    retry: "never",
    sentence: "The application that was connected to reset the connection, and the reset was passed on.",
    nextStep: "Look at the server application's own log at this time.",
  },
  DRAINED: {
    side: "us",
    level: "info",
    flag: "-",
    retry: "never",
    sentence: "The agent is shutting down and the time for open connections to end had passed.",
    nextStep: "Raise terminationGracePeriodSeconds if connections need longer to finish.",
  },
  POD_REMOVED: {
    side: "us",
    level: "info",
    flag: "-",
    retry: "never",
    sentence: "The pod left the node or the mesh while the connection was open.",
    nextStep: "Nothing to do if the pod was meant to go.",
  },
  WORKLOAD_GONE: {
    side: "peer",
    level: "info",
    flag: "CONNECT",
    retry: "before-first-byte",
    status: 503,
    sentence: "The destination pod is terminating and takes no new connections.",
    nextStep: "Nothing to do during a rollout: another endpoint is tried. Otherwise check that the service has one.",
  },

  // Policy.
  POLICY_DENIED: {
    side: "policy",
    level: "warn",
    flag: "DENY",
    retry: "never",
    status: 401,
    sentence: "A DENY policy matches this connection.",
    nextStep: "Read the policy named in the record. If the caller should be let in, except it there.",
  },
  POLICY_NOT_ALLOWED: {
    side: "policy",
    level: "warn",
    flag: "DENY",
    retry: "never",
    status: 401,
    sentence: "ALLOW policies apply to the destination, and none of them admits this connection.",
    nextStep: "Add the caller's identity, port or address to one of the ALLOW policies that select the destination.",
  },
  POLICY_MTLS_REQUIRED: {
    side: "policy",
    level: "warn",
    flag: "DENY",
    retry: "never",
    status: 401,
    sentence: "The destination takes mutual TLS only, and this connection came without an identity.",
    nextStep: "Label the caller's namespace into the mesh, or set its PeerAuthentication to PERMISSIVE meanwhile.",
  },
  POLICY_UNKNOWN: {
    side: "control",
    level: "error",
    flag: "DENY",
    retry: "never",
    status: 401,
    sentence: "The destination lists a policy that this agent has not received or could not read, so it is refused.",
    nextStep: "Look up the named policy's status. If it persists, compare what control sent with the agent's dump.",
  },
  WAYPOINT_REQUIRED: {
    side: "policy",
    level: "warn",
    flag: "DENY",
    retry: "never",
    status: 401,
    sentence: "The destination is to be reached through its waypoint only, and this peer is not that waypoint.",
    nextStep: "Give the caller's traffic the waypoint that the record names, or lift the requirement: docs/agent.md.",
  },

  // What the agent knows about the mesh.
  NO_WORKLOAD: {
    side: "control",
    level: "error",
    flag: "CONNECT",
    retry: "never",
    status: 503,
    sentence: "Control has not told this agent about its own pod.",
    nextStep: "Check that the agent's connection to control is up and that the pod is visible there.",
  },
  NO_POLICIES: {
    side: "control",
    level: "error",
    flag: "CONNECT",
    retry: "never",
    status: 503,
    sentence: "Control has not sent this agent its policies yet, and without them nobody is let in.",
    nextStep: "Look for the first answer to Authorization in control's log; until it comes the agent is not ready.",
  },
  NO_CERTIFICATE: {
    side: "control",
    level: "error",
    flag: "IDENTITY_ERROR",
    retry: "never",
    sentence: "There is no valid certificate for the pod's service account.",
    nextStep: "Look at the certificate's last error in the agent's dump, then at the certificate authority's log.",
  },
  NO_HEALTHY_UPSTREAM: {
    side: "control",
    level: "warn",
    flag: "CONNECT",
    retry: "never",
    sentence: "The service has no endpoint that is ready and may be used from here.",
    nextStep: "Check the pods' readiness, the service's selector, and its traffic distribution if it is kept local.",
  },
  NO_SERVICE_PORT: {
    side: "client",
    level: "warn",
    flag: "CONNECT",
    retry: "never",
    status: 503,
    sentence: "The service does not declare this port, or no endpoint maps it.",
    nextStep: "Connect to a declared port, or add this one to the Service; a named port must exist in the pods.",
  },
  NO_USABLE_ADDRESS: {
    side: "control",
    level: "warn",
    flag: "CONNECT",
    retry: "before-first-byte",
    sentence: "The endpoint has no address of a family that the service allows.",
    nextStep: "Compare the service's ipFamilies with the addresses of its pods.",
  },
  HOSTNAME_UNRESOLVED: {
    side: "peer",
    level: "warn",
    flag: "CONNECT",
    retry: "before-first-byte",
    sentence: "The endpoint is known by a hostname only, and the name has no address.",
    nextStep: "Look the hostname up from the node; correct the ServiceEntry's endpoint if it is misspelt.",
  },
  UNKNOWN_WAYPOINT: {
    side: "control",
    level: "error",
    flag: "CONNECT",
    retry: "never",
    sentence: "The destination has a waypoint that this agent cannot resolve, and a waypoint is never bypassed.",
    nextStep: "Check that the Gateway named in the record exists and is programmed.",
  },
  NO_HEALTHY_WAYPOINT: {
    side: "control",
    level: "error",
    flag: "CONNECT",
    retry: "never",
    sentence: "None of the waypoint's pods is ready, and a waypoint is never bypassed.",
    nextStep: "Check the waypoint's Deployment; run two replicas or more.",
  },
  CROSS_NETWORK_ADDRESS: {
    side: "client",
    level: "warn",
    flag: "CONNECT",
    retry: "never",
    sentence: "A pod was addressed by its own address, but it or its waypoint is on another network.",
    nextStep: "Connect to the service's name instead.",
  },
  NO_NETWORK_GATEWAY: {
    side: "control",
    level: "error",
    flag: "CONNECT",
    retry: "before-first-byte",
    sentence: "The endpoint is on another network, and no gateway to that network is known.",
    nextStep: "Check that the other network's east-west gateway is programmed and labelled with its network.",
  },
  NO_HEALTHY_GATEWAY: {
    side: "control",
    level: "error",
    flag: "CONNECT",
    retry: "before-first-byte",
    sentence: "The endpoint is on another network, and none of the pods of the gateway to it is ready.",
    nextStep: "Check the east-west gateway's Deployment, and that its Service declares the port for HBONE.",
  },
  NO_REMOTE_IDENTITY: {
    side: "control",
    level: "error",
    flag: "IDENTITY_ERROR",
    retry: "before-first-byte",
    sentence: "The service says no SPIFFE identity for its endpoints on another network, so none could be believed.",
    nextStep: "Give the service subjectAltNames with the identities it runs as in the other network.",
  },
  NO_ORIGINAL_DST: {
    side: "us",
    level: "error",
    flag: "CONNECT",
    retry: "never",
    sentence: "The kernel could not say where the captured connection was going.",
    nextStep: "Check whether connection tracking was flushed or is full (net.netfilter.nf_conntrack_max).",
  },

  // What a peer or an application asked of us.
  NOT_CONNECT: {
    side: "peer",
    level: "warn",
    flag: "CONNECT",
    retry: "never",
    status: 400,
    sentence: "The peer sent a request other than CONNECT to the HBONE port.",
    nextStep: "Send ordinary traffic to the application's own port; port 15008 is for tunnels only.",
  },
  BAD_AUTHORITY: {
    side: "peer",
    level: "warn",
    flag: "CONNECT",
    retry: "never",
    status: 400,
    sentence: "The CONNECT request's authority is neither address:port nor hostname:port.",
    nextStep: "Find out which software the peer runs; the record holds what it sent.",
  },
  DEST_NOT_LOCAL: {
    side: "peer",
    level: "warn",
    flag: "CONNECT",
    retry: "never",
    status: 400,
    sentence: "The CONNECT request names a destination that does not belong to the pod it was sent to.",
    nextStep: "Usually the peer's view is stale after an address was reused: check its connection to control.",
  },
  UNKNOWN_HOSTNAME: {
    side: "peer",
    level: "warn",
    flag: "CONNECT",
    retry: "never",
    status: 503,
    sentence: "The CONNECT request names a service that the pod's namespace does not know.",
    nextStep: "Check that the service exists in this cluster and is exported to the pod's namespace.",
  },
  RECURSIVE_CALL: {
    side: "client",
    level: "warn",
    flag: "CONNECT",
    retry: "never",
    status: 503,
    sentence: "The connection was aimed at the agent's own port and would have come back to it for ever.",
    nextStep: "Connect to the application's port; 15001, 15006, 15008 and 15053 belong to the mesh.",
  },

  // Reaching the other end.
  CONNECT_REFUSED: {
    side: "peer",
    level: "warn",
    flag: "CONNECT",
    retry: "before-first-byte",
    status: 503,
    sentence: "Nothing listens on the destination port.",
    nextStep: "Check that the application is up and listens on the pod's address, not on localhost only.",
  },
  CONNECT_TIMEOUT: {
    side: "peer",
    level: "warn",
    flag: "NETWORK_POLICY",
    retry: "before-first-byte",
    status: 503,
    sentence: "The destination did not answer in time.",
    nextStep:
      "Check that NetworkPolicies and firewalls let port 15008 through between the nodes, and that no node's connection tracking is full (net.netfilter.nf_conntrack_max).",
  },
  CONNECT_FAILED: {
    side: "peer",
    level: "warn",
    flag: "CONNECT",
    retry: "before-first-byte",
    status: 503,
    sentence: "The connection to the destination could not be opened; the record holds the system's error.",
    nextStep: "Check the route from this node to the destination.",
  },
  EPHEMERAL_EXHAUSTED: {
    side: "us",
    level: "error",
    flag: "CONNECT",
    retry: "before-first-byte",
    status: 503,
    sentence: "No local port was free for a connection to this destination.",
    nextStep: "Widen net.ipv4.ip_local_port_range in the pod, or reuse connections in the client.",
  },
  PEER_UNREACHABLE: {
    side: "peer",
    level: "warn",
    flag: "CONNECT",
    retry: "reused-tunnel-only",
    sentence: "The peer stopped answering keepalives; every stream of that tunnel ended with it.",
    nextStep: "Check the peer's node and the network between the nodes.",
  },
  TUNNEL_LOST: {
    side: "peer",
    level: "warn",
    flag: "CONNECT",
    retry: "reused-tunnel-only",
    sentence: "The tunnel to the peer broke while this connection was inside it.",
    nextStep: "Check whether the peer's agent restarted, and the network between the nodes.",
  },
  PEER_RESET: {
    side: "peer",
    level: "warn",
    flag: "CONNECT",
    retry: "never",
    sentence: "The peer's agent reset this stream; the record holds the HTTP/2 error code.",
    nextStep: "Look for the same trace id in the peer's access log.",
  },

  // TLS and identity.
  TLS_HANDSHAKE_FAILED: {
    side: "peer",
    level: "warn",
    flag: "TLS_FAILURE",
    retry: "before-first-byte",
    sentence: "The TLS handshake failed; the record holds the alert.",
    nextStep: "Compare both ends' certificates and roots; TLS 1.3 is required.",
  },
  TLS_HANDSHAKE_TIMEOUT: {
    side: "peer",
    level: "warn",
    flag: "TLS_FAILURE",
    retry: "before-first-byte",
    sentence: "The peer did not finish the TLS handshake in time.",
    nextStep: "Check the load of the peer's node, and that port 15008 leads to an agent.",
  },
  NO_CLIENT_CERTIFICATE: {
    side: "peer",
    level: "warn",
    flag: "TLS_FAILURE",
    retry: "never",
    sentence: "The peer showed no client certificate.",
    nextStep: "Only mesh peers may use port 15008; send other traffic to the application's own port.",
  },
  PEER_CERT_UNTRUSTED: {
    side: "peer",
    level: "error",
    flag: "TLS_FAILURE",
    retry: "before-first-byte",
    sentence: "The peer's certificate does not lead to a root that this pod trusts.",
    nextStep: "Check that both clusters share a root, and that both roots are known during a rotation.",
  },
  PEER_CERT_EXPIRED: {
    side: "peer",
    level: "error",
    flag: "TLS_FAILURE",
    retry: "before-first-byte",
    sentence: "The peer's certificate has expired.",
    nextStep: "Check the peer's agent: its renewals fail. Compare both nodes' clocks.",
  },
  PEER_CERT_NOT_YET_VALID: {
    side: "peer",
    level: "error",
    flag: "TLS_FAILURE",
    retry: "before-first-byte",
    sentence: "The peer's certificate is not valid yet.",
    nextStep: "Compare both nodes' clocks.",
  },
  PEER_CERT_REVOKED: {
    side: "peer",
    level: "error",
    flag: "CERT_REVOKED",
    retry: "before-first-byte",
    sentence: "The peer's certificate is on the revocation list.",
    nextStep: "Let the peer get a new certificate if it is to come back.",
  },
  PEER_CERT_UNFIT: {
    side: "peer",
    level: "error",
    flag: "TLS_FAILURE",
    retry: "before-first-byte",
    sentence: "The peer's certificate must not be used this way; the record says which rule it breaks.",
    nextStep: "Check key usage, key size and chain length at the authority that issued it.",
  },
  BAD_IDENTITY: {
    side: "peer",
    level: "error",
    flag: "IDENTITY_ERROR",
    retry: "never",
    sentence: "The peer's certificate does not hold exactly one well-formed SPIFFE identity.",
    nextStep: "Find out which authority issued the certificate.",
  },
  TRUST_DOMAIN_MISMATCH: {
    side: "peer",
    level: "warn",
    flag: "IDENTITY_ERROR",
    retry: "never",
    sentence: "The peer belongs to another trust domain.",
    nextStep: "Give both meshes one trust domain; there are no aliases on this path.",
  },
  SAN_MISMATCH: {
    side: "peer",
    level: "error",
    flag: "IDENTITY_ERROR",
    retry: "before-first-byte",
    sentence: "The peer proved an identity other than the one that should be at this address.",
    nextStep: "Usually an address was reused before control said so. If it persists, find out who answers there.",
  },

  // HTTP/2 and CONNECT.
  ALPN_NOT_H2: {
    side: "peer",
    level: "warn",
    flag: "H2_HANDSHAKE_FAILURE",
    retry: "before-first-byte",
    sentence: "The peer did not agree to speak HTTP/2.",
    nextStep: "Check that port 15008 of the peer leads to an agent.",
  },
  H2_NO_PREFACE: {
    side: "peer",
    level: "warn",
    flag: "H2_HANDSHAKE_FAILURE",
    retry: "before-first-byte",
    sentence: "The peer finished TLS but did not begin HTTP/2 in time.",
    nextStep: "Find out which software the peer runs.",
  },
  H2_ERROR: {
    side: "peer",
    level: "warn",
    flag: "H2_HANDSHAKE_FAILURE",
    retry: "reused-tunnel-only",
    sentence: "The tunnel ended with an HTTP/2 protocol error; the record holds the code.",
    nextStep: "Find out which software the peer runs; report the record if both ends are ours.",
  },
  H2_RESET_FLOOD: {
    side: "peer",
    level: "error",
    flag: "CONNECT",
    retry: "never",
    sentence: "The peer opened and reset streams, or made us reset them, more often than any honest one would.",
    nextStep: "Look at what runs in the peer's pod; every stream of that tunnel was closed.",
  },
  H2_TINY_FRAMES: {
    side: "peer",
    level: "error",
    flag: "CONNECT",
    retry: "never",
    sentence: "The peer sent its data in so many tiny frames that keeping them would have exhausted memory.",
    nextStep: "Look at what runs in the peer's pod; every stream of that tunnel was closed.",
  },
  H2_FLOOD: {
    side: "peer",
    level: "error",
    flag: "CONNECT",
    retry: "never",
    sentence: "The peer sent more pings, settings, headers or empty frames than any honest one would.",
    nextStep: "Look at what runs in the peer's pod; every stream of that tunnel was closed.",
  },
  STREAM_REFUSED: {
    side: "peer",
    level: "info",
    flag: "CONNECT",
    retry: "before-first-byte",
    sentence: "The peer refused the stream without looking at it.",
    nextStep: "Nothing to do when it is shutting down. Otherwise look at the load of its node.",
  },
  NO_STREAM_CAPACITY: {
    side: "peer",
    level: "warn",
    flag: "CONNECT",
    retry: "before-first-byte",
    sentence: "The peer let no further stream be opened in time.",
    nextStep: "Look at the load of the peer's node.",
  },
  BAD_CONNECT_REPLY: {
    side: "peer",
    level: "warn",
    flag: "CONNECT",
    retry: "before-first-byte",
    sentence: "The peer answered CONNECT with something that opens no tunnel; the record holds the status.",
    nextStep: "Find out what answers on that port: it may be a proxy that is not part of the mesh.",
  },
  PEER_DENIED: {
    side: "policy",
    level: "warn",
    flag: "DENY",
    retry: "never",
    sentence: "The destination's agent refused the connection by policy (401).",
    nextStep: "Look for the same trace id in the destination's access log: it names the policy.",
  },
  PEER_BAD_REQUEST: {
    side: "peer",
    level: "warn",
    flag: "CONNECT",
    retry: "before-first-byte",
    sentence: "The destination's agent says that the address asked for is not there (400).",
    nextStep: "Usually the endpoint is stale: compare this agent's workloads with the pods that exist.",
  },
  PEER_UNAVAILABLE: {
    side: "peer",
    level: "warn",
    flag: "CONNECT",
    retry: "before-first-byte",
    sentence: "The destination's agent could not reach the application (503).",
    nextStep: "Look for the same trace id in the destination's access log: it holds the cause.",
  },

  // Limits and faults of our own.
  FD_LIMIT: {
    side: "us",
    level: "error",
    flag: "CONNECT",
    retry: "never",
    status: 503,
    sentence: "The agent has no file descriptor left for this connection.",
    nextStep: "Raise the agent's nofile limit, or find the pod that holds the most connections in the dump.",
  },
  POD_CONN_LIMIT: {
    side: "us",
    level: "warn",
    flag: "CONNECT",
    retry: "never",
    status: 503,
    sentence: "The pod holds as many connections as one pod may.",
    nextStep: "Close idle connections in the application, or raise the limit.",
  },
  MEM_PRESSURE: {
    side: "us",
    level: "error",
    flag: "CONNECT",
    retry: "never",
    status: 503,
    sentence: "The agent is short of memory and takes no further connections.",
    nextStep: "Raise the agent's memory limit, or find the pod that buffers the most in the dump.",
  },
  WORKER_LOST: {
    side: "us",
    level: "error",
    flag: "CONNECT",
    retry: "never",
    sentence: "The worker that carried the connection failed and was replaced.",
    nextStep: "Report the crash that the agent logged at this time.",
  },
  INTERNAL_BUG: {
    side: "us",
    level: "error",
    flag: "CONNECT",
    retry: "never",
    status: 503,
    sentence: "The agent made a mistake of its own.",
    nextStep: "Report the record and the stack that the agent logged beside it.",
  },
} as const satisfies Record<string, CloseReason>;

/** Codes that were given once and mean what they meant; never used again for something else. */
export const retiredCloseCodes: readonly string[] = ["GATEWAY_UNSUPPORTED"];
