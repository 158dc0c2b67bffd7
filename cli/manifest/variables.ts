// Values of ((variables)) in manifests, and where they come from: --vars-file, then --var, which wins. Pure.

import { CliError } from '../errors.ts';
import { type Data, isMapping, readYaml } from './document.ts';

export type Variables = Readonly<Record<string, Data>>;

const WHOLE = /^\(\(([\w./-]+)\)\)$/;
const INSIDE = /\(\(([\w./-]+)\)\)/g;
/** A value may hold variables itself; deeper is a loop. */
const DEPTH_MAX = 20;

export function variablesOf(
  files: readonly { name: string; text: string }[],
  given: Readonly<Record<string, string>>,
): Variables {
  const variables: Record<string, Data> = {};
  for (const { name, text } of files) {
    const { data } = readYaml(text, name);
    if (data !== null && !isMapping(data)) {
      throw new CliError('bad_manifest', `${name}: should be a mapping of names to values, such as memory: 256M`);
    }
    Object.assign(variables, data);
  }
  return { ...variables, ...given };
}

/** The data with every ((name)) replaced. One that is all of a value may stand for a list or a mapping. */
export function interpolate(data: Data, variables: Variables, file: string, path: readonly string[] = []): Data {
  if (path.length > DEPTH_MAX * 2) throw new CliError('bad_manifest', `${file}: is nested too deeply`);
  if (typeof data === 'string') return interpolateText(data, variables, file, path, 0);
  if (Array.isArray(data)) {
    return data.map((value, index) => interpolate(value, variables, file, [...path, String(index)]));
  }
  if (data === null) return null;
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, interpolate(value, variables, file, [...path, key])]),
  );
}

function interpolateText(
  text: string,
  variables: Variables,
  file: string,
  path: readonly string[],
  depth: number,
): Data {
  const where = `${file}: ${path.join('/')}`;
  if (depth > DEPTH_MAX) throw new CliError('bad_manifest', `${where}: ((variables)) refer to one another in a circle`);
  const whole = WHOLE.exec(text)?.[1];
  if (whole !== undefined) {
    const value = valueNamed(whole, variables, where);
    return typeof value === 'string' ? interpolateText(value, variables, file, path, depth + 1) : value;
  }
  return text.replace(INSIDE, (_, name: string) => {
    const value = valueNamed(name, variables, where);
    const inner = typeof value === 'string' ? interpolateText(value, variables, file, path, depth + 1) : value;
    if (typeof inner === 'string') return inner;
    throw new CliError('bad_manifest', `${where}: ((${name})) is no text, and can only stand for a whole value`);
  });
}

/** `((a.b))` is b in the mapping a. */
function valueNamed(name: string, variables: Variables, where: string): Data {
  let found: Data | undefined = Object.hasOwn(variables, name) ? variables[name] : undefined;
  if (found === undefined) {
    found = { ...variables };
    for (const part of name.split('.')) {
      found = isMapping(found) && Object.hasOwn(found, part) ? found[part] : undefined;
      if (found === undefined) break;
    }
  }
  if (found === undefined) {
    const message = `${where}: ((${name})) has no value: pass --var ${name}=VALUE, or a file with it as --vars-file FILE`;
    throw new CliError('bad_manifest', message);
  }
  return found;
}
