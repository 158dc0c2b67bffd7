// Says who answers, with nothing but Bun's own interfaces.
const index: string = Bun.env.CF_INSTANCE_INDEX ?? '0';

Bun.serve({
  port: Number(Bun.env.PORT ?? 8080),
  hostname: Bun.env.HOST ?? '0.0.0.0',
  fetch: () => new Response(`hello from bun, index ${index}\n`),
});
