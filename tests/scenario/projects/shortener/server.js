// A link shortener: Node.js and Redis. POST / with a URL answers a path; GET that path leads to the URL.
import { createServer } from "node:http";
import { createClient } from "redis";

const links = await createClient({ url: process.env.REDIS_URL }).connect();

createServer(async (request, response) => {
  if (request.method === "POST") {
    let url = "";
    for await (const chunk of request) url += chunk;
    const name = (await links.incr("last")).toString(36);
    await links.set(`link:${name}`, url);
    response.writeHead(201).end(`/${name}`);
    return;
  }
  const url = await links.get(`link:${request.url.slice(1)}`);
  if (url) response.writeHead(302, { location: url }).end();
  else response.writeHead(404).end("no such link\n");
}).listen(3000);
