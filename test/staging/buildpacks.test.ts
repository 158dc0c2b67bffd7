// Every rule of the buildpack APIs that Peer follows, as tables: each row makes packs and an app for one rule, stages
// them on a real sandbox, and starts what came of it where the rule is about that.

import { afterAll, beforeAll, describe, it } from 'vitest';
import { type Case, runCase } from './cases/case.ts';
import { CLASSIC } from './cases/classic.ts';
import { CLOUD_FOUNDRY } from './cases/cloud-foundry.ts';
import { CLOUD_NATIVE } from './cases/cloud-native.ts';
import { createHarness, type Harness } from './harness.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await createHarness();
});
afterAll(async () => {
  await harness.close();
});

const table = (name: string, cases: readonly Case[]): void => {
  describe(name, () => {
    for (const one of cases) it(one.rule, () => runCase(harness, one));
  });
};

table('classic buildpacks', CLASSIC);
table("Cloud Foundry's supply and finalize", CLOUD_FOUNDRY);
table('Cloud Native Buildpacks', CLOUD_NATIVE);
