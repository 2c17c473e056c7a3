import assert from "node:assert/strict";
import { test } from "node:test";
import { element } from "./markup.ts";

test("text and attributes can't become markup, and markup stays what it is", () => {
  const inner = element("b", {}, "1 < 2 & 3");
  assert.equal(
    element("p", { title: `"quoted" 'too'`, hidden: undefined, x: 1.239 }, "<i>", inner).markup,
    '<p title="&quot;quoted&quot; &#39;too&#39;" x="1.24">&lt;i&gt;<b>1 &lt; 2 &amp; 3</b></p>',
  );
});

test("an element that holds nothing by nature closes itself, another one is closed", () => {
  assert.equal(element("rect", { width: 3 }).markup, '<rect width="3"/>');
  assert.equal(element("td", {}).markup, "<td></td>");
});
