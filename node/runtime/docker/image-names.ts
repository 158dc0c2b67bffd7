// Names of images, as engines read them, and which registries an engine may be sent to for the sake of a build. Pure.

/** `host` as written; undefined: the engine's own default, Docker Hub. */
export type ImageName = {
  host: string | undefined;
  repository: string;
  tag: string | undefined;
  digest: string | undefined;
};

/**
 * Registries that anyone may pull from, run by someone who does not send their callers elsewhere. An engine fetches
 * outside of a build's network, and goes where a registry's redirects and its token service's address lead: so it is
 * sent to these alone, and not to every host that is public today.
 */
export const PUBLIC_REGISTRIES: ReadonlySet<string> = new Set([
  'cgr.dev',
  'docker.elastic.co',
  'docker.io',
  'gcr.io',
  'ghcr.io',
  'index.docker.io',
  'lscr.io',
  'mcr.microsoft.com',
  'nvcr.io',
  'public.ecr.aws',
  'quay.io',
  'registry.access.redhat.com',
  'registry.fedoraproject.org',
  'registry.gitlab.com',
  'registry.k8s.io',
  'registry.opensuse.org',
  'registry.suse.com',
]);

const COMPONENT = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
/** Without its host. */
const NAME = new RegExp(`^(${COMPONENT}(?:/${COMPONENT})*)(?::([\\w][\\w.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$`);
const NAME_CHARACTERS_MAX = 512;
const ID = /^(?:sha256:)?[0-9a-f]{64}$/;
/** Podman takes these at the start of a name for the way to an archive or a folder of the machine. */
const TRANSPORTS =
  /^(atomic|containers-storage|dir|docker|docker-archive|docker-daemon|oci|oci-archive|ostree|sif|tarball):/;

/** Undefined when it is no name of an image. */
export function parseImageName(text: string): ImageName | undefined {
  if (text.length > NAME_CHARACTERS_MAX || TRANSPORTS.test(text) || isImageId(text)) return undefined;
  const slash = text.indexOf('/');
  const first = text.slice(0, Math.max(0, slash));
  // As engines tell a host from the first part of a path.
  const hasHost = /[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase();
  const match = NAME.exec(hasHost ? text.slice(slash + 1) : text);
  if (match === null) return undefined;
  if (hasHost && !/^[A-Za-z0-9.-]+(:\d+)?$/.test(first)) return undefined;
  return { host: hasHost ? first : undefined, repository: match[1]!, tag: match[2], digest: match[3] };
}

/** The whole of it: engines look for it among what they have, and nowhere else. */
export const isImageId = (text: string): boolean => ID.test(text);

export const isPublic = ({ host }: ImageName): boolean => host === undefined || PUBLIC_REGISTRIES.has(host);
