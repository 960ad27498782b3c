import assert from "node:assert/strict";
import { test } from "node:test";
import { escape, render } from "./page.js";

test("the user agent is escaped", () => {
  assert.equal(escape('<b>"&'), "&lt;b&gt;&quot;&amp;");
});

test("each visit is a table row", () => {
  const visits = [{ id: 2, at: "2026-01-02T03:04:05.678Z", agent: "curl" }];
  const page = render("{{counter}} {{node}} {{rows}}", { counter: 2, node: "24.0.0", visits });
  assert.equal(page, "2 24.0.0 <tr><td>2</td><td>2026-01-02 03:04:05 UTC</td><td>curl</td></tr>");
});
