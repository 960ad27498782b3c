// Copies src to dist, with a hash of the content in the names of scripts and style sheets, so that browsers can cache them.

import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";

const source = new URL("src/", import.meta.url);
const target = new URL("dist/", import.meta.url);

await rm(target, { recursive: true, force: true });
await mkdir(target, { recursive: true });
let page = await readFile(new URL("index.html", source), "utf8");
for (const name of await readdir(source)) {
  if (name === "index.html" || name.endsWith(".test.js")) continue;
  const content = await readFile(new URL(name, source));
  const hash = createHash("sha256").update(content).digest("hex").slice(0, 8);
  const hashed = name.replace(".", `.${hash}.`);
  await writeFile(new URL(hashed, target), content);
  page = page.replaceAll(name, hashed);
}
await writeFile(new URL("index.html", target), page);
console.log("built web/dist");
