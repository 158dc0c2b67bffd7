// The core's decisions in the stories that matter, as text (traces/*.txt): a change of any of them shows here, to be
// read. PEER_REWRITE_TRACES=1 writes the files anew; look at the difference before it is committed.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { playTrace } from './trace-reader.ts';

const FOLDER = new URL('traces/', import.meta.url);
const rewrites = process.env.PEER_REWRITE_TRACES === '1';

describe('the core decides as written in', () => {
  it.each(readdirSync(FOLDER).filter((name) => name.endsWith('.txt')))('%s', (name) => {
    const file = new URL(name, FOLDER);
    const written = readFileSync(file, 'utf8');
    const played = playTrace(written);
    if (rewrites) writeFileSync(file, played);
    else expect(played).toBe(written);
  });
});

describe('a trace', () => {
  it.each([
    ['cluster self=a nodes=a\nstart\nsleep 5\n', /^line 3, sleep 5: should be a command: cluster, app, /],
    ['start\n', /^line 1, start: should come after cluster$/],
    ['cluster self=a nodes=a\napp one\ntick\n', /^line 3, tick: should be a command/],
    ['cluster self=a nodes=a\napp one color=red\n', /^line 2, app one color=red: no such option: color$/],
    ['cluster self=a nodes=a\nstart\nprobe-failed b late\n', /late: should be one of refused, timeout, error$/],
    ['cluster self=a nodes=a\nstart\nuntil soon\n', /^line 3, until soon: soon: should be a number$/],
  ])('with a mistake is refused with the line and what it should be: %j', (text, message) => {
    expect(() => playTrace(text)).toThrow(message);
  });

  it('is played from its commands alone, whatever decisions were written', () => {
    const commands = '# Alone.\ncluster self=a nodes=a\nstart\nuntil 100\n';
    const played = playTrace(commands);
    expect(played).toContain(
      'start\n  routes: admitted a\n  report 1: heads=h1\nuntil 100\n  @25 report 2: nothing new\n',
    );
    expect(playTrace(played.replaceAll('report', 'something else'))).toBe(played);
  });
});
