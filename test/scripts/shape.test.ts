// The shape of the product's code: no function of more than a screen or two, no file that holds more than one can
// keep in mind, and comments and prose that end where a reader's window does.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../cli/peer.ts';

const FUNCTION_LINES_MAX = 100;
const FILE_LINES_MAX = 450;
const COMMENT_COLUMNS_MAX = 119;

const files = execFileSync('git', ['ls-files', 'node/**.ts', 'crdt/**.ts', 'cli/**.ts', 'scripts/**.ts'], {
  cwd: ROOT,
  encoding: 'utf8',
})
  .trim()
  .split('\n')
  .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));

const longFunctions = ({ path, text }: (typeof files)[number]): string[] => {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const lineAt = (position: number): number => source.getLineAndCharacterOfPosition(position).line;
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) && 'body' in node && node.body !== undefined) {
      const lines = lineAt(node.end) - lineAt(node.getStart()) + 1;
      if (lines > FUNCTION_LINES_MAX) found.push(`${path}:${lineAt(node.getStart()) + 1} has ${lines} lines`);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
};

/** Lines of prose: neither of a table nor of an example. */
const proseOf = (text: string): { line: string; at: number }[] => {
  let isExample = false;
  return text.split('\n').flatMap((line, at) => {
    const isFence = /^ *```/.test(line);
    if (isFence) isExample = !isExample;
    return isFence || isExample || line.startsWith('|') ? [] : [{ line, at }];
  });
};

describe('the documents', () => {
  it(`have no prose beyond column ${COMMENT_COLUMNS_MAX}`, () => {
    const paths = execFileSync('git', ['ls-files', '*.md'], { cwd: ROOT, encoding: 'utf8' }).trim().split('\n');
    expect(paths.length).toBeGreaterThan(20);
    const wide = paths.flatMap((path) =>
      proseOf(readFileSync(join(ROOT, path), 'utf8')).flatMap(({ line, at }) =>
        [...line].length > COMMENT_COLUMNS_MAX ? [`${path}:${at + 1}`] : [],
      ),
    );
    expect(wide).toEqual([]);
  });
});

describe('the code', () => {
  it('is there to be looked at', () => {
    expect(files.length).toBeGreaterThan(300);
  });

  it(`has no function of more than ${FUNCTION_LINES_MAX} lines`, () => {
    expect(files.flatMap(longFunctions)).toEqual([]);
  });

  it(`has no file of more than ${FILE_LINES_MAX} lines`, () => {
    const long = files.filter(({ text }) => text.trimEnd().split('\n').length > FILE_LINES_MAX);
    expect(long.map(({ path }) => path)).toEqual([]);
  });

  it(`has no comment beyond column ${COMMENT_COLUMNS_MAX}`, () => {
    const wide = files.flatMap(({ path, text }) =>
      text.split('\n').flatMap((line, at) => {
        const isComment = /^ *(\/\/|\/\*\*|\*) /.test(line);
        return isComment && [...line].length > COMMENT_COLUMNS_MAX ? [`${path}:${at + 1}`] : [];
      }),
    );
    expect(wide).toEqual([]);
  });

  it('lies in rooms: node/ has one file beside them', () => {
    const loose = files.filter(({ path }) => /^node\/[^/]+$/.test(path)).map(({ path }) => path);
    expect(loose).toEqual(['node/main.ts']);
  });
});
