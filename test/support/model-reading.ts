/** What a model says, for tests. */
import assert from "node:assert/strict";
import type { Model } from "../../control/server/model/model.ts";
import { addressTypeUrl, authorizationTypeUrl, type Resource } from "../../control/server/model/resources.ts";
import type { KubeObject } from "../../control/sources/objects.ts";
import type { ObjectDelta } from "../../control/sources/source.ts";
import { Authorization } from "../../core/protocol/generated/security.ts";
import { Address } from "../../core/protocol/generated/workload.ts";

export function put(object: KubeObject): ObjectDelta {
  return { op: "put", object };
}

/** Every resource, in order. */
export function everything(model: Model): Resource[] {
  return sortByName([addressTypeUrl, authorizationTypeUrl].flatMap((url) => [...model.resources(url).values()]));
}

export function sortByName(resources: Resource[]): Resource[] {
  return resources.sort((a, b) => (a.typeUrl + a.name < b.typeUrl + b.name ? -1 : 1));
}

/** A resource's message. */
export function decode({ typeUrl, bytes }: { typeUrl: string; bytes: Uint8Array }): Record<string, unknown> {
  const message = typeUrl === addressTypeUrl ? Address.decode(bytes).type?.value : Authorization.decode(bytes);
  assert.ok(message);
  return { ...message };
}
