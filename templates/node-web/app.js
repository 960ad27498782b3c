// A visitor log: Redis counts the page views and keeps the last five.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { createClient } from "redis";
import { render } from "./page.js";

const PORT = 3000;
const template = new URL("./page.html", import.meta.url);

const cache = createClient({ url: process.env.REDIS_URL });
cache.on("error", (error) => console.error(`redis: ${error.message}`));
await cache.connect();

/** Record a visit and return the data of the page. */
async function recordVisit(request) {
  const agent = (request.headers["user-agent"] ?? "").slice(0, 80);
  const counter = await cache.incr("visits");
  await cache.lPush("visit-list", JSON.stringify({ id: counter, at: new Date().toISOString(), agent }));
  await cache.lTrim("visit-list", 0, 4);
  const visits = (await cache.lRange("visit-list", 0, -1)).map((visit) => JSON.parse(visit));
  return { counter, node: process.versions.node, visits };
}

const routes = {
  "/": async (request) => ["text/html", render(await readFile(template, "utf8"), await recordVisit(request))],
  "/api": async (request) => ["application/json", JSON.stringify(await recordVisit(request))],
  "/healthz": async () => ["text/plain", `${await cache.ping()}\n`],
};

async function answer(request, response) {
  const route = routes[new URL(request.url, "http://localhost").pathname];
  if (!route) {
    response.writeHead(404, { "content-type": "text/plain" }).end("not found\n");
    return;
  }
  try {
    const [type, body] = await route(request);
    response.writeHead(200, { "content-type": `${type}; charset=utf-8` }).end(body);
  } catch (error) {
    console.error(error);
    response.writeHead(503, { "content-type": "text/plain" }).end("not available\n");
  }
}

const server = createServer(answer).listen(PORT, "0.0.0.0", () => console.log(`listening on port ${PORT}`));

process.on("SIGTERM", () => server.close(() => process.exit(0)));
