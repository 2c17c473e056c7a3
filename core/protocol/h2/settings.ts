/** SETTINGS (RFC 9113 6.5): what one end tells the other about itself. */
import { errorCodes } from "./error-code.ts";
import { largest31 } from "./frame.ts";
import { protocolError, type H2Error } from "./h2-error.ts";

export const settingIds = {
  HEADER_TABLE_SIZE: 0x1,
  ENABLE_PUSH: 0x2,
  MAX_CONCURRENT_STREAMS: 0x3,
  INITIAL_WINDOW_SIZE: 0x4,
  MAX_FRAME_SIZE: 0x5,
  MAX_HEADER_LIST_SIZE: 0x6,
} as const;

export type Setting = readonly [id: number, value: number];

/**
 * What the peer's SETTINGS have said so far. Without MAX_HEADER_LIST_SIZE, which is advice (RFC 9113 6.5.2): our heads are far below
 * what anybody bids, and one that is too long for its peer is that peer's to refuse.
 */
export interface PeerSettings {
  /** Unlimited until it says otherwise. */
  maxConcurrentStreams: number;
  initialWindowSize: number;
  maxFrameSize: number;
}

/** Before its first SETTINGS. */
export function initialPeerSettings(): PeerSettings {
  return {
    maxConcurrentStreams: Infinity,
    initialWindowSize: defaultWindow,
    maxFrameSize: smallestFrameSize,
  };
}

/** The settings in a frame's payload, each within its bounds; unknown ones are left out (RFC 9113 6.5.2). */
export function parseSettings(payload: Uint8Array, from: "client" | "server"): Setting[] | H2Error {
  if (payload.length % 6 !== 0) return protocolError("SETTINGS of a broken length", errorCodes.FRAME_SIZE_ERROR);
  if (payload.length > mostSettings * 6) return protocolError("too many settings", errorCodes.ENHANCE_YOUR_CALM);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const settings: Setting[] = [];
  for (let at = 0; at < payload.length; at += 6) {
    const [id, value] = [view.getUint16(at), view.getUint32(at + 2)];
    const failed = problemOf(id, value, from);
    if (failed !== undefined) return failed;
    settings.push([id, value]);
  }
  return settings;
}

function problemOf(id: number, value: number, from: "client" | "server"): H2Error | undefined {
  switch (id) {
    case settingIds.ENABLE_PUSH:
      return value > 1 || (value === 1 && from === "server") ? protocolError("ENABLE_PUSH out of bounds") : undefined;
    case settingIds.INITIAL_WINDOW_SIZE:
      return value > largest31 ? protocolError("window out of bounds", errorCodes.FLOW_CONTROL_ERROR) : undefined;
    case settingIds.MAX_FRAME_SIZE:
      return value < smallestFrameSize || value > largestFrameSize
        ? protocolError("frame size out of bounds")
        : undefined;
    default:
      return undefined;
  }
}

/** Of streams and of the connection, until told otherwise (RFC 9113 6.9.2). */
export const defaultWindow = 65_535;
const smallestFrameSize = 16_384;
const largestFrameSize = 16_777_215;
/** Five have a meaning to us; a peer that sends more than these at once wants something else. */
const mostSettings = 32;
