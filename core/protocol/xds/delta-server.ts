/**
 * The server's half of delta discovery, one stream long (envoy.service.discovery.v3, incremental; control-waypoint 7.3).
 * Requests go in by receive, responses come out of poll; what changed lies in resource logs that all streams share.
 *
 * At most one response per type awaits its answer; what changes meanwhile is merged. Types are told in push order: nothing of a
 * later type while an earlier one has news, and removals the other way round, so that a policy is there before the
 * workload that needs it and goes after it. A NACK is noted, not argued with: the resource is sent again once it changes.
 */
import type { DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node } from "../generated/discovery.ts";
import type { ResourceLog } from "./resource-log.ts";
import { Subscription } from "./subscription.ts";
import { XdsError } from "./xds-error.ts";

export type DeltaServerEvent =
  | { readonly kind: "subscribed"; readonly typeUrl: string } // or changed its subscription
  | { readonly kind: "acknowledged"; readonly typeUrl: string; readonly nonce: string }
  | { readonly kind: "rejected"; readonly typeUrl: string; readonly nonce: string; readonly message: string }
  | { readonly kind: "stale"; readonly typeUrl: string; readonly nonce: string }; // not the last response's: nothing

export interface SubscriptionStatus {
  readonly typeUrl: string;
  readonly wildcard: boolean;
  readonly names: number;
  /** Nonce of the response that awaits its answer. */
  readonly outstanding?: string;
  readonly lastAnswer?: { readonly nonce: string; readonly rejected?: string };
}

const mostNames = 65_536;
const longestMessage = 4096;

export class DeltaServer {
  readonly #logs: ReadonlyMap<string, ResourceLog>;
  readonly #subscriptions = new Map<string, Subscription>();
  #node: Node | undefined;
  #nonces = 0;

  /** @param logs the resources by type URL, in push order. */
  constructor(logs: ReadonlyMap<string, ResourceLog>) {
    this.#logs = logs;
  }

  /** Who asks, once the first request has come. */
  get node(): Node | undefined {
    return this.#node;
  }

  status(): SubscriptionStatus[] {
    return [...this.#subscriptions.values()].map(({ typeUrl, wildcard, names, outstanding, lastAnswer }) => ({
      typeUrl,
      wildcard,
      names: names.size,
      ...(outstanding !== undefined && { outstanding }),
      ...(lastAnswer !== undefined && { lastAnswer }),
    }));
  }

  /** One request; call poll after it. */
  receive(request: DeltaDiscoveryRequest): DeltaServerEvent | XdsError {
    const { typeUrl, responseNonce, errorDetail } = request;
    this.#node ??= request.node;
    if (this.#node === undefined) return new XdsError({ code: "xds.no-node" });
    const log = this.#logs.get(typeUrl);
    if (log === undefined) return new XdsError({ code: "xds.unknown-type", typeUrl: typeUrl.slice(0, 256) });
    const subscription = this.#subscriptions.get(typeUrl);
    const names = (subscription?.names.size ?? 0) + request.resourceNamesSubscribe.length;
    if (names > mostNames) return new XdsError({ code: "xds.too-many-names", names });
    if (subscription === undefined) {
      this.#subscriptions.set(typeUrl, new Subscription(request, log));
      return { kind: "subscribed", typeUrl };
    }
    const resubscribed = subscription.update(request);
    if (responseNonce === "" && resubscribed) return { kind: "subscribed", typeUrl };
    if (responseNonce === "" || responseNonce !== subscription.outstanding) {
      return { kind: "stale", typeUrl, nonce: responseNonce.slice(0, 256) };
    }
    subscription.outstanding = undefined;
    if (errorDetail === undefined) {
      subscription.lastAnswer = { nonce: responseNonce };
      return { kind: "acknowledged", typeUrl, nonce: responseNonce };
    }
    const message = errorDetail.message.slice(0, longestMessage);
    subscription.lastAnswer = { nonce: responseNonce, rejected: message };
    return { kind: "rejected", typeUrl, nonce: responseNonce, message };
  }

  /**
   * The next response, or undefined until a log changes or a request comes. Call it until it is undefined.
   * On a new stream, let the requests that come together come in first: types not yet asked for hold nothing back.
   */
  poll(): DeltaDiscoveryResponse | XdsError | undefined {
    const subscriptions = [...this.#logs.keys()].flatMap((typeUrl) => this.#subscriptions.get(typeUrl) ?? []);
    const behind = subscriptions.find((subscription) => subscription.tooFarBehind);
    if (behind) return new XdsError({ code: "xds.too-far-behind", typeUrl: behind.typeUrl });
    const last = subscriptions.at(-1);
    for (const subscription of subscriptions) {
      if (!subscription.hasChanges()) continue;
      return this.#respond(subscription, subscription === last ? "both" : "changes");
    }
    for (const subscription of subscriptions.reverse()) {
      if (subscription.hasRemovals()) return this.#respond(subscription, "removals");
    }
    return undefined;
  }

  #respond(subscription: Subscription, part: "changes" | "removals" | "both"): DeltaDiscoveryResponse | undefined {
    if (subscription.outstanding !== undefined) return undefined;
    this.#nonces += 1;
    return subscription.respond(String(this.#nonces), part);
  }
}
