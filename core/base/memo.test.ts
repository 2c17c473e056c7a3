import assert from "node:assert/strict";
import { test } from "node:test";
import { Memo, oncePerObject, oncePerWord } from "./memo.ts";

function counted(most: number, longest: number): { memo: Memo<{ text: string }>; asked: string[] } {
  const asked: string[] = [];
  const compute = (text: string): { text: string } => (asked.push(text), { text });
  return { memo: new Memo(compute, most, longest), asked };
}

test("a text is worked out once, and its answer is one object", () => {
  const { memo, asked } = counted(8, 8);
  assert.equal(memo.of("a"), memo.of("a"));
  assert.deepEqual(asked, ["a"]);
});

test("what is asked for again and again stays, however many others come", () => {
  const { memo, asked } = counted(8, 8);
  for (let i = 0; i < 1_000; i++) {
    memo.of("often");
    memo.of(`once ${i}`);
  }
  assert.equal(asked.filter((text) => text === "often").length, 1);
});

test("no more than twice as many as agreed are kept, and none that is longer", () => {
  const { memo, asked } = counted(4, 8);
  for (let i = 0; i < 100; i++) memo.of(`${i}`);
  asked.length = 0;
  for (let i = 0; i < 100; i++) memo.of(`${99 - i}`);
  assert.ok(100 - asked.length <= 8, `${100 - asked.length} were known`);
  asked.length = 0;
  memo.of("far too long");
  memo.of("far too long");
  assert.equal(asked.length, 2);
});

test("what follows from an object is worked out once for each object", () => {
  const asked: object[] = [];
  const of = oncePerObject((one: { readonly n: number }) => (asked.push(one), { twice: one.n * 2 }));
  const [one, other] = [{ n: 1 }, { n: 1 }];
  assert.equal(of(one), of(one));
  assert.notEqual(of(one), of(other));
  assert.deepEqual(asked, [one, other]);
});

test("what follows from an object that comes to say something else is worked out anew", () => {
  const asked: string[] = [];
  const one = { word: { text: "before" } };
  const of = oncePerWord(
    ({ word }: typeof one) => (asked.push(word.text), word.text),
    ({ word }) => word,
  );
  assert.deepEqual([of(one), of(one)], ["before", "before"]);
  one.word = { text: "after" };
  assert.deepEqual([of(one), of(one)], ["after", "after"]);
  assert.deepEqual(asked, ["before", "after"]);
});
