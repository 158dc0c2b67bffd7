// Which way imports may point, for every file of the product. Run by `npm run imports`, a part of the tests; each
// forbidden arrow is shown to be forbidden in test/scripts/imports.test.ts.

/** What each room of node/ may import besides itself. `daemon` puts all together; `main.ts` starts it. */
const INNER = ['ports', 'core', 'lib', 'identity'];
const ROOMS = {
  lib: [],
  core: [],
  identity: ['lib'],
  ports: ['core', 'lib'],
  admission: INNER,
  cluster: INNER,
  storage: INNER,
  sessions: INNER,
  secrets: INNER,
  services: INNER,
  volumes: INNER,
  api: INNER,
  blobs: INNER,
  gossip: INNER,
  router: INNER,
  runtime: INNER,
  staging: INNER,
};

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'core-is-pure',
      comment: 'The core imports nothing but itself and the types and views of crdt.',
      severity: 'error',
      from: { path: '^node/core/' },
      to: { pathNot: '^(node/core/|crdt/(ids|schema|view)\\.ts$)' },
    },
    {
      name: 'crdt-stands-alone',
      severity: 'error',
      from: { path: '^crdt/' },
      to: { path: '^(node|cli|scripts|test)/' },
    },
    {
      name: 'automerge-only-in-crdt',
      severity: 'error',
      from: { pathNot: '^(crdt|test/crdt|test/sim)/' },
      to: { path: 'node_modules/@automerge/' },
    },
    ...Object.entries(ROOMS).map(([room, others]) => ({
      name: `${room}-imports-only-what-it-may`,
      severity: 'error',
      from: { path: `^node/${room}/` },
      to: { path: '^(node|cli|scripts)/', pathNot: `^node/(${[room, ...others].join('|')})/` },
    })),
    {
      name: 'lib-knows-nothing-of-peer',
      severity: 'error',
      from: { path: '^node/lib/' },
      to: { path: '^crdt/' },
    },
    {
      name: 'daemon-is-started-by-main',
      severity: 'error',
      from: { path: '^node/daemon/' },
      to: { path: '^(node/main\\.ts$|cli/|scripts/)' },
    },
    {
      name: 'main-starts-the-daemon',
      severity: 'error',
      from: { path: '^node/main\\.ts$' },
      to: { path: '^(node|crdt|cli|scripts)/', pathNot: '^node/(daemon|lib)/' },
    },
    {
      name: 'no-file-beside-main',
      severity: 'error',
      from: {},
      to: { path: '^node/[^/]+$', pathNot: '^node/main\\.ts$' },
    },
    {
      name: 'cli-only-calls-the-api',
      comment:
        'The CLI parses, calls the API and renders. It may use the types of node/api, never its code; it cuts content as the blob store does, and reads settings by the same table; the frames of sessions, and which backup is the newest, belong to both.',
      severity: 'error',
      from: { path: '^cli/' },
      to: {
        path: '^(node|crdt)/',
        pathNot: '^(node/(blobs/(chunker|limits)|lib/(session-frames|newest-backup|age-text))|crdt/settings)\\.ts$',
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'product-does-not-import-tests-or-scripts',
      severity: 'error',
      from: { path: '^(node|cli|crdt)/' },
      to: { path: '^(test|scripts)/' },
    },
    { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^test/apps/' },
    tsPreCompilationDeps: true,
    // Packages say in their exports what may be imported; some only export types.
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
    tsConfig: { fileName: 'tsconfig.json' },
  },
};
