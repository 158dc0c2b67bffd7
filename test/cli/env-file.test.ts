// Env files as Compose reads them; the cases follow its documentation, by what people found in other readers.

import { describe, expect, it } from 'vitest';
import { substituteText } from '../../cli/manifest/compose-variables.ts';
import { readEnvText } from '../../cli/manifest/env-file.ts';
import { decodeText } from '../../cli/text.ts';

describe('an env file', () => {
  it.each<[string, string, Record<string, string>]>([
    ['a value as it is', 'A=b c', { A: 'b c' }],
    ['no value', 'A=\nB=', { A: '', B: '' }],
    ['a # within a word', 'A=ab#cd\nB=https://x/#/login', { A: 'ab#cd', B: 'https://x/#/login' }],
    ['a comment behind a space', 'A=b # c\n# d\n\n  # e\nB=#f', { A: 'b', B: '' }],
    ['spaces around', '  A =  b  \n', { A: 'b' }],
    ['a colon', 'A: b', { A: 'b' }],
    ['export', 'export A=b', { A: 'b' }],
    ['names with dots and dashes', 'spring.datasource.url=x\na-b=y', { 'spring.datasource.url': 'x', 'a-b': 'y' }],
    ['an equals sign in the value', 'A=b=c==', { A: 'b=c==' }],
    ['double quotes', 'A="b # c" # d\nB="{\\"x\\": \\"y\\"}"', { A: 'b # c', B: '{"x": "y"}' }],
    ['escapes between double quotes', 'A="a\\tb\\nc\\\\d\\$e"', { A: 'a\tb\nc\\d$e' }],
    ['single quotes', "A='$B \\n \"'\nB='Let\\'s go'", { A: '$B \\n "', B: "Let's go" }],
    ['several lines', 'A="one\ntwo"\nB=\'three\n\nfour\'\nC=5', { A: 'one\ntwo', B: 'three\n\nfour', C: '5' }],
    ['lines that end as on Windows', 'A=b\r\nC="d"\r\n', { A: 'b', C: 'd' }],
    ['a name above it', `A=b\nC=\${A}/d\nD=\${NONE:-\${A}}\nE=$$`, { A: 'b', C: 'b/d', D: 'b', E: '$' }],
    ['a name from outside', `A=$HOST\nOUT\nNOT_SET`, { A: 'x.example', OUT: 'given' }],
    ['the last of two', 'A=1\nA=2', { A: '2' }],
  ])('has %s', (_name, text, expected) => {
    expect(readEnvText(text, '.env', { HOST: 'x.example', OUT: 'given' })).toEqual(expected);
  });

  it.each<[string, string, string]>([
    ['no assignment', 'A=1\nwhat is this', '.env: line 2: should be NAME=value, or a comment that begins with #'],
    ['an open quote', 'A="b', '.env: line 1: the value has no closing "'],
    ['more behind a quote', 'A="b\nc" d', '.env: line 1: there is more behind the closing ": quote all of the value'],
    ['a name without a value', `A=\${B}`, `.env: line 1: \${B} has no value: set it, or pass --var B=VALUE`],
  ])('is refused for %s, by its line', (_name, text, message) => {
    expect(() => readEnvText(text, '.env')).toThrow(expect.objectContaining({ code: 'bad_manifest', message }));
  });
});

describe('a template', () => {
  const variables = { A: 'a', EMPTY: '' };

  it.each([
    [`\${NONE:-$A}`, 'a'],
    [`\${NONE:-\${A}}b`, 'ab'],
    [`\${NONE:-\${EMPTY:-\${A}}}}`, 'a}'],
    [`\${A:+$A-$A}`, 'a-a'],
    [`\${A:-\${NONE:?never asked}}`, 'a'],
    [`\${NONE:+$NONE}`, ''],
    [`\${EMPTY-x}\${EMPTY:-y}`, 'y'],
    [`$$A \${A}$A`, '$A aa'],
  ])('%s is %s', (text, expected) => {
    expect(substituteText(text, variables, 'x')).toBe(expected);
  });

  it.each([
    [`\${NONE:?say \${A}}`, `x: \${NONE} has no value: say a: set it, or pass --var NONE=VALUE`],
    [`\${A`, `x: \${A has no end: write \${A}, or $$ for a $`],
    ['5$', 'x: a $ that begins no variable is written $$'],
    [`${`\${N:-`.repeat(40)}`, 'x: variables are nested too deeply'],
  ])('%s is refused', (text, message) => {
    expect(() => substituteText(text, variables, 'x')).toThrow(message);
  });
});

describe('a text file', () => {
  it.each<[string, Buffer]>([
    ['UTF-8', Buffer.from('grüße')],
    ['UTF-8 with a byte order mark', Buffer.from('\ufeffgrüße')],
    ['UTF-16', Buffer.from('\ufeffgrüße', 'utf16le')],
    ['UTF-16, the other way round', Buffer.from('\ufeffgrüße', 'utf16le').swap16()],
    ['Latin-1', Buffer.from('gr\xfc\xdfe', 'latin1')],
  ])('is read as %s', (_name, bytes) => {
    expect(decodeText(bytes)).toBe('grüße');
  });
});
