// Says what a package from the npm registry exports; bundled when the app is staged.
import greeting from 'greeting';

Bun.serve({
  port: Number(Bun.env.PORT ?? 8080),
  hostname: Bun.env.HOST ?? '0.0.0.0',
  fetch: () => new Response(`${greeting}\n`),
});
