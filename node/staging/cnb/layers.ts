// The layers of one buildpack: what it says of them, what of them is there again at the next build, what goes into the
// droplet. See "Layer Types" in https://github.com/buildpacks/spec/blob/main/buildpack.md

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'smol-toml';
import { type Descriptor, escapeId, readToml, table } from './descriptor.ts';
import { filesIn, foldersIn } from './environment.ts';
import { LifecycleError } from './errors.ts';

export type Layer = { name: string; launch: boolean; build: boolean; cache: boolean };

/** Until this API the types of a layer stood at the top of its file. */
const API_WITHOUT_TYPES_TABLE = 5;
const RESERVED = new Set(['launch', 'build', 'store']);
const SAVED = 'saved.toml';

export class Layers {
  readonly #buildpack: Descriptor;
  readonly dir: string;
  /** What an earlier build left for this one. */
  readonly #saved: string;

  constructor(options: { buildpack: Descriptor; layersDir: string; cacheDir: string }) {
    this.#buildpack = options.buildpack;
    const folder = escapeId(options.buildpack.id);
    this.dir = join(options.layersDir, folder);
    this.#saved = join(options.cacheDir, folder);
  }

  /**
   * Cached layers come with their contents, layers that are only for the launch without: their contents stay for
   * `complete`.
   */
  restore(): void {
    mkdirSync(this.dir, { recursive: true });
    copy(join(this.#saved, 'store.toml'), join(this.dir, 'store.toml'));
    for (const [name, kind] of Object.entries(this.#savedKinds())) {
      copy(join(this.#saved, `${name}.toml`), join(this.dir, `${name}.toml`));
      if (kind === 'cache') copy(join(this.#saved, name), join(this.dir, name));
    }
  }

  /** After bin/build: what it left, checked. Layers of no type are out of the way of later buildpacks. */
  read(): Layer[] {
    const described = filesIn(this.dir)
      .filter((file) => file.endsWith('.toml') && !RESERVED.has(file.slice(0, -5)))
      .map((file) => this.#layer(file.slice(0, -5)));
    const typed = described.filter(({ launch, build, cache }) => launch || build || cache);
    for (const name of foldersIn(this.dir)) {
      if (!typed.some((layer) => layer.name === name)) renameSync(this.path(name), this.path(`${name}.ignore`));
    }
    return typed;
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  /** A layer for the launch that this build did not make again is that of the build before. */
  complete(layers: readonly Layer[]): void {
    for (const { name, launch } of layers) {
      if (!launch || existsSync(this.path(name))) continue;
      if (!existsSync(join(this.#saved, name))) {
        throw new LifecycleError(
          'buildpack_invalid',
          `buildpack ${this.#buildpack.id}: layer ${name} is for the launch, but it was not made, and no earlier build made it`,
        );
      }
      copy(join(this.#saved, name), this.path(name));
    }
  }

  /** Leaves in `into` what the next build is to find. */
  save(layers: readonly Layer[], into: string): void {
    const to = join(into, escapeId(this.#buildpack.id));
    mkdirSync(to, { recursive: true });
    copy(this.path('store.toml'), join(to, 'store.toml'));
    const kinds: Record<string, 'cache' | 'launch'> = {};
    for (const { name, cache, build, launch } of layers) {
      if (!cache && (build || !launch)) continue;
      kinds[name] = cache ? 'cache' : 'launch';
      copy(this.path(name), join(to, name));
      const { types, ...kept } = readToml(this.path(`${name}.toml`));
      writeFileSync(join(to, `${name}.toml`), stringify(kept));
    }
    writeFileSync(join(to, SAVED), stringify({ layers: kinds }));
  }

  /** What stays of the folder in the droplet. */
  keepForLaunch(layers: readonly Layer[]): void {
    const kept = new Set(layers.filter(({ launch }) => launch).map(({ name }) => name));
    for (const name of [...filesIn(this.dir), ...foldersIn(this.dir)]) {
      if (!kept.has(name)) rmSync(this.path(name), { recursive: true, force: true });
    }
    if (kept.size === 0) rmSync(this.dir, { recursive: true, force: true });
  }

  #layer(name: string): Layer {
    const document = readToml(this.path(`${name}.toml`));
    const types = this.#buildpack.api <= API_WITHOUT_TYPES_TABLE ? document : table(document.types);
    return { name, launch: types.launch === true, build: types.build === true, cache: types.cache === true };
  }

  /** Empty when there is none, or when it is damaged: a cache is never needed. */
  #savedKinds(): Record<string, unknown> {
    try {
      return table(readToml(join(this.#saved, SAVED)).layers);
    } catch {
      return {};
    }
  }
}

/** Nothing where there is nothing. In a process of its own: a layer may have very many files. */
const copy = (from: string, to: string): void => {
  if (existsSync(from)) execFileSync('cp', ['-a', '--reflink=auto', '-T', '--', from, to]);
};
