// Decides what an image's own configuration means for an instance of it: which command, port, user and scratch
// folders. Pure. The configuration is its author's, so nothing in it is trusted to be what it should be.

import type { ImageInspectInfo } from 'dockerode';

/** What `--command` runs with in an image, as Cloud Foundry does. */
export const IMAGE_SHELL = '/bin/sh';
/** Declared volumes become folders in memory, so many at most. */
export const VOLUMES_MAX = 16;

/** The stack of images for a processor, in the terms of OCI: only an engine on such a machine runs them. */
export function imageStack(architecture: string): string {
  return `oci-${architecture}`;
}

/** The entry point and its arguments, as a shell would take them; undefined when the image has none. */
export function ownCommand({ Config }: ImageInspectInfo): string | undefined {
  const { Entrypoint: entry, Cmd: command } = Config as {
    Entrypoint?: string | string[] | null;
    Cmd?: string[] | null;
  };
  const words = [...(typeof entry === 'string' ? [entry] : (entry ?? [])), ...(command ?? [])];
  return words.length === 0 ? undefined : words.map(quoted).join(' ');
}

/** The lowest TCP port that it declares; undefined when it declares none. */
export function exposedPort({ Config }: ImageInspectInfo): number | undefined {
  const ports = Object.keys(Config.ExposedPorts ?? {})
    .map((name) => /^(\d{1,5})(?:\/tcp)?$/.exec(name)?.[1])
    .filter((port) => port !== undefined)
    .map(Number)
    .filter((port) => port > 0 && port < 65_536);
  return ports.length === 0 ? undefined : Math.min(...ports);
}

/**
 * `UID:GID` of its own where it names a user that is not root by number; undefined: a user of the instance's own is
 * better than one that a file in the image may turn into root.
 */
export function ownUser({ Config }: ImageInspectInfo): string | undefined {
  const match = /^(\d{1,9})(?::(\d{1,9}))?$/.exec(Config.User ?? '');
  if (match === null || Number(match[1]) === 0 || Number(match[2] ?? match[1]) === 0) return undefined;
  return `${match[1]}:${match[2] ?? match[1]}`;
}

/** Folders that it declares as volumes. */
export function volumes({ Config }: ImageInspectInfo): string[] {
  return Object.keys((Config.Volumes ?? {}) as Record<string, unknown>)
    .filter((path) => path.startsWith('/') && path !== '/' && !/[,:\0]|(^|\/)\.\.(\/|$)/.test(path))
    .slice(0, VOLUMES_MAX);
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
