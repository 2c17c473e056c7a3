/** What a chain of plugins has done so far, in one form for all versions of the spec: that of 1.1.0. */

export interface CniResult {
  readonly interfaces: readonly CniInterface[];
  readonly ips: readonly CniAddress[];
  readonly routes: readonly CniRoute[];
  readonly dns: CniDns;
}

export interface CniInterface {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  /** Path of the network namespace it lies in; absent on the host. */
  readonly sandbox?: string;
  readonly socketPath?: string;
  readonly pciID?: string;
}

export interface CniAddress {
  /** Index into `interfaces`; 0.1.0 and 0.2.0 have none. */
  readonly interface?: number;
  /** Canonical text. */
  readonly ip: string;
  /** Length in bits. */
  readonly prefix: number;
  readonly gateway?: string;
}

export interface CniRoute {
  /** Address and prefix, canonical. */
  readonly dst: string;
  readonly gw?: string;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  readonly scope?: number;
}

export interface CniDns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

export const emptyResult: CniResult = { interfaces: [], ips: [], routes: [], dns: {} };
