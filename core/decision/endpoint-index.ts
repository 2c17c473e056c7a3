/** The workloads behind each service. They may arrive before the service does, and wait for it under its key. */
import type { MeshWorkload } from "../protocol/wds/workload.ts";

interface Endpoints {
  readonly all: Map<string, MeshWorkload>;
  readonly healthy: Map<string, MeshWorkload>;
}

/** Endpoints by service key and workload uid, with the healthy ones kept apart so that no connection has to filter. */
export class EndpointIndex {
  readonly #services = new Map<string, Endpoints>();

  add(workload: MeshWorkload): void {
    for (const key of workload.services.keys()) {
      let endpoints = this.#services.get(key);
      if (endpoints === undefined) {
        this.#services.set(key, (endpoints = { all: new Map(), healthy: new Map() }));
      }
      endpoints.all.set(workload.uid, workload);
      if (workload.healthy) endpoints.healthy.set(workload.uid, workload);
    }
  }

  remove(workload: MeshWorkload): void {
    for (const key of workload.services.keys()) {
      const endpoints = this.#services.get(key);
      endpoints?.all.delete(workload.uid);
      endpoints?.healthy.delete(workload.uid);
      if (endpoints?.all.size === 0) this.#services.delete(key);
    }
  }

  /** How many workloads name this service, whatever their health. */
  count(serviceKey: string): number {
    return this.#services.get(serviceKey)?.all.size ?? 0;
  }

  /** Those a new connection may go to as far as health is concerned. */
  of(serviceKey: string, allowUnhealthy: boolean): ReadonlyMap<string, MeshWorkload> {
    const endpoints = this.#services.get(serviceKey);
    if (endpoints === undefined) return nobody;
    return allowUnhealthy ? endpoints.all : endpoints.healthy;
  }
}

const nobody: ReadonlyMap<string, MeshWorkload> = new Map();
