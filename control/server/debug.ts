/** What control knows and who holds it, for a person who looks: no keys, no tokens, and only from where control itself runs. */
import { Authorization } from "../../core/protocol/generated/security.ts";
import { Address } from "../../core/protocol/generated/workload.ts";
import type { SubscriptionStatus } from "../../core/protocol/xds/delta-server.ts";
import { json, type HttpAnswer } from "./http-listener.ts";
import { addressTypeUrl, authorizationTypeUrl, type Resource } from "./model/resources.ts";
import type { Plane } from "./plane.ts";

export interface DebugModules {
  readonly plane: Pick<Plane, "xds" | "resources" | "isReady">;
  /** More of what is to be seen: whether it leads, what its source says. */
  readonly about: () => object;
}

export function debugAnswers({ plane, about }: DebugModules): (path: string) => HttpAnswer | undefined {
  const answers: Readonly<Record<string, () => unknown>> = {
    "/debug": () => Object.keys(answers),
    "/debug/connections": () => plane.xds.streams(),
    "/debug/syncz": () => ({
      ready: plane.isReady(),
      ...about(),
      held: { addresses: plane.resources(addressTypeUrl).size, policies: plane.resources(authorizationTypeUrl).size },
      agents: plane.xds.streams().map(({ subscriber, nodeId, subscriptions }) => ({
        node: subscriber.node,
        nodeId,
        inSync: subscriptions.every(isAgreed),
        subscriptions,
      })),
    }),
    "/debug/wds": () => ({
      addresses: [...plane.resources(addressTypeUrl).values()].map(decoded),
      policies: [...plane.resources(authorizationTypeUrl).values()].map(decoded),
    }),
  };
  return (path) => {
    const answer = Object.hasOwn(answers, path) ? answers[path] : undefined;
    return answer && json(answer());
  };
}

/** Nothing awaits an answer, and the last one was no refusal. */
function isAgreed({ outstanding, lastAnswer }: SubscriptionStatus): boolean {
  return outstanding === undefined && lastAnswer?.rejected === undefined;
}

function decoded({ typeUrl, name, version, bytes }: Resource): object {
  const message = typeUrl === addressTypeUrl ? Address.decode(bytes).type : Authorization.decode(bytes);
  return { name, version, message };
}
