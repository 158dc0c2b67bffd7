// Says who answers, with nothing but Deno's own interfaces and a module that the import map names.
import { greeting } from '#greeting';

const index = Deno.env.get('CF_INSTANCE_INDEX') ?? '0';
Deno.serve(
  { port: Number(Deno.env.get('PORT') ?? 8080), hostname: Deno.env.get('HOST') ?? '0.0.0.0' },
  () => new Response(`${greeting}, index ${index}\n`),
);
