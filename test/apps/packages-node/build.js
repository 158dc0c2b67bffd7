// Stands for a bundler: writes what is started.
const { mkdirSync, writeFileSync } = require('node:fs');

const server = `
const greeting = require('greeting');
require('node:http')
  .createServer((_request, response) => response.end(greeting + ', built\\n'))
  .listen(process.env.PORT, process.env.HOST);
`;
mkdirSync('dist', { recursive: true });
writeFileSync('dist/server.js', server);
