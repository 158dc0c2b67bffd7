// YAML as people write it, as plain data in which every value is text: `1.10`, `007` and `yes` stay what was written,
// and whoever reads a field says what it should be. Anchors and merges are resolved. Pure.

import { isMap, isScalar, parseDocument, visit } from 'yaml';
import { CliError } from '../errors.ts';

/** Nobody writes a longer one; a bound on what is held and expanded. */
export const FILE_BYTES_MAX = 1024 * 1024;
/** Uses of anchors that may be expanded, so that nested ones cannot grow without end. */
const ALIASES_MAX = 1_000;

/** `null`: written as nothing, `~` or `null`. */
export type Data = string | null | Data[] | { [key: string]: Data };

export type YamlFile = {
  data: Data;
  /** Keys of the top mapping that exist to hold anchors. */
  anchored: ReadonlySet<string>;
};

/** Fails with CliError `bad_manifest`, naming file, line and column. */
export function readYaml(text: string, file: string): YamlFile {
  const document = parseDocument(text, { schema: 'failsafe', merge: true });
  const [problem] = document.errors;
  if (problem !== undefined) {
    const at = problem.linePos?.[0];
    const where = at === undefined ? file : `${file}:${at.line}:${at.col}`;
    throw new CliError('bad_manifest', `${where}: ${problem.message.split(/ at line |\n/)[0]}`);
  }
  const anchored = new Set<string>();
  if (isMap(document.contents)) {
    for (const { key, value } of document.contents.items) {
      let holds = false;
      visit(value as Parameters<typeof visit>[0], {
        Node: (_, node) => {
          holds ||= 'anchor' in node && node.anchor !== undefined;
        },
      });
      if (holds && isScalar(key)) anchored.add(String(key.value));
    }
  }
  visit(document, {
    Scalar(key, node) {
      if (key !== 'key' && node.type === 'PLAIN' && /^(?:|~|null|Null|NULL)$/.test(node.source ?? ''))
        node.value = null;
    },
  });
  try {
    return { data: document.toJS({ maxAliasCount: ALIASES_MAX }) as Data, anchored };
  } catch (error) {
    throw new CliError('bad_manifest', `${file}: ${(error as Error).message}`);
  }
}

export const isMapping = (value: unknown): value is { [key: string]: Data } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
