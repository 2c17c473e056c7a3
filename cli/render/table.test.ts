import assert from "node:assert/strict";
import { test } from "node:test";
import { renderTable } from "./table.ts";

const columns = [
  { heading: "name", cell: (row: { name: string; node: string }) => row.name },
  { heading: "node", cell: (row: { name: string; node: string }) => row.node },
];

test("columns are as wide as their widest cell", () => {
  assert.equal(
    renderTable(columns, [
      { name: "a-long-name", node: "n1" },
      { name: "b", node: "n2" },
    ]),
    "NAME         NODE\na-long-name  n1\nb            n2\n",
  );
});

test("an empty table still says what it would hold", () => {
  assert.equal(renderTable(columns, []), "NAME  NODE\n");
});

test("a name from the network can't move the cursor", () => {
  assert.equal(renderTable(columns, [{ name: "\u001b[2Jgone", node: "" }]), "NAME      NODE\n?[2Jgone\n");
});
