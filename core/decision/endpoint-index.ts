/** The workloads behind each service. They may arrive before the service does, and wait for it under its key. */
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import type { Eligible } from "./eligible.ts";

/** Some endpoints of one service, and what was found out about them since they last changed. */
export class EndpointView {
  readonly #workloads = new Map<string, MeshWorkload>();
  /** By the service as it was then, and by the kind of question. */
  #found: { readonly service: MeshService; readonly answers: Map<string, Eligible> } | undefined;

  /** By uid. */
  get workloads(): ReadonlyMap<string, MeshWorkload> {
    return this.#workloads;
  }

  put(workload: MeshWorkload): void {
    this.#workloads.set(workload.uid, workload);
    this.#found = undefined;
  }

  remove(uid: string): void {
    if (this.#workloads.delete(uid)) this.#found = undefined;
  }

  remembered(service: MeshService, kind: string, find: () => Eligible): Eligible {
    if (this.#found?.service !== service) this.#found = { service, answers: new Map() };
    const { answers } = this.#found;
    let answer = answers.get(kind);
    if (answer === undefined) {
      if (answers.size >= mostKinds) answers.clear();
      answers.set(kind, (answer = find()));
    }
    return answer;
  }
}

/** The endpoints of one service. Each is held once, but where unhealthy ones count too, which few services ask for. */
class Endpoints {
  readonly healthy = new EndpointView();
  readonly #others = new Map<string, MeshWorkload>();
  /** From when it is first asked for. */
  #all: EndpointView | undefined;

  get size(): number {
    return this.healthy.workloads.size + this.#others.size;
  }

  get all(): EndpointView {
    if (this.#all === undefined) {
      this.#all = new EndpointView();
      for (const workload of this.each()) this.#all.put(workload);
    }
    return this.#all;
  }

  *each(): Generator<MeshWorkload> {
    yield* this.healthy.workloads.values();
    yield* this.#others.values();
  }

  put(workload: MeshWorkload): void {
    if (workload.healthy) this.healthy.put(workload);
    else this.#others.set(workload.uid, workload);
    this.#all?.put(workload);
  }

  remove(uid: string): void {
    this.healthy.remove(uid);
    this.#others.delete(uid);
    this.#all?.remove(uid);
  }
}

/** Endpoints by service key and workload uid, with the healthy ones kept apart so that no connection has to filter. */
export class EndpointIndex {
  readonly #services = new Map<string, Endpoints>();

  add(workload: MeshWorkload): void {
    for (const key of workload.services.keys()) {
      let endpoints = this.#services.get(key);
      if (endpoints === undefined) this.#services.set(key, (endpoints = new Endpoints()));
      endpoints.put(workload);
    }
  }

  remove(workload: MeshWorkload): void {
    for (const key of workload.services.keys()) {
      const endpoints = this.#services.get(key);
      endpoints?.remove(workload.uid);
      if (endpoints?.size === 0) this.#services.delete(key);
    }
  }

  /** How many workloads name this service, whatever their health. */
  count(serviceKey: string): number {
    return this.#services.get(serviceKey)?.size ?? 0;
  }

  /** Them. */
  behind(serviceKey: string): Iterable<MeshWorkload> {
    return this.#services.get(serviceKey)?.each() ?? [];
  }

  /** Those a new connection may go to as far as health is concerned. */
  of(serviceKey: string, allowUnhealthy: boolean): EndpointView {
    const endpoints = this.#services.get(serviceKey);
    if (endpoints === undefined) return nobody;
    return allowUnhealthy ? endpoints.all : endpoints.healthy;
  }
}

const nobody = new EndpointView();
/** Ports asked for, by clients of as many places: on one node there is one place. */
const mostKinds = 64;
