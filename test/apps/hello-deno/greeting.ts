/** What the server says. */
export const greeting: string = "hello from deno";
