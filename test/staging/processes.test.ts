// Which processes an app has: the tables of Procfile, release and command.

import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { configVarsScript, mergeProcesses, parseProcfile, parseRelease } from '../../node/staging/processes.ts';

describe('Procfile', () => {
  it.each<[string, string, Record<string, string>]>([
    ['one process', 'web: node server.js\n', { web: 'node server.js' }],
    ['several, comments and blank lines', '# all of it\nweb: a\n\nworker:   b c\n', { web: 'a', worker: 'b c' }],
    ['no newline at the end', 'web: a', { web: 'a' }],
    ['Windows line ends', 'web: a\r\nworker: b\r\n', { web: 'a', worker: 'b' }],
    ['no colon', 'web node server.js', { web: 'node server.js' }],
    ['names with digits, dash and underscore', 'web-2_x: a', { 'web-2_x': 'a' }],
    ['a command with colons', 'web: FOO=a:b run http://x', { web: 'FOO=a:b run http://x' }],
    ['a type given twice: the later one', 'web: a\nweb: b', { web: 'b' }],
    ['nothing', '', {}],
    ['only comments', '# nothing yet\n', {}],
  ])('with %s', (_name, text, processes) => {
    expect(parseProcfile(text)).toEqual({ processes, ignoredLines: [] });
  });

  it('ignores lines that are no process, and says which', () => {
    expect(parseProcfile('web: a\n\nnonsense\nworker:\n')).toEqual({ processes: { web: 'a' }, ignoredLines: [3, 4] });
  });

  it.each([
    ['a YAML list', '- web: node server.js\n- worker: x\n'],
    ['JSON', '{"web": "a"}'],
    ['no process at all', 'nonsense\n'],
  ])('that is %s is an error', (_name, text) => {
    expect(() => parseProcfile(text)).toThrow(expect.objectContaining({ code: 'procfile_invalid' }));
  });
});

describe('release', () => {
  it.each<[string, string, object]>([
    ['nothing', '', { processes: {}, configVars: {} }],
    ['an empty document', '--- {}', { processes: {}, configVars: {} }],
    ['processes', 'default_process_types:\n  web: a\n', { processes: { web: 'a' }, configVars: {} }],
    ['null for a section', 'default_process_types:\naddons: []\n', { processes: {}, configVars: {} }],
    [
      'config vars that are no text',
      'config_vars: { A: 1, B: true, C: x }',
      { processes: {}, configVars: { A: '1', B: 'true', C: 'x' } },
    ],
  ])('accepts %s', (_name, text, release) => {
    expect(parseRelease(text, 'p')).toEqual(release);
  });

  it.each([
    ['no YAML', '['],
    ['a list', '- a'],
    ['text', 'hello'],
    ['a list of processes', 'default_process_types: [web]'],
    ['a command that is a mapping', 'default_process_types: { web: { a: b } }'],
    ['a variable that is none', 'config_vars: { "a b": c }'],
    [
      'endless aliases',
      `a: &a [x,x]\nb: &b [*a,*a]\n${'cdefghijkl'
        .split('')
        .map((c, i) => `${c}: &${c} [${`*${'bcdefghijkl'[i]},`.repeat(9)}x]`)
        .join('\n')}`,
    ],
  ])('refuses %s', (_name, text) => {
    expect(() => parseRelease(text, 'p')).toThrow(expect.objectContaining({ code: 'release_not_yaml' }));
  });
});

describe('processes', () => {
  const release = { web: 'from release', console: 'c' };
  it.each<[string, Parameters<typeof mergeProcesses>[0], Record<string, string>]>([
    ['the release alone', { release, procfile: {}, command: undefined }, release],
    [
      'the Procfile over the release',
      { release, procfile: { web: 'from Procfile' }, command: undefined },
      { web: 'from Procfile', console: 'c' },
    ],
    [
      'a Procfile with a worker only',
      { release, procfile: { worker: 'w' }, command: undefined },
      { ...release, worker: 'w' },
    ],
    [
      'the command over all',
      { release, procfile: { web: 'from Procfile' }, command: 'mine' },
      { web: 'mine', console: 'c' },
    ],
    ['the command alone', { release: {}, procfile: {}, command: 'mine' }, { web: 'mine' }],
  ])('are %s', (_name, sources, processes) => {
    expect(mergeProcesses(sources)).toEqual(processes);
  });

  it.each<[string, Record<string, string>, string]>([
    ['none', {}, 'no_start_command'],
    [
      'more than an app can have',
      Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`p${i}`, 'x'])),
      'procfile_invalid',
    ],
    ['a command that is too long', { web: 'x'.repeat(9000) }, 'procfile_invalid'],
  ])('refuse %s', (_name, procfile, code) => {
    expect(() => mergeProcesses({ release: {}, procfile, command: undefined })).toThrow(
      expect.objectContaining({ code }),
    );
  });
});

describe('config vars script', () => {
  const run = (script: string, env: Record<string, string>): string =>
    execFileSync('bash', ['--norc', '-c', `${script}\nprintf '%s|%s' "$A" "$PATH"`], {
      env: { PATH: '/bin', ...env },
      encoding: 'utf8',
    });

  it('sets what the user has not set, whatever characters it has', () => {
    const script = configVarsScript({ A: `it's "$HOME" \`x\` \\ \n end` });
    expect(run(script, {})).toBe(`it's "$HOME" \`x\` \\ \n end|/bin`);
    expect(run(script, { A: 'mine' })).toBe('mine|/bin');
    expect(run(script, { A: '' })).toBe('|/bin');
  });

  it('extends PATH', () => {
    expect(run(configVarsScript({ PATH: 'vendor/bin' }), {})).toBe('|vendor/bin:/bin');
  });
});
