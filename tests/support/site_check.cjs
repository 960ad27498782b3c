// Visit pages of a site in Chromium and print one JSON document: violations of axe-core by page, requests that leave the
// site, errors of scripts, pages that are wider than their window, results of searches. Argument: a JSON document, see `support/site.py`.
"use strict";

const fs = require("fs");
const job = JSON.parse(process.argv[2]);
const { chromium } = require(`${job.modules}/playwright-core`);
const axe = fs.readFileSync(`${job.modules}/axe-core/axe.min.js`, "utf8");

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

async function examine(page, found, name, scheme) {
  await page.emulateMedia({ colorScheme: scheme });
  await page.goto(job.base + name, { waitUntil: "load" });
  if (await page.$(".mermaid")) await page.waitForFunction(() => !document.querySelector("pre.mermaid"));
  await page.evaluate(axe);
  const result = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const each of result.violations) {
    if (!["serious", "critical"].includes(each.impact)) continue;
    for (const node of each.nodes) {
      found.violations.push({
        page: `${name} (${scheme})`, rule: each.id, impact: each.impact, target: node.target.join(" "),
        html: node.html.slice(0, 200), summary: node.failureSummary,
      });
    }
  }
}

async function search(page, base, query) {
  await page.goto(`${base}index.html`, { waitUntil: "load" });
  await page.keyboard.press("/");
  await page.locator("input[type=text]:visible, input[type=search]:visible").first().fill(query);
  await page.getByText(/^\d+ results?$/).first().waitFor({ timeout: 15000 });
  return page.locator("a", { hasText: new RegExp(query, "i") }).evaluateAll((links) => links.map((link) => link.href));
}

async function main() {
  const browser = await chromium.launch({ executablePath: job.chromium, args: FLAGS });
  const found = { violations: [], outside: [], errors: [], overflow: [], found: [] };
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.on("request", (each) => {
    const allowed = ["data:", "blob:", job.base, ...job.searches];
    if (!allowed.some((start) => each.url().startsWith(start))) found.outside.push(each.url());
  });
  page.on("pageerror", (error) => found.errors.push(`${page.url()}: ${error.message}`));
  for (const scheme of ["light", "dark"]) for (const name of job.pages) await examine(page, found, name, scheme);
  for (const shot of job.shots) {
    await page.emulateMedia({ colorScheme: shot.scheme || "light" });
    await page.setViewportSize({ width: shot.width, height: 900 });
    await page.goto(job.base + shot.page, { waitUntil: "load" });
    if (await page.$(".mermaid")) await page.waitForFunction(() => !document.querySelector("pre.mermaid"));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
    if (wide) found.overflow.push(`${shot.page} at ${shot.width}`);
    await page.screenshot({ path: shot.file });
  }
  await page.setViewportSize({ width: 1280, height: 900 });
  if (job.query) for (const base of job.searches) found.found.push(await search(page, base, job.query));
  await browser.close();
  process.stdout.write(JSON.stringify(found));
}

main().catch((error) => { console.error(error); process.exit(1); });
