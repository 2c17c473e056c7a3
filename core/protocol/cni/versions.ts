/** Versions of the CNI spec. They are compared by number: 0.10.0 comes after 0.4.0. */

/** Every version spoken here, oldest first. */
export const supportedVersions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

export type CniVersion = (typeof supportedVersions)[number];

/** What VERSION answers with. */
const newestVersion: CniVersion = "1.1.0";

/** A configuration that names no version means the first one. */
export const defaultVersion: CniVersion = "0.1.0";

export function isSupported(version: string): version is CniVersion {
  return (supportedVersions as readonly string[]).includes(version);
}

export function atLeast(version: CniVersion, wanted: CniVersion): boolean {
  return supportedVersions.indexOf(version) >= supportedVersions.indexOf(wanted);
}

/** The answer to VERSION, which needs no configuration. */
export function renderVersions(): string {
  return `${JSON.stringify({ cniVersion: newestVersion, supportedVersions })}\n`;
}
