import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";

test("the page names the built files", async () => {
  await import("./build.js");
  const dist = new URL("dist/", import.meta.url);
  const page = await readFile(new URL("index.html", dist), "utf8");
  const files = (await readdir(dist)).filter((name) => name !== "index.html");
  assert.equal(files.length, 2);
  for (const name of files) assert.ok(page.includes(name), name);
});
