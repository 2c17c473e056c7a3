/** The network configuration that a runtime writes to a plugin's standard input: CNI spec, section 1 and "ADD", "GC". */
import { CniSpecError } from "./errors.ts";
import { Faults, type JsonObject } from "./json-reader.ts";
import { parseResult } from "./parse-result.ts";
import { renderResult } from "./render-result.ts";
import { emptyResult, type CniResult } from "./result.ts";
import { defaultVersion, isSupported, supportedVersions, type CniVersion } from "./versions.ts";

export interface NetworkConfig {
  readonly cniVersion: CniVersion;
  /** Of the network, not of the plugin. */
  readonly name: string;
  readonly type: string;
  /** What the plugins before this one have done; absent where it comes first. */
  readonly prevResult?: PreviousResult;
  /** What GC is told is still in use. */
  readonly validAttachments: readonly Attachment[];
  /** Everything, the plugin's own keys among it. */
  readonly fields: JsonObject;
}

export interface PreviousResult {
  readonly result: CniResult;
  readonly version: CniVersion;
  /** As it was written: fields we know nothing of are passed on. */
  readonly written: JsonObject;
}

/** One interface in one container. */
export interface Attachment {
  readonly containerId: string;
  readonly ifname: string;
}

/** Checks in the order of the spec's own library: JSON, then the network's name, then the version. */
export function parseConfig(text: string): NetworkConfig | CniSpecError {
  const fields = parseObject(text);
  if (fields instanceof CniSpecError) return fields;
  const faults = new Faults();
  const name = faults.text(fields["name"], "name");
  const type = faults.text(fields["type"], "type");
  const version = faults.text(fields["cniVersion"], "cniVersion");
  const validAttachments = readAttachments(fields["cni.dev/valid-attachments"], faults);
  const prevResult = faults.object(fields["prevResult"], "prevResult");
  if (faults.found.length > 0) return new CniSpecError({ code: "cni-spec.undecodable", faults: faults.found });
  if (!networkName.test(name)) return invalidName(name);
  const cniVersion = version === "" ? defaultVersion : version;
  if (!isSupported(cniVersion)) return unsupported(cniVersion);
  const config = { cniVersion, name, type, validAttachments, fields };
  if (fields["prevResult"] === undefined || fields["prevResult"] === null) return config;
  const previous = readPrevious(prevResult, cniVersion);
  return previous instanceof CniSpecError ? previous : { ...config, prevResult: previous };
}

/** What a plugin that changes nothing answers ADD with: the result so far in the configuration's version. */
export function unchangedResult({ cniVersion, prevResult }: NetworkConfig): JsonObject {
  if (prevResult === undefined) return renderResult(emptyResult, cniVersion);
  if (prevResult.version !== cniVersion) return renderResult(prevResult.result, cniVersion);
  return { ...prevResult.written, cniVersion };
}

function parseObject(text: string): JsonObject | CniSpecError {
  const faults = new Faults();
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)) return parsed as JsonObject;
    faults.add("the configuration", "is no object");
  } catch {
    faults.add("the configuration", text === "" ? "is empty" : "is no JSON");
  }
  return new CniSpecError({ code: "cni-spec.undecodable", faults: faults.found });
}

/** A result may carry a version of its own; without one it has that of the configuration. */
function readPrevious(written: JsonObject, configured: CniVersion): PreviousResult | CniSpecError {
  const { cniVersion: own } = written;
  const version = own === undefined || own === null || own === "" ? configured : own;
  if (typeof version !== "string" || !isSupported(version))
    return new CniSpecError({
      code: "cni-spec.undecodable",
      faults: ["prevResult.cniVersion is not a version we know"],
    });
  const result = parseResult(written, version);
  return result instanceof CniSpecError ? result : { result, version, written };
}

function readAttachments(value: unknown, faults: Faults): Attachment[] {
  const path = "cni.dev/valid-attachments";
  return faults.list(value, path).map((item, at) => {
    const { containerID, ifname } = faults.object(item, `${path}[${at}]`);
    return {
      containerId: faults.text(containerID, `${path}[${at}].containerID`),
      ifname: faults.text(ifname, `${path}[${at}].ifname`),
    };
  });
}

function invalidName(name: string): CniSpecError {
  const problem =
    name === "" ? "the network has no name" : `the network's name "${name}" has characters that aren't allowed`;
  return new CniSpecError({ code: "cni-spec.invalid-config", problem });
}

function unsupported(asked: string): CniSpecError {
  const spoken = `spoken are ${supportedVersions.join(", ")}`;
  return new CniSpecError({ code: "cni-spec.incompatible-version", asked, spoken });
}

const networkName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
