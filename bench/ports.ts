/** Where the servers of scenarios listen, on every address of their pod: a proxy that must be told its tunnels beforehand is told these. */
export const serverPorts = { http: 8080, iperf3: 5201 } as const;

export const everyServerPort: readonly number[] = Object.values(serverPorts);
