import { nobody, type ByteEnd, type EndListener } from "../../agent/relay/byte-end.ts";

/** An end of a relay that takes everything and says nothing of itself: what happens at it is the test's to say. */
export class FakeEnd implements ByteEnd {
  listener: EndListener = nobody;
  wasReset = false;

  write(_chunk: Uint8Array): boolean {
    return true;
  }

  end(): void {}

  reset(): void {
    this.wasReset = true;
  }

  pause(): void {}

  resume(): void {}
}
