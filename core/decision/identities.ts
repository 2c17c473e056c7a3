/** Which SPIFFE identities a server may show (agent-wire 1.7 steps E and G). Names of other kinds prove nothing here. */
import { oncePerObject } from "../base/memo.ts";
import { formatIdentity, parseIdentity, SpiffeError } from "../protocol/spiffe/identity.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import type { TraceStep } from "./trace.ts";

/** The workload's own identity, and what SPIFFE names its service adds. */
export function identitiesOf(workload: MeshWorkload, service: MeshService | undefined, trace: TraceStep[]): string[] {
  const own = formatIdentity(workload);
  if (service === undefined || service.subjectAltNames.length === 0) return [own];
  return [...new Set([own, ...serviceIdentities(service, trace)])];
}

/** Only those that the service itself names: all that is known of who answers in another network. */
export function serviceIdentities(service: MeshService, trace: TraceStep[]): readonly string[] {
  const { spiffe, ignored } = sortedNames(service);
  for (const name of ignored) trace.push({ code: "identity-ignored", service: service.key, name });
  return spiffe;
}

interface SortedNames {
  readonly spiffe: readonly string[];
  readonly ignored: readonly string[];
}

/** Parsed once per service as it was sent, not once per connection. */
const sortedNames = oncePerObject((service: MeshService): SortedNames => {
  const isSpiffe = (name: string): boolean => !(parseIdentity(name) instanceof SpiffeError);
  const names = [...new Set(service.subjectAltNames)];
  return { spiffe: names.filter(isSpiffe), ignored: names.filter((name) => !isSpiffe(name)) };
});
