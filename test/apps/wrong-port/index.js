// Listens, but on a port of its own choice instead of PORT.

const { createServer } = require('node:http');

const server = createServer((_request, response) => response.end('nobody will read this\n'));
server.listen(0, '127.0.0.1', () => console.log(`listens on ${server.address().port}, not on PORT=${process.env.PORT}`));
