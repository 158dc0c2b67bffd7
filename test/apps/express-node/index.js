// An app with dependencies from a registry.

const express = require('express');

const app = express();
const index = Number(process.env.CF_INSTANCE_INDEX ?? 0);

app.get('/', (_request, response) => response.type('text').send(`hello from express, index ${index}\n`));
app.get('/json', (_request, response) => response.json({ framework: 'express', index, node: process.version, env: process.env.NODE_ENV }));

const server = app.listen(Number(process.env.PORT ?? 8080), () => console.log(`express-node listens on ${server.address().port}`));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
