// Finds out whether a container that has not changed its image has a program, by asking the engine for the file. Runs
// nothing.

import type { Container } from 'dockerode';

/** As engines have it where an image says nothing. */
const PATH_DEFAULT = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Folders of a PATH that are looked into. */
const FOLDERS_MAX = 32;
const NOT_FOUND = 404;

export async function hasProgram(container: Container, program: string): Promise<boolean> {
  const { Config } = await container.inspect();
  const path = (Config.Env ?? []).find((entry) => entry.startsWith('PATH='))?.slice('PATH='.length) ?? PATH_DEFAULT;
  for (const candidate of candidates(program, { path, workingDir: Config.WorkingDir ?? '' })) {
    const isThere = await container.infoArchive({ path: candidate }).then(
      () => true,
      // Whatever else went wrong, nobody is told that it is missing.
      (error: { statusCode?: number }) => error.statusCode !== NOT_FOUND,
    );
    if (isThere) return true;
  }
  return false;
}

/** Where the program may be, in the order of the search. */
export function candidates(program: string, { path, workingDir }: { path: string; workingDir: string }): string[] {
  const from = workingDir === '' ? '/' : workingDir;
  const absolute = (name: string): string => (name.startsWith('/') ? name : `${from}/${name}`);
  if (program.includes('/')) return [absolute(program)];
  const folders = path.split(':').slice(0, FOLDERS_MAX);
  return folders.map((folder) => absolute(`${folder === '' ? '.' : folder}/${program}`));
}
