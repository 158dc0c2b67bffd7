// Says what a package from the npm registry exports, and what the build has left.
import greeting from 'greeting';

const built = Deno.readTextFileSync(new URL('built.txt', import.meta.url));
Deno.serve(
  { port: Number(Deno.env.get('PORT') ?? 8080), hostname: Deno.env.get('HOST') ?? '0.0.0.0' },
  () => new Response(`${greeting}, ${built}\n`),
);
