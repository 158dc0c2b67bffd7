// Finds the stack images that an engine holds. Builds none: that is `npm run stack`.

import type Docker from 'dockerode';
import { STACK_LABEL, stackTag } from './labels.ts';

/** Stack → id of its image, for every stack that droplets can run on here. */
export async function findStacks(docker: Docker): Promise<Map<string, string>> {
  const images = await docker.listImages({ filters: JSON.stringify({ label: [STACK_LABEL] }) });
  const stacks = new Map<string, string>();
  for (const image of images) {
    const stack = image.Labels?.[STACK_LABEL];
    // An image that was built on a stack has its label too.
    if (stack !== undefined && (image.RepoTags ?? []).some((tag) => tag.endsWith(stackTag(stack)))) {
      stacks.set(stack, image.Id);
    }
  }
  return stacks;
}
