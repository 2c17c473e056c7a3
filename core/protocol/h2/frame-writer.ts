/** Frames as octets (RFC 9113 6). Each function gives one buffer that is the caller's. */
import { clientPreface, flags, frameHeaderSize, frameTypes, largest31 } from "./frame.ts";
import type { Setting } from "./settings.ts";

/** The header of a frame whose payload follows in buffers of its own. */
export function frameHeader(type: number, flag: number, streamId: number, length: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(frameHeaderSize);
  putHeader(bytes, type, flag, streamId, length);
  return bytes;
}

/** A whole DATA frame: a copy, which is less than to hand over two buffers where there is little of it. */
export function dataFrame(streamId: number, chunk: Uint8Array, from: number, length: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(frameHeaderSize + length);
  putHeader(bytes, frameTypes.DATA, 0, streamId, length);
  bytes.set(length === chunk.length ? chunk : chunk.subarray(from, from + length), frameHeaderSize);
  return bytes;
}

/** HEADERS, and as many CONTINUATIONs as the peer's frame size makes necessary. */
export function headersFrames(
  streamId: number,
  block: Uint8Array,
  endStream: boolean,
  maxFrameSize: number,
): Uint8Array {
  const frames = Math.max(1, Math.ceil(block.length / maxFrameSize));
  const bytes = Buffer.allocUnsafe(block.length + frames * frameHeaderSize);
  let at = 0;
  for (let i = 0; i < frames; i++) {
    const part = block.subarray(i * maxFrameSize, (i + 1) * maxFrameSize);
    const flag = (i === frames - 1 ? flags.END_HEADERS : 0) | (i === 0 && endStream ? flags.END_STREAM : 0);
    putHeader(bytes.subarray(at), i === 0 ? frameTypes.HEADERS : frameTypes.CONTINUATION, flag, streamId, part.length);
    bytes.set(part, at + frameHeaderSize);
    at += frameHeaderSize + part.length;
  }
  return bytes;
}

export function resetFrame(streamId: number, errorCode: number): Uint8Array {
  return numberFrame(frameTypes.RST_STREAM, streamId, errorCode);
}

export function windowUpdateFrame(streamId: number, increment: number): Uint8Array {
  return numberFrame(frameTypes.WINDOW_UPDATE, streamId, increment);
}

/** @param payload eight octets. */
export function pingFrame(payload: Uint8Array, isAnswer: boolean): Uint8Array {
  const bytes = Buffer.allocUnsafe(frameHeaderSize + 8);
  putHeader(bytes, frameTypes.PING, isAnswer ? flags.ACK : 0, 0, 8);
  bytes.set(payload, frameHeaderSize);
  return bytes;
}

/** @param text why, for whoever reads a capture. */
export function goawayFrame(lastStreamId: number, errorCode: number, text = ""): Uint8Array {
  const bytes = Buffer.allocUnsafe(frameHeaderSize + 8 + text.length);
  putHeader(bytes, frameTypes.GOAWAY, 0, 0, 8 + text.length);
  bytes.writeUInt32BE(lastStreamId & largest31, frameHeaderSize);
  bytes.writeUInt32BE(errorCode, frameHeaderSize + 4);
  bytes.write(text, frameHeaderSize + 8, "latin1");
  return bytes;
}

export function settingsFrame(settings: readonly Setting[]): Uint8Array {
  const bytes = Buffer.allocUnsafe(frameHeaderSize + settings.length * 6);
  putHeader(bytes, frameTypes.SETTINGS, 0, 0, settings.length * 6);
  settings.forEach(([id, value], i) => {
    bytes.writeUInt16BE(id, frameHeaderSize + i * 6);
    bytes.writeUInt32BE(value, frameHeaderSize + i * 6 + 2);
  });
  return bytes;
}

export function settingsAnswer(): Uint8Array {
  return frameHeader(frameTypes.SETTINGS, flags.ACK, 0, 0);
}

export function preface(): Uint8Array {
  return Uint8Array.from(clientPreface);
}

function numberFrame(type: number, streamId: number, value: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(frameHeaderSize + 4);
  putHeader(bytes, type, 0, streamId, 4);
  bytes.writeUInt32BE(value, frameHeaderSize);
  return bytes;
}

function putHeader(bytes: Uint8Array, type: number, flag: number, streamId: number, length: number): void {
  bytes[0] = length >>> 16;
  bytes[1] = length >>> 8;
  bytes[2] = length;
  bytes[3] = type;
  bytes[4] = flag;
  bytes[5] = (streamId >>> 24) & 0x7f;
  bytes[6] = streamId >>> 16;
  bytes[7] = streamId >>> 8;
  bytes[8] = streamId;
}
