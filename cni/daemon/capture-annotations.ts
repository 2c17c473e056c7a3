/** How a captured pod wants to be captured: its annotations, parsed once into typed options. What can't be understood is left at
 *  its default and reported; a typing error in an annotation never takes a pod out of the mesh. */
import type { Labels } from "./selectors.ts";

export const bypassInboundAnnotation = "ambient.istio.io/bypass-inbound-capture";
export const dnsCaptureAnnotation = "ambient.istio.io/dns-capture";
export const virtualInterfacesAnnotation = "istio.io/reroute-virtual-interfaces";

export interface CaptureOptions {
  /** DNS queries go to the agent's 15053. */
  readonly dnsCapture: boolean;
  /** Only what the pod sends is captured, not what it receives. */
  readonly ingressMode: boolean;
  /** Interfaces behind which guests sit (virtual machines): what arrives there counts as sent by the pod. */
  readonly virtualInterfaces: readonly string[];
}

export interface AnnotationProblem {
  readonly annotation: string;
  readonly value: string;
  readonly expected: string;
}

export interface ParsedCapture {
  readonly options: CaptureOptions;
  readonly problems: readonly AnnotationProblem[];
}

/** @param dnsCaptureByDefault what the node does for pods that don't say. */
export function parseCapture(annotations: Labels, dnsCaptureByDefault: boolean): ParsedCapture {
  const problems: AnnotationProblem[] = [];
  const flag = (annotation: string, otherwise: boolean): boolean => {
    if (!Object.hasOwn(annotations, annotation)) return otherwise;
    const value = annotations[annotation] ?? "";
    const parsed = parseGoBool(value);
    if (parsed === undefined) problems.push({ annotation, value: shown(value), expected: "true or false" });
    return parsed ?? otherwise;
  };
  const options = {
    dnsCapture: flag(dnsCaptureAnnotation, dnsCaptureByDefault),
    ingressMode: flag(bypassInboundAnnotation, false),
    virtualInterfaces: interfacesOf(annotations, problems),
  };
  return { options, problems };
}

/** The twelve spellings Go's strconv.ParseBool knows; undefined for any other text. */
export function parseGoBool(text: string): boolean | undefined {
  if (["1", "t", "T", "TRUE", "true", "True"].includes(text)) return true;
  if (["0", "f", "F", "FALSE", "false", "False"].includes(text)) return false;
  return undefined;
}

function interfacesOf(annotations: Labels, problems: AnnotationProblem[]): string[] {
  if (!Object.hasOwn(annotations, virtualInterfacesAnnotation)) return [];
  const value = annotations[virtualInterfacesAnnotation] ?? "";
  const names = value
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  const usable = [...new Set(names.filter((name) => interfaceName.test(name)))];
  if (usable.length < new Set(names).size || usable.length > maxVirtualInterfaces)
    problems.push({
      annotation: virtualInterfacesAnnotation,
      value: shown(value),
      expected: `at most ${maxVirtualInterfaces} interface names of 1 to 15 characters, separated by commas`,
    });
  return usable.slice(0, maxVirtualInterfaces);
}

/** Annotations may be 256 KiB long; a log line may not. */
function shown(value: string): string {
  return value.length <= 64 ? value : `${value.slice(0, 64)}…`;
}

/** What the kernel takes (dev_valid_name: IFNAMSIZ is 16 with the closing NUL, no slash, colon or space), in printable ASCII. */
const interfaceName = /^(?!\.{1,2}$)[!-.0-9;-~]{1,15}$/;

/** Each name becomes two rules; an annotation must not make a rule set of thousands. */
const maxVirtualInterfaces = 32;
