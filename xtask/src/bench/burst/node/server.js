"use strict";

// Says of each body that it is sent how often it has been sent it. Connections are kept for as long as Node keeps them
// by itself, 5 s.
const http = require("http");

const seen = new Map();

const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (piece) => {
    body += piece;
  });
  request.on("end", () => {
    const times = (seen.get(body) || 0) + 1;
    seen.set(body, times);
    response.end(`${times} revision ${process.env.APRON_REVISION}\n`);
  });
});

server.listen(Number(process.env.PORT || 8000), "0.0.0.0");
