"use strict";

const express = require("express");

const app = express();
const port = Number(process.env.PORT || 8080);

app.get("/", (request, response) => {
  const service = process.env.APRON_SERVICE || "Express";
  const revision = process.env.APRON_REVISION || "-";
  response.type("text/plain").send(`Hello from ${service}, revision ${revision}\n`);
});

app.get("/about", (request, response) => {
  response.json({ node: process.version, port, greeting: process.env.GREETING });
});

const server = app.listen(port, "0.0.0.0", () => {
  console.log(`listening on ${port}`);
});

// A new revision has taken over: finish what is under way, take nothing new.
process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
});
