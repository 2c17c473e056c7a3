import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { seededRandom } from "../../base/random.ts";
import { Storm } from "../../../test/sim/h2-storm.ts";

suite("whatever both owners do, and from wherever they do it", () => {
  test("each stream is closed once and hears nothing behind that, when the link breaks between any two octets", () => {
    for (let seed = 1; seed <= 150; seed++) {
      const storm = new Storm(seededRandom(seed));
      storm.rage(150);
      for (const end of [storm.client, storm.server]) end.lose();
      expectNothingLeft(storm, seed);
    }
  });

  test("streams that nobody reset arrive whole, and are closed at both ends once both have said all", () => {
    let whole = 0;
    for (let seed = 1; seed <= 150; seed++) {
      const storm = new Storm(seededRandom(seed));
      storm.rage(150);
      if (storm.client.isLost || storm.server.isLost) continue;
      storm.calm();
      whole += storm.client.streams.length;
      expectNothingLeft(storm, seed);
      for (const far of storm.server.streams) {
        const near = storm.client.streams.find(({ stream }) => stream.id === far.stream.id);
        if (near === undefined || [near, far].some(({ isCut, isReset }) => isCut || isReset)) continue;
        assert.deepEqual([near.hasEnded, far.hasEnded], [true, true], `seed ${seed}`);
        assert.deepEqual([near.received, far.received], [far.sent, near.sent], `seed ${seed}`);
      }
    }
    assert.ok(whole > 500, `${whole} streams`);
  });
});

function expectNothingLeft(storm: Storm, seed: number): void {
  for (const { streams, connection } of [storm.client, storm.server]) {
    for (const stream of streams) {
      assert.ok(stream.isClosed, `seed ${seed}: stream ${stream.stream.id} is not closed`);
      stream.read();
    }
    assert.equal(connection.streams, 0);
    assert.equal(connection.held, 0);
  }
}
