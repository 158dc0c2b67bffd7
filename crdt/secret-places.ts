// Where secrets stand in the document, and by what each is bound to its place (sealed.ts). Never writes, never throws.

import { asAppId, asBindingId, asServiceId } from './ids.ts';
import { anyText, entries, field, isMap } from './read-values.ts';
import { bindingContext, envContext, serviceContext } from './sealed.ts';

/** A secret as it stands there, sealed or in clear. */
export type SecretText = { context: string; text: string };

/** A field that holds one. */
export type SecretField = { map: Record<string, unknown>; key: string };

const SECRET = 'secret';

/** Every secret, sealed or not; each once for its place, however many releases of an app ship it. */
export function secretsIn(doc: unknown): SecretText[] {
  const found = new Map<string, SecretText>();
  const add = (context: string, value: unknown): void => {
    const text = anyText(value);
    if (text !== undefined) found.set(`${context}\0${text}`, { context, text });
  };
  for (const [id, app] of entries(field(doc, 'apps'))) {
    const environments = [app, ...entries(field(app, 'releases')).map(([, release]) => release)];
    for (const one of environments) {
      for (const [name, value] of entries(field(one, 'env'))) add(envContext(asAppId(id), name), value);
    }
  }
  for (const [id, service] of entries(field(doc, 'services'))) {
    add(serviceContext(asServiceId(id)), field(service, SECRET));
  }
  for (const [id, binding] of entries(field(doc, 'bindings'))) {
    add(bindingContext(asBindingId(id)), field(binding, SECRET));
  }
  return [...found.values()];
}

/** The fields of one place; none when it is not there. */
export function fieldsOf(doc: unknown, context: string): SecretField[] {
  const [kind = '', id = '', name = ''] = context.split('/');
  if (kind === 'env') {
    const app = field(field(doc, 'apps'), id);
    const releases = entries(field(app, 'releases')).map(([, release]) => release);
    return [app, ...releases].flatMap((one) => fieldIn(field(one, 'env'), name));
  }
  if (kind === 'service') return fieldIn(field(field(doc, 'services'), id), SECRET);
  if (kind === 'binding') return fieldIn(field(field(doc, 'bindings'), id), SECRET);
  return [];
}

const fieldIn = (map: unknown, key: string): SecretField[] =>
  isMap(map) && Object.hasOwn(map, key) && key !== '__proto__' ? [{ map, key }] : [];
