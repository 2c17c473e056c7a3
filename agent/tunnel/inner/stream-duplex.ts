/**
 * A tunnel's stream as what TLS can be spoken over: a tunnel inside a tunnel. What is not taken yet stays in the outer stream's window, and what
 * the outer stream does not take yet holds the inner one back.
 */
import { Duplex } from "node:stream";
import { namedError } from "../../../core/linux/errno.ts";
import { keep } from "../../relay/lending.ts";
import { pauseReasons, type ByteEnd, type EndListener } from "../../relay/byte-end.ts";

type Callback = (error?: Error | null) => void;

export class StreamDuplex extends Duplex {
  readonly #end: ByteEnd;
  #bytesRead = 0;
  /** Of the write that waits for room. */
  #written: Callback | undefined;
  /** Nothing is left of the stream beneath, or of what it was still to say. */
  #isOver = false;
  #hasEnded = false;
  #haveEnded = false;

  /** @param end that nobody listens to yet. */
  constructor(end: ByteEnd) {
    super({ allowHalfOpen: true });
    this.#end = end;
    end.listener = this.#listener();
    end.pause(pauseReasons.full);
    end.resume(pauseReasons.unjoined);
  }

  /** Octets that have come. */
  get bytesRead(): number {
    return this.#bytesRead;
  }

  override _read(): void {
    if (!this.#isOver) this.#end.resume(pauseReasons.full);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, written: Callback): void {
    if (this.#end.write(chunk)) written();
    else this.#written = written;
  }

  override _final(done: Callback): void {
    this.#haveEnded = true;
    this.#end.end();
    done();
  }

  override _destroy(error: Error | null, done: Callback): void {
    if (!this.#isOver && !(this.#hasEnded && this.#haveEnded)) this.#end.reset();
    this.#isOver = true;
    done(error);
  }

  #listener(): EndListener {
    return {
      data: (_end, chunk) => {
        this.#bytesRead += chunk.length;
        if (!this.push(keep(chunk))) this.#end.pause(pauseReasons.full);
      },
      ended: () => {
        this.#hasEnded = true;
        this.push(null);
      },
      drained: () => {
        const written = this.#written;
        this.#written = undefined;
        written?.();
      },
      reset: (_end, cause) => {
        this.#isOver = true;
        this.destroy(namedError("read", cause.kind === "tcp" ? cause.errno : "ECONNRESET"));
      },
      closed: () => {
        this.#isOver = true;
        if (!this.#hasEnded) this.destroy();
      },
    };
  }
}
