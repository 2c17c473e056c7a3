/** What becomes of one message of a captured pod: answered from the mesh, refused, dropped, or passed on. The same for UDP and TCP. */
import { decideDns } from "../../core/decision/dns.ts";
import { dnsFailures, type DnsFailure } from "../../core/decision/dns-failures.ts";
import { addressAnswer, refusal, udpLimit } from "../../core/protocol/dns/answer.ts";
import { messageLimit, rcodes, typeName, types } from "../../core/protocol/dns/constants.ts";
import { viewQuery, type DnsQuery } from "../../core/protocol/dns/message-view.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";
import type { DnsHost, DnsPod } from "./host.ts";
import { probeAnswer } from "./loop-guard.ts";
import type { DnsLabels, DnsProtocol } from "./observer.ts";

export type Response =
  | { readonly kind: "reply"; readonly bytes: Uint8Array }
  /** To the resolver that it was for. */
  | { readonly kind: "pass"; readonly labels: DnsLabels }
  /** Not before control has described the pod: see {@link Responder.waited}. */
  | { readonly kind: "wait"; readonly labels: DnsLabels }
  | { readonly kind: "drop" };

export class Responder {
  readonly #host: DnsHost;
  readonly #pod: DnsPod;

  constructor(host: DnsHost, pod: DnsPod) {
    this.#host = host;
    this.#pod = pod;
  }

  respond(bytes: Uint8Array, protocol: DnsProtocol): Response {
    const view = viewQuery(bytes);
    if (view.kind === "dropped") return { kind: "drop" };
    const client = this.#host.mesh.workloadOf(this.#pod.info);
    if (view.kind === "refused") return { kind: "reply", bytes: refusal(bytes, view.rcode) };
    const type = view.kind === "query" ? typeName(view.question.type) : "other";
    const labels: DnsLabels = { type, protocol, source: client };
    this.#host.observer.requested(labels);
    if (view.kind === "opaque" || !mayBeOurs(view)) return this.#passed(view, labels);
    const probed = probeAnswer(view.question.name, this.#host.settings.probeSecret);
    if (probed !== undefined) return { kind: "reply", bytes: answerOf(bytes, view, protocol, [probed]) };
    return client === undefined ? { kind: "wait", labels } : this.#decide(bytes, view, labels, client);
  }

  /** The same query once more, after control has described the pod or did not in time. */
  waited(bytes: Uint8Array, { type, protocol }: DnsLabels, client: MeshWorkload | undefined): Response {
    const view = viewQuery(bytes);
    if (view.kind !== "query") return { kind: "drop" };
    if (client === undefined) return { kind: "reply", bytes: this.failed(bytes, "POD_UNKNOWN") };
    return this.#decide(bytes, view, { type, protocol, source: client }, client);
  }

  /** SERVFAIL, and for a client with EDNS why. */
  failed(bytes: Uint8Array, failure: DnsFailure): Uint8Array {
    const view = viewQuery(bytes);
    const words = { infoCode: dnsFailures[failure].infoCode, text: failure };
    const query = view.kind === "query" ? view : undefined;
    this.#log(query, failure, []);
    return refusal(bytes, rcodes.serverFailure, query, words);
  }

  #decide(bytes: Uint8Array, query: DnsQuery, labels: DnsLabels, client: MeshWorkload): Response {
    const { mesh, settings, random } = this.#host;
    const { name, type } = query.question;
    const decision = decideDns(mesh.state, { client, name, type, random }, settings);
    if (decision.kind === "pass") return this.#passed(query, labels);
    this.#log(query, decision.service.key, decision.addresses);
    return { kind: "reply", bytes: answerOf(bytes, query, labels.protocol, decision.addresses, decision.canonical) };
  }

  #passed(view: DnsQuery | { readonly kind: "opaque" }, labels: DnsLabels): Response {
    this.#log(view.kind === "query" ? view : undefined, "passed", []);
    return { kind: "pass", labels };
  }

  /** F-217. What nobody reads is not put together. */
  #log(query: DnsQuery | undefined, result: string, endpoints: readonly string[]): void {
    const { log } = this.#host;
    if (!log.isLevelEnabled("debug")) return;
    const { namespace, name } = this.#pod.info;
    log.debug(
      {
        "src.workload": name,
        "src.namespace": namespace,
        query: query === undefined ? "other" : typeName(query.question.type),
        domain: query?.question.name ?? "",
        result,
        endpoints,
      },
      "dns query",
    );
  }
}

/** Whatever else is asked is never ours, whoever asks. */
function mayBeOurs(query: DnsQuery): boolean {
  const { type } = query.question;
  return query.isPlain && (type === types.A || type === types.AAAA);
}

function answerOf(
  bytes: Uint8Array,
  query: DnsQuery,
  protocol: DnsProtocol,
  addresses: readonly string[],
  canonical?: string,
): Uint8Array {
  return addressAnswer({
    bytes,
    query,
    addresses,
    ...(canonical !== undefined && { canonicalLabels: canonical.split(".").length }),
    ttlSeconds,
    limit: protocol === "udp" ? udpLimit(query.edns) : messageLimit,
  });
}

/** As upstream's: services come and go. */
const ttlSeconds = 30;
